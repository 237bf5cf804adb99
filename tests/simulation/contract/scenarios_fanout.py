"""Scenarios of fan-outs, cancels and new attempts."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from stanchion.base import dumps
from stanchion.runs import store as runs
from stanchion.runs.deadletters import store as deadletters
from stanchion.runs.fanout import store as fanout
from stanchion.runs.sweeping import store as sweeping
from stanchion.runs.types import Claim
from tests.simulation.contract.arranged import Arranged, result_of


async def items_are_released_in_their_order(a: Arranged) -> None:
    parent, items = await a.fan_out(4)
    async with a.db.engine_tx() as tx:
        assert await fanout.lock_parent(tx, parent) is not None
        assert await fanout.release(tx, parent, "first", 2) == 2
    assert [await a.status(id_) for id_ in items] == ["PENDING", "PENDING", "SUSPENDED", "SUSPENDED"]
    async with a.db.engine_tx() as tx:
        counts = await fanout.counts(tx, parent, "first", concurrency=1, failures=1)
    assert (counts.active, counts.queued, counts.waiting, counts.failed) == (2, 1, 0, 0)


async def advances_of_one_fan_out_follow_one_another(a: Arranged) -> None:
    parent, items = await a.fan_out(2)
    async with a.other() as tx:
        assert await fanout.lock_parent(tx, parent) is not None
        await fanout.release(tx, parent, "first", 2)
        second = await a.waits(_lock_parent(a, parent))
    waiting = await result_of(second)
    assert waiting is not None
    assert waiting.rule().total == 2
    async with a.other() as tx:
        assert await fanout.wake_parent(tx, parent) == 1
        second = await a.waits(_lock_parent(a, parent))
    assert await result_of(second) is None, "a parent that was woken still waits"
    assert [await a.status(id_) for id_ in items] == ["PENDING", "PENDING"]


async def items_are_inserted_by_the_claim_that_owns_the_parent(a: Arranged) -> None:
    _, (parent,) = await a.running()
    async with a.other() as tx:
        assert await a.items(parent, [uuid4()], tx) == 1
        reclaim = await a.waits(_reclaim(a, parent))
    assert await result_of(reclaim) == 1
    before = await a.side.dump()
    assert await a.items(parent, [uuid4()], first=1) == 0
    assert await a.side.dump() == before


async def an_item_number_is_given_once(a: Arranged) -> None:
    _, (parent,) = await a.running()
    await a.items(parent, [uuid4()])
    before = await a.side.dump()
    with pytest.raises(psycopg.errors.UniqueViolation):
        await a.items(parent, [uuid4(), uuid4()])
    assert await a.side.dump() == before
    async with a.db.connection("engine") as tx:
        assert await fanout.last_item(tx, parent, "first") == 0
        assert await fanout.last_item(tx, parent, "other") == -1


async def queued_items_are_cancelled_with_their_for_each(a: Arranged) -> None:
    parent, items = await a.fan_out(3, suspended=False)
    claim = Claim(tenant="acme", run_id=parent, epoch=1)
    async with a.db.engine_tx() as tx:
        await fanout.release(tx, parent, "first", 1)
        ended = await fanout.cancel_queued(tx, claim, "first", "for_each.stopped", 9)
    assert {row.id for row in ended} == set(items[1:])
    async with a.db.engine_tx() as tx:
        found = await fanout.select_ended(tx, parent, "first")
    assert [(row.item_no, row.status, row.never_started) for row in found] == [
        (0, "PENDING", True),
        (1, "CANCELLED", True),
        (2, "CANCELLED", True),
    ]


async def an_unattended_fan_out_is_found(a: Arranged) -> None:
    parent, items = await a.fan_out(2)
    async with a.db.connection("engine") as tx:
        assert await fanout.waiting_parents(tx, UUID(int=0), 9) == [parent]
        await fanout.release(tx, parent, "first", 1)
        assert await fanout.waiting_parents(tx, UUID(int=0), 9) == []
        ends = [{"id": id_, "status": "FAILED", "error": {"code": "x"}} for id_ in items]
        await runs.end_runs(tx, ends=dumps(ends))
        assert await fanout.waiting_parents(tx, UUID(int=0), 9) == [parent]


async def a_cancel_reaches_the_whole_tree(a: Arranged) -> None:
    parent, items = await a.fan_out(3)
    async with a.db.engine_tx() as tx:
        await fanout.release(tx, parent, "first", 1)
    assert await a.claim(await a.worker())
    async with a.other() as held:
        assert await sweeping.reclaim(held, items[:1], 2) == 1
        async with a.db.tenant_tx("globex") as tx:
            assert await runs.request_cancel(tx, "globex", parent, "no") == []
    async with a.other("acme") as tx:
        marked = await runs.request_cancel(tx, "acme", parent, "no")
        assert sorted((run.id, run.running) for run in marked) == sorted((id_, False) for id_ in (parent, *items))
        async with a.db.connection("engine") as beside:
            assert await a.at_once(runs.lock_cancelling(beside, 9)) == []
        assert await runs.lock_cancelled_below(tx, "acme", parent, 9) == sorted([parent, *items])
    async with a.db.connection("engine") as tx:
        assert await runs.lock_cancelling(tx, 9) == sorted([parent, *items])


async def a_release_looks_again_once_the_item_is_free(a: Arranged) -> None:
    """An item that ends while its fan-out waits for the row to release it stays ended."""
    parent, items = await a.fan_out(1)
    ends = dumps([{"id": items[0], "status": "CANCELLED", "error": {"code": "run.cancelled"}}])
    async with a.other("acme") as tx:
        assert [row.status for row in await runs.end_runs(tx, ends=ends)] == ["CANCELLED"]
        releases = await a.waits(release(a, parent))
    assert await result_of(releases) == 0
    row = await a.run(items[0])
    assert (row["status"], row["ended_at"] is not None) == ("CANCELLED", True)


async def a_second_request_marks_what_came_while_the_first_waited(a: Arranged) -> None:
    """A RUNNING item inserts items of its own while a cancel of the whole tree waits for its row."""
    parent, (item,) = await a.fan_out(1)
    async with a.db.engine_tx() as tx:
        await fanout.release(tx, parent, "first", 1)
    assert await a.claim(await a.worker())
    below = uuid4()

    async def cancel() -> list[set[tuple[UUID, bool]]]:
        async with a.db.tenant_tx("acme") as tx:
            passes = [await runs.request_cancel(tx, "acme", parent, "no") for _ in range(3)]
            return [{(run.id, run.running) for run in marked} for marked in passes]

    async with a.other() as tx:
        assert await a.items(item, [below], tx) == 1
        cancelled = await a.waits(cancel())
    assert await result_of(cancelled) == [{(parent, False), (item, True)}, {(below, False)}, set()]


async def a_new_attempt_takes_the_failed_items_with_it(a: Arranged) -> None:
    parent, items = await a.fan_out(2)
    ends = [{"id": id_, "status": "FAILED", "error": {"code": "x"}} for id_ in (items[0], parent)]
    ends[1]["dead_reason"] = "x"
    async with a.db.connection("engine") as tx:
        await runs.end_runs(tx, ends=dumps(ends))
    async with a.undone("acme") as tx:
        assert await deadletters.lock_dead(tx, "acme", [parent, *items]) == [parent]
        second = await a.waits(_revive(a, parent))
    assert await result_of(second) == ["default"]
    assert [await a.status(id_) for id_ in (parent, *items)] == ["PENDING", "SUSPENDED", "SUSPENDED"]
    assert [(await a.run(id_))["attempt"] for id_ in (parent, *items)] == [2, 2, 1]
    step = await a.side.row("step_runs", (parent, "first"))
    assert (step["status"], step["attempt"], step["first_attempt"]) == ("PENDING", 2, 2)
    assert step["errors"] == [{"attempt": 1, "code": "x"}]


async def _lock_parent(a: Arranged, parent: UUID) -> fanout.WaitingParent | None:
    async with a.db.engine_tx() as tx:
        return await fanout.lock_parent(tx, parent)


async def _reclaim(a: Arranged, run_id: UUID) -> int:
    async with a.db.connection("engine") as tx:
        return await sweeping.reclaim(tx, [run_id], 2)


async def release(a: Arranged, parent: UUID) -> int:
    """Release up to two items, as an advance does."""
    async with a.db.engine_tx() as tx:
        await fanout.lock_parent(tx, parent)
        return await fanout.release(tx, parent, "first", 2)


async def _revive(a: Arranged, run_id: UUID) -> list[str]:
    async with a.db.tenant_tx("acme") as tx:
        await deadletters.lock_dead(tx, "acme", [run_id])
        return await deadletters.revive(tx, "acme", [run_id])


SCENARIOS = [
    items_are_released_in_their_order,
    advances_of_one_fan_out_follow_one_another,
    items_are_inserted_by_the_claim_that_owns_the_parent,
    an_item_number_is_given_once,
    queued_items_are_cancelled_with_their_for_each,
    an_unattended_fan_out_is_found,
    a_cancel_reaches_the_whole_tree,
    a_release_looks_again_once_the_item_is_free,
    a_second_request_marks_what_came_while_the_first_waited,
    a_new_attempt_takes_the_failed_items_with_it,
]
