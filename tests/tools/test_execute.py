"""EXECUTE: what a Blueprint may call, and that what writes is performed at most once."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from stanchion.base import Invalid, Json, NotFound, Problem
from stanchion.blueprints import BlueprintKind, Document
from stanchion.context import Env
from stanchion.runs import Suspend, WaitingKind
from stanchion.tools import EXECUTE, VERBS, EffectPort, ExecuteHandler
from stanchion.tools.adapters.registry import Adapters
from tests.conformance import http_writes as http
from tests.tools.support import call_of, new_run, reclaim

CLOSE: dict[str, Json] = {"case_id": "C1", "notify": False}


@pytest.fixture
async def world(env: Env, tmp_path: Path) -> AsyncIterator[http.HttpWriteWorld]:
    adapters = Adapters(tmp_path, env.clock)
    async with http.http_write_server() as server:
        yield http.make_http_writes(adapters, server, "json")
        await adapters.close()


def step(world: http.HttpWriteWorld, run_id: UUID, name: str, arguments: Json, **fields: Any) -> Any:
    made = call_of(world, run_id, path="record", **fields)
    config: Mapping[str, Any] = {"connector": "casebook", "operation": name, "arguments": arguments}
    return dataclasses.replace(made, config=config)


def handler(world: http.HttpWriteWorld, env: Env) -> ExecuteHandler:
    adapters = Adapters(Path("unused"), env.clock)
    adapters.by_name = {**adapters.by_name, "http": world.adapter}
    return ExecuteHandler(adapters, EffectPort(env, None))


async def effect(superuser: str, run_id: UUID) -> dict[str, Any]:
    async with await psycopg.AsyncConnection.connect(superuser, row_factory=psycopg.rows.dict_row) as connection:
        cursor = await connection.execute("select * from effects where run_id = %s", (run_id,))
        return await cursor.fetchone() or {}


@pytest.fixture
async def superuser(cluster: Any, database_urls: Any) -> str:
    return cluster.superuser(database_urls)


async def test_a_read_goes_without_the_ledger(world: http.HttpWriteWorld, env: Env, superuser: str) -> None:
    run_id = await new_run(env, superuser)
    result = await handler(world, env).execute(env, step(world, run_id, "add", {"a": 2, "b": 3}))
    assert result.output == {"result": 5}
    assert await effect(superuser, run_id) == {}


async def test_a_write_is_in_the_ledger_and_returned_when_resumed(
    world: http.HttpWriteWorld, env: Env, superuser: str
) -> None:
    run_id = await new_run(env, superuser)
    made: Any = (await handler(world, env).execute(env, step(world, run_id, "close", CLOSE))).output
    assert made["result"] == {"case": "C1", "at": "2026-03-31"}
    assert made["applied"] is True
    row = await effect(superuser, run_id)
    assert (row["operation"], row["state"], row["class"], row["idempotency"]) == (
        "close.execute",
        "DONE",
        "write",
        "key",
    )
    assert row["key"] == made["receipt"]["idempotency_key"] == world.server.asked[-1].headers[http.KEY_HEADER]
    await reclaim(superuser, run_id, 2)
    again = (await handler(world, env).execute(env, step(world, run_id, "close", CLOSE, epoch=2, attempt=2))).output
    assert again == made
    assert len(world.server.log) == 1


async def test_a_lost_answer_is_asked_for_again_under_the_same_key(
    world: http.HttpWriteWorld, env: Env, superuser: str
) -> None:
    run_id = await new_run(env, superuser)
    world.server.after.append(http.drop)
    with pytest.raises(Problem) as caught:
        await handler(world, env).execute(env, step(world, run_id, "close", CLOSE))
    assert caught.value.code == "effect.outcome_unknown"
    assert (await effect(superuser, run_id))["state"] == "UNKNOWN"
    await handler(world, env).execute(env, step(world, run_id, "close", CLOSE, attempt=2))
    assert len({key for _, key in world.server.log}) == 1
    assert (await effect(superuser, run_id))["state"] == "DONE"


async def test_what_the_target_cannot_tell_waits_for_a_person(
    world: http.HttpWriteWorld, env: Env, superuser: str
) -> None:
    world.body["execute"]["close"]["idempotency"] = "none"
    run_id = await new_run(env, superuser)
    world.server.after.append(http.torn)
    with pytest.raises(Suspend) as caught:
        await handler(world, env).execute(env, step(world, run_id, "close", CLOSE))
    assert caught.value.kind is WaitingKind.EFFECT
    assert len(world.server.log) == 1


async def test_a_refusal_leaves_nothing_open(world: http.HttpWriteWorld, env: Env, superuser: str) -> None:
    run_id = await new_run(env, superuser)
    world.server.instead.append(http.says(422))
    with pytest.raises(Problem):
        await handler(world, env).execute(env, step(world, run_id, "close", CLOSE))
    assert (await effect(superuser, run_id))["state"] == "FAILED"


async def test_a_result_that_does_not_fit_fails_the_step_and_the_ledger_has_it(
    world: http.HttpWriteWorld, env: Env, superuser: str
) -> None:
    run_id = await new_run(env, superuser)
    world.server.instead.append(http.says(200, b'{"closed": {"case": 7}}'))
    with pytest.raises(Invalid) as caught:
        await handler(world, env).execute(env, step(world, run_id, "close", CLOSE))
    assert caught.value.code == "execute.bad_result"
    assert "7" not in caught.value.message
    assert (await effect(superuser, run_id))["state"] == "DONE"


@pytest.mark.parametrize(
    "arguments", [{}, {"case_id": "C1"}, {**CLOSE, "more": 1}, {**CLOSE, "case_id": 1}, [], "close C1"]
)
async def test_arguments_that_do_not_fit_call_nothing(
    world: http.HttpWriteWorld, env: Env, superuser: str, arguments: Json
) -> None:
    run_id = await new_run(env, superuser)
    with pytest.raises(Invalid) as caught:
        await handler(world, env).execute(env, step(world, run_id, "close", arguments))
    assert caught.value.code == "execute.bad_arguments"
    assert world.server.asked == []
    assert await effect(superuser, run_id) == {}


async def test_only_what_is_declared_can_be_called(world: http.HttpWriteWorld, env: Env, superuser: str) -> None:
    run_id = await new_run(env, superuser)
    for name in ("drop-everything", "POST /cases/C1/close", "outcomes"):
        with pytest.raises(NotFound) as caught:
            await handler(world, env).execute(env, step(world, run_id, name, CLOSE))
        assert caught.value.code == "connector.no_such_operation"
    assert world.server.asked == []


BLUEPRINT = """\
blueprint: closing
owner: casework
input: {type: object, required: [case_id], properties: {case_id: {type: string}}}
steps:
  - id: closed
    execute:
      connector: casebook
      operation: OPERATION
      arguments: ARGUMENTS
output: OUTPUT
"""


@pytest.mark.parametrize(
    ("operation", "arguments", "output", "code"),
    [
        ("close", "{case_id: '${input.case_id}', notify: true}", "${steps.closed.result.case}", None),
        ("close", "{case_id: '${input.case_id}', notify: true}", "${steps.closed.receipt.idempotency_key}", None),
        ("add", "{a: 1, b: 2}", "${steps.closed.result + 1}", None),
        ("add", "{a: 1, b: 2}", "${steps.closed.receipt}", "expression.invalid"),
        ("clos", "{case_id: C1, notify: true}", "x", "blueprint.unknown_operation"),
        ("close", "{case_id: C1, notify: yes please}", "x", "blueprint.wrong_type"),
        ("close", "{case_id: C1, notify: true, colour: red}", "x", "blueprint.unknown_parameter"),
        ("close", "{case_id: C1}", "x", "blueprint.missing_parameter"),
        ("close", "close it", "x", "document.type"),
    ],
)
def test_a_blueprint_is_held_to_what_the_connector_declares(
    world: http.HttpWriteWorld, operation: str, arguments: str, output: str, code: str | None
) -> None:
    source = BLUEPRINT.replace("OPERATION", operation).replace("ARGUMENTS", arguments).replace("OUTPUT", f'"{output}"')
    kind = BlueprintKind({verb.verb: verb for verb in VERBS})
    issues = kind.parse(Document(path="b.yaml", source=source), lambda *_: world.body).issues
    assert [issue.code for issue in issues] == ([] if code is None else [code]), issues


@pytest.mark.parametrize(
    ("operation", "shown", "right"), [("close", True, True), ("close", False, False), ("add", False, True)]
)
def test_an_approval_before_it_shows_the_arguments(
    world: http.HttpWriteWorld, operation: str, shown: bool, right: bool
) -> None:
    """What changes something is shown first; what reads needs no showing."""
    arguments = "{case_id: C1, notify: true}" if operation == "close" else "{a: 1, b: 2}"
    from stanchion.approvals import GovernVerb

    govern = f"""\
  - id: asked
    govern: {{policy: closing, facts: {{}}, show: [{arguments if shown else "x"}]}}
"""
    source = BLUEPRINT.replace("OPERATION", operation).replace("ARGUMENTS", arguments).replace("OUTPUT", "x")
    source = source.replace("steps:\n", "steps:\n" + govern)
    policy = {"policy": "closing", "owner": "x", "type": "approval", "facts": {}, "rules": []}
    bodies: dict[str, Any] = {"connector": world.body, "policy": policy}
    kind = BlueprintKind({verb.verb: verb for verb in (*VERBS, GovernVerb())})
    issues = kind.parse(Document(path="b.yaml", source=source), lambda kind, _: bodies[kind]).issues
    assert ("blueprint.not_shown" in [issue.code for issue in issues]) is not right, issues


def test_the_verb_says_what_it_writes(world: http.HttpWriteWorld) -> None:
    def writes(name: str) -> str | None:
        return EXECUTE.written({"connector": "casebook", "operation": name}, lambda *_: world.body)

    assert (writes("close"), writes("remove"), writes("add")) == ("arguments", "arguments", None)
    assert writes("unknown") == "arguments", "what is not known to read is taken to write"
