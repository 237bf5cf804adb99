"""Objects in memory, in a folder, and in a stand-in for S3 that logs and misbehaves on request."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web
from yarl import URL

from stanchion.base import Denied, SystemClock
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters.objects_content import Position, position_of
from stanchion.tools.adapters.objects_gate import Gate
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.egress import Egress, EgressProblem, Endpoint
from stanchion.tools.egress.rules import private_of
from stanchion.tools.types import Asker
from tests.conformance.object_worlds import KEY_ID, SECRET_KEY
from tests.support.certificates import Authority
from tests.support.s3 import Bucket, serving
from tests.tools.adapters.support import KEY, complaints, document, target, told

OTHER_KEY = "eff_" + "b" * 64
FIELDS: dict[str, Any] = {"case_id": {"type": "string"}, "fine": {"type": ["integer", "null"]}}
ETAG: dict[str, Any] = {"object_etag": {"type": ["string", "null"]}}


def written(**push: Any) -> dict[str, Any]:
    return {"format": "json", "fields": FIELDS, "push": {"object": "out/{case_id}.json", **push}}


RESOURCES: dict[str, Any] = {
    "cases": {
        "prefix": "cases",
        "suffix": ".json",
        "format": "json",
        "key": "case_id",
        "fields": {**FIELDS, "object_path": {"type": "string"}, **ETAG},
        "fetch": {},
        "lookup": {"object": "cases/{key}.json"},
    },
    "rows": {"prefix": "rows", "format": "csv", "delimiter": ";", "fields": FIELDS, "fetch": {}},
    "lines": {"prefix": "lines", "format": "jsonl", "fields": FIELDS, "fetch": {}},
    "notes": {
        "prefix": "notes",
        "format": "text",
        "key": "object_path",
        "fields": {"object_path": {"type": "string"}, "text": {"type": "string"}},
        "fetch": {},
        "lookup": {"object": "notes/{key}.txt"},
        "push": {"object": "notes/{idempotency_key}.txt", "idempotency": "key"},
    },
    "all": {
        "format": "metadata",
        "fields": {
            "object_path": {"type": "string"},
            "object_size": {"type": "integer"},
            "object_modified": {"type": "string", "format": "date-time"},
        },
        "fetch": {},
        "lookup": {"object": "cases/{key}.json"},
        "key": "object_path",
    },
    "replaced": written(idempotency="natural"),
    "kept": written(idempotency="natural", existing="keep"),
    "once": {
        "format": "json",
        "fields": FIELDS,
        "push": {"object": "once/{idempotency_key}.json", "idempotency": "key"},
    },
}
MATCHED = {"matched": {**written(idempotency="natural", existing="match"), "fields": {**FIELDS, **ETAG}}}
PLANTED = {
    "cases/C1.json": b'{"case_id": "C1", "fine": 1}',
    "cases/C2.json": b'[{"case_id": "C2a", "fine": 2}, {"case_id": "C2b"}]',
    "cases/C3.json": b'{"case_id": "C3", "fine": 3}',
    "cases/skipped.md": b"x",
    "cases-2/C9.json": b'{"case_id": "C9"}',
    "rows/1.csv": b"case_id;fine\nR1;10\nR2;\n",
    "rows/2.csv": b"fine;case_id\n30;R3\n",
    "lines/1.jsonl": b'{"case_id": "L1", "fine": 1}\n{"case_id": "L2", "fine": 2}',
    "notes/a.txt": "Grüße".encode(),
}


class Shop:
    """A store, and a connector to it."""

    def __init__(self, adapters: Adapters, body: dict[str, Any], **secrets: str) -> None:
        self.adapters, self.body, self.secrets = adapters, body, secrets
        self.adapter = adapters.get("objects")
        self.bucket = Bucket()
        self.folder = Path()

    def target(self, resource: str, verb: str, timeout_s: float = 5.0) -> Any:
        return target(self.body, resource, verb, timeout_s, **self.secrets)

    async def all(self, resource: str, limit: int = 100, **where: Any) -> list[Any]:
        found, page = [], None
        while True:
            envelope = await self.adapter.fetch(self.target(resource, "fetch"), where, limit, page)
            assert len(envelope.records) <= limit
            found += envelope.records
            page = envelope.metadata["page"]
            if page is None:
                return found

    async def push(self, resource: str, record: dict[str, Any], key: str = KEY) -> bool:
        envelope = await self.adapter.push(self.target(resource, "push"), record, key)
        return bool(envelope.metadata["applied"])

    async def failed(self, asked: Any) -> AdapterProblem:
        with pytest.raises(AdapterProblem) as caught:
            await asked
        said = str(caught.value) + repr(caught.value.fields)
        assert SECRET_KEY not in said
        assert "127.0.0.1" not in said
        return caught.value


def body_of(resources: dict[str, Any], url: str, **settings: Any) -> dict[str, Any]:
    store = {"url": url, **settings.pop("store", {})}
    return document("objects", resources, store=store, **settings)


def folder_shop(root: Path) -> Shop:
    for path, data in PLANTED.items():
        (root / "exports" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "exports" / path).write_bytes(data)
    adapters = Adapters(root, SystemClock())
    shop = Shop(adapters, body_of(RESOURCES, "folder://exports"))
    shop.folder = root / "exports"
    return shop


@asynccontextmanager
async def bucket_shop(root: Path, *, tls: bool = False, names: tuple[str, ...] = ("127.0.0.1",)) -> AsyncIterator[Shop]:
    bucket = Bucket(key_id=KEY_ID, objects=dict(PLANTED))
    context = Authority(root).context(*names) if tls else None
    async with serving(bucket, context) as url:
        adapters = Adapters(root, SystemClock())
        body = body_of(
            {**RESOURCES, **MATCHED},
            "s3://exports",
            store={"region": "eu-central-1", "endpoint": url},
            auth={"s3": {"access_key_id": KEY_ID, "secret_access_key": "secret://local/exports#key"}},
            egress={"private": ["127.0.0.1"], **({"ca_file": "ca.pem"} if tls else {})},
        )
        shop = Shop(adapters, body, auth__s3__secret_access_key=SECRET_KEY)
        shop.bucket = bucket
        try:
            yield shop
        finally:
            await adapters.close()


@pytest.fixture(params=["folder", "s3", "s3-tls"])
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    if request.param == "folder":
        found = folder_shop(tmp_path)
        assert complaints(found.adapters, found.body) == []
        yield found
        await found.adapters.close()
        return
    async with bucket_shop(tmp_path, tls=request.param == "s3-tls") as found:
        assert complaints(found.adapters, found.body) == []
        yield found


@pytest.fixture
async def s3(tmp_path: Path) -> AsyncIterator[Shop]:
    async with bucket_shop(tmp_path) as found:
        yield found


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_records_of_every_format_in_pages(shop: Shop, limit: int) -> None:
    cases = await shop.all("cases", limit)
    assert [record["case_id"] for record in cases] == ["C1", "C2a", "C2b", "C3"]
    assert [record["object_path"] for record in cases][:2] == ["cases/C1.json", "cases/C2.json"]
    assert await shop.all("rows", limit) == [
        {"case_id": "R1", "fine": 10},
        {"case_id": "R2", "fine": None},
        {"case_id": "R3", "fine": 30},
    ]
    assert [record["case_id"] for record in await shop.all("lines", limit)] == ["L1", "L2"]
    assert await shop.all("notes", limit) == [{"object_path": "notes/a.txt", "text": "Grüße"}]
    listed = await shop.all("all", limit)
    assert [record["object_path"] for record in listed] == sorted(PLANTED)
    assert [record["object_size"] for record in listed] == [len(PLANTED[path]) for path in sorted(PLANTED)]


async def test_filters_by_any_simple_field(shop: Shop) -> None:
    assert [record["case_id"] for record in await shop.all("cases", 1, fine=3, case_id=None)] == ["C3"]
    parameters = shop.target("cases", "fetch").operation.parameters
    assert parameters["fine"] == {"type": ["integer", "null"]}


async def test_what_a_store_says_of_an_object(shop: Shop) -> None:
    found = (await shop.adapter.lookup(shop.target("all", "lookup"), "C1")).records[0]
    assert found["object_size"] == len(PLANTED["cases/C1.json"])
    calls = len(shop.bucket.asked)
    assert calls <= 1


async def test_looks_up_one_record_in_one_object(shop: Shop) -> None:
    lookup = shop.target("cases", "lookup")
    assert (await shop.adapter.lookup(lookup, "C3")).records[0]["fine"] == 3
    assert (await shop.adapter.lookup(lookup, "C7")).records == ()
    problem = await shop.failed(shop.adapter.lookup(lookup, "C2"))
    assert problem.code == "adapter.ambiguous"


@pytest.mark.parametrize(
    "key", ["../C1", "..", "a/b", "a\\b", "", "C1\x00", "C1\n", "C1#", "C1%2e", "*", "x" * 300, "C1?x", "C1."]
)
async def test_a_key_is_one_part_of_a_path(shop: Shop, key: str) -> None:
    assert (await shop.adapter.lookup(shop.target("cases", "lookup"), key)).records == ()
    if key != "C1.":
        problem = await shop.failed(shop.push("replaced", {"case_id": key, "fine": 1}))
        assert problem.code == "adapter.bad_parameter"
        assert not problem.sent


async def test_a_write_under_a_key_is_an_object_of_its_own(shop: Shop) -> None:
    record = {"case_id": "C1", "fine": 1}
    target = shop.target("once", "push")
    assert await shop.adapter.probe(target, record, KEY) is False
    assert await shop.push("once", record) is True
    assert await shop.push("once", record) is False
    assert await shop.adapter.probe(target, record, KEY) is True
    assert await shop.push("once", record, OTHER_KEY) is True


async def test_a_text_is_written_as_it_is(shop: Shop) -> None:
    assert await shop.push("notes", {"text": "a\nb", "object_path": "ignored"}) is True
    assert {record["text"] for record in await shop.all("notes")} == {"Grüße", "a\nb"}


async def test_natural_writes_replace_or_keep(shop: Shop) -> None:
    assert await shop.push("replaced", {"case_id": "C1", "fine": 1}) is True
    assert await shop.push("replaced", {"case_id": "C1", "fine": 2}, OTHER_KEY) is True
    # The same content again is this write; another content is somebody else's.
    assert await shop.push("kept", {"case_id": "C1", "fine": 2}) is False
    problem = await shop.failed(shop.push("kept", {"case_id": "C1", "fine": 3}))
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.conflict", False, False)
    assert await shop.push("kept", {"case_id": "C2", "fine": 3}) is True


async def test_a_version_that_was_read_is_replaced_and_no_other(s3: Shop) -> None:
    assert await s3.push("matched", {"case_id": "C1", "fine": 1, "object_etag": None}) is True
    s3.body["resources"]["seen"] = {**RESOURCES["cases"], "prefix": "out", "lookup": {"object": "out/{key}.json"}}
    first = (await s3.adapter.lookup(s3.target("seen", "lookup"), "C1")).records[0]["object_etag"]
    second = {"case_id": "C1", "fine": 2, "object_etag": first}
    assert await s3.push("matched", second) is True
    # Its answer was lost, so it comes again: the version is not the one it names, but what it wrote.
    assert await s3.push("matched", second) is False
    problem = await s3.failed(s3.push("matched", {"case_id": "C1", "fine": 9, "object_etag": first}))
    assert problem.code == "adapter.conflict"
    assert json.loads(s3.bucket.objects["out/C1.json"]) == {"case_id": "C1", "fine": 2}


async def test_many_at_once_under_one_key(shop: Shop) -> None:
    done = await asyncio.gather(*(shop.push("once", {"case_id": "C1", "fine": 1}) for _ in range(8)))
    assert sorted(done) == [False] * 7 + [True]


async def test_memory_is_a_store_of_its_connector(tmp_path: Path) -> None:
    adapters = Adapters(tmp_path, SystemClock())
    one = Shop(adapters, body_of({**RESOURCES, **MATCHED}, "memory://"))
    assert complaints(adapters, one.body) == []
    assert await one.push("matched", {"case_id": "C1", "fine": 1, "object_etag": None}) is True
    assert await one.push("once", {"case_id": "C1", "fine": 1}) is True
    assert len(await one.all("all")) == 2
    other = Shop(adapters, {**one.body, "connector": "other"})
    assert await other.all("all") == []
    # Nor does another tenant, whose connector may well have the same name.
    asker = {"run_id": UUID(int=1), "root_id": UUID(int=1), "path": "a", "epoch": 1, "principal": "ada"}
    counts: list[int] = []
    for tenant in ("acme", "globex"):
        asked = replace(one.target("matched", "push"), asker=Asker(tenant=tenant, **asker))
        if tenant == "acme":
            await one.adapter.push(asked, {"case_id": "C9", "fine": 1, "object_etag": None}, "eff_9")
        found = replace(one.target("all", "fetch"), asker=asked.asker)
        counts.append(len((await one.adapter.fetch(found, {}, 10, None)).records))
    assert counts == [1, 0]
    await adapters.close()


async def test_what_a_store_has_can_be_pasted(shop: Shop) -> None:
    found = shop.target("cases", "fetch")
    discovery = await shop.adapter.discover(found.connector, 5.0, found.credentials)
    resources = {name: dict(body) for name, body in discovery.resources.items()}
    assert set(resources) == {"cases", "cases-2", "rows", "lines", "notes"}
    assert resources["cases"]["suffix"] == ".json"
    assert resources["rows"]["delimiter"] == ";"
    pasted = Shop(shop.adapters, {**shop.body, "resources": json.loads(json.dumps(resources))}, **shop.secrets)
    assert complaints(pasted.adapters, pasted.body) == []
    assert [record["case_id"] for record in await pasted.all("cases")] == ["C1", "C2a", "C2b", "C3"]
    assert [record["fine"] for record in await pasted.all("rows")] == [10, None, 30]
    assert await pasted.all("notes") == [{"object_path": "notes/a.txt", "text": "Grüße"}]


async def test_reaches_the_store(shop: Shop) -> None:
    found = shop.target("cases", "fetch")
    assert await shop.adapter.test(found.connector, 5.0, found.credentials) == "The store answers: 9 objects."


@pytest.mark.parametrize(
    ("path", "data", "said"),
    [
        ("cases/C0.json", b"{", "is not JSON"),
        ("cases/C0.json", b"[1]", "without an object"),
        ("lines/0.jsonl", b"nonsense\n", "line 1"),
        ("notes/0.txt", b"\xff\xfe", "not UTF-8"),
    ],
)
async def test_an_object_that_is_not_what_it_should_be(s3: Shop, path: str, data: bytes, said: str) -> None:
    s3.bucket.objects[path] = data
    problem = await s3.failed(s3.all(path.split("/", maxsplit=1)[0]))
    assert problem.code == "adapter.bad_file"
    assert said in str(problem)
    assert problem.fields["object"] == path


async def test_an_object_that_is_too_large(s3: Shop) -> None:
    s3.bucket.objects["cases/C0.json"] = b" " * (16 * 1_048_576 + 1)
    problem = await s3.failed(s3.all("cases"))
    assert problem.code == "adapter.too_large"
    assert len(s3.bucket.asked) < 10


def test_pages() -> None:
    token = Position(path="a/b", skip=3).token()
    assert position_of(token) == Position(path="a/b", skip=3)
    for page in ["", "x", token + "=", token[:-1], "WzEsMl0=", "eyJhIjoxfQ=="]:
        with pytest.raises(ValueError):
            position_of(page)


async def test_a_page_goes_on_where_its_object_is_gone(s3: Shop) -> None:
    first = await s3.adapter.fetch(s3.target("cases", "fetch"), {}, 1, None)
    del s3.bucket.objects["cases/C2.json"]
    rest = await s3.adapter.fetch(s3.target("cases", "fetch"), {}, 9, first.metadata["page"])
    assert [record["case_id"] for record in rest.records] == ["C3"]


def answers(status: int, text: str = "", **headers: str) -> Any:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, headers=headers)

    return handler


async def closes(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def hangs(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


# (answer, code, retryable, whether a write may have been applied)
FAULTS = [
    (answers(403, "<Error><Code>AccessDenied</Code></Error>"), "adapter.not_authenticated", False, False),
    (answers(401), "adapter.not_authenticated", False, False),
    (answers(500, SECRET_KEY), "adapter.unreachable", True, True),
    (answers(503, "<Error><Code>SlowDown</Code></Error>"), "adapter.unreachable", True, True),
    (closes, "adapter.unreachable", True, True),
]


@pytest.mark.parametrize(("answer", "code", "retryable", "sent"), FAULTS)
@pytest.mark.parametrize("verb", ["fetch", "push"])
async def test_faults(s3: Shop, answer: Any, code: str, retryable: bool, sent: bool, verb: str) -> None:
    s3.bucket.faults = [answer] * 5
    asked = s3.all("lines") if verb == "fetch" else s3.push("once", {"case_id": "C1", "fine": 1})
    problem = await s3.failed(asked)
    assert (problem.code, problem.retryable, problem.sent) == (code, retryable, sent and verb == "push")
    # The adapter never repeats a call, nor does the client in it; after a listing it asks whether it is let in at all.
    assert [request.method for request in s3.bucket.asked] == (["GET", "HEAD"] if verb == "fetch" else ["PUT"])


@pytest.mark.parametrize("verb", ["fetch", "push"])
async def test_time_is_up(s3: Shop, verb: str) -> None:
    s3.bucket.faults = [hangs] * 5
    if verb == "fetch":
        problem = await s3.failed(s3.adapter.fetch(s3.target("lines", "fetch", 0.3), {}, 9, None))
    else:
        record = {"case_id": "C1", "fine": 1}
        problem = await s3.failed(s3.adapter.push(s3.target("once", "push", 0.3), record, KEY))
    assert (problem.code, problem.retryable, problem.sent) == ("adapter.timeout", True, verb == "push")


async def test_a_listing_that_is_none(s3: Shop) -> None:
    s3.bucket.faults = [answers(200, "sign in, please")]
    assert (await s3.failed(s3.all("lines"))).code in {"adapter.unreachable", "adapter.refused"}


async def test_a_bucket_that_is_not_there(s3: Shop) -> None:
    s3.body["store"]["url"] = "s3://elsewhere"
    found = s3.target("cases", "fetch")
    problem = await s3.failed(s3.adapter.test(found.connector, 5.0, found.credentials))
    assert problem.code in {"adapter.unreachable", "adapter.missing_file"}


async def test_a_write_to_a_bucket_that_is_not_there_is_certain(s3: Shop) -> None:
    s3.body["store"]["url"] = "s3://elsewhere"
    problem = await s3.failed(s3.push("once", {"case_id": "C1", "fine": 1}))
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.missing_file", False, False)


@pytest.mark.parametrize("words", ["404 Not Found", "403 Forbidden", "401 Unauthorized"])
async def test_what_an_error_says_is_not_read(s3: Shop, words: str) -> None:
    """A server's words, and the path that a record is written to, may look like any status: types alone are certain."""
    s3.bucket.faults = [answers(500, words)] * 5
    problem = await s3.failed(s3.push("once", {"case_id": words, "fine": 1}))
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.unreachable", True, True)
    problem = await s3.failed(s3.all("lines"))
    assert (problem.code, problem.retryable) == ("adapter.unreachable", True)


async def test_a_page_of_another_prefix_reads_nothing(s3: Shop) -> None:
    s3.bucket.objects["private/C9.json"] = b'{"case_id": "C9", "fine": 1}'
    for path in ("private/C9.json", "casesX/C9.json", "cases"):
        problem = await s3.failed(
            s3.adapter.fetch(s3.target("cases", "fetch"), {}, 9, Position(path=path, skip=0).token())
        )
        assert problem.code == "adapter.bad_page"
    assert s3.bucket.asked == []


async def test_another_key_is_another_store(s3: Shop) -> None:
    assert await s3.all("lines")
    s3.bucket.key_id = "AKIDROTATED"
    assert (await s3.failed(s3.all("lines"))).code == "adapter.not_authenticated"
    s3.body["auth"]["s3"]["access_key_id"] = "AKIDROTATED"
    s3.secrets = {"auth__s3__secret_access_key": "rotated"}
    assert await s3.all("lines")


async def test_the_environment_says_nothing(s3: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """obstore's client reads variables of the environment; what the document says stands."""
    for name, value in {
        "AWS_ACCESS_KEY_ID": "ENVIRONMENT",
        "AWS_SECRET_ACCESS_KEY": "environment",
        "AWS_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_REGION": "mars-1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "ALL_PROXY": "http://127.0.0.1:1",
    }.items():
        monkeypatch.setenv(name, value)
    assert await s3.all("lines")
    assert "/eu-central-1/s3/" in s3.bucket.asked[-1].headers["Authorization"]


async def test_a_private_endpoint_that_is_not_listed(s3: Shop) -> None:
    del s3.body["egress"]
    with pytest.raises(EgressProblem) as caught:
        await s3.all("lines")
    assert caught.value.code == "egress.address_denied"
    assert s3.bucket.asked == []


async def test_a_redirect_to_another_host_is_not_followed(s3: Shop) -> None:
    other = Bucket(objects=dict(PLANTED))
    async with serving(other) as url:
        s3.bucket.faults = [answers(307, Location=f"{url.replace('127.0.0.1', 'localhost')}/exports?list-type=2")] * 5
        await s3.failed(s3.all("lines"))
        assert other.asked == []


async def test_a_certificate_for_another_host(tmp_path: Path) -> None:
    async with bucket_shop(tmp_path, tls=True, names=("s3.example",)) as shop:
        assert (await shop.failed(shop.all("lines"))).code == "adapter.unreachable"
        assert shop.bucket.asked == []


async def test_links_of_a_folder_lead_nowhere_else(tmp_path: Path) -> None:
    shop = folder_shop(tmp_path)
    secret = tmp_path / "secret.json"
    secret.write_text('{"case_id": "secret"}')
    (shop.folder / "cases" / "C0.json").symlink_to(secret)
    with pytest.raises(Denied) as caught:
        await shop.all("cases")
    assert caught.value.code == "connector.path_escapes"
    with pytest.raises(Denied):
        await shop.adapter.lookup(shop.target("cases", "lookup"), "C0")
    (shop.folder / "out").symlink_to(tmp_path)
    with pytest.raises(Denied):
        await shop.push("replaced", {"case_id": "secret", "fine": 1})
    assert secret.read_text() == '{"case_id": "secret"}'
    await shop.adapters.close()


async def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    shop = Shop(Adapters(tmp_path, SystemClock()), body_of(RESOURCES, "folder://nowhere"))
    assert (await shop.failed(shop.all("cases"))).code == "adapter.missing_file"


async def test_a_prefix_without_objects(shop: Shop) -> None:
    shop.body["resources"]["lines"]["prefix"] = "no/such/prefix"
    assert await shop.all("lines") == []


async def test_without_credentials(s3: Shop) -> None:
    s3.secrets = {}
    found = s3.target("cases", "fetch")
    from dataclasses import replace

    problem = await s3.failed(s3.adapter.fetch(replace(found, credentials=None), {}, 9, None))
    assert problem.code == "adapter.no_credentials"


async def test_without_the_extra_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    shop = folder_shop(tmp_path)
    assert complaints(shop.adapters, shop.body) == []
    problem = await shop.failed(shop.all("cases"))
    assert problem.code == "adapter.missing_extra"
    assert "stanchion[objects]" in str(problem)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"store": {"url": "s3://b"}}, "connector.missing_field"),
        ({"store": {"url": "s3://b", "region": "x", "endpoint": "http://minio.internal:9000"}}, "connector.bad_store"),
        ({"store": {"url": "az://account"}}, "connector.bad_store"),
        ({"store": {"url": "folder://../x"}}, "connector.path_escapes"),
        ({"store": {"url": "folder:///etc"}}, "connector.path_escapes"),
        ({"store": {"url": "folder://"}}, "connector.path_escapes"),
        ({"store": {"url": "file:///etc"}}, None),
        ({"store": {"url": "s3://key:secret@b", "region": "x"}}, "connector.credential"),
        ({"store": {"url": "memory://", "region": "x"}}, "connector.unknown_field"),
        ({"auth": {"azure": {"account_key": "secret://local/x#y"}}}, "connector.unknown_field"),
        ({"auth": {"s3": {"access_key_id": "a", "secret_access_key": "plain"}}}, None),
        ({"egress": {"proxy": "https://proxy.example"}}, "connector.not_offered"),
        ({"prefix": "../x"}, "connector.path_escapes"),
        ({"format": "parquet"}, None),
        ({"delimiter": ";"}, "connector.unknown_field"),
        ({"fields": {"object_size": {"type": "string"}}}, "connector.bad_field"),
        ({"format": "text"}, "connector.bad_field"),
        ({"lookup": {"object": "cases/x.json"}}, "connector.unused_parameter"),
        ({"lookup": {"object": "cases/{key}/{other}.json"}}, "connector.undeclared_parameter"),
        ({"lookup": {"object": "/cases/{key}"}}, "connector.path_escapes"),
        ({"lookup": {"object": "cases/{key}/"}}, "connector.bad_path"),
        ({"lookup": {"object": "cases//{key}"}}, "connector.bad_path"),
        ({"lookup": {"object": "cases/{key"}}, "connector.bad_path"),
        ({"format": "jsonl", "lookup": {"object": "{key}"}, "key": "case_id"}, "connector.not_offered"),
        ({"push": {"object": "x/{case_id}", "idempotency": "key"}}, "connector.unused_parameter"),
        (
            {"push": {"object": "{idempotency_key}", "idempotency": "key", "existing": "keep"}},
            "connector.unknown_field",
        ),
        ({"push": {"object": "{case_id}", "idempotency": "natural", "existing": "match"}}, "connector.missing_field"),
        ({"push": {"object": "{case_id}", "idempotency": "none"}}, None),
        ({"format": "csv", "push": {"object": "{case_id}", "idempotency": "natural"}}, "connector.not_offered"),
    ],
)
def test_documents_that_are_refused(tmp_path: Path, change: dict[str, Any], code: str | None) -> None:
    adapters = Adapters(tmp_path, SystemClock())
    resource = {"format": "json", "key": "case_id", "fields": FIELDS, "fetch": {}}
    whole = {name: change[name] for name in ("store", "auth", "egress") if name in change}
    resource |= {name: value for name, value in change.items() if name not in whole}
    body = {**body_of({"cases": resource}, "folder://exports"), **whole}
    found = [found for found, _ in complaints(adapters, body)]
    assert found
    assert code is None or code in found


def test_a_folder_cannot_compare(tmp_path: Path) -> None:
    found = complaints(Adapters(tmp_path, SystemClock()), body_of(MATCHED, "folder://exports"))
    assert [code for code, _ in found] == ["connector.not_offered"]


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


class TestGate:
    """The proxy through which a store's client leaves."""

    @pytest.fixture
    async def gate(self) -> AsyncIterator[Gate]:
        found = Gate()
        yield found
        await found.close()

    @pytest.fixture
    async def there(self) -> AsyncIterator[int]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while part := await reader.read(100):
                writer.write(part)
            writer.close()

        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            yield server.sockets[0].getsockname()[1]

    @staticmethod
    def egress(port: int, *private: str) -> Egress:
        return Egress(connector="c", allowed=frozenset({Endpoint("127.0.0.1", port)}), private=private_of(private))

    @staticmethod
    async def said(proxy: str, head: str, *, password: str | None = None) -> tuple[bytes, Any, Any]:
        url = URL(proxy)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        word = url.password if password is None else password
        auth = base64.b64encode(f"store:{word}".encode()).decode()
        writer.write(f"{head} HTTP/1.1\r\nProxy-Authorization: Basic {auth}\r\n\r\n".encode())
        return await reader.readuntil(b"\r\n\r\n"), reader, writer

    async def test_lets_through_what_the_connector_may_call(self, gate: Gate, there: int) -> None:
        proxy = await gate.url(self.egress(there, "127.0.0.1"))
        answer, reader, writer = await self.said(proxy, f"CONNECT 127.0.0.1:{there}")
        assert answer.startswith(b"HTTP/1.1 200 ")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        await closed(writer)

    @pytest.mark.parametrize(
        ("head", "status"),
        [
            ("CONNECT 127.0.0.1:1", b"403"),
            ("CONNECT localhost:{port}", b"403"),
            ("CONNECT 2130706433:{port}", b"403"),
            ("CONNECT [::ffff:127.0.0.1]:{port}x", b"405"),
            ("CONNECT 127.0.0.1", b"405"),
            ("GET http://127.0.0.1:{port}/", b"405"),
            ("GET 127.0.0.1:{port}", b"405"),
            ("PUT http://127.0.0.1:{port}/", b"405"),
        ],
    )
    async def test_and_nothing_else(self, gate: Gate, there: int, head: str, status: bytes) -> None:
        proxy = await gate.url(self.egress(there, "127.0.0.1"))
        answer, _, writer = await self.said(proxy, head.format(port=there))
        assert answer.split(b" ")[1] == status
        await closed(writer)

    async def test_an_address_that_is_not_listed(self, gate: Gate, there: int) -> None:
        proxy = await gate.url(self.egress(there))
        answer, _, writer = await self.said(proxy, f"CONNECT 127.0.0.1:{there}")
        assert answer.split(b" ")[1] == b"403"
        await closed(writer)

    @pytest.mark.parametrize("password", ["", "x", "store"])
    async def test_another_process_of_the_machine(self, gate: Gate, there: int, password: str) -> None:
        proxy = await gate.url(self.egress(there, "127.0.0.1"))
        answer, _, writer = await self.said(proxy, f"CONNECT 127.0.0.1:{there}", password=password)
        assert answer.split(b" ")[1] == b"407"
        await closed(writer)

    async def test_one_connector_does_not_leave_as_another(self, gate: Gate, there: int) -> None:
        listed = await gate.url(self.egress(there, "127.0.0.1"))
        unlisted = await gate.url(self.egress(there))
        assert listed != unlisted
        assert listed == await gate.url(self.egress(there, "127.0.0.1"))
        answer, _, writer = await self.said(unlisted, f"CONNECT 127.0.0.1:{there}")
        assert answer.split(b" ")[1] == b"403"
        await closed(writer)

    @pytest.mark.parametrize("turns", range(6))
    async def test_whoever_is_cancelled_while_it_opens_leaves_no_door_behind(self, turns: int) -> None:
        """A listener that was made and lost would listen as long as the process lives."""
        loop: Any = asyncio.get_running_loop()
        watched = len(loop._selector.get_map())
        gate = Gate()
        opening = asyncio.create_task(gate.url(self.egress(1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        url = await gate.url(self.egress(1))
        assert URL(url).port
        assert len(loop._selector.get_map()) == watched + 1
        await gate.close()
        assert len(loop._selector.get_map()) == watched

    async def test_two_who_open_it_at_once_get_one_door(self, gate: Gate) -> None:
        loop: Any = asyncio.get_running_loop()
        watched = len(loop._selector.get_map())
        urls = await asyncio.gather(*(gate.url(self.egress(1)) for _ in range(3)))
        assert len(set(urls)) == 1
        assert len(loop._selector.get_map()) == watched + 1


async def test_credentials_are_not_kept_by_the_test_itself() -> None:
    """A positive control of `failed`: it would find the secret in a problem's text."""
    shop = Shop.__new__(Shop)

    async def leaks() -> None:
        raise AdapterProblem("adapter.unreachable", f"no {told(a=SECRET_KEY).value('/a')}", retryable=False)

    with pytest.raises(AssertionError):
        await shop.failed(leaks())
