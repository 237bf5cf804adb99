"""The effect port: one received write whatever dies when, and no blind repetition of what cannot be recognised."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from stanchion.audit import list_records
from stanchion.base import Conflict, Denied, Invalid, LimitExceeded, NotFound, Problem, Unavailable
from stanchion.context import Environment
from stanchion.http import PageParams
from stanchion.runs import LostClaim, Suspend, WaitingKind
from stanchion.tools import (
    EffectFilter,
    EffectGauges,
    EffectPort,
    EffectState,
    Versioned,
    count_unknown,
    effect_key,
    list_effects,
    resolve,
    settle_left,
    show,
)
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.effects import TRANSITIONS
from stanchion.tools.effects.ledger import Ledger
from stanchion.tools.held import held_back, waiting
from tests.conftest import make_env
from tests.tools.support import RAW, Bench, Crash, admin, call_of, new_run, reclaim, suspended


@pytest.fixture
async def superuser(cluster, database_urls) -> str:
    return cluster.superuser(database_urls)


@pytest.fixture
async def bench(env, superuser: str, tmp_path: Path) -> Bench:
    return Bench(env, superuser, tmp_path)


async def test_a_push_is_written_recorded_and_audited(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    result = await bench.handler().execute(bench.env, call_of(bench.world, run_id))
    key = effect_key(run_id, run_id, "record")
    receipt = {"applied": True, "rows": 1, "idempotency_key": key, "simulated": False}
    assert result.output == {"applied": True, "receipt": receipt}
    assert await bench.world.received() == [("C1", key)]
    effect = await bench.effect(run_id)
    assert effect["state"] == "DONE"
    assert effect["key"] == key
    assert await bench.audited(run_id) == ["effect.attempted", "effect.completed"]


@pytest.mark.parametrize("window", ["before_call", "after_call"])
@pytest.mark.parametrize("crashes", [1, 3])
async def test_a_crash_in_any_window_gives_exactly_one_received_write(bench: Bench, window: str, crashes: int) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    for epoch in range(1, crashes + 1):
        await reclaim(bench.superuser, run_id, epoch)
        with pytest.raises(Crash):
            await bench.handler(window).execute(bench.env, call_of(bench.world, run_id, epoch=epoch, attempt=epoch))
        assert (await bench.effect(run_id))["state"] == "INTENT"
    await reclaim(bench.superuser, run_id, crashes + 1)
    last = call_of(bench.world, run_id, epoch=crashes + 1, attempt=crashes + 1)
    result = await bench.handler().execute(bench.env, last)
    assert await bench.received() == ["C1"]
    assert isinstance(result.output, dict)
    assert result.output["applied"] is (window == "before_call")
    assert (await bench.effect(run_id))["state"] == "DONE"
    assert await bench.audited(run_id) == ["effect.attempted", "effect.completed"]


async def test_a_crash_before_the_intent_leaves_nothing(bench: Bench, monkeypatch) -> None:
    run_id = await new_run(bench.env, bench.superuser)

    async def dies(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("stanchion.tools.effects.store.insert_intent", dies)
    with pytest.raises(RuntimeError):
        await bench.handler().execute(bench.env, call_of(bench.world, run_id))
    monkeypatch.undo()
    assert await bench.effect(run_id) == {}
    assert await bench.audited(run_id) == []
    assert await bench.received() == []
    await bench.handler().execute(bench.env, call_of(bench.world, run_id))
    assert await bench.received() == ["C1"]


async def test_a_crash_after_the_receipt_returns_the_receipt_without_a_call(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    first = await bench.handler().execute(bench.env, call_of(bench.world, run_id))
    await reclaim(bench.superuser, run_id, 2)
    again = await bench.handler("before_call").execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=2))
    assert again == first
    assert await bench.received() == ["C1"]


async def test_whoever_lost_the_claim_writes_nothing(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser, epoch=5)
    with pytest.raises(LostClaim):
        await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=4))
    assert await bench.effect(run_id) == {}
    assert await bench.received() == []


async def test_a_zombie_and_its_successor_write_once_and_only_the_successor_records(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    adapter = bench.adapters.get("sql")
    gate, arrived = asyncio.Event(), asyncio.Event()

    class Slow:
        name = "sql"

        async def push(self, *args: Any) -> Any:
            arrived.set()
            await gate.wait()
            return await adapter.push(*args)

    zombie = bench.handler("x")
    zombie._adapters.by_name["sql"] = Slow()  # type: ignore[index, assignment]
    late = asyncio.create_task(zombie.execute(bench.env, call_of(bench.world, run_id)))
    await arrived.wait()
    await reclaim(bench.superuser, run_id, 2)
    result = await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=2))
    gate.set()
    with pytest.raises(LostClaim):
        await late
    assert await bench.received() == ["C1"]
    assert isinstance(result.output, dict)
    assert result.output["applied"] is True
    assert await bench.audited(run_id) == ["effect.attempted", "effect.completed"]


class Losing:
    """A target that takes the write and loses the answer, or loses the request."""

    name = "sql"

    def __init__(self, inner: Any, *, sent: bool, written: bool) -> None:
        self.inner, self.sent, self.written = inner, sent, written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def push(self, target, record, key):
        if self.written:
            await self.inner.push(target, record, key)
        raise target.problem("adapter.timeout", "timed out after 5 s.", retryable=True, sent=self.sent)


def losing(bench: Bench, *, sent: bool, written: bool) -> Any:
    handler = bench.handler("x")
    handler._adapters.by_name["sql"] = Losing(bench.adapters.get("sql"), sent=sent, written=written)  # type: ignore[index]
    return handler


async def test_a_lost_answer_is_asked_for_at_once(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    result = await losing(bench, sent=True, written=True).execute(bench.env, call_of(bench.world, run_id))
    assert result.output["applied"] is True
    assert (await bench.effect(run_id))["state"] == "DONE"
    assert await bench.received() == ["C1"]


async def test_an_outcome_that_the_target_cannot_tell_yet_is_unknown_until_the_next_attempt(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Unavailable) as caught:
        await losing(bench, sent=True, written=False).execute(bench.env, call_of(bench.world, run_id))
    assert caught.value.code == "effect.outcome_unknown"
    assert caught.value.retryable
    assert (await bench.effect(run_id))["state"] == "UNKNOWN"
    await reclaim(bench.superuser, run_id, 2)
    await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=2))
    assert await bench.received() == ["C1"]
    assert (await bench.effect(run_id))["state"] == "DONE"
    assert await bench.audited(run_id) == ["effect.attempted", "effect.completed", "effect.completed"]


async def test_what_was_certainly_not_sent_is_failed_and_attempted_anew(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(AdapterProblem) as caught:
        await losing(bench, sent=False, written=False).execute(bench.env, call_of(bench.world, run_id))
    assert caught.value.retryable
    assert (await bench.effect(run_id))["state"] == "FAILED"
    await reclaim(bench.superuser, run_id, 2)
    result = await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=2))
    assert result.output == {"applied": True, "receipt": {**result.output["receipt"], "applied": True}}  # type: ignore[index, dict-item, call-overload]
    assert await bench.audited(run_id) == ["effect.attempted", "effect.completed"] * 2


async def test_an_unsent_repetition_says_nothing_about_the_attempt_before_it(bench: Bench) -> None:
    """Found by the simulation: the first write may have arrived, so the effect is no failed one."""
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Unavailable):
        await losing(bench, sent=True, written=False).execute(bench.env, call_of(bench.world, run_id))
    await reclaim(bench.superuser, run_id, 2)
    with pytest.raises(AdapterProblem):
        await losing(bench, sent=False, written=False).execute(
            bench.env, call_of(bench.world, run_id, epoch=2, attempt=2)
        )
    assert (await bench.effect(run_id))["state"] == "UNKNOWN"
    await reclaim(bench.superuser, run_id, 3)
    await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=3, attempt=3))
    assert await bench.received() == ["C1"]
    assert (await bench.effect(run_id))["state"] == "DONE"
    assert await bench.audited(run_id) == ["effect.attempted", *["effect.completed"] * 3]


async def test_the_same_if_the_commit_of_the_intent_had_to_be_repeated(bench: Bench, monkeypatch) -> None:
    """Found by the simulation: the repeated transaction finds its own intent, and must not forget why it was written."""
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Unavailable):
        await losing(bench, sent=True, written=False).execute(bench.env, call_of(bench.world, run_id))
    await reclaim(bench.superuser, run_id, 2)
    commit, lost = Ledger._commit, []

    async def applied_and_lost(self: Any, batch: Any) -> Any:
        settled = await commit(self, batch)
        if not lost:
            lost.append(batch)
            raise psycopg.OperationalError("the answer was lost")
        return settled

    monkeypatch.setattr(Ledger, "_commit", applied_and_lost)
    with pytest.raises(AdapterProblem):
        await losing(bench, sent=False, written=False).execute(
            bench.env, call_of(bench.world, run_id, epoch=2, attempt=2)
        )
    assert lost
    assert (await bench.effect(run_id))["state"] == "UNKNOWN"


@pytest.fixture
def blind(env, superuser: str, tmp_path: Path) -> Bench:
    """A target that cannot recognise a repetition."""
    return Bench(env, superuser, tmp_path, idempotency="none")


async def status_of(bench: Bench, run_id: Any) -> str:
    async with await psycopg.AsyncConnection.connect(bench.superuser) as connection:
        cursor = await connection.execute("select status from runs where id = %s", (run_id,))
        row = await cursor.fetchone()
        assert row
        return row[0]


@pytest.mark.parametrize("happened", [True, False])
async def test_an_effect_that_cannot_be_recognised_waits_for_a_person(blind: Bench, happened: bool) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    with pytest.raises(Crash):
        await blind.handler("after_call" if happened else "before_call").execute(
            blind.env, call_of(blind.world, run_id)
        )
    await reclaim(blind.superuser, run_id, 2)
    with pytest.raises(Suspend) as caught:
        await blind.handler().execute(blind.env, call_of(blind.world, run_id, epoch=2, attempt=2))
    ref = await suspended(blind, run_id, caught.value)
    assert (await blind.effect(run_id))["state"] == "UNKNOWN"
    assert await blind.received() == (["C1"] if happened else [])

    effect_id = (await blind.effect(run_id))["id"]
    assert str(effect_id) == ref
    effect = await resolve(admin(blind.env), effect_id, happened=happened, evidence="Looked at row 1 of the register.")
    assert effect.state is (EffectState.DONE if happened else EffectState.FAILED)
    assert effect.resolved_by == "olga"
    assert await status_of(blind, run_id) == "PENDING"

    await reclaim(blind.superuser, run_id, 3)
    result = await blind.handler().execute(blind.env, call_of(blind.world, run_id, epoch=3, attempt=3))
    assert isinstance(result.output, dict)
    assert result.output["applied"] is True
    assert await blind.received() == ["C1"]
    events = await blind.audited(run_id)
    assert events[:3] == ["effect.attempted", "effect.completed", "effect.resolved"]
    assert events[3:] == ([] if happened else ["effect.attempted", "effect.completed"])


async def test_an_answer_that_is_repeated_settles_no_later_attempt(blind: Bench) -> None:
    """Found by the simulation (seed 8245): its own answer was lost, so the person said it again; meanwhile the effect had
    been attempted anew, had happened, and was called FAILED on what had been seen before."""
    run_id = await new_run(blind.env, blind.superuser)

    async def nobody_saw(handler: Any, epoch: int) -> None:
        with pytest.raises(Crash):
            await handler.execute(blind.env, call_of(blind.world, run_id, epoch=epoch, attempt=epoch))
        await reclaim(blind.superuser, run_id, epoch + 1)
        call = call_of(blind.world, run_id, epoch=epoch + 1, attempt=epoch + 1)
        with pytest.raises(Suspend) as caught:
            await blind.handler().execute(blind.env, call)
        await suspended(blind, run_id, caught.value)

    await nobody_saw(blind.handler("before_call"), 1)
    effect = await blind.effect(run_id)
    said = {"happened": False, "evidence": "The register is empty."}
    await resolve(admin(blind.env), effect["id"], **said)
    await reclaim(blind.superuser, run_id, 3)
    await nobody_saw(blind.handler("after_call"), 3)
    assert await blind.received() == ["C1"]
    for repeated in (said, {**said, "attempt": 1}, {**said, "attempt": 3}):
        with pytest.raises(Conflict) as caught:
            await resolve(admin(blind.env), effect["id"], **repeated)
        assert caught.value.code == "effect.attempted_again"
        assert "--attempt 2" in caught.value.hint
    seen = await resolve(admin(blind.env), effect["id"], happened=True, evidence="Row 1 is there.", attempt=2)
    assert (seen.state, seen.attempts) == (EffectState.DONE, 2)
    await reclaim(blind.superuser, run_id, 5)
    await blind.handler().execute(blind.env, call_of(blind.world, run_id, epoch=5, attempt=5))
    assert await blind.received() == ["C1"]


async def test_a_lost_answer_of_a_blind_target_waits_for_a_person_at_once(blind: Bench) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    with pytest.raises(Suspend) as caught:
        await losing(blind, sent=True, written=True).execute(blind.env, call_of(blind.world, run_id))
    await suspended(blind, run_id, caught.value)
    effect = await blind.effect(run_id)
    assert effect["state"] == "UNKNOWN"
    assert effect["error"]["code"] == "adapter.timeout"
    # Woken for another reason, it still waits, and nothing is called.
    await reclaim(blind.superuser, run_id, 2)
    with pytest.raises(Suspend):
        await blind.handler("before_call").execute(blind.env, call_of(blind.world, run_id, epoch=2, attempt=2))
    assert await blind.received() == ["C1"]


async def test_resolving_is_for_unknown_effects_of_ones_own_tenant(blind: Bench) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    await blind.handler().execute(blind.env, call_of(blind.world, run_id))
    effect_id = (await blind.effect(run_id))["id"]
    with pytest.raises(Conflict) as caught:
        await resolve(admin(blind.env), effect_id, happened=True, evidence="x")
    assert caught.value.code == "effect.settled"
    with pytest.raises(Invalid):
        await resolve(admin(blind.env), effect_id, happened=True, evidence="  ")
    for ctx in (admin(blind.env, tenant="other"),):
        with pytest.raises(NotFound):
            await resolve(ctx, effect_id, happened=True, evidence="x")
        with pytest.raises(NotFound):
            await show(ctx, effect_id)
        assert (await list_effects(ctx, PageParams())).items == []
    assert (await show(admin(blind.env), effect_id)).state is EffectState.DONE


async def test_an_attempt_without_an_end_is_resolved_only_when_nobody_can_still_be_calling(blind: Bench) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    with pytest.raises(Crash):
        await blind.handler("after_call").execute(blind.env, call_of(blind.world, run_id))
    effect_id = (await blind.effect(run_id))["id"]
    with pytest.raises(Conflict) as caught:
        await resolve(admin(blind.env), effect_id, happened=True, evidence="x")
    assert caught.value.code == "effect.in_progress"

    class Later:
        def now(self):
            return blind.env.clock.now() + timedelta(minutes=16)

        monotonic = staticmethod(blind.env.clock.monotonic)

    later = make_env(blind.env.db, clock=Later())
    assert (await resolve(admin(later), effect_id, happened=True, evidence="x")).state is EffectState.DONE


async def test_lists_filter_and_page(bench: Bench) -> None:
    ids = []
    for n in range(3):
        run_id = await new_run(bench.env, bench.superuser)
        record = {**RAW, "case_id": f"L{n}"}
        await bench.handler().execute(bench.env, call_of(bench.world, run_id, record=record))
        ids.append((await bench.effect(run_id))["id"])
    ctx = admin(bench.env)
    for name in ("casebook", "other"):
        await publish(bench.superuser, "connector", name, 1, f"sha256:{name}", {})
    first = await list_effects(
        ctx, PageParams(limit=2), EffectFilter(connector=Versioned(name="casebook"), state=EffectState.DONE)
    )
    assert [e.id for e in first.items] == [ids[2], ids[1]]
    second = await list_effects(ctx, PageParams(limit=1, after=first.next))
    assert [e.id for e in second.items] == [ids[0]]
    assert [e.id for e in (await list_effects(ctx, PageParams(), EffectFilter(run_id=run_id))).items] == [ids[2]]
    assert (await list_effects(ctx, PageParams(), EffectFilter(connector=Versioned(name="other")))).items == []


async def publish(superuser: str, kind: str, name: str, version: int, digest: str, body: Any) -> None:
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as tx:
        await tx.execute(
            "insert into artifacts (tenant, kind, name, version, digest, body, source, source_path, owner, author, changelog)"
            " values ('acme', %s, %s, %s, %s, %s, '', '', 'o', 'ada', '') on conflict do nothing",
            (kind, name, version, digest, json.dumps(body)),
        )


async def test_lists_find_what_a_version_of_a_connector_or_a_tool_did_since_a_time(bench: Bench) -> None:
    effects = []
    for n in range(2):
        run_id = await new_run(bench.env, bench.superuser)
        record = {**RAW, "case_id": f"V{n}"}
        await bench.handler().execute(bench.env, call_of(bench.world, run_id, record=record))
        effects.append(await bench.effect(run_id))
    first, second = effects
    ctx, superuser = admin(bench.env), bench.superuser
    call = {"verb": "push", "connector": "casebook", "resource": "outcomes"}
    await publish(superuser, "connector", "casebook", 1, "sha256:casebook", {})
    await publish(superuser, "connector", "casebook", 2, first["connector_digest"], {})
    await publish(superuser, "tool", "post-outcome", 1, "sha256:tool1", {"call": call})
    await publish(superuser, "tool", "post-outcome", 2, "sha256:tool2", {"call": call})
    pins = [{"kind": "tool", "name": "post-outcome", "version": 2, "digest": "sha256:tool2"}]
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as tx:
        await tx.execute(
            "insert into pin_sets (tenant, digest, pins) values ('acme', 'with-tool', %s)", (json.dumps(pins),)
        )
        await tx.execute("update runs set pins = 'with-tool' where id = %s", (first["run_id"],))

    async def found(**where: Any) -> list[Any]:
        ids = [e.id for e in (await list_effects(ctx, PageParams(limit=50), EffectFilter(**where))).items]
        return [effect for effect in (first["id"], second["id"]) if effect in ids]

    assert await found(connector=Versioned(name="casebook", version=1)) == []
    assert await found(connector=Versioned(name="casebook", version=2)) == [first["id"], second["id"]]
    assert await found(tool=Versioned(name="post-outcome")) == [first["id"]]
    assert await found(tool=Versioned(name="post-outcome", version=2)) == [first["id"]]
    assert await found(tool=Versioned(name="post-outcome", version=1)) == []
    assert await found(since=second["intent_at"]) == [second["id"]]
    assert await found(since=second["intent_at"] + timedelta(seconds=1)) == []
    assert await found(simulated=True) == []
    assert await found(simulated=False) == [first["id"], second["id"]]
    for wanted in (
        {"connector": Versioned(name="casebook", version=9)},
        {"connector": Versioned(name="nothing")},
        {"tool": Versioned(name="nothing")},
    ):
        with pytest.raises(NotFound) as caught:
            await found(**wanted)
        assert caught.value.code == "effect.unknown_version"


async def test_open_outcomes_are_gauged_by_connector_and_operation(blind: Bench) -> None:
    run_id = await new_run(blind.env, blind.superuser)
    with pytest.raises(Suspend) as caught:
        await losing(blind, sent=True, written=True).execute(blind.env, call_of(blind.world, run_id))
    await suspended(blind, run_id, caught.value)
    gauges = EffectGauges()
    await gauges.measure(blind.env)
    series = 'stanchion_effects_unknown_by_connector{connector="casebook",operation="outcomes.push"}'

    def shown() -> float:
        line = next(line for line in blind.env.telemetry.expose().decode().splitlines() if line.startswith(series))
        return float(line.rpartition(" ")[2])

    before, waiting = shown(), await count_unknown(admin(blind.env))
    assert before >= 1
    assert waiting >= 1
    effect_id = (await blind.effect(run_id))["id"]
    await resolve(admin(blind.env), effect_id, happened=True, evidence="Seen in the register.")
    await gauges.measure(blind.env)
    assert shown() == before - 1
    assert await count_unknown(admin(blind.env)) == waiting - 1


async def test_what_was_attempted_for_a_run_that_ended_meanwhile_becomes_unknown(blind: Bench) -> None:
    """Its worker was lost in the call, and the run cancelled before anybody took it up again."""
    run_id, goes_on = await new_run(blind.env, blind.superuser), await new_run(blind.env, blind.superuser)
    for one in (run_id, goes_on):
        with pytest.raises(Crash):
            await blind.handler("before_call").execute(blind.env, call_of(blind.world, one))

    async def settled(after: timedelta) -> str:
        async with blind.env.db.engine_tx() as tx:
            await tx.execute(
                "update effects set intent_at = %s where run_id = any(%s)", (at - after, [run_id, goes_on])
            )
        await settle_left(blind.env)
        return (await blind.effect(run_id))["state"]

    at = blind.env.clock.now()
    assert await settled(timedelta(hours=1)) == "INTENT"  # the run may go on
    async with blind.env.db.engine_tx() as tx:
        await tx.execute("update runs set status = 'CANCELLED' where id = %s", (run_id,))
    assert await settled(timedelta(minutes=14)) == "INTENT"  # a call may still be under way
    waiting = await count_unknown(admin(blind.env))
    assert await settled(timedelta(minutes=16)) == "UNKNOWN"
    assert await count_unknown(admin(blind.env)) == waiting + 1
    assert await blind.audited(run_id) == ["effect.attempted", "effect.completed"]
    assert (await blind.effect(run_id))["error"]["code"] == "effect.outcome_unknown"
    await resolve(admin(blind.env), (await blind.effect(run_id))["id"], happened=False, evidence="Not in the register.")
    assert (await blind.effect(run_id))["state"] == "FAILED"
    assert (await blind.effect(goes_on))["state"] == "INTENT"


async def test_production_writes_only_through_connectors_bound_to_it(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    bench.env = replace(bench.env, environment=Environment(name="production", production=True))
    with pytest.raises(Denied) as caught:
        await bench.handler().execute(bench.env, call_of(bench.world, run_id))
    assert caught.value.code == "effect.wrong_environment"
    assert await bench.effect(run_id) == {}
    assert await bench.received() == []


async def test_outside_production_what_belongs_elsewhere_is_simulated_and_says_so(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    bench.world.body["environment"] = "production"
    result = await bench.handler("before_call").execute(bench.env, call_of(bench.world, run_id))
    key = effect_key(run_id, run_id, "record")
    receipt = {"applied": True, "rows": 1, "idempotency_key": key, "simulated": True}
    assert result.output == {"applied": True, "receipt": receipt}
    assert await bench.received() == []
    effect = await bench.effect(run_id)
    assert (effect["state"], effect["receipt"]) == ("DONE", receipt)
    assert await bench.audited(run_id) == ["effect.attempted", "effect.completed"]
    [completed, _] = (await list_records(admin(bench.env), PageParams(limit=10), run_id=run_id)).items
    assert '"simulated":true' in completed.record
    text = bench.env.telemetry.expose().decode()
    series = f'connector="{effect["connector"]}",operation="{effect["operation"]}"'
    assert f"stanchion_connector_simulated_total{{{series}}} 1.0" in text
    # Resumed, it is what it was.
    await reclaim(bench.superuser, run_id, 2)
    assert await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=2)) == result


async def test_a_simulated_effect_is_never_a_persons_question(blind: Bench) -> None:
    """The worker died between intent and receipt: a real call may have been sent, a simulated one never is."""
    run_id = await new_run(blind.env, blind.superuser)
    blind.world.body["environment"] = "production"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EffectPort, "_simulated", _dies)
        with pytest.raises(Crash):
            await blind.handler().execute(blind.env, call_of(blind.world, run_id))
    assert (await blind.effect(run_id))["state"] == "INTENT"
    await reclaim(blind.superuser, run_id, 2)
    result = await blind.handler("before_call").execute(blind.env, call_of(blind.world, run_id, epoch=2, attempt=2))
    assert isinstance(result.output, dict)
    assert result.output["applied"] is True
    assert (await blind.effect(run_id))["state"] == "DONE"


async def _dies(*_: Any) -> None:
    raise Crash


class HeldBack:
    """The broker, which has heard of a kill before the worker has."""

    name = "sql"

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def push(self, *_: Any) -> Any:
        raise held_back("killed", "kill-1", None, "the connector was killed")


async def test_what_the_broker_holds_back_waits_and_was_not_sent(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    handler = bench.handler("x")
    handler._adapters.by_name["sql"] = HeldBack(bench.adapters.get("sql"))  # type: ignore[index, attr-defined]
    with pytest.raises(Suspend) as caught:
        await handler.execute(bench.env, call_of(bench.world, run_id))
    assert (caught.value.kind, caught.value.ref) == (WaitingKind.KILLED, "kill-1")
    effect = await bench.effect(run_id)
    assert (effect["state"], effect["error"]["code"]) == ("FAILED", "kill.held_back")
    await reclaim(bench.superuser, run_id, 2)
    await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=2))
    assert await bench.received() == ["C1"]


class NoBroker(HeldBack):
    """The way to a broker where none can take the call."""

    def __init__(self, inner: Any, problem: Problem) -> None:
        super().__init__(inner)
        self.problem = problem

    async def push(self, *_: Any) -> Any:
        raise self.problem


@pytest.mark.parametrize(
    "problem",
    [
        AdapterProblem("broker.unavailable", "None is there.", retryable=True, sent=False, waits_for="broker"),
        LimitExceeded("broker.busy", "It has its hands full.", retry_after_s=0.5),
        Unavailable("db.unavailable", "The broker has no database."),
        Unavailable("policy.unread", "The broker could not read what is permitted for too long."),
        Unavailable("tool.unread", "The broker could not read the tools' states for too long."),
    ],
    ids=lambda problem: problem.code,
)
async def test_a_call_that_no_broker_takes_costs_no_attempt(bench: Bench, problem: Problem) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    handler = bench.handler("x")
    handler._adapters.by_name["sql"] = NoBroker(bench.adapters.get("sql"), problem)  # type: ignore[index, attr-defined]
    with pytest.raises(Suspend) as caught:
        await handler.execute(bench.env, call_of(bench.world, run_id))
    assert (caught.value.kind, caught.value.ref, caught.value.after_s) == (WaitingKind.BROKER, problem.code, 2.0)
    assert (await bench.effect(run_id))["state"] == "FAILED"
    await reclaim(bench.superuser, run_id, 2)
    await bench.handler().execute(bench.env, call_of(bench.world, run_id, epoch=2, attempt=1))
    assert await bench.received() == ["C1"]


async def test_a_read_whose_broker_was_lost_while_it_read_is_tried_again_as_a_failure(bench: Bench) -> None:
    """Else a call that ends its broker would do so for ever."""
    lost = AdapterProblem("broker.unavailable", "The connection was lost.", retryable=True, sent=False)
    assert waiting(lost) is None


class Approvals:
    def __init__(self, refusal: Problem | None = None) -> None:
        self.refusal, self.asked = refusal, []

    async def check(self, tx: Any, call: Any, record_digest: str) -> None:
        self.asked.append(record_digest)
        if self.refusal:
            raise self.refusal


async def test_an_approval_is_looked_at_again_where_the_effect_happens(env, superuser: str, tmp_path: Path) -> None:
    from stanchion.base import digest

    approvals = Approvals()
    bench = Bench(env, superuser, tmp_path, approvals)
    run_id = await new_run(env, superuser)
    raw = {**RAW, "comment": "by Ada"}
    op = {"approvals": ("approval",), "own_fields": frozenset({"comment"})}
    await bench.handler().execute(env, call_of(bench.world, run_id, record=raw, op=op))
    assert approvals.asked == [digest(RAW)]

    approvals.refusal = Denied("approval.arguments_changed", "Other arguments than were shown.")
    other = await new_run(env, superuser)
    with pytest.raises(Denied) as caught:
        await bench.handler().execute(env, call_of(bench.world, other, op=op))
    assert caught.value.code == "approval.arguments_changed"
    assert await bench.effect(other) == {}
    assert await bench.received() == ["C1"]


async def test_without_a_check_nothing_that_needs_one_is_written(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Denied) as caught:
        await bench.handler().execute(bench.env, call_of(bench.world, run_id, op={"approvals": ("approval",)}))
    assert caught.value.code == "approval.missing"
    assert await bench.received() == []


async def test_other_arguments_under_a_used_key_are_refused(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    await bench.handler().execute(bench.env, call_of(bench.world, run_id))
    await reclaim(bench.superuser, run_id, 2)
    with pytest.raises(Conflict) as caught:
        await bench.handler().execute(
            bench.env, call_of(bench.world, run_id, epoch=2, record={**RAW, "tier": "severe"})
        )
    assert caught.value.code == "effect.arguments_changed"
    assert await bench.received() == ["C1"]


async def test_a_record_that_does_not_fit_is_refused_before_anything_is_recorded(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Invalid) as caught:
        await bench.handler().execute(
            bench.env, call_of(bench.world, run_id, record={"case_id": 5, "tier": "huge", "extra": 1})
        )
    assert caught.value.code == "push.bad_record"
    assert len(caught.value.fields["errors"]) == 4  # type: ignore[arg-type]
    assert await bench.effect(run_id) == {}


async def test_a_record_that_breaks_a_format_is_refused_before_anything_is_recorded(bench: Bench) -> None:
    bench.world.body["resources"]["outcomes"]["fields"]["case_id"] = {"type": "string", "format": "decimal"}
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Invalid) as caught:
        await bench.handler().execute(
            bench.env, call_of(bench.world, run_id, record={"case_id": "12,50", "tier": "minor", "articles": []})
        )
    assert caught.value.code == "push.bad_record"
    assert caught.value.fields["errors"] == ["case_id: is a text, not a decimal such as 12.50"]
    assert await bench.effect(run_id) == {}
    assert await bench.received() == []


async def test_many_runs_at_once_share_commits_and_mix_nothing(bench: Bench) -> None:
    runs = [await new_run(bench.env, bench.superuser) for _ in range(24)]
    handler = bench.handler()
    lost = runs[7]
    await reclaim(bench.superuser, lost, 9)
    results = await asyncio.gather(
        *(
            handler.execute(bench.env, call_of(bench.world, run, record={**RAW, "case_id": f"M{n}"}, timeout_s=20.0))
            for n, run in enumerate(runs)
        ),
        return_exceptions=True,
    )
    assert [type(r).__name__ for r in results] == ["LostClaim" if run == lost else "StepResult" for run in runs]
    assert sorted(await bench.received()) == sorted(f"M{n}" for n in range(24) if n != 7)
    for n, run in enumerate(runs):
        assert (await bench.effect(run)).get("state") == (None if n == 7 else "DONE")


async def test_the_state_machine_is_the_check_constraint(superuser: str) -> None:
    async with await psycopg.AsyncConnection.connect(superuser) as connection:
        cursor = await connection.execute(
            "select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'effects'::regclass"
            " and pg_get_constraintdef(oid) like '%%UNKNOWN%%'"
        )
        row = await cursor.fetchone()
    assert row
    import re

    assert set(re.findall(r"'([A-Z]+)'", row[0])) == {s.value for s in TRANSITIONS} == {s.value for s in EffectState}
