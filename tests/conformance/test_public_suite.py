"""The suite that teams run on their own adapters, run on ours; and on adapters with a fault each, which it must find."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from unittest import SkipTest

import pytest
from aiohttp import web

from stanchion.base import SystemClock
from stanchion.testing import AdapterSuite, Trial
from stanchion.testing.shelf import ShelfAdapter
from stanchion.tools import AdapterProblem, Means
from stanchion.tools.adapters.registry import Adapters
from tests.conformance import object_worlds, worlds
from tests.conformance.worlds import CASES
from tests.support import s3
from tests.support.certificates import Authority
from tests.support.smtp import Mailbox
from tests.support.smtp import serving as mail_serving
from tests.tools.adapters.support import document

OUTCOME = {"case_id": "C1", "tier": "minor", "articles": [5, 6], "comment": None}
WHSEC = "whsec_" + base64.b64encode(b"s" * 32).decode()


@asynccontextmanager
async def moved(path: Path) -> AsyncGenerator[None]:
    """The target is not there."""
    away = path.with_name(path.name + ".away")
    path.rename(away)
    yield
    away.rename(path)


class TestSqlite(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        world = worlds.make_sqlite(folder, worlds.new_adapters(folder))

        @asynccontextmanager
        async def locked() -> AsyncGenerator[None]:
            connection = sqlite3.connect(world.path)
            connection.execute("begin exclusive")
            yield
            connection.rollback()
            connection.close()

        async def received() -> int:
            return len(await world.received())

        yield Trial(
            adapter=world.adapter,
            document=world.body,
            reads="cases",
            records=CASES,
            writes="outcomes",
            record=OUTCOME,
            received=received,
            faults={"gone": lambda: moved(world.path), "locked": locked},
        )


class TestFiles(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        world = worlds.make_files(folder, worlds.new_adapters(folder), "jsonl")

        async def received() -> int:
            return len(await world.received())

        yield Trial(
            adapter=world.adapter,
            document=world.body,
            reads="cases",
            records=CASES,
            writes="outcomes",
            record=OUTCOME,
            received=received,
            faults={"gone": lambda: moved(folder / "data")},
        )


class TestFolderOfObjects(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        world = object_worlds.make_folder(folder, worlds.new_adapters(folder))

        async def received() -> int:
            return len(await world.received())

        yield Trial(
            adapter=world.adapter,
            document=world.body,
            reads="cases",
            records=CASES,
            writes="outcomes",
            record=OUTCOME,
            received=received,
            faults={"gone": lambda: moved(world.path)},
        )


async def _closes(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _nonsense(request: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text=f"{object_worlds.SECRET_KEY} {WHSEC}")


class TestBucket(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        bucket = s3.Bucket()
        async with s3.serving(bucket) as url:
            world = object_worlds.make_bucket(worlds.new_adapters(folder), bucket, url)

            @asynccontextmanager
            async def answering(fault: Any) -> AsyncGenerator[None]:
                bucket.faults = [fault] * 1000
                yield
                bucket.faults = []

            async def received() -> int:
                return len(await world.received())

            yield Trial(
                adapter=world.adapter,
                document=world.body,
                credentials={"/auth/s3/secret_access_key": object_worlds.SECRET_KEY},
                reads="cases",
                records=CASES,
                writes="outcomes",
                record=OUTCOME,
                received=received,
                faults={"closing": lambda: answering(_closes), "out of order": lambda: answering(_nonsense)},
            )


class TestMail(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        box = Mailbox()
        async with mail_serving(box, Authority(folder).context("127.0.0.1")) as port:
            fields = {
                "to": {"type": "string"},
                "subject": {"type": "string"},
                "text": {"type": "string"},
            }
            body = document(
                "smtp",
                {"mails": {"fields": fields, "push": {"idempotency": "none"}}},
                host="127.0.0.1",
                port=port,
                **{"from": "noreply@casework.example"},
                recipients=["*@example.org"],
                auth={"username": "stanchion", "password": "secret://local/mail#password"},
                egress={"private": ["127.0.0.1"], "ca_file": "ca.pem"},
            )

            @asynccontextmanager
            async def saying(faults: dict[str, str]) -> AsyncGenerator[None]:
                box.faults = faults
                yield
                box.faults = {}

            async def received() -> int:
                return len(box.mails)

            yield Trial(
                adapter=Adapters(folder, SystemClock()).get("smtp"),
                document=body,
                credentials={"/auth/password": box.password},
                writes="mails",
                record={"to": "ada@example.org", "subject": "s", "text": "t"},
                received=received,
                faults={
                    "closing": lambda: saying({"greeting": "close"}),
                    "hanging": lambda: saying({"EHLO": "hang"}),
                    "echoing": lambda: saying({"AUTH": f"535 no {box.password}\r\n"}),
                },
            )


class TestWebhook(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        seen: set[str] = set()
        faults: list[Any] = []

        async def handle(request: web.Request) -> web.StreamResponse:
            if faults:
                return await faults[0](request)
            if request.method == "POST":
                seen.add(request.headers["webhook-id"])
            return web.Response(status=204)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=Authority(folder).context("127.0.0.1")).start()

        @asynccontextmanager
        async def answering(fault: Any) -> AsyncGenerator[None]:
            faults.append(fault)
            yield
            faults.clear()

        async def received() -> int:
            return len(seen)

        adapters = Adapters(folder, SystemClock())
        fields = {"case_id": {"type": "string"}}
        try:
            yield Trial(
                adapter=adapters.get("webhook"),
                document=document(
                    "webhook",
                    {"closures": {"type": "case.closed", "fields": fields, "push": {"idempotency": "key"}}},
                    base_url=f"https://127.0.0.1:{runner.addresses[0][1]}/hooks",
                    signing={"secrets": ["secret://local/hooks#now"]},
                    egress={"private": ["127.0.0.1"], "ca_file": "ca.pem"},
                ),
                credentials={"/signing/secrets/0": WHSEC},
                writes="closures",
                record={"case_id": "C1"},
                received=received,
                faults={"closing": lambda: answering(_closes)},
            )
        finally:
            await adapters.close()
            await runner.cleanup()


def shelf(folder: Path, adapter: type[ShelfAdapter]) -> Trial:
    data = folder / "data"
    (data / "outcomes").mkdir(parents=True)
    (data / "cases").mkdir()
    for case in CASES:
        (data / "cases" / f"{case['case_id']}.json").write_text(json.dumps(case))

    async def received() -> int:
        return len(list((data / "outcomes").glob("*.json")))

    resources = {
        "cases": {"shelf": "cases", "key": "case_id", "fields": worlds.CASE_FIELDS, "fetch": {}, "lookup": {}},
        "outcomes": {"shelf": "outcomes", "fields": worlds.OUTCOME_FIELDS, "push": {"idempotency": "key"}},
    }
    return Trial(
        adapter=adapter(Means(root=folder, clock=SystemClock())),
        document=document("shelf", resources, root="data"),
        credentials={"/auth/token": "the token"},
        reads="cases",
        records=CASES,
        writes="outcomes",
        record=OUTCOME,
        received=received,
        faults={"gone": lambda: moved(data)},
    )


class TestShelf(AdapterSuite):
    @asynccontextmanager
    async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
        yield shelf(folder, ShelfAdapter)


class TwiceWritten(ShelfAdapter):
    async def push(self, target, record, idempotency_key):
        return await super().push(target, record, f"{idempotency_key}-{self._clock.monotonic()}")


class LosesTheLast(ShelfAdapter):
    async def fetch(self, target, where, limit, page):
        found = await super().fetch(target, where, limit, page)
        return replace(found, metadata={**found.metadata, "page": None, "truncated": False})


class TakesAnyPage(ShelfAdapter):
    async def fetch(self, target, where, limit, page):
        return await super().fetch(target, where, limit, page if page in {"C1.json", "C2.json", "C4.json"} else None)


class Untyped(ShelfAdapter):
    async def fetch(self, target, where, limit, page):
        return await super().fetch(
            replace(target, resource=replace(target.resource, fields=worlds.CASE_FIELDS)), where, limit, page
        )


class FindsAnything(ShelfAdapter):
    async def lookup(self, target, key):
        return await super().lookup(target, key if key in {"C1", "C2", "C3", "C4", "C5", "no-such-record"} else "C1")


class Raises(ShelfAdapter):
    async def lookup(self, target, key):
        try:
            return await super().lookup(target, key)
        except Exception as error:
            raise ValueError("token: the token") from error


class Leaks(ShelfAdapter):
    async def fetch(self, target, where, limit, page):
        try:
            return await super().fetch(target, where, limit, page)
        except Exception:
            raise target.problem("adapter.unreachable", "failed with the token.") from None


class CertainOfTooMuch(ShelfAdapter):
    async def push(self, target, record, idempotency_key):
        try:
            return await super().push(target, record, idempotency_key)
        except AdapterProblem:
            found = next((self._root).rglob("outcomes"))
            (found / "late.json").write_text("{}")
            raise target.problem("adapter.unreachable", "cannot be reached.", sent=False) from None


class WritesOnTest(ShelfAdapter):
    async def test(self, connector, timeout_s, credentials=None):
        (self._root / "data" / "outcomes" / "x.json").write_text("{}")
        return await super().test(connector, timeout_s, credentials)


class NoSentence(ShelfAdapter):
    async def test(self, connector, timeout_s, credentials=None):
        return "ok"


class SaysNothingOfRepetition(ShelfAdapter):
    operation_schemas: ClassVar = {**ShelfAdapter.operation_schemas, "push": {"type": "object", "properties": {}}}


class TakesAnything(ShelfAdapter):
    # `document_schema` closes documents; what an adapter's own part may hold is its schema's.
    settings_schema: ClassVar = {**ShelfAdapter.settings_schema, "no_such_setting": {}}


class Once(ShelfAdapter):
    """Breaks after the first cancelled call."""

    async def fetch(self, target, where, limit, page):
        if getattr(self, "broken", False):
            raise target.problem("adapter.unreachable", "is broken.")
        self.broken = True
        found = await super().fetch(target, where, limit, page)
        self.broken = False
        return found


MUTANTS = [
    (TwiceWritten, "test_a_write_is_applied_once_under_its_key"),
    (TwiceWritten, "test_many_at_once_under_one_key_write_once"),
    (LosesTheLast, "test_pages_cover_everything_once"),
    (TakesAnyPage, "test_refuses_a_page_that_it_never_returned"),
    (Untyped, "test_a_value_of_another_type_stops"),
    (FindsAnything, "test_a_key_is_a_value_and_nothing_else"),
    (Raises, "test_every_fault_is_a_problem"),
    (Leaks, "test_every_fault_is_a_problem"),
    (CertainOfTooMuch, "test_every_fault_is_a_problem"),
    (WritesOnTest, "test_reads_change_nothing"),
    (NoSentence, "test_reaches_the_target"),
    (SaysNothingOfRepetition, "test_fills_the_contract"),
    (TakesAnything, "test_its_document_is_published"),
    (Once, "test_a_cancelled_call_leaves_the_adapter_usable"),
]


@pytest.mark.parametrize(("mutant", "test"), MUTANTS)
def test_finds_what_is_wrong(tmp_path: Path, mutant: type[ShelfAdapter], test: str) -> None:
    class Suite(AdapterSuite):
        @asynccontextmanager
        async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
            yield shelf(folder, mutant)

    with pytest.raises((AssertionError, AdapterProblem)):
        getattr(Suite(), test)(tmp_path)


def test_what_a_trial_does_not_offer_is_skipped(tmp_path: Path) -> None:
    class Suite(AdapterSuite):
        @asynccontextmanager
        async def trial(self, folder: Path) -> AsyncGenerator[Trial]:
            yield replace(shelf(folder, ShelfAdapter), writes="", faults={})

    for test in ("test_a_write_is_applied_once_under_its_key", "test_every_fault_is_a_problem"):
        with pytest.raises(SkipTest):
            getattr(Suite(), test)(tmp_path / test)
