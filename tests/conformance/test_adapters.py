"""One suite for every adapter: what `tools/adapter.py` promises, on real systems."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stanchion.blueprints import FORMATS
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.types import ENVELOPE_V
from tests.conformance import object_worlds, worlds
from tests.conformance.http_writes import http_write_server, make_http_writes
from tests.conformance.worlds import CASES, World
from tests.support import s3

READERS = [
    "sqlite",
    "postgresql",
    "jsonl",
    "csv",
    "http-link",
    "http-cursor",
    "http-offset",
    "http-page",
    "folder",
    "s3",
]
WRITERS = ["sqlite", "postgresql", "jsonl", "csv", "folder", "s3"]
WRITERS += ["http-json", "http-form", "http-rpc"]
# They take any of their fields as a parameter and compare.
FILTERING = {"files", "objects"}
KEY = "eff_" + "a" * 64
OUTCOME = {"case_id": "C1", "tier": "minor", "articles": [5, 6], "comment": 'with "quotes", commas\nand a line end'}


@pytest.fixture
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    adapters = worlds.new_adapters(tmp_path)
    name: str = request.param
    try:
        if name == "sqlite":
            yield worlds.make_sqlite(tmp_path, adapters)
        elif name == "postgresql":
            urls = request.getfixturevalue("fresh_database_urls")
            assert urls.owner is not None
            yield worlds.make_postgres(tmp_path, adapters, make_target_database(urls.owner))
        elif name in {"jsonl", "csv"}:
            yield worlds.make_files(tmp_path, adapters, name)
        elif name == "folder":
            yield object_worlds.make_folder(tmp_path, adapters)
        elif name == "s3":
            bucket = s3.Bucket()
            async with s3.serving(bucket) as url:
                yield object_worlds.make_bucket(adapters, bucket, url)
                await adapters.close()
        elif name in {"http-json", "http-form", "http-rpc"}:
            async with http_write_server() as server:
                yield make_http_writes(adapters, server, name.removeprefix("http-"))
                await adapters.close()
        else:
            faults: dict = {}
            async with worlds.http_server(faults) as base_url:
                yield worlds.make_http(adapters, base_url, name.removeprefix("http-"), faults)
                await adapters.close()
    finally:
        await adapters.close()


def make_target_database(owner_url: str) -> str:
    """A schema of its own in a cloned database: the customer's, with none of our tables in its search path."""
    import psycopg

    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("create schema customer")
    joint = "&" if "?" in owner_url else "?"
    return f"{owner_url}{joint}options=-csearch_path%3Dcustomer"


readers = pytest.mark.parametrize("world", READERS, indirect=True)
writers = pytest.mark.parametrize("world", WRITERS, indirect=True)


@readers
async def test_fetches_all_in_order_with_declared_fields_only(world: World) -> None:
    envelope = await world.adapter.fetch(
        world.target("cases", "fetch"), {} if world.body["adapter"] != "sql" else {"least": None}, 100, None
    )
    assert list(envelope.records) == CASES
    assert envelope.schema_v == ENVELOPE_V
    assert envelope.metadata["truncated"] is False
    assert envelope.metadata["page"] is None
    assert envelope.metadata["resource"] == "cases"
    assert envelope.trace["traceparent"].startswith("00-0af765")
    assert envelope.metrics["calls"] >= 1
    assert envelope.narrative == "Fetched 5 records of casebook.cases."


@readers
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
async def test_pages_cover_everything_once(world: World, limit: int) -> None:
    target = world.target("cases", "fetch")
    where = {} if world.body["adapter"] in FILTERING else {"least": None}
    found, page, pages = [], None, 0
    while True:
        envelope = await world.adapter.fetch(target, where, limit, page)
        assert len(envelope.records) <= limit
        assert envelope.metadata["truncated"] is (envelope.metadata["page"] is not None)
        found += envelope.records
        pages += 1
        page = envelope.metadata["page"]
        if page is None:
            break
        assert isinstance(page, str)
    assert found == CASES
    assert pages == -(-len(CASES) // limit)


@readers
async def test_filters_by_parameters(world: World) -> None:
    files = world.body["adapter"] in FILTERING
    where = {"fine_eur": 4000} if files else {"least": 4000}
    envelope = await world.adapter.fetch(world.target("cases", "fetch"), where, 100, None)
    assert [r["case_id"] for r in envelope.records] == (["C4"] if files else ["C4", "C5"])


@readers
async def test_refuses_a_page_that_it_never_returned(world: World) -> None:
    for page in ["nonsense", "-1", "9" * 30, "eyJhIjoxfQ", "../../etc"]:
        with pytest.raises(AdapterProblem) as caught:
            await world.adapter.fetch(world.target("cases", "fetch"), {"least": None}, 10, page)
        assert caught.value.code == "adapter.bad_page"


@readers
async def test_looks_up_one_by_key(world: World) -> None:
    found = await world.adapter.lookup(world.target("cases", "lookup"), "C3")
    assert list(found.records) == [CASES[2]]
    missing = await world.adapter.lookup(world.target("cases", "lookup"), "C99")
    assert list(missing.records) == []
    assert missing.metadata["found"] is False


@readers
async def test_a_key_is_a_value_and_nothing_else(world: World) -> None:
    for key in [
        "' or 1=1 --",
        "C1; drop table cases",
        "C1/../C2",
        "C1?x=1",
        "%43%31",
        "C1#",
        "{key}",
        "$(id)",
        "C1\u0000",
    ]:
        try:
            envelope = await world.adapter.lookup(world.target("cases", "lookup"), key)
        except AdapterProblem as problem:
            assert not problem.sent  # noqa: PT017
        else:
            assert list(envelope.records) == []
    assert len((await world.adapter.lookup(world.target("cases", "lookup"), "C1")).records) == 1


@readers
async def test_a_value_of_another_type_stops_at_its_record_and_field(world: World) -> None:
    world.body["resources"]["cases"]["fields"] = {**worlds.CASE_FIELDS, "case_id": {"type": "integer"}}
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.fetch(world.target("cases", "fetch"), {"least": None}, 10, None)
    assert caught.value.code == "adapter.wrong_type"
    assert "record 1" in caught.value.message
    assert "'case_id'" in caught.value.message
    assert not caught.value.retryable


@readers
@pytest.mark.parametrize("form", FORMATS)
async def test_a_text_that_breaks_its_format_stops_at_its_record_and_field(world: World, form: str) -> None:
    world.body["resources"]["cases"]["fields"] = {**worlds.CASE_FIELDS, "case_id": {"type": "string", "format": form}}
    for verb in ("fetch", "lookup"):
        target = world.target("cases", verb)
        with pytest.raises(AdapterProblem) as caught:
            await (
                world.adapter.fetch(target, {"least": None}, 10, None)
                if verb == "fetch"
                else world.adapter.lookup(target, "C1")
            )
        assert caught.value.code == "adapter.wrong_type"
        assert "record 1" in caught.value.message
        assert "'case_id'" in caught.value.message
        assert "C1" not in caught.value.message
        assert caught.value.hint


@readers
async def test_a_declared_field_that_is_not_there(world: World) -> None:
    world.body["resources"]["cases"]["fields"] = {**worlds.CASE_FIELDS, "absent": {"type": "string"}}
    with pytest.raises(AdapterProblem) as caught:
        await world.adapter.fetch(world.target("cases", "fetch"), {"least": None}, 10, None)
    assert caught.value.code == "adapter.missing_field"
    world.body["resources"]["cases"]["fields"] = {**worlds.CASE_FIELDS, "absent": {"type": ["string", "null"]}}
    envelope = await world.adapter.fetch(world.target("cases", "fetch"), {"least": None}, 10, None)
    assert all(r["absent"] is None for r in envelope.records)


@readers
async def test_reaches_the_target(world: World) -> None:
    target = world.target("cases", "fetch")
    assert (await world.adapter.test(target.connector, 5.0, target.credentials)).endswith(".")


@readers
async def test_says_what_can_be_done_with_it(world: World) -> None:
    target = world.target("cases", "fetch")
    found = await world.adapter.discover(target.connector, 5.0, target.credentials)
    assert set(found.capabilities) <= {"fetch", "lookup", "push", "execute"}
    assert "fetch" in found.capabilities
    assert found.narrative.endswith(".")
    if world.body["adapter"] != "http":
        assert any(set(worlds.CASE_FIELDS) <= set(body["fields"]) for body in found.resources.values())


@writers
async def test_writes_once_under_a_key(world: World) -> None:
    target = world.target("outcomes", "push")
    assert await world.adapter.probe(target, OUTCOME, KEY) is False
    first = await world.adapter.push(target, OUTCOME, KEY)
    assert first.metadata["applied"] is True
    assert first.metadata["rows"] == 1
    assert first.metadata["idempotency_key"] == KEY
    second = await world.adapter.push(target, OUTCOME, KEY)
    assert second.metadata["applied"] is False
    assert await world.adapter.probe(target, OUTCOME, KEY) is True
    assert await world.adapter.probe(target, OUTCOME, "eff_" + "b" * 64) is False
    assert await count(world) == 1


async def count(world: World) -> int:
    if isinstance(world, worlds.FilesWorld) and world.path.suffix == ".csv":
        import csv
        import io

        return len(list(csv.DictReader(io.StringIO(world.path.read_text(), newline=""))))
    return len(await world.received())


@writers
async def test_many_at_once_under_one_key_write_once(world: World) -> None:
    """A dead worker's late write and its successor's repetition, at the same time on connections of their own."""
    target = world.target("outcomes", "push", timeout_s=20.0)
    outcome = {**OUTCOME, "comment": "plain"}
    envelopes = await asyncio.gather(*(world.adapter.push(target, outcome, KEY) for _ in range(8)))
    assert sorted(bool(e.metadata["applied"]) for e in envelopes) == [False] * 7 + [True]
    assert await world.received() == [("C1", KEY)]


@writers
async def test_different_keys_do_not_mix(world: World) -> None:
    target = world.target("outcomes", "push", timeout_s=20.0)
    keys = ["eff_" + f"{n:064x}" for n in range(10)]
    await asyncio.gather(
        *(
            world.adapter.push(target, {**OUTCOME, "case_id": f"C{n}", "comment": None}, key)
            for n, key in enumerate(keys)
        )
    )
    assert sorted(await world.received()) == sorted((f"C{n}", key) for n, key in enumerate(keys))


@readers
async def test_a_cancelled_call_leaves_the_adapter_usable(world: World) -> None:
    where = {} if world.body["adapter"] in FILTERING else {"least": None}
    for _ in range(5):
        task = asyncio.create_task(world.adapter.fetch(world.target("cases", "fetch"), where, 10, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len((await world.adapter.fetch(world.target("cases", "fetch"), where, 10, None)).records) == 5
