"""Scenarios of claiming, fencing and waking."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from stanchion.base import dumps
from stanchion.runs import store as runs
from stanchion.runs.engine import store as engine
from stanchion.runs.engine.store import Claimed
from stanchion.runs.sweeping import store as sweeping
from tests.simulation.contract.arranged import Arranged, result_of


async def claims_skip_what_another_claims(a: Arranged) -> None:
    first, second = await a.worker(), await a.worker()
    ids = await a.start(4)
    async with a.undone() as tx:
        assert list(await a.claim(first, tx, limit=2)) == sorted(ids[:2])
        assert set(await a.at_once(a.claim(second, limit=2))) == set(ids[2:])
    assert set(await a.claim(second)) == set(ids[:2]), "a claim that was rolled back left its runs unclaimable"
    assert {(await a.run(id_))["epoch"] for id_ in ids} == {1}


async def claims_go_by_priority_then_age(a: Arranged) -> None:
    worker = await a.worker()
    (old,), (new,), (urgent,) = await a.start(), await a.start(), await a.start(priority=5)
    for expected in (urgent, old, new):
        assert list(await a.claim(worker, limit=1)) == [expected]


async def a_claim_tells_the_step_as_it_was(a: Arranged) -> None:
    worker = await a.worker()
    (run_id,) = await a.start()
    claimed = (await a.claim(worker))[run_id]
    assert (claimed.step_status, claimed.step_began, claimed.step_attempt) == ("PENDING", False, 1)
    assert (claimed.epoch, claimed.strikes, claimed.waited_for, claimed.input) == (1, 1, None, {"n": 1})
    step = await a.side.row("step_runs", (run_id, "first"))
    assert (step["status"], step["started_at"] is not None) == ("RUNNING", True)


async def a_claim_leaves_cancelled_probation_and_newer_runs(a: Arranged) -> None:
    worker = await a.worker()
    (cancelled,), (newer,), (struck,) = await a.start(), await a.start(engine_v=2), await a.start()
    async with a.db.tenant_tx("acme") as tx:
        [marked] = await runs.request_cancel(tx, "acme", cancelled, "no")
        assert (marked.id, marked.running) == (cancelled, False)
        assert await runs.request_cancel(tx, "acme", cancelled, "no") == []
    async with a.db.connection("engine") as tx:
        for _ in range(2):
            await engine.claim(
                tx, worker=worker, queues=("default",), engine_v=1, limit=9, probation=False, any_strikes=True
            )
            await sweeping.reclaim(tx, [struck], 2)
    assert list(await a.claim(worker, any_strikes=False)) == []
    assert list(await a.claim(worker, any_strikes=False, probation=True)) == [struck]
    assert list(await a.claim(worker, engine_v=2)) == [newer]


async def a_claim_and_the_verdict_on_its_worker_exclude_each_other(a: Arranged) -> None:
    worker = await a.worker()
    await a.start()
    await a.side.backdate("workers", "lease_until", 5000, id=worker)
    async with a.other() as tx:
        assert await a.claim(worker, tx)
        async with a.db.connection("engine") as beside:
            assert await a.at_once(sweeping.mark_lost(beside)) == [], "a worker amid a claim was judged"
        ends = await a.waits(_state(a, worker, "stopped"))
    await result_of(ends)
    assert (await a.side.row("workers", worker))["state"] == "stopped"


async def a_lost_worker_claims_nothing(a: Arranged) -> None:
    worker = await a.worker()
    (run_id,) = await a.start()
    await a.side.backdate("workers", "lease_until", 5000, id=worker)
    async with a.undone() as tx:
        assert [lost.how for lost in await sweeping.mark_lost(tx)] == ["lease"]
        claim = await a.waits(a.claim(worker))
    assert list(await result_of(claim)) == [run_id]
    await a.start()
    async with a.other() as tx:
        assert [lost.id for lost in await sweeping.mark_lost(tx)] == [worker]
        claim = await a.waits(a.claim(worker))
    assert await result_of(claim) == {}


async def _claimed_after_a_wait(a: Arranged, **moved: Any) -> Claimed:
    """What a claim tells of a run that another worker claimed, and `moved` on and handed back, while it waited for its
    worker's row."""
    first, second = await a.worker(), await a.worker()
    (run_id,) = await a.start()
    async with a.undone() as tx:
        await engine.set_worker_state(tx, first, "draining")
        claim = await a.waits(a.claim(first))
        assert await a.claim(second)
        await a.checkpoint(run_id, status="PENDING", **moved)
    return (await result_of(claim))[run_id]


async def a_claim_that_waited_knows_no_step_of_meanwhile(a: Arranged) -> None:
    """A run that moved on while a claim waited for its worker's row is claimed as it is now, but its new StepRun is
    younger than the claim's snapshot: it is neither told of nor marked RUNNING."""
    step = {"path": "second", "position": 1, "status": "PENDING", "attempt": 2}
    claimed = await _claimed_after_a_wait(a, path="second", cursor=1, step=step)
    assert (claimed.path, claimed.epoch, claimed.step_status, claimed.step_attempt) == ("second", 2, None, None)
    assert (await a.side.row("step_runs", (claimed.id, "second")))["status"] == "PENDING"


async def a_claim_that_waited_tells_nothing_of_a_step_that_changed(a: Arranged) -> None:
    """The same where the step it stands at is an old one that suspended and was woken meanwhile: what the snapshot has of
    it (not begun) is not true any more."""
    claimed = await _claimed_after_a_wait(a, step={"status": "SUSPENDED", "attempt": 1})
    assert (claimed.path, claimed.epoch, claimed.step_status, claimed.step_began) == ("first", 2, None, None)
    assert (await a.side.row("step_runs", (claimed.id, "first")))["status"] == "SUSPENDED"


async def two_claims_of_one_worker_share_its_row(a: Arranged) -> None:
    worker = await a.worker()
    ids = await a.start(2)
    async with a.other() as tx:
        assert len(await a.claim(worker, tx, limit=1)) == 1
        assert len(await a.at_once(a.claim(worker, limit=5))) == 1
    assert {await a.status(id_) for id_ in ids} == {"RUNNING"}


async def a_checkpoint_of_an_older_epoch_writes_nothing(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    async with a.db.connection("engine") as tx:
        assert await sweeping.reclaim(tx, [run_id], 2) == 1
    before = await a.run(run_id)
    assert await a.checkpoint(run_id, step={"status": "SUCCEEDED", "output": 1}, status="SUCCEEDED") == []
    assert await a.checkpoint(run_id, epoch=2, status="SUCCEEDED") == [], "a run that is not RUNNING was written"
    assert await a.run(run_id) == before
    assert (await a.side.row("step_runs", (run_id, "first")))["status"] == "RUNNING"


async def a_checkpoint_waits_for_the_reclaim_and_looks_again(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    async with a.undone() as tx:
        assert await sweeping.reclaim(tx, [run_id], 2) == 1
        write = await a.waits(a.checkpoint(run_id, cursor=1))
    assert [row.rev for row in await result_of(write)] == [3]
    async with a.other() as tx:
        assert await sweeping.reclaim(tx, [run_id], 2) == 1
        write = await a.waits(a.checkpoint(run_id, cursor=2))
    assert await result_of(write) == []
    assert (await a.run(run_id))["cursor"] == 1


async def a_checkpoint_writes_one_row_twice_or_not_at_all(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    head = {"id": run_id, "epoch": 1, "status": "RUNNING", "cursor": 0, "path": "first"}
    step = {"run_id": run_id, "path": "x", "position": 1, "verb": "push", "status": "RUNNING", "attempt": 1}
    before = await a.side.dump()
    async with a.db.connection("engine") as tx:
        with pytest.raises(Exception, match="second time"):
            await engine.checkpoint(tx, runs=dumps([head]), steps=dumps([step, step]), audits=b"[]")
    async with a.db.connection("engine") as tx:
        with pytest.raises(Exception, match=r"(?i)unicode escape"):
            await engine.checkpoint(tx, runs=dumps([head]), steps=dumps([{**step, "output": "\0"}]), audits=b"[]")
    assert await a.side.dump() == before, "a statement that failed left something behind"


async def holds_share_and_keep_others_out(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    claim = dumps([{"id": run_id, "epoch": 1}])
    async with a.other() as tx:
        assert await runs.hold(tx, claim) == [run_id]
        async with a.db.connection("engine") as beside:
            assert await a.at_once(runs.hold(beside, claim)) == [run_id]
        write = await a.waits(_reclaim(a, run_id))
    assert await result_of(write) == 1
    async with a.db.connection("engine") as tx:
        assert await runs.hold(tx, claim) == [], "a claim that was lost is held"


async def a_hold_waits_for_a_reclaim_and_finds_it_lost(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    async with a.other() as tx:
        await sweeping.reclaim(tx, [run_id], 2)
        hold = await a.waits(_hold(a, run_id))
    assert await result_of(hold) == []


async def a_wake_of_a_running_run_is_noted_and_its_suspension_does_not_wait(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    async with a.db.tenant_tx("acme") as tx:
        assert await runs.wake(tx, "acme", run_id, "approval", "r1") == "RUNNING"
    assert list((await a.run(run_id))["wakes"]) == ["approval:r1"]
    await a.checkpoint(run_id, cursor=1)
    assert list((await a.run(run_id))["wakes"]) == ["approval:r1"], "a checkpoint that goes on lost the wake-up"
    written = await a.checkpoint(run_id, status="SUSPENDED", waiting_kind="approval", waiting_ref="r1")
    assert [row.status for row in written] == ["PENDING"]
    row = await a.run(run_id)
    assert (row["status"], list(row["wakes"]), row["waiting_kind"], row["worker_id"]) == ("PENDING", [], None, None)


async def a_wake_waits_for_the_suspension_and_wakes_it(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    async with a.other() as tx:
        await a.checkpoint(run_id, tx, status="SUSPENDED", waiting_kind="approval", waiting_ref="r1")
        wake = await a.waits(_wake(a, run_id, "r1"))
    assert await result_of(wake) == "PENDING"
    assert await a.status(run_id) == "PENDING"


async def a_wake_fits_what_the_run_waits_for(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    await a.checkpoint(run_id, status="SUSPENDED", waiting_kind="approval", waiting_ref="r1")
    assert await _wake(a, run_id, "r2") is None
    async with a.db.connection("engine") as tx:
        assert await runs.wake(tx, "globex", run_id, "approval", "r1") is None
    assert await _wake(a, run_id, "r1") == "PENDING"
    assert await _wake(a, run_id, "r1") is None


async def a_wake_tells_at_its_commit_and_only_then(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    await a.side.heard()
    async with a.undone("acme") as tx:
        assert await runs.wake(tx, "acme", run_id, "approval", "r1") == "RUNNING"
    assert await a.side.heard() == []
    async with a.other("acme") as tx:
        await runs.wake(tx, "acme", run_id, "approval", "r1")
        await runs.wake(tx, "acme", run_id, "approval", "r2")
        assert await a.side.heard() == []
    assert await a.side.heard() == [("stanchion_ready", "default")], "told twice, or not at all"


async def ended_runs_close_their_steps(a: Arranged) -> None:
    _, (run_id,) = await a.running()
    await a.checkpoint(run_id, step={"status": "UNKNOWN"}, status="SUSPENDED", waiting_kind="effect")
    ends = dumps([{"id": run_id, "status": "FAILED", "error": {"code": "x"}, "dead_reason": "poison"}])
    async with a.db.connection("engine") as tx:
        assert [row.status for row in await runs.end_runs(tx, ends=ends)] == ["FAILED"]
        assert await runs.end_runs(tx, ends=ends) == []
    step = await a.side.row("step_runs", (run_id, "first"))
    assert (step["status"], step["error"]) == ("FAILED", {"code": "x"})


async def hand_backs_take_the_strike_and_raise_the_epoch(a: Arranged) -> None:
    worker, ids = await a.running(2)
    async with a.db.connection("engine") as tx:
        assert await engine.hand_back(tx, worker, ids[:1]) == 1
        assert await engine.hand_back(tx, uuid4(), ids[1:]) == 0
        assert await engine.hand_back_all(tx, worker) == 1
    for id_ in ids:
        row = await a.run(id_)
        assert (row["status"], row["epoch"], row["strikes"], row["worker_id"]) == ("PENDING", 2, 0, None)


async def _state(a: Arranged, worker: object, state: str) -> None:
    async with a.db.connection("engine") as tx:
        await engine.set_worker_state(tx, worker, state)  # type: ignore[arg-type]


async def _reclaim(a: Arranged, run_id: object) -> int:
    async with a.db.connection("engine") as tx:
        return await sweeping.reclaim(tx, [run_id], 2)  # type: ignore[list-item]


async def _hold(a: Arranged, run_id: object) -> list[object]:
    async with a.db.connection("engine") as tx:
        return list(await runs.hold(tx, dumps([{"id": run_id, "epoch": 1}])))


async def _wake(a: Arranged, run_id: object, ref: str) -> str | None:
    async with a.db.connection("engine") as tx:
        return await runs.wake(tx, "acme", run_id, "approval", ref)  # type: ignore[arg-type]


SCENARIOS = [
    claims_skip_what_another_claims,
    claims_go_by_priority_then_age,
    a_claim_tells_the_step_as_it_was,
    a_claim_leaves_cancelled_probation_and_newer_runs,
    a_claim_and_the_verdict_on_its_worker_exclude_each_other,
    a_lost_worker_claims_nothing,
    a_claim_that_waited_knows_no_step_of_meanwhile,
    a_claim_that_waited_tells_nothing_of_a_step_that_changed,
    two_claims_of_one_worker_share_its_row,
    a_checkpoint_of_an_older_epoch_writes_nothing,
    a_checkpoint_waits_for_the_reclaim_and_looks_again,
    a_checkpoint_writes_one_row_twice_or_not_at_all,
    holds_share_and_keep_others_out,
    a_hold_waits_for_a_reclaim_and_finds_it_lost,
    a_wake_of_a_running_run_is_noted_and_its_suspension_does_not_wait,
    a_wake_waits_for_the_suspension_and_wakes_it,
    a_wake_fits_what_the_run_waits_for,
    a_wake_tells_at_its_commit_and_only_then,
    ended_runs_close_their_steps,
    hand_backs_take_the_strike_and_raise_the_epoch,
]
