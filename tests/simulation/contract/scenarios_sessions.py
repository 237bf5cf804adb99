"""Scenarios of sessions, sweeps, unique keys, walls and transactions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from stanchion.approvals import store as approvals
from stanchion.approvals.types import Approval, ApprovalStatus
from stanchion.base import SystemClock, Unavailable, dumps
from stanchion.queue import store as queue
from stanchion.runs import store as runs
from stanchion.runs.engine import store as engine
from stanchion.runs.sweeping import store as sweeping
from stanchion.tools.effects import store as effects
from stanchion.tools.effects.types import Effect, EffectState
from tests.simulation.contract.arranged import Arranged, lock_key, result_of, start_row


async def a_session_lock_ends_with_its_session(a: Arranged) -> None:
    worker = await a.worker(locked=False)
    other = await a.worker()
    async with a.dedicated("engine") as session:
        assert await engine.try_session_lock(session, lock_key(worker))
        assert not await engine.try_session_lock(a.side.listener, lock_key(worker))
        assert not (await _tick(a, other)).due
        async with a.db.connection("engine") as tx:
            assert await sweeping.mark_lost(tx) == []
        await a.side.terminate(session)
        await _until(lambda: _due(a, other))
        async with a.db.connection("engine") as tx:
            assert [(lost.id, lost.how) for lost in await sweeping.mark_lost(tx)] == [(worker, "lock")]
        assert (await _tick(a, worker)).state == "lost"
        with pytest.raises(psycopg.OperationalError):
            await engine.try_session_lock(session, 1)
        assert session.closed


async def a_lease_is_renewed_while_its_worker_lives(a: Arranged) -> None:
    worker = await a.worker()
    before = await a.side.row("workers", worker)
    assert (await _tick(a, worker)).state == "live"
    assert await a.side.row("workers", worker) == before
    async with a.db.connection("engine") as tx:
        assert await engine.beat(tx, worker, running=3, lease_s=1000.0)
        after = await a.side.row("workers", worker)
        assert (after["lease_until"] > before["lease_until"], after["running"]) == (True, 3)
        await engine.set_worker_state(tx, worker, "stopped")
        assert not await engine.beat(tx, worker, running=3, lease_s=1000.0)


async def one_sweeper_at_a_time(a: Arranged) -> None:
    async with a.other() as tx:
        assert await sweeping.try_lock(tx)
        async with a.db.engine_tx() as beside:
            assert not await sweeping.try_lock(beside)
    async with a.db.engine_tx() as beside:
        assert await sweeping.try_lock(beside)


async def a_session_that_dies_undoes_its_transaction(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    with pytest.raises(Unavailable):  # noqa: PT012 - the block is the transaction
        async with a.other() as tx:
            assert await engine.lock_claimed(tx, run_id, 1)
            await a.checkpoint(run_id, tx, cursor=7)
            write = await a.waits(a.checkpoint(run_id, cursor=1))
            await a.side.terminate(tx)
            assert [row.rev for row in await result_of(write)] == [3]
            await engine.lock_claimed(tx, run_id, 1)
    assert (await a.run(run_id))["cursor"] == 1


async def a_deadlock_ends_one_of_two(a: Arranged) -> None:
    first, second = await a.start(2)
    first_locked, second_locked = asyncio.Event(), asyncio.Event()

    async def lock(db: object, mine: UUID, said: asyncio.Event, heard: asyncio.Event, theirs: UUID) -> str:
        try:
            async with db.tenant_tx("acme") as tx:  # type: ignore[attr-defined]
                await runs.lock_run(tx, "acme", mine)
                said.set()
                await heard.wait()
                await runs.lock_run(tx, "acme", theirs)
        except psycopg.errors.DeadlockDetected:
            return "deadlock"
        return "done"

    both = asyncio.gather(
        lock(a.db, first, first_locked, second_locked, second),
        lock(a.side.other, second, second_locked, first_locked, first),
    )
    assert sorted(await asyncio.wait_for(both, 60)) == ["deadlock", "done"]


async def due_runs_wake_in_the_order_of_their_time(a: Arranged) -> None:
    _, ids = await a.running(3)
    for id_, kind, delay_s in zip(ids, ("retry", "approval", "retry"), (-10.0, -20.0, 500.0), strict=True):
        await a.checkpoint(id_, status="SUSPENDED", waiting_kind=kind, waiting_ref="r", delay_s=delay_s)
    async with a.other("acme") as tx:
        await runs.lock_run(tx, "acme", ids[1])
        async with a.db.connection("engine") as beside:
            assert await a.at_once(sweeping.wake_due(beside, 1)) == ["default"]
    assert [(await a.run(id_))["waiting_kind"] for id_ in ids] == ["retry", "approval", "retry"]
    assert [await a.status(id_) for id_ in ids] == ["PENDING", "SUSPENDED", "SUSPENDED"]
    async with a.db.tenant_tx("acme") as tx:
        await runs.request_cancel(tx, "acme", ids[1], "no")
    async with a.db.connection("engine") as tx:
        assert await sweeping.wake_due(tx, 9) == [], "a cancelled run was woken"
        assert await runs.lock_cancelling(tx, 9) == [ids[1]]


async def stranded_runs_are_taken_by_one(a: Arranged) -> None:
    worker, ids = await a.running(2)
    await a.side.backdate("workers", "lease_until", 5000, id=worker)
    async with a.db.connection("engine") as tx:
        assert [lost.id for lost in await sweeping.mark_lost(tx)] == [worker]
    async with a.other() as tx:
        assert [run.id for run in await sweeping.lock_stranded(tx, 1)] == [min(ids)]
        async with a.db.connection("engine") as beside:
            found = await a.at_once(sweeping.lock_stranded(beside, 9))
            assert [run.id for run in found] == [max(ids)]
            assert (found[0].lease_over, found[0].strikes, found[0].on_probation) == (True, 1, False)
            assert await sweeping.mark_reclaimed(beside) == 0
    async with a.db.connection("engine") as tx:
        assert await sweeping.reclaim(tx, ids, 2) == 2
        assert await sweeping.mark_reclaimed(tx) == 1
        assert await sweeping.lock_stranded(tx, 9) == []


async def a_probation_child_counts_on_its_parents_word(a: Arranged) -> None:
    parent = await a.worker()
    child = await a.worker(probation_of=parent)
    (run_id,) = await a.start()
    assert await a.claim(child)
    await a.side.backdate("workers", "lease_until", 5000, id=child)
    async with a.db.connection("engine") as tx:
        await sweeping.mark_lost(tx)
        (stranded,) = await sweeping.lock_stranded(tx, 9)
        assert (stranded.on_probation, stranded.parent_alive, stranded.confirmed) == (True, True, False)
        assert await engine.confirm_crash(tx, parent) == 1
        assert [run.confirmed for run in await sweeping.lock_stranded(tx, 9)] == [True]
    assert stranded.id == run_id


async def a_key_starts_one_run(a: Arranged) -> None:
    ids = [uuid4() for _ in range(3)]
    key = {"key": "k", "request_digest": "x"}
    async with a.undone() as tx:
        await _start(a, ids[0], tx, **key)
        second = await a.waits(_start(a, ids[1], **key))
    await result_of(second)
    assert await a.status(ids[1]) == "PENDING"
    await _start(a, ids[2], **key)
    assert [row["id"] for row in await a.side.rows("runs")] == [ids[1]]
    async with a.db.tenant_tx("acme") as tx:
        assert [use.run_id for use in await runs.select_keys(tx, "acme", ["k"])] == [ids[1]]


async def a_repeated_start_changes_nothing(a: Arranged) -> None:
    (run_id,) = await a.start()
    await a.claim(await a.worker())
    before = await a.side.dump()
    await a.start(id=run_id)
    assert await a.side.dump() == before


async def one_bad_row_stores_none(a: Arranged) -> None:
    with pytest.raises(psycopg.errors.NotNullViolation):
        await a.insert([start_row(uuid4()), start_row(uuid4(), blueprint=None)])
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        await a.insert([start_row(uuid4()), start_row(uuid4(), input="\0")])
    assert await a.side.rows("runs") == []
    assert await a.side.rows("pin_sets") == []


async def old_keys_are_forgotten(a: Arranged) -> None:
    await _start(a, uuid4(), key="old", request_digest="x")
    await _start(a, uuid4(), key="new", request_digest="x")
    await a.side.backdate("idempotency_keys", "created_at", 90_000, key="old")
    async with a.db.connection("engine") as tx:
        assert await sweeping.delete_old_keys(tx, 24.0, 10) == 1
    assert [row["key"] for row in await a.side.rows("idempotency_keys")] == ["new"]


async def a_step_has_one_effect_and_a_key_one_per_tenant(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    made = effect(run_id)
    async with a.undone() as tx:
        await effects.insert_intent(tx, made)
        second = await a.waits(_intent(a, replace(made, id=uuid4())))
    await result_of(second)
    with pytest.raises(psycopg.errors.UniqueViolation):
        await _intent(a, made)
    with pytest.raises(psycopg.errors.UniqueViolation):
        await _intent(a, replace(made, id=uuid4(), path="other"))
    await _intent(a, replace(made, id=uuid4(), path="other", key="k2"))
    async with a.other() as tx:
        found = await effects.lock_of_step(tx, "acme", run_id, "first")
        assert found is not None
        outcome = await a.waits(_outcome(a, found))
    await result_of(outcome)
    row = await a.side.row("effects", found.id)
    assert (row["state"], row["receipt"]) == ("DONE", {"rows": 1})


async def an_approval_is_settled_once(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    asked = approval(run_id)
    async with a.db.engine_tx() as tx:
        await approvals.insert(tx, asked)
    with pytest.raises(psycopg.errors.UniqueViolation):
        async with a.db.engine_tx() as tx:
            await approvals.insert(tx, replace(asked, id=uuid4()))
    yes = replace(asked, status=ApprovalStatus.APPROVED, decided_by="bob", decided_at=asked.created_at, reason="r")
    async with a.other("acme") as tx:
        assert not await approvals.settle(tx, replace(yes, args_digest="other"))
        assert await approvals.settle(tx, yes)
        second = await a.waits(_settle(a, replace(yes, status=ApprovalStatus.REJECTED)))
    assert await result_of(second) is False
    async with a.db.engine_tx() as tx:
        assert await approvals.expire_one(tx, "acme", asked.id, asked.expires_at) is None
        found = await approvals.find(tx, "acme", run_id, "first", 1)
    assert found is not None
    assert (found.status, found.decided_by, found.shown) == ("APPROVED", "bob", [{"x": 1}])


async def an_approval_counts_for_its_attempt(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    asked = approval(run_id)
    async with a.db.engine_tx() as tx:
        await approvals.insert(tx, asked)
    await a.checkpoint(run_id, step={"status": "SUCCEEDED", "output": {"decision": "approved"}})
    for attempt, found in ((1, asked.id), (2, None)):
        await a.checkpoint(run_id, step={"attempt": attempt, "status": "SUCCEEDED", "output": {"decision": "approved"}})
        async with a.db.engine_tx() as tx:
            rows = await approvals.dominating(tx, "acme", run_id, ["first", "none"])
        assert [(row.path, row.approval_id, row.decision) for row in rows] == [("first", found, "approved")]


async def a_tenant_sees_and_writes_its_own(a: Arranged) -> None:
    (mine,), (theirs,) = await a.start(), await a.start(tenant="globex")
    async with a.db.tenant_tx("acme") as tx:
        assert {step.run_id for step in await runs.load_steps(tx, [mine, theirs])} == {mine}
        assert await runs.end_runs(tx, ends=dumps([{"id": theirs, "status": "CANCELLED", "error": None}])) == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        await a.insert([start_row(uuid4()), start_row(uuid4(), tenant="globex")])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with a.db.tenant_tx("acme") as tx:
            await engine.set_worker_state(tx, await a.worker(), "stopped")
    async with a.dedicated("app") as fresh:
        with pytest.raises(psycopg.errors.UndefinedObject):
            await runs.load_steps(fresh, [mine])
        assert await runs.select_status(fresh, "acme", mine) == "PENDING"
        assert await runs.select_status(fresh, "globex", mine) is None
        assert await runs.load_steps(fresh, [mine]) == [], "a wall outlived its transaction"


async def a_failed_transaction_takes_nothing_more(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):  # noqa: PT012 - the block is the transaction
        async with a.db.engine_tx() as tx:
            await effects.insert_intent(tx, effect(run_id))
            with pytest.raises(psycopg.errors.CheckViolation):
                await effects.insert_intent(tx, replace(effect(run_id), id=uuid4(), path="x", effect_class="read"))  # type: ignore[arg-type]
            await effects.count_unknown(tx)
    async with a.db.engine_tx() as tx:
        await effects.insert_intent(tx, effect(run_id))
        with pytest.raises(psycopg.errors.UniqueViolation):
            await effects.insert_intent(tx, replace(effect(run_id), id=uuid4()))
    assert await a.side.rows("effects") == [], "a transaction that failed was committed"


async def a_cancelled_wait_leaves_nothing(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    async with a.other() as tx:
        assert await engine.lock_claimed(tx, run_id, 1)
        write = await a.waits(a.checkpoint(run_id, cursor=1))
        write.cancel()
        with pytest.raises(asyncio.CancelledError):
            await write
    assert (await a.run(run_id))["cursor"] == 0
    assert [row.rev for row in await a.checkpoint(run_id, cursor=2)] == [3]


async def notifications_come_in_their_order(a: Arranged) -> None:
    await a.side.heard()
    told = [("stanchion_ready", "b"), ("stanchion_runs", "x"), ("stanchion_ready", "a"), ("stanchion_ready", "b")]
    async with a.db.connection("app") as tx:
        await queue.notify(tx, told)
    assert await a.side.heard() == told[:3]


# --- parts


async def _tick(a: Arranged, worker: UUID) -> engine.Tick:
    async with a.db.connection("engine") as tx:
        return await engine.tick(tx, worker=worker, queues=("default",), engine_v=1, fans=True)


async def _due(a: Arranged, worker: UUID) -> bool:
    return (await _tick(a, worker)).due


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(1000):
        if await holds():
            return
    raise AssertionError("it did not come to hold")


async def _start(a: Arranged, run_id: UUID, tx: object = None, **more: object) -> None:
    """A start; with `tx` in that transaction, of role engine, which may insert as well."""
    if tx is None:
        await a.insert([start_row(run_id, **more)])
        return
    pins = [{"tenant": "acme", "digest": "sha256:p", "pins": []}]
    rows = dumps([start_row(run_id, **more)])
    await runs.insert_starts(tx, "acme", starts=rows, pin_sets=dumps(pins), audits=b"[]")  # type: ignore[arg-type]


async def _intent(a: Arranged, made: Effect) -> None:
    async with a.db.engine_tx() as tx:
        await effects.insert_intent(tx, made)


async def _outcome(a: Arranged, made: Effect) -> None:
    async with a.db.engine_tx() as tx:
        at = SystemClock().now()
        await effects.set_outcome(tx, made, state=EffectState.DONE, at=at, receipt={"rows": 1})


async def _settle(a: Arranged, decided: Approval) -> bool:
    async with a.db.tenant_tx("acme") as tx:
        return await approvals.settle(tx, decided)


def effect(run_id: UUID) -> Effect:
    """An intent of a run's first step."""
    return Effect(
        tenant="acme",
        id=uuid4(),
        run_id=run_id,
        path="first",
        key="k",
        connector="erp",
        connector_digest="c",
        operation="post",
        effect_class="write",
        idempotency="key",
        args_digest="a",
        state=EffectState.INTENT,
        epoch=1,
        receipt=None,
        error=None,
        resolved_by=None,
        evidence=None,
        intent_at=SystemClock().now(),
        outcome_at=None,
    )


def approval(run_id: UUID) -> Approval:
    """What a run's first step asks."""
    now = SystemClock().now()
    return Approval(
        tenant="acme",
        id=uuid4(),
        run_id=run_id,
        root_id=run_id,
        path="first",
        attempt=1,
        blueprint="triage",
        policy="p",
        policy_digest="sha256:q",
        requested_by="ada",
        title="t",
        facts={"a": 1},
        shown=[{"x": 1}],
        args_digest="d",
        bound=["b"],
        nonce="n",
        may_decide={"roles": ["approver"], "principals": []},
        forbid_self=True,
        on_reject="fail",
        on_expire="fail",
        status=ApprovalStatus.PENDING,
        decided_by=None,
        decided_at=None,
        reason=None,
        created_at=now,
        expires_at=now + timedelta(hours=1),
    )


SCENARIOS = [
    a_session_lock_ends_with_its_session,
    a_lease_is_renewed_while_its_worker_lives,
    one_sweeper_at_a_time,
    a_session_that_dies_undoes_its_transaction,
    a_deadlock_ends_one_of_two,
    due_runs_wake_in_the_order_of_their_time,
    stranded_runs_are_taken_by_one,
    a_probation_child_counts_on_its_parents_word,
    a_key_starts_one_run,
    a_repeated_start_changes_nothing,
    one_bad_row_stores_none,
    old_keys_are_forgotten,
    a_step_has_one_effect_and_a_key_one_per_tenant,
    an_approval_is_settled_once,
    an_approval_counts_for_its_attempt,
    a_tenant_sees_and_writes_its_own,
    a_failed_transaction_takes_nothing_more,
    a_cancelled_wait_leaves_nothing,
    notifications_come_in_their_order,
]
