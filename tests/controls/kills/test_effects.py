"""Calls of a killed connector: none is made, no effect is sent, and after the lift each is done once."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanchion.base import NotFound
from stanchion.bootstrap.web import killable_kinds
from stanchion.context import Env
from stanchion.controls import kills
from stanchion.controls.kills import Kill, Snapshot
from stanchion.runs import StepCall, Suspend, WaitingKind
from stanchion.tools import EffectPort, FetchHandler, LookupHandler, PushHandler
from stanchion.tools.routes import build_router
from tests.support.http import app_of, client_of
from tests.tools.support import Bench, admin, call_of, new_run
from tests.tools.test_routes import publish


@pytest.fixture
async def bench(env, cluster, database_urls, tmp_path: Path) -> Bench:
    made = Bench(env, cluster.superuser(database_urls), tmp_path)
    await publish(made, "casebook")
    return made


@pytest.fixture
async def snapshot(env) -> Snapshot:
    made = Snapshot(env, role="engine", notified=False)
    await made.refresh()
    return made


def push(bench: Bench, snapshot: Snapshot) -> PushHandler:
    return PushHandler(bench.adapters, EffectPort(bench.env, None, snapshot), snapshot)


async def kill(env: Env, snapshot: Snapshot) -> Kill:
    made = await kills.set_kill(admin(env), killable_kinds(), "connector", "casebook", reason="It leaks.")
    await snapshot.refresh()
    return made


async def lift(env: Env, snapshot: Snapshot, made: Kill) -> None:
    await kills.lift_kill(admin(env), made.id, reason="Mended.")
    await snapshot.refresh()


async def wait_of(handler, bench: Bench, call: StepCall) -> str | None:
    """What the step waits on."""
    with pytest.raises(Suspend) as caught:
        await handler.execute(bench.env, call)
    assert caught.value.kind is WaitingKind.KILLED
    assert caught.value.also is None
    return caught.value.ref


async def test_a_killed_connector_receives_nothing_and_after_the_lift_each_write_once(bench, snapshot) -> None:
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    made = await kill(bench.env, snapshot)
    handler = push(bench, snapshot)
    assert await wait_of(handler, bench, call) == str(made.id)
    assert await bench.effect(call.claim.run_id) == {}
    assert await bench.received() == []
    await lift(bench.env, snapshot, made)
    done = await handler.execute(bench.env, call)
    assert done.output["applied"] is True
    again = await handler.execute(bench.env, call)
    assert again.output == done.output
    assert await bench.received() == ["C1"]


@pytest.mark.parametrize("kind", [FetchHandler, LookupHandler])
async def test_reads_of_a_killed_connector_wait_too(bench, snapshot, kind) -> None:
    handler = kind(bench.adapters, snapshot)
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    call.config = {"connector": "casebook", "resource": "cases", "key": "C1"}
    made = await kill(bench.env, snapshot)
    assert await wait_of(handler, bench, call) == str(made.id)


async def test_a_kill_while_the_intent_is_committed_still_stops_the_call(bench, snapshot, monkeypatch) -> None:
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    handler = push(bench, snapshot)
    ledger = handler._effects._ledger
    begin, made = ledger.begin, []

    async def begin_then_killed(*arguments):
        begun = await begin(*arguments)
        made.append(await kill(bench.env, snapshot))
        return begun

    monkeypatch.setattr(ledger, "begin", begin_then_killed)
    assert await wait_of(handler, bench, call) == str(made[0].id)
    effect = await bench.effect(call.claim.run_id)
    assert (effect["state"], effect["error"]["code"]) == ("FAILED", "kill.held_back")
    assert await bench.received() == []
    monkeypatch.undo()
    await lift(bench.env, snapshot, made[0])
    assert (await handler.execute(bench.env, call)).output["applied"] is True
    assert await bench.received() == ["C1"]
    assert (await bench.effect(call.claim.run_id))["state"] == "DONE"
    told = await bench.audited(call.claim.run_id)
    assert told == ["effect.attempted", "effect.completed"] * 2


async def test_while_nobody_knows_what_is_killed_no_effect_is_sent_and_reads_go_on(
    bench, snapshot, monkeypatch
) -> None:
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    monkeypatch.setattr(snapshot, "_read_at", bench.env.clock.monotonic() - kills.AGE_S_MAX - 0.1)
    assert await wait_of(push(bench, snapshot), bench, call) == "unread"
    assert await bench.effect(call.claim.run_id) == {}
    cases = call_of(bench.world, await new_run(bench.env, bench.superuser))
    cases.config = {"connector": "casebook", "resource": "cases", "limit": 1}
    assert (await FetchHandler(bench.adapters, snapshot).execute(bench.env, cases)).output["count"] == 1
    await snapshot.refresh()
    await push(bench, snapshot).execute(bench.env, call)
    assert await bench.received() == ["C1"]


async def test_another_version_of_the_connector_is_not_stopped(bench, snapshot) -> None:
    made = await kills.set_kill(
        admin(bench.env), killable_kinds(), "connector", "casebook", version=1, reason="It leaks."
    )
    await snapshot.refresh()
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    await push(bench, snapshot).execute(bench.env, call)  # pinned to another digest
    pinned = call_of(bench.world, await new_run(bench.env, bench.superuser))
    pinned.digests = {("connector", "casebook"): "sha256:casebook"}
    assert await wait_of(push(bench, snapshot), bench, pinned) == str(made.id)


async def test_testing_a_killed_connector_is_denied(bench, snapshot) -> None:
    await kill(bench.env, snapshot)
    async with client_of(app_of(admin(bench.env), build_router(bench.adapters, snapshot))) as client:
        answer = await client.post("/api/connectors/casebook/test")
    assert (answer.status_code, answer.json()["code"]) == (403, "kill.active")


async def test_a_misspelt_name_is_refused(env, bench) -> None:
    with pytest.raises(NotFound, match="casebok"):
        await kills.set_kill(admin(env), killable_kinds(), "connector", "casebok", reason="It leaks.")
    with pytest.raises(NotFound, match="version 7"):
        await kills.set_kill(admin(env), killable_kinds(), "connector", "casebook", version=7, reason="It leaks.")
    with pytest.raises(NotFound, match="tenant/acme"):
        await kills.set_kill(admin(env), killable_kinds(), "tenant", "beta", reason="It leaks.")
