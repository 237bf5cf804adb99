"""FETCH and LOOKUP as steps: outputs, bounds, and what a missing record is."""

from __future__ import annotations

import dataclasses
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from stanchion.base import Clock, Invalid, Json, LimitExceeded, NotFound, Problem
from stanchion.tools import FETCH, LOOKUP, FetchHandler, LookupHandler
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.adapters.statements import read_statement
from tests.conformance.worlds import CASES, SqliteWorld, make_sqlite
from tests.tools.documents import parsed
from tests.tools.support import call_of


@pytest.fixture
def world(env, tmp_path: Path) -> SqliteWorld:
    return make_sqlite(tmp_path, Adapters(tmp_path, env.clock))


def handlers(world: SqliteWorld, clock: Clock) -> tuple[FetchHandler, LookupHandler]:
    adapters = Adapters(world.path.parent, clock)
    return FetchHandler(adapters), LookupHandler(adapters)


def call(world: SqliteWorld, env, config: dict[str, Json], **fields: Any) -> Any:
    full = {"connector": "casebook", "resource": "cases", **config}
    return dataclasses.replace(call_of(world, env.ids.new()), config=full, **fields)


async def test_fetch_gives_records_count_and_where_to_go_on(world: SqliteWorld, env) -> None:
    fetch, _ = handlers(world, env.clock)
    every = (await fetch.execute(env, call(world, env, {}))).output
    assert every == {"records": CASES, "count": 5, "truncated": False, "page": None}
    some: Any = (await fetch.execute(env, call(world, env, {"limit": 2, "where": {"least": 2000}}))).output
    assert [r["case_id"] for r in some["records"]] == ["C2", "C3"]
    assert some["truncated"] is True
    rest: Any = (
        await fetch.execute(env, call(world, env, {"limit": 9, "where": {"least": 2000}, "page": some["page"]}))
    ).output
    assert [r["case_id"] for r in rest["records"]] == ["C4", "C5"]
    assert (rest["truncated"], rest["page"]) == (False, None)
    schema: Any = FETCH.output_schema(
        {"connector": "casebook", "resource": "cases"}, lambda *_: world.body, lambda _: {}
    )
    assert set(schema["properties"]) == set(rest)


async def test_fetch_never_cuts_silently(world: SqliteWorld, env) -> None:
    fetch, _ = handlers(world, env.clock)
    with sqlite3.connect(world.path) as connection:
        connection.executemany(
            "insert into cases values (?, 1, 0, 0.5, '[]', ?)", [(f"X{n:05}", "x" * 100) for n in range(10_001)]
        )
    connection.close()
    with pytest.raises(LimitExceeded) as caught:
        await fetch.execute(env, call(world, env, {}))
    assert caught.value.code == "fetch.too_many"
    assert not caught.value.retryable
    with pytest.raises(LimitExceeded) as caught:
        await fetch.execute(env, call(world, env, {"limit": 10_000}))
    assert caught.value.code == "tool.output_too_large"
    assert "limit" in caught.value.hint
    assert (await fetch.execute(env, call(world, env, {"limit": 1000}))).output["count"] == 1000  # type: ignore[index, call-overload]


@pytest.mark.parametrize("where", [{"least": "x"}, {"least": True}, {"least": 1.5}, {"most": 1}])
async def test_a_value_that_no_parameter_takes(world: SqliteWorld, env, where: dict[str, Json]) -> None:
    fetch, _ = handlers(world, env.clock)
    with pytest.raises(Invalid) as caught:
        await fetch.execute(env, call(world, env, {"where": where}))
    assert caught.value.code == "fetch.bad_where"


async def test_lookup_finds_fails_or_goes_on_without(world: SqliteWorld, env) -> None:
    _, lookup = handlers(world, env.clock)
    found = (await lookup.execute(env, call(world, env, {"key": "C2"}))).output
    assert found == {"record": CASES[1], "found": True}
    with pytest.raises(NotFound) as caught:
        await lookup.execute(env, call(world, env, {"key": "C9"}))
    assert caught.value.code == "lookup.missing"
    assert "C9" in caught.value.message
    nothing = (await lookup.execute(env, call(world, env, {"key": "C9", "missing": None}))).output
    assert nothing == {"record": None, "found": False}
    schema: Any = LOOKUP.output_schema(
        {"connector": "casebook", "resource": "cases"}, lambda *_: world.body, lambda _: {}
    )
    assert set(schema["properties"]) == {"record", "found"}
    for key in (None, True, "", [], {}):
        with pytest.raises(Invalid):
            await lookup.execute(env, call(world, env, {"key": key}))


async def test_the_call_ends_before_the_step_does(world: SqliteWorld, env) -> None:
    fetch, _ = handlers(world, env.clock)
    endless = (
        "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n where :least is null"
    )
    world.body["resources"]["cases"]["fetch"]["statement"] = endless
    started = env.clock.monotonic()
    with pytest.raises(Problem) as caught:
        await fetch.execute(env, call(world, env, {}, timeout_s=0.5))
    assert caught.value.code == "adapter.timeout"
    assert env.clock.monotonic() - started < 5


async def test_a_read_may_look_at_another_environment(world: SqliteWorld, env) -> None:
    fetch, _ = handlers(world, env.clock)
    world.body["environment"] = "production"
    assert (await fetch.execute(env, call(world, env, {}))).output["count"] == 5  # type: ignore[index, call-overload]


def test_the_connectors_of_the_example_are_right(repo: Path) -> None:
    for name in ("casebook", "outcomes"):
        assert parsed((repo / "examples" / "case-triage" / f"{name}.yaml").read_text()).issues == ()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("select 1", ()),
        ("select :a, :b, :a;", ("a", "b")),
        ("select ':a', \":b\", :c -- :d\n", ("c",)),
        ("select :a /* :b /* :c */ :d */ + :e", ("a", "e")),
        ("select x::text, :a::int from t where y = 'it''s :b'", ("a",)),
        ("select $$ :a ; $$, $t$ :b $$ $t$, :c", ("c",)),
        (r"select E'\':a', :b", ("b",)),
        ("select 100 % :a ; -- the end", ("a",)),
    ],
)
def test_parameters_are_found_where_sql_has_them(text: str, names: tuple[str, ...]) -> None:
    assert read_statement(text, "postgresql").parameters == names


@pytest.mark.parametrize(
    "text",
    [
        "select 1; select 2",
        "",
        " ; ",
        "select 'x",
        "select /* x",
        "select $1",
        'select "x',
        "select 1; -- a\n delete from t",
    ],
)
def test_what_is_not_one_statement_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"holds|empty|never closed|placeholder"):
        read_statement(text, "postgresql")


def test_percent_signs_and_tests_for_null_survive() -> None:
    read = read_statement("select '50%' where (:a IS NULL or b = :a) and c is not null", "postgresql")
    assert read.pyformat == "select '50%%' where (%(a is null)s::text IS NULL or b = %(a)s) and c is not null"
