"""What a target says of itself can be pasted into the connector's document, and then reads what is there."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stanchion.base import SystemClock
from stanchion.blueprints import Document
from stanchion.tools import AdapterProblem, Target
from stanchion.tools.adapters.inferred import cells_of, fields_of, key_of, resource_name
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of
from stanchion.tools.connectors.kind import ConnectorKind
from tests.conformance.test_adapters import make_target_database

_ANY: dict[str, Any] = {"fields": {"x": {"type": "string"}}, "fetch": {"statement": "select 1 as x"}}


def _body(adapter: str, resource: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return {
        "connector": "found",
        "owner": "casework",
        "adapter": adapter,
        "environment": "local",
        **settings,
        "resources": {"one": resource},
    }


async def _discovered(adapters: Adapters, body: dict[str, Any]) -> tuple[dict[str, Any], str, bool]:
    found = await adapters.get(body["adapter"]).discover(connector_of(body), 5.0)
    return json.loads(json.dumps({n: dict(r) for n, r in found.resources.items()})), found.narrative, found.truncated


async def _records(adapters: Adapters, body: dict[str, Any], resources: dict[str, Any], name: str) -> list[Any]:
    """Paste, publish, fetch; and where there is a key, look the first one up."""
    pasted = {**body, "resources": resources}
    parsed = ConnectorKind(adapters).parse(Document(path="c.json", source=json.dumps(pasted)), lambda *_: None)
    assert [str(issue) for issue in parsed.issues] == []
    connector = connector_of(pasted)
    resource = connector.resources[name]
    adapter = adapters.get(connector.adapter)

    def target(verb: str) -> Target:
        return Target(connector=connector, resource=resource, operation=resource.operations[verb], timeout_s=5.0)

    records = list((await adapter.fetch(target("fetch"), {}, 100, None)).records)
    if "lookup" in resource.operations:
        found = await adapter.lookup(target("lookup"), records[0][resource.key])
        assert list(found.records) == [records[0]]
    return records


SQLITE = """
create table cases (case_id text primary key, "order" integer, fine real not null, closed boolean, seen blob, "a b" text);
create table pairs (left_id int, right_id int, note text, primary key (left_id, right_id));
create view open_cases as select case_id, fine from cases where not closed;
insert into cases values ('C1', 3, 1.5, 0, x'00ff', 'x'), ('C2', null, 2.5, 1, null, null);
insert into pairs values (2, 1, 'b'), (1, 2, 'a');
"""


async def test_sqlite(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "one.sqlite") as connection:
        connection.executescript(SQLITE)
    connection.close()
    adapters = Adapters(tmp_path, SystemClock())
    body = _body("sql", _ANY, database={"driver": "sqlite", "path": "one.sqlite"})
    resources, said, truncated = await _discovered(adapters, body)
    assert list(resources) == ["cases", "open_cases", "pairs"]
    assert not truncated
    assert "cases.seen" in said
    assert resources["cases"]["fields"] == {
        "case_id": {"type": "string"},
        "order": {"type": ["integer", "null"]},
        "fine": {"type": "number"},
        "closed": {"type": ["boolean", "null"]},
        "a_b": {"type": ["string", "null"]},
    }
    assert resources["cases"]["key"] == "case_id"
    assert "key" not in resources["pairs"]
    assert await _records(adapters, body, resources, "cases") == [
        {"case_id": "C1", "order": 3, "fine": 1.5, "closed": False, "a_b": "x"},
        {"case_id": "C2", "order": None, "fine": 2.5, "closed": True, "a_b": None},
    ]
    assert [r["note"] for r in await _records(adapters, body, resources, "pairs")] == ["a", "b"]
    assert [r["case_id"] for r in await _records(adapters, body, resources, "open_cases")] == ["C1"]
    await adapters.close()


POSTGRES = """
create type tier as enum ('minor', 'severe');
create table "Cases" (id uuid primary key, n int8 not null, amount numeric(10,2), at timestamptz, day date,
  naive timestamp, doc jsonb, plain json, tags text[], tier tier, raw bytea, source inet, took interval, "select" text);
insert into "Cases" values ('7b1f3d62-6f0e-4e0e-9d43-0d6d0c9a4d10', 1, 12.50, '2026-01-02 03:04:05Z', '2026-01-02',
  '2026-01-02 03:04:05', '{"a": 1}', '[1]', '{x,y}', 'minor', '\\x00', '10.0.0.1', '1 hour', 'word');
create table steps (run int, step int, name text, primary key (step, run));
insert into steps values (1, 2, 'b'), (2, 1, 'a');
create schema other;
create table other.far (id int primary key, note text not null);
insert into other.far values (7, 'seven');
create schema shut;
create table shut.secret (id int primary key);
"""


async def test_postgresql_as_a_role_that_only_reads(tmp_path: Path, cluster: Any) -> None:
    owner = make_target_database(cluster.guest("found"))
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(POSTGRES)
        connection.execute("drop role if exists found_reader")
        connection.execute("create role found_reader login password 'reader'")
        connection.execute("grant usage on schema customer, other to found_reader")
        connection.execute('grant select on customer."Cases", customer.steps, other.far to found_reader')
    url = owner.replace(owner.split("//")[1].split("@")[0], "found_reader:reader")
    (tmp_path / "one.url").touch(0o600)
    (tmp_path / "one.url").write_text(url)
    adapters = Adapters(tmp_path, SystemClock())
    body = _body("sql", _ANY, database={"driver": "postgresql", "url_file": "one.url"})
    resources, said, _ = await _discovered(adapters, body)
    assert list(resources) == ["cases", "steps", "far"]
    assert "Cases.raw" in said
    fields = resources["cases"]["fields"]
    assert fields["amount"] == {"type": ["string", "null"], "format": "decimal"}
    assert fields["tier"] == {"type": ["string", "null"], "enum": ["minor", "severe", None]}
    assert fields["n"] == {"type": "integer"}
    (case,) = await _records(adapters, body, resources, "cases")
    assert case["amount"] == "12.50"
    assert case["source"] == "10.0.0.1/32"
    assert case["took"] == "01:00:00"
    assert case["doc"] == {"a": 1}
    assert case["tags"] == ["x", "y"]
    assert case["select"] == "word"
    assert [r["name"] for r in await _records(adapters, body, resources, "steps")] == ["a", "b"]
    assert await _records(adapters, body, resources, "far") == [{"id": 7, "note": "seven"}]
    await adapters.close()


async def test_files(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "2026").mkdir(parents=True)
    (data / "cases.jsonl").write_text(
        '{"case_id": "C1", "fine": 1, "on": "2026-01-02", "bad name": 1}\n'
        '{"case_id": "C2", "fine": 1.5, "on": "2026-02-03", "tags": [1]}\n{"case_id": "C3", "fi'
    )
    (data / "2026" / "posts.csv").write_text("post_id;zip;hours;done\n1;01234;7,5;true\n2;80331;;false\n")
    (data / "empty.csv").write_text("")
    (data / "notes.txt").write_text("not data")
    (data / "link.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    adapters = Adapters(tmp_path, SystemClock())
    body = _body("files", {"file": "cases.jsonl", "fields": _ANY["fields"], "fetch": {}}, root="data")
    resources, said, _ = await _discovered(adapters, body)
    assert list(resources) == ["cases", "2026_posts".replace("2026", "r_2026")]
    assert "empty.csv" in said
    assert resources["cases"]["fields"] == {
        "case_id": {"type": "string"},
        "fine": {"type": "number"},
        "on": {"type": "string", "format": "date"},
        "tags": {"type": ["array", "null"]},
    }
    posts = resources["r_2026_posts"]
    assert posts["delimiter"] == ";"
    assert posts["fields"]["zip"] == {"type": "string"}
    assert posts["fields"]["done"] == {"type": "boolean"}
    assert [r["case_id"] for r in await _records(adapters, body, resources, "cases")] == ["C1", "C2"]
    assert [r["post_id"] for r in await _records(adapters, body, resources, "r_2026_posts")] == [1, 2]


async def test_files_without_a_folder(tmp_path: Path) -> None:
    adapters = Adapters(tmp_path, SystemClock())
    body = _body("files", {"file": "cases.jsonl", "fields": _ANY["fields"], "fetch": {}}, root="nowhere")
    with pytest.raises(AdapterProblem) as caught:
        await _discovered(adapters, body)
    assert caught.value.code == "adapter.missing_file"


async def test_a_target_with_more_than_a_document_holds(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "one.sqlite") as connection:
        for number in range(205):
            connection.execute(f"create table t{number:03} (id integer primary key)")
    connection.close()
    adapters = Adapters(tmp_path, SystemClock())
    body = _body("sql", _ANY, database={"driver": "sqlite", "path": "one.sqlite"})
    resources, said, truncated = await _discovered(adapters, body)
    assert len(resources) == 200
    assert truncated
    assert "there are more" in said


def test_names_of_resources() -> None:
    assert resource_name("Order Lines", []) == "order_lines"
    assert resource_name("2026/x", []) == "r_2026_x"
    assert resource_name("straße", ["stra_e"]) == "stra_e_2"
    assert resource_name("", []) == "r"
    assert len(resource_name("x" * 300, [])) <= 63


def test_types_are_inferred_from_all_samples() -> None:
    records = cells_of([{"a": "1", "b": "", "c": "x"}, {"a": "2.5", "b": "true", "c": "007"}])
    assert fields_of(records) == {
        "a": {"type": "number"},
        "b": {"type": ["boolean", "null"]},
        "c": {"type": "string"},
    }
    assert fields_of([{"x": None}]) == {"x": {"type": ["string", "null"]}}
    assert fields_of([{"x": 1}, {"x": "1"}]) == {"x": {"type": ["integer", "string"]}}
    assert key_of([{"name": "a", "n": 1}, {"name": "b", "n": 1}], {"name": {}, "n": {}}) == "name"
    assert key_of([{"n": 1}, {"n": 1}], {"n": {}}) == ""
    assert key_of([{"case_id": None}], {"case_id": {}}) == ""
