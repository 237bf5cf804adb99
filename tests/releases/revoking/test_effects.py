"""A write whose connector is revoked between its intent and its call: nothing is sent, and it is sent once afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from stanchion.controls import withdrawals
from stanchion.controls.withdrawals import Mode, Snapshot
from stanchion.runs import Suspend, WaitingKind
from stanchion.tools import EffectPort, PushHandler
from tests.tools.support import Bench, admin, call_of, new_run

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
async def bench(env, cluster, database_urls, tmp_path: Path) -> Bench:
    return Bench(env, cluster.superuser(database_urls), tmp_path)


@pytest.fixture
async def known(env) -> Snapshot:
    made = Snapshot(env, role="engine", notified=False)
    await made.refresh()
    return made


async def revoke(bench: Bench, known: Snapshot) -> None:
    ctx = admin(bench.env)
    async with ctx.tx() as tx:
        await withdrawals.put(
            tx, ctx, Mode.REVOKE, kind="connector", name="casebook", version=1, digest=DIGEST, reason="It is wrong."
        )
    await known.refresh()


async def test_a_revocation_while_the_intent_is_committed_still_stops_the_call(bench, known, monkeypatch) -> None:
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    call.uses = (DIGEST,)
    handler = PushHandler(bench.adapters, EffectPort(bench.env, None, withdrawals=known))
    ledger = handler._effects._ledger
    begin = ledger.begin

    async def begin_then_revoked(*arguments):
        begun = await begin(*arguments)
        await revoke(bench, known)
        return begun

    monkeypatch.setattr(ledger, "begin", begin_then_revoked)
    with pytest.raises(Suspend) as caught:
        await handler.execute(bench.env, call)
    assert (caught.value.kind, caught.value.ref) == (WaitingKind.REVOKED, DIGEST)
    effect = await bench.effect(call.claim.run_id)
    assert (effect["state"], effect["error"]["code"]) == ("FAILED", "release.held_back")
    assert await bench.received() == []
    monkeypatch.undo()
    call.uses = ("sha256:another",)
    assert (await handler.execute(bench.env, call)).output["applied"] is True
    assert await bench.received() == ["C1"]


async def test_while_nobody_knows_what_is_revoked_no_effect_is_sent(bench, known, monkeypatch) -> None:
    call = call_of(bench.world, await new_run(bench.env, bench.superuser))
    monkeypatch.setattr(known, "_read_at", bench.env.clock.monotonic() - withdrawals.AGE_S_MAX - 0.1)
    handler = PushHandler(bench.adapters, EffectPort(bench.env, None, withdrawals=known))
    with pytest.raises(Suspend) as caught:
        await handler.execute(bench.env, call)
    assert caught.value.ref == withdrawals.UNREAD
    assert await bench.received() == []
    await known.refresh()
    await handler.execute(bench.env, call)
    assert await bench.received() == ["C1"]
