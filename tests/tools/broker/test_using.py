"""Which tool a call goes through is not the worker's word: its document, its state and its class are looked at by the broker, and
so are the step and the kill of what the run was started as; for reads too."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from stanchion.base import Problem, digest
from stanchion.blueprints import Op, OpKind, Step
from stanchion.context import Env
from stanchion.controls.kills import Blocked
from stanchion.runs import Pin, Pinned, PinSet
from stanchion.tools.broker.using import ToolsNow
from stanchion.tools.catalogue import States, derive
from stanchion.tools.types import Envelope
from tests.tools.broker.held import PEER, Held

TOTAL = {"description": "the total", "parameters": {"year": {"type": "integer"}}, "result": {"type": "integer"}}


def tool_body(**other: Any) -> dict[str, Any]:
    return {
        "tool": "find-outcome",
        "owner": "casework",
        "model": {"name": "find_outcome", "description": "Finds an outcome."},
        "call": {"connector": "casebook", "verb": "lookup", "resource": "outcomes"},
        "effect": "read",
        "disable": {"fallback": "Ask."},
        **other,
    }


class Shop:
    """A broker that reads tools and their states from the database, and a run whose steps name one tool."""

    def __init__(self, held: Held, env: Env) -> None:
        self.held = held
        self.states = States(env, role="engine")
        self.body: dict[str, Any] = {}
        self.op: Op | None = None
        load = held.programs.load

        async def with_tool(tenant: str, pins: str) -> Pinned:
            found = await load(tenant, pins)
            mine = [Pin(kind="tool", name="find-outcome", version=1, digest=digest(self.body))] if self.body else []
            blocks = found.program.blocks
            if self.op is not None:
                blocks = {"": replace(blocks[""], ops=(*blocks[""].ops, self.op))}
            return replace(
                found,
                pins=PinSet(digest=pins, pins=(*found.pins.pins, *mine)),
                program=replace(found.program, blocks=blocks),
            )

        held.programs.load = with_tool
        held.broker = held.another(tools=ToolsNow(env, self.states))

    async def publish(self, *, enabled: bool | None, **other: Any) -> None:
        self.body = tool_body(description=str(self.held.run_id), **other)
        await self.held.sql(
            "insert into artifacts (tenant, kind, name, version, digest, body, source, source_path, owner, author, changelog)"
            " values ('acme', 'tool', 'find-outcome', (select coalesce(max(version), 0) + 1 from artifacts where"
            " kind = 'tool'), %s, %s, '', '', 'o', 'ada', '')",
            digest(self.body),
            json.dumps(self.body),
        )
        if enabled is not None:
            await self.held.sql(
                "insert into tool_states (tenant, environment, name, version, digest, connector_digest, enabled, reason, by,"
                " at, evidence) select 'acme', 'local', 'find-outcome', version, digest, %s, %s, 'because', 'ada', now(), '{}'"
                " from artifacts where kind = 'tool' and digest = %s",
                self.held.digest,
                enabled,
                digest(self.body),
            )
        await self.held.sql(
            "insert into call_revisions (tenant, environment, rev) values ('acme', 'local', 1)"
            " on conflict (tenant, environment) do update set rev = call_revisions.rev + 1"
        )
        await self.states.refresh()
        self.held.programs.tool = "find-outcome"

    def asker(self, **other: Any) -> dict[str, Any]:
        return {"tool": "find-outcome", "tool_digest": digest(self.body), **other}

    async def refused(self, code: str, op: str = "lookup", **other: Any) -> Problem:
        with pytest.raises(Problem) as caught:
            await self.held.perform(op, **other)
        assert caught.value.code == code, caught.value
        assert self.held.adapter.asked == []
        return caught.value


@pytest.fixture
async def held(env: Env, cluster, database_urls) -> Held:
    found = Held(env, cluster.superuser(database_urls), execute={"total": TOTAL})
    await found.begin()
    return found


@pytest.fixture
def shop(held: Held, env: Env) -> Shop:
    return Shop(held, env)


async def test_a_tool_that_is_enabled_is_used(shop: Shop) -> None:
    await shop.publish(enabled=True)
    assert isinstance(await shop.held.perform("lookup", asker=shop.asker()), Envelope)


async def test_a_read_through_a_disabled_tool_is_refused_whatever_the_worker_thinks(shop: Shop) -> None:
    await shop.publish(enabled=False)
    problem = await shop.refused("tool.disabled", asker=shop.asker())
    assert "because" in problem.message


async def test_states_that_were_never_read_let_nothing_through(shop: Shop) -> None:
    await shop.publish(enabled=True)
    shop.held.broker = shop.held.another(tools=ToolsNow(shop.held.env, States(shop.held.env, role="engine")))
    await shop.refused("tool.unread", asker=shop.asker())


async def test_a_version_that_nobody_published_and_a_changed_document_are_no_tool(shop: Shop) -> None:
    await shop.publish(enabled=True)
    await shop.refused("broker.unknown_tool", asker=shop.asker(tool_digest="sha256:" + "0" * 64))
    await shop.refused("broker.unknown_tool", asker=shop.asker(tool="another"))
    await shop.held.sql('update artifacts set body = body || \'{"effect": "x"}\' where digest = %s', digest(shop.body))
    held = shop.held
    held.broker = held.another(tools=ToolsNow(held.env, shop.states))  # one that has not read it before
    await shop.refused("broker.corrupt_tool", asker=shop.asker())


async def test_a_step_that_names_a_tool_is_not_called_round_it(shop: Shop) -> None:
    """Who leaves the tool out would read what it narrows, and where it is disabled or killed."""
    await shop.publish(enabled=True)
    await shop.refused("broker.other_step")
    await shop.refused("tool.other_operation", "fetch", asker=shop.asker())


async def test_what_a_tool_narrows_is_narrow_for_the_broker(shop: Shop) -> None:
    await shop.publish(enabled=True, input={"properties": {"key": {"enum": ["C1"]}}})
    await shop.refused("tool.bad_arguments", asker=shop.asker(), arguments={"key": "C2"})
    assert isinstance(await shop.held.perform("lookup", asker=shop.asker()), Envelope)


async def test_a_read_that_its_tool_calls_a_write_is_one(shop: Shop) -> None:
    """The connector says that `total` reads; the tool that it writes, which counts: for policy, and for the ledger."""
    await shop.publish(
        enabled=True, effect="write", call={"connector": "casebook", "verb": "execute", "operation": "total"}
    )
    raw = {"connector": "casebook", "operation": "total", "tool": "find-outcome"}
    step = Step(id="total", verb="execute", config={}, raw=raw, references=(("connector", "casebook"),))
    shop.op = Op(kind=OpKind.STEP, path="total", step=step, exits={})
    total: dict[str, Any] = {"resource": "total", "operation": "execute", "arguments": {"record": {"year": 2025}}}
    await shop.refused("broker.no_intent", "execute", **total, key="", asker=shop.asker(path="total"))
    assert [question.action for question in shop.held.policy.asked] == ["effects.perform"]


class KilledRoot:
    any = True

    def blocked(self, tenant, kind, name, digest, *, strict=False):
        return Blocked(ref="kill-3", text="killed") if (kind, name) == ("blueprint", "b") else None

    def admit(self, tenant, kind, name, digest):
        return None


@pytest.mark.parametrize("op", ["lookup", "push", "probe"])
async def test_nothing_is_called_for_a_run_of_a_killed_blueprint(held: Held, op: str) -> None:
    with pytest.raises(Problem) as caught:
        await held.another(kills=KilledRoot()).perform(held.call(op), PEER)
    assert (caught.value.code, caught.value.fields["ref"]) == ("kill.held_back", "kill-3")
    assert "blueprint 'b'" in caught.value.message
    assert held.adapter.asked == []


async def test_a_read_is_what_its_step_does(held: Held) -> None:
    for other in ({"asker": {"path": "record"}}, {"asker": {"path": "nowhere"}}, {"asker": {"path": "fetch"}}):
        with pytest.raises(Problem) as caught:
            await held.perform("lookup", **other)
        assert caught.value.code in {"broker.other_step", "broker.no_such_step"}
    assert held.adapter.asked == []


async def test_what_a_tool_takes_is_derived_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[str] = []
    real = derive.input_schema

    def counted(tool: Any, connector: Any) -> Any:
        derived.append(tool.digest)
        return real(tool, connector)

    monkeypatch.setattr(derive, "input_schema", counted)
    await shop.publish(enabled=True)
    for _ in range(3):
        await shop.held.perform("lookup", asker=shop.asker())
    await shop.publish(enabled=True, owner="another")
    await shop.held.perform("lookup", asker=shop.asker())
    assert len(derived) == len(set(derived)) == 2
