"""External systems for the conformance suite: each with the same five cases, and a log of the writes it received."""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from aiohttp import web

from stanchion.base import SystemClock
from stanchion.tools.adapter import Adapter, Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from tests.tools.documents import parsed

CASES: list[dict[str, Any]] = [
    {"case_id": f"C{n}", "fine_eur": n * 1000, "closed": n % 2 == 0, "rate": n + 0.5, "articles": [5, n], "note": None}
    for n in range(1, 6)
]
CASE_FIELDS: dict[str, Any] = {
    "case_id": {"type": "string"},
    "fine_eur": {"type": "integer"},
    "closed": {"type": "boolean"},
    "rate": {"type": "number"},
    "articles": {"type": "array", "items": {"type": "integer"}},
    "note": {"type": ["string", "null"]},
}
OUTCOME_FIELDS: dict[str, Any] = {
    "case_id": {"type": "string"},
    "tier": {"type": "string", "enum": ["minor", "severe"]},
    "articles": {"type": "array", "items": {"type": "integer"}},
    "comment": {"type": ["string", "null"]},
}
SQLITE = """
create table cases (case_id text primary key, fine_eur integer, closed integer, rate real, articles text, note text);
create table outcomes (case_id text primary key, tier text, articles text, comment text, idempotency_key text unique);
create table received (n integer primary key, case_id text, idempotency_key text);
create trigger note_received before insert on outcomes begin
  insert into received (case_id, idempotency_key) values (new.case_id, new.idempotency_key);
end;
"""
POSTGRES = """
create table cases (case_id text primary key, fine_eur int8, closed bool, rate float8, articles jsonb, note text);
create table outcomes (case_id text primary key, tier text, articles jsonb, comment text, idempotency_key text unique);
create table received (n int generated always as identity primary key, case_id text, idempotency_key text);
create function note_received() returns trigger language plpgsql as $$
begin insert into received (case_id, idempotency_key) values (new.case_id, new.idempotency_key); return new; end $$;
create trigger note_received before insert on outcomes for each row execute function note_received();
"""
SQL_RESOURCES: dict[str, Any] = {
    "cases": {
        "key": "case_id",
        "fields": CASE_FIELDS,
        "fetch": {
            "statement": "select *, 'more' as more from cases where (:least is null or fine_eur >= :least) order by case_id",
            "parameters": {"least": {"type": ["integer", "null"]}},
        },
        "lookup": {"statement": "select * from cases where case_id = :key"},
    },
    "outcomes": {
        "fields": OUTCOME_FIELDS,
        "push": {
            "statement": "insert into outcomes (case_id, tier, articles, comment, idempotency_key)"
            " values (:case_id, :tier, :articles, :comment, :idempotency_key)",
            "idempotency": "probe",
            "probe": "select 1 from outcomes where idempotency_key = :idempotency_key",
        },
    },
}


@dataclass(kw_only=True)
class World:
    """One external system and the connector to it."""

    adapter: Adapter
    body: dict[str, Any]
    reads: bool = True
    writes: bool = True
    faults: dict[str, Any] = field(default_factory=dict)

    def target(self, resource: str, verb: str, timeout_s: float = 5.0, **changes: Any) -> Target:
        body = json.loads(json.dumps(self.body))
        for path, value in changes.items():
            body["resources"][resource][verb][path] = value
        connector = connector_of(body, "sha256:test")
        found = connector.resources[resource]
        return Target(
            connector=connector,
            resource=found,
            operation=found.operations[verb],
            timeout_s=timeout_s,
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )

    async def received(self) -> list[tuple[str, str]]:
        """(case, key) of each write that reached the target, in order."""
        raise NotImplementedError


def checked(adapters: Adapters, body: dict[str, Any]) -> dict[str, Any]:
    """The worlds use documents that an author could publish."""
    assert parsed(body, adapters=adapters).issues == ()
    return body


def document(adapter: str, resources: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {
        "connector": "casebook",
        "owner": "casework",
        "adapter": adapter,
        "environment": "local",
        **settings,
        "resources": copy.deepcopy(resources),
    }


class SqliteWorld(World):
    path: Path

    async def received(self) -> list[tuple[str, str]]:
        with sqlite3.connect(self.path) as connection:
            rows = connection.execute("select case_id, idempotency_key from received order by n").fetchall()
        connection.close()
        return rows


class PostgresWorld(World):
    url: str

    async def received(self) -> list[tuple[str, str]]:
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            cursor = await connection.execute("select case_id, idempotency_key from received order by n")
            return await cursor.fetchall()


class FilesWorld(World):
    path: Path

    async def received(self) -> list[tuple[str, str]]:
        # The file is its own log: every append is a line that stays.
        if not self.path.exists():
            return []
        import csv

        lines = self.path.read_text().splitlines()
        rows = list(csv.DictReader(lines)) if self.path.suffix == ".csv" else [json.loads(line) for line in lines]
        return [(row["case_id"], row["idempotency_key"]) for row in rows]


def make_sqlite(root: Path, adapters: Adapters) -> SqliteWorld:
    path = root / "casebook.db"
    connection = sqlite3.connect(path)
    connection.executescript(SQLITE)
    connection.executemany(
        "insert into cases values (?, ?, ?, ?, ?, ?)",
        [(c["case_id"], c["fine_eur"], c["closed"], c["rate"], json.dumps(c["articles"]), c["note"]) for c in CASES],
    )
    connection.commit()
    connection.close()
    adapter = adapters.get("sql")
    body = document("sql", SQL_RESOURCES, database={"driver": "sqlite", "path": "casebook.db"})
    world = SqliteWorld(adapter=adapter, body=checked(adapters, body))
    world.path = path
    return world


def make_postgres(root: Path, adapters: Adapters, url: str) -> PostgresWorld:
    with psycopg.connect(url) as connection:
        connection.execute(POSTGRES)
        for case in CASES:
            connection.execute(
                "insert into cases values (%(case_id)s, %(fine_eur)s, %(closed)s, %(rate)s, %(articles)s, %(note)s)",
                {**case, "articles": json.dumps(case["articles"])},
            )
    secret = root / "casebook.url"
    secret.touch(0o600)
    secret.write_text(url + "\n")
    adapter = adapters.get("sql")
    # Where the server is on a Unix socket the list is not needed; tests give it other hosts.
    database = {"driver": "postgresql", "url_file": "casebook.url"}
    body = document("sql", SQL_RESOURCES, database=database, egress={"private": ["127.0.0.1"]})
    world = PostgresWorld(adapter=adapter, body=checked(adapters, body))
    world.url = url
    return world


def make_files(root: Path, adapters: Adapters, suffix: str) -> FilesWorld:
    folder = root / "data"
    folder.mkdir()
    cases = folder / f"cases.{suffix}"
    if suffix == "jsonl":
        cases.write_text("".join(json.dumps({**c, "more": 1}) + "\n" for c in CASES))
    else:
        rows = ["case_id,more,fine_eur,closed,rate,articles,note"]
        rows += [
            f'{c["case_id"]},x,{c["fine_eur"]},{str(c["closed"]).lower()},{c["rate"]},"{c["articles"]}",' for c in CASES
        ]
        cases.write_text("\n".join(rows) + "\n")
    resources = {
        "cases": {"file": f"cases.{suffix}", "key": "case_id", "fields": CASE_FIELDS, "fetch": {}, "lookup": {}},
        "outcomes": {"file": f"outcomes.{suffix}", "fields": OUTCOME_FIELDS, "push": {"idempotency": "probe"}},
    }
    adapter = adapters.get("files")
    world = FilesWorld(adapter=adapter, body=checked(adapters, document("files", resources, root="data")))
    world.path = folder / f"outcomes.{suffix}"
    return world


@asynccontextmanager
async def http_server(world_faults: dict[str, Any]) -> AsyncIterator[str]:
    """The five cases over HTTP in all paging styles, with faults that a test switches on: `world_faults["next"]` is a
    list of handlers, each answering one request in place of the server."""
    asked: list[web.Request] = world_faults.setdefault("asked", [])

    @web.middleware
    async def faulty(request: web.Request, handler):
        asked.append(request)
        if world_faults.get("next"):
            return await world_faults["next"].pop(0)(request)
        return await handler(request)

    async def cases(request: web.Request) -> web.Response:
        style = request.match_info["style"]
        size = int(request.query.get("size", "2"))
        least = int(request.query.get("least", "0"))
        found = [{**c, "more": 1} for c in CASES if c["fine_eur"] >= least]
        at = int(request.query.get("at", "1" if style == "page" else "0"))
        start = (at - 1) * size if style == "page" else at
        part, more = found[start : start + size], start + size < len(found)
        headers = {}
        if style == "link" and more:
            url = request.url.update_query({"at": str(start + size)})
            headers["Link"] = f'<{url}>; rel="next", <{request.url}>; rel="self"'
        body = {"items": part, "meta": {"next": str(start + size) if more else None}}
        return web.json_response(body, headers=headers)

    async def one(request: web.Request) -> web.Response:
        found = [c for c in CASES if c["case_id"] == request.match_info["key"]]
        return web.json_response({"case": found[0]}) if found else web.json_response({}, status=404)

    app = web.Application(middlewares=[faulty])
    app.router.add_get("/api/{style}/cases", cases)
    app.router.add_get("/api/cases/{key}", one)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    finally:
        await runner.cleanup()


PAGES: dict[str, dict[str, Any]] = {
    "link": {"style": "link", "size_parameter": "size", "size": 2},
    "cursor": {"style": "cursor", "parameter": "at", "next": "/meta/next"},
    "offset": {"style": "offset", "parameter": "at", "size_parameter": "size", "size": 2},
    "page": {"style": "page", "parameter": "at", "size_parameter": "size", "size": 2},
}


def make_http(adapters: Adapters, base_url: str, style: str, faults: dict[str, Any]) -> World:
    resources = {
        "cases": {
            "key": "case_id",
            "fields": CASE_FIELDS,
            "fetch": {
                "path": f"/{style}/cases",
                "parameters": {"least": {"type": ["integer", "null"]}},
                "records": "/items",
                "page": PAGES[style],
            },
            "lookup": {"path": "/cases/{key}", "records": "/case"},
        }
    }
    adapter = adapters.get("http")
    settings = {"headers": {"X-Client": "stanchion"}, "egress": {"private": ["127.0.0.1"]}}
    body = checked(adapters, document("http", resources, base_url=base_url, **settings))
    return World(adapter=adapter, body=body, writes=False, faults=faults)


def new_adapters(root: Path) -> Adapters:
    return Adapters(root, SystemClock())
