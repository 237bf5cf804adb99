"""What is written to: a server over HTTP and a SQLite file, each with a log of its own of every write that it took.

Of each idempotency there is one of either. Only what is declared holds: the target of `key` refuses a second write under a key,
that of `natural` is the same after the same record twice, those of `probe` and `none` take whatever comes as often as it comes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from stanchion.blueprints import Document
from tests.tools.broker_seeds.stage import Stage

IDEMPOTENCIES = ("key", "natural", "probe", "none")
KINDS = tuple(f"{adapter}-{idempotency}" for idempotency in IDEMPOTENCIES for adapter in ("http", "sql"))
# Of one call, in seconds. The loop jumps over it, so nobody waits for it.
TIMEOUT_S = 4.0
_HEADER = "Idempotency-Key"
_FILE = "ledger.sqlite"
_CONNECTOR = """\
connector: {kind}
owner: tests
adapter: {adapter}
environment: local
timeout: {timeout}s
{settings}
resources:
  entries:
    fields: {{entry: {{type: string}}, amount: {{type: integer}}}}
    push: {push}
"""
_PUSHES = {
    "http-key": "{path: /entries, idempotency: key, answers: {already: [409]}}",
    "http-natural": "{method: PUT, path: '/entries/{entry}', idempotency: natural}",
    "http-probe": "{path: /entries, idempotency: probe, probe: {path: /entries, query: {reference: '{idempotency_key}'}, found: /items/0}}",
    "http-none": "{path: /entries, idempotency: none}",
    "sql-key": '{idempotency: key, statement: "insert into key values (:entry, :amount, :idempotency_key)'
    ' on conflict (reference) do nothing"}',
    "sql-natural": '{idempotency: natural, statement: "insert into natural_ values (:entry, :amount) on conflict (entry)'
    ' do update set amount = excluded.amount where amount is not excluded.amount"}',
    "sql-probe": '{idempotency: probe, statement: "insert into probe values (:entry, :amount, :idempotency_key)",'
    ' probe: "select 1 from probe where reference = :idempotency_key"}',
    "sql-none": '{idempotency: none, statement: "insert into none values (:entry, :amount)"}',
}
_TABLES = """
create table key (entry text, amount integer, reference text unique);
create table natural_ (entry text primary key, amount integer);
create table probe (entry text, amount integer, reference text);
create table none (entry text, amount integer);
create table log (n integer primary key, entry text);
create trigger key_log after insert on key begin insert into log (entry) values (new.entry); end;
create trigger natural_log after insert on natural_ begin insert into log (entry) values (new.entry); end;
create trigger changed_log after update on natural_ begin insert into log (entry) values (new.entry); end;
create trigger probe_log after insert on probe begin insert into log (entry) values (new.entry); end;
create trigger none_log after insert on none begin insert into log (entry) values (new.entry); end;
"""


@dataclass(kw_only=True)
class Outside:
    """The systems. `log`: the entry of every write that the server took, in order."""

    origin: str
    database: sqlite3.Connection
    log: list[str]
    keys: dict[str, set[str]]

    def received(self, life: str) -> list[str]:
        """The entries of one life that were written, as often as they were."""
        rows = self.database.execute("select entry from log where entry glob ?", (f"{life}/*",)).fetchall()
        return [entry for entry in self.log if entry.startswith(f"{life}/")] + [entry for (entry,) in rows]

    def documents(self) -> list[Document]:
        """The connectors, and the Blueprint that writes to each of them, once and for each item of a list."""
        made = [Document(path=f"{kind}.yaml", source=self._connector(kind)) for kind in KINDS]
        steps = [f"  - {{id: {step_of(kind)}, push: {_pushed(kind, 'input.one')}}}" for kind in KINDS]
        steps += [
            f"  - {{id: each_{step_of(kind)}, for_each: {{in: input.many}}, push: {_pushed(kind, 'item')}}}"
            for kind in KINDS
        ]
        source = "\n".join(["blueprint: pushes", "owner: tests", f"input: {_INPUT}", "steps:", *steps, ""])
        return [*made, Document(path="pushes.yaml", source=source)]

    def _connector(self, kind: str) -> str:
        adapter, _, idempotency = kind.partition("-")
        settings = (
            f"base_url: {self.origin}/{idempotency}\negress: {{private: [127.0.0.1]}}"
            if adapter == "http"
            else f"database: {{driver: sqlite, path: {_FILE}}}"
        )
        return _CONNECTOR.format(
            kind=kind, adapter=adapter, timeout=int(TIMEOUT_S), settings=settings, push=_PUSHES[kind]
        )


def step_of(kind: str) -> str:
    """The id of the step that writes there once; `each_` before it is the one that writes each item of a list."""
    return kind.replace("-", "_")


_ENTRY = "{type: object, required: [entry, amount], properties: {entry: {type: string}, amount: {type: integer}}}"
_INPUT = (
    f"{{type: object, required: [one, many], properties: {{one: {_ENTRY}, many: {{type: array, items: {_ENTRY}}}}}}}"
)


def _pushed(kind: str, record: str) -> str:
    return f"{{connector: {kind}, resource: entries, record: '${{{record}}}'}}"


@asynccontextmanager
async def outside(root: Path, stage: Stage) -> AsyncIterator[Outside]:
    """The systems; what they do at `stage.at("arrived")` and `stage.at("written")` may be something else than to answer."""
    root.mkdir(parents=True, exist_ok=True)
    # Held open: SQLite would do away with its log of changes at the end of every call, as the last to close the file.
    database = sqlite3.connect(root / _FILE)
    database.executescript("pragma journal_mode = wal;" + _TABLES)
    system = Outside(origin="", database=database, log=[], keys={})
    app = web.Application()
    app.router.add_post("/{kind}/entries", _writing(system, stage))
    app.router.add_put("/{kind}/entries/{entry}", _writing(system, stage))
    app.router.add_get("/probe/entries", _found(system))
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    system.origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield system
    finally:
        await runner.cleanup()
        database.close()


def _writing(system: Outside, stage: Stage) -> Any:
    stored: dict[str, Any] = {}

    async def write(request: web.Request) -> web.StreamResponse:
        record, key = await request.json(), request.headers.get(_HEADER, "")
        entry, kind = str(record["entry"]), request.match_info["kind"]
        answer = await stage.at("arrived")
        if answer is not None:
            return await _misbehave(request, str(answer))
        known = stored.get(entry) == record if kind == "natural" else kind == "key" and key in system.keys
        if not known:
            system.log.append(entry)
            stored[entry] = record
        system.keys.setdefault(key, set()).add(entry)
        answer = await stage.at("written")
        if answer is not None:
            return await _misbehave(request, str(answer))
        return web.json_response({}, status=409 if known and kind == "key" else 201)

    return write


async def _misbehave(request: web.Request, how: str) -> web.StreamResponse:
    if how.isdigit():
        return web.json_response({"error": how}, status=int(how))
    if how == "silent":
        # Until the other side hangs up, which then happens at once: its time is over.
        while request.transport is not None and not request.transport.is_closing():
            await Stage.turn()
    elif request.transport is not None:
        request.transport.abort()
    return web.Response()


def _found(system: Outside) -> Any:
    async def find(request: web.Request) -> web.Response:
        return web.json_response({"items": sorted(system.keys.get(request.query.get("reference", ""), ()))})

    return find
