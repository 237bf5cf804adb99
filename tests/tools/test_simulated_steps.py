"""Steps that only simulate: no person is ever asked whether what was not sent happened, and a Blueprint reads that it was not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stanchion.base import Denied
from stanchion.blueprints import LOGIC_GATE, TRANSFORM, BlueprintKind, Document
from stanchion.context import Environment
from stanchion.runs import StepCall
from stanchion.tools import EXECUTE, PUSH, VERBS, EffectPort
from stanchion.tools.handlers import PushHandler
from stanchion.tools.uses import Simulating
from tests.tools.support import Bench, Crash, call_of, new_run, reclaim


@pytest.fixture
def superuser(cluster, database_urls) -> str:
    return cluster.superuser(database_urls)


@pytest.fixture
def blind(env, superuser: str, tmp_path: Path) -> Bench:
    """A target that cannot recognise a repetition."""
    return Bench(env, superuser, tmp_path, idempotency="none")


def simulating(call: StepCall) -> StepCall:
    return replace(call, config={**call.config, "simulate": True})


async def _dies(*_: Any, **__: Any) -> None:
    raise Crash


@pytest.mark.parametrize("window", ["before the call", "before the receipt"])
async def test_a_crash_around_a_simulated_effect_asks_nobody(
    blind: Bench, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    call = simulating(call_of(blind.world, run_id))
    with monkeypatch.context() as patch:
        place = (Simulating, "push") if window == "before the call" else (EffectPort, "_ended")
        patch.setattr(*place, _dies)
        with pytest.raises(Crash):
            await blind.handler().execute(blind.env, call)
    assert (await blind.effect(run_id))["state"] == "INTENT"
    await reclaim(blind.superuser, run_id, 2)
    again = simulating(call_of(blind.world, run_id, epoch=2, attempt=2))
    result = await blind.handler("before_call").execute(blind.env, again)
    assert result.output["receipt"]["simulated"] is True  # type: ignore[index, call-overload]
    effect = await blind.effect(run_id)
    assert (effect["state"], effect["receipt"]["simulated"]) == ("DONE", True)
    assert await blind.received() == []


async def test_what_is_really_sent_keeps_its_class(blind: Bench) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    result = await blind.handler().execute(blind.env, call_of(blind.world, run_id))
    assert result.output["receipt"]["simulated"] is False  # type: ignore[index, call-overload]
    assert (await blind.effect(run_id))["idempotency"] == "none"
    assert "simulated" not in (await blind.effect(run_id))["receipt"]
    assert len(await blind.received()) == 1


BLUEPRINT = """\
blueprint: record
owner: tests
input: {type: object, additionalProperties: false, properties: {}}
steps:
  - id: written
    push:
      connector: casebook
      resource: outcomes
      record: {case_id: "C1", tier: minor, articles: [5], comment: null}
      simulate: true
  - id: really
    if: "!steps.written.receipt.simulated"
    transform: {value: 1}
output: {simulated: "${steps.written.receipt.simulated}"}
"""


def issues(source: str, body: dict[str, Any]) -> list[str]:
    kind = BlueprintKind({verb.verb: verb for verb in (TRANSFORM, LOGIC_GATE, *VERBS)})
    lookup = lambda kind, name: body if (kind, name) == ("connector", "casebook") else None
    return [issue.message for issue in kind.parse(Document(path="b.yaml", source=source), lookup).issues]


def test_a_blueprint_reads_whether_it_was_simulated(blind: Bench) -> None:
    assert issues(BLUEPRINT, blind.world.body) == []
    found = issues(BLUEPRINT.replace("receipt.simulated}", "receipt.simulted}"), blind.world.body)
    assert len(found) == 1
    assert "simulted" in found[0]
    found = issues(
        BLUEPRINT.replace("!steps.written.receipt.simulated", "steps.written.receipt.simulated > 1"), blind.world.body
    )
    assert len(found) == 1


def test_the_type_that_is_checked_is_the_output_that_is_given(blind: Bench) -> None:
    for verb in (PUSH, EXECUTE):
        config = {"connector": "casebook", "resource": "outcomes", "operation": "outcomes"}
        schema: Any = verb.output_schema(config, lambda *_: blind.world.body, lambda _: {})
        assert schema["properties"]["receipt"]["properties"]["simulated"] == {"type": "boolean"}
        assert "simulated" in schema["properties"]["receipt"]["required"]


async def test_what_a_broker_was_asked_for_does_not_end_as_simulated_in_another_environment(
    env, superuser: str, tmp_path: Path
) -> None:
    """A real attempt whose end nobody saw; then the deployment is named otherwise, so that the write would be simulated."""
    bench = Bench(env, superuser, tmp_path)
    elsewhere = replace(env, environment=Environment(name="sandbox", production=False))
    run_id = await new_run(env, superuser)
    with pytest.raises(Crash):
        await bench.handler("after_call").execute(env, call_of(bench.world, run_id))
    effect = await bench.effect(run_id)
    async with await psycopg.AsyncConnection.connect(superuser) as tx:
        await tx.execute(
            "insert into broker_effects (tenant, effect_id, attempt, epoch, simulated) values (%s, %s, 1, 1, false)",
            (effect["tenant"], effect["id"]),
        )
    await reclaim(superuser, run_id, 2)
    again = call_of(bench.world, run_id, epoch=2, attempt=2)
    handler = PushHandler(bench.handler()._adapters, EffectPort(elsewhere, None))
    with pytest.raises(Denied) as caught:
        await handler.execute(elsewhere, again)
    assert caught.value.code == "effect.was_real"
    after = await bench.effect(run_id)
    assert (after["state"], after["receipt"]) == (effect["state"], None)
    # What no broker was ever asked for was not sent, and is simulated there.
    other = await new_run(env, superuser)
    result = await handler.execute(elsewhere, call_of(bench.world, other))
    assert result.output["receipt"]["simulated"] is True  # type: ignore[index, call-overload]
