"""Suspend and wake in both orders, cancel, drain, hand-back, wake-ups and why a run waits."""

from __future__ import annotations

import asyncio
import gc
import weakref

import psycopg
import pytest

from stanchion.base import Conflict
from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.queue import Listener
from stanchion.runs import Suspend, WaitingKind, cancel, list_runs, show, wake
from stanchion.runs.engine import worker as workers
from tests.conftest import make_env
from tests.runs.support import World
from tests.runs.test_flow import HEAD, one_probe


def ask_once(ref="a1", **kwargs):
    def behave(call):
        if not call.resumed:
            raise Suspend(WaitingKind.APPROVAL, ref=ref, **kwargs)
        return "decided"

    return behave


async def test_a_suspended_run_is_woken(world):
    world.probe.script["first"] = ask_once()
    async with world.worker() as worker:
        run_id = await world.start(one_probe("asks"))
        await world.until(run_id, "SUSPENDED")
        await world.eventually(lambda: worker.running == 0)
        waiting = (await show(world.ctx, run_id)).waiting_on
        assert (waiting.kind, waiting.ref) == ("approval", "a1")
        assert "person" in waiting.text
        async with world.env.db.tenant_tx("acme") as tx:
            assert not await wake(tx, "acme", run_id, WaitingKind.APPROVAL, "another")
            assert await wake(tx, "acme", run_id, WaitingKind.APPROVAL, "a1")
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED"
    assert (await world.steps(run_id))["first"]["output"] == "decided"


async def test_a_wake_up_that_comes_before_the_suspension_is_not_lost(world):
    """The other order: the cause commits while the step is still about to suspend."""

    async def behave(call):
        if call.resumed:
            return "decided"
        async with world.env.db.tenant_tx("acme") as tx:
            assert await wake(tx, "acme", call.claim.run_id, WaitingKind.EFFECT, "e1")
        raise Suspend(WaitingKind.EFFECT, ref="e1")

    world.probe.script["first"] = behave
    async with world.worker():
        run_id = await world.start(one_probe("early"))
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED"


async def test_what_suspends_with_the_run_commits_with_it_or_not_at_all(world):
    async def also(tx):
        await tx.execute("insert into tenants (name, display_name) values ('made-by-also', 'x')")
        raise Conflict("tests.refused", "No.")

    world.probe.script["first"] = ask_once(also=also)
    async with world.worker():
        run = await world.ended(await world.start(one_probe("also")))
    assert (run["status"], run["error"]["code"]) == ("FAILED", "tests.refused")
    assert not await world.rows("select 1 as x from tenants where name = 'made-by-also'")


async def test_a_suspension_that_meets_a_deadlock_is_tried_again(world):
    """Nobody is to blame for it: the run is handed back, and no attempt is used up."""

    async def also(tx):
        raise psycopg.errors.DeadlockDetected("planted")

    def behave(call):
        if len(world.probe.called("first")) == 1:
            raise Suspend(WaitingKind.APPROVAL, ref="a3", also=also)
        return "decided"

    world.probe.script["first"] = behave
    async with world.worker():
        run_id = await world.start(one_probe("deadlock"))
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    step = (await world.steps(run_id))["first"]
    assert (step["attempt"], step["output"]) == (1, "decided")
    assert len(world.probe.called("first")) == 2


async def test_a_due_time_wakes(world):
    from datetime import timedelta

    def behave(call):
        if not call.resumed:
            raise Suspend(WaitingKind.APPROVAL, ref="a2", wake_at=world.env.clock.now() + timedelta(milliseconds=50))
        return "expired"

    world.probe.script["first"] = behave
    async with world.worker():
        run_id = await world.start(one_probe("expires"))
        await world.ended(run_id)
    assert (await world.steps(run_id))["first"]["output"] == "expired"


async def test_cancel_breaks_off_a_step(world):
    began = asyncio.Event()

    async def forever(call):
        began.set()
        await asyncio.Event().wait()

    world.probe.script["first"] = forever
    async with world.worker():
        run_id = await world.start(one_probe("broken-off"))
        await began.wait()
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
        run = await world.ended(run_id)
        with pytest.raises(Conflict):
            await cancel(world.ctx, world.notifier, run_id, reason="again")
    assert run["status"] == "CANCELLED"
    assert run["cancel_reason"] == "enough"
    events = await world.rows("select event_type from audit_records where run_id = %s order by id", run_id)
    assert [e["event_type"] for e in events] == ["run.started", "run.cancel_requested", "run.ended"]


WRITES = (
    HEAD.format(name="writes")
    + """
    steps:
      - id: first
        record: {name: first}
      - id: last
        transform: {value: done}
"""
)


async def test_cancel_awaits_a_step_that_writes(world):
    began, finish = asyncio.Event(), asyncio.Event()

    async def write(call):
        began.set()
        await finish.wait()
        return "written"

    world.writer.script["first"] = write
    async with world.worker():
        run_id = await world.start(WRITES)
        await began.wait()
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
        # Long enough for the cancel to arrive by its wake-up and by a tick; the step is still awaited.
        await world.eventually(lambda: world.rows("select 1 as x from workers where state = 'live'"))
        assert (await world.run_row(run_id))["status"] == "RUNNING"
        finish.set()
        run = await world.ended(run_id)
    assert run["status"] == "CANCELLED"
    assert (await world.steps(run_id))["first"]["output"] == "written"


async def test_cancel_ends_what_waits_and_tells_the_hook(world):
    told = []

    class Hook:
        async def runs_ended(self, tx, tenant, run_ids):
            told.append((tenant, list(run_ids)))

    world.probe.script["first"] = ask_once("a3")
    async with world.worker():
        run_id = await world.start(one_probe("waits"))
        await world.until(run_id, "SUSPENDED")
    detail = await cancel(world.ctx, world.notifier, run_id, reason="enough", hook=Hook())
    assert detail.run.status == "CANCELLED"
    assert told == [("acme", [run_id])]
    steps = await world.steps(run_id)
    assert (steps["first"]["status"], steps["first"]["error"]["code"]) == ("FAILED", "run.cancelled")


async def test_a_step_that_is_woken_and_then_cancelled_tells_the_hook_in_the_transaction_of_the_end(world):
    """It has asked, its wait was over, and the cancel came before it waited again: what it asked must not stay open."""
    again, go_on, told = asyncio.Event(), asyncio.Event(), []

    class Hook:
        async def runs_ended(self, tx, tenant, run_ids):
            cursor = await tx.execute("select status from runs where id = any(%s)", (list(run_ids),))
            told.append((tenant, list(run_ids), await cursor.fetchall()))

    async def asks(call):
        if call.resumed:
            again.set()
            await go_on.wait()
        raise Suspend(WaitingKind.APPROVAL, ref="a4", wake_at=world.env.clock.now())

    world.writer.script["first"] = asks
    async with world.worker(hook=Hook()):
        run_id = await world.start(WRITES)
        await again.wait()
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
        go_on.set()
        run = await world.ended(run_id)
    assert run["status"] == "CANCELLED"
    assert [(tenant, ids) for tenant, ids, _ in told] == [("acme", [run_id])]
    assert [str(row[0] if isinstance(row, tuple) else row["status"]) for row in told[0][2]] == ["CANCELLED"]
    events = await world.rows("select event_type from audit_records where run_id = %s order by id", run_id)
    assert [e["event_type"] for e in events] == ["run.started", "run.cancel_requested", "run.ended"]


async def test_what_a_writing_step_wants_with_its_suspension_is_not_lost_to_a_cancel(world):
    """A PUSH with `idempotency: none` whose answer is lost suspends with `also`, which makes its effect UNKNOWN. Cancelled
    meanwhile, the run ends, and the effect must not stay INTENT, where nobody is asked whether it happened."""
    began, lost, told = asyncio.Event(), asyncio.Event(), []

    async def also(tx):
        told.append("UNKNOWN")

    async def sends(call):
        began.set()
        await lost.wait()
        raise Suspend(WaitingKind.EFFECT, ref="e1", also=also)

    world.writer.script["first"] = sends
    async with world.worker() as worker:
        run_id = await world.start(WRITES)
        await began.wait()
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
        await world.eventually(lambda: all(held[0].interruption == "cancel" for held in worker._claims._held.values()))
        lost.set()
        run = await world.ended(run_id)
    assert run["status"] == "CANCELLED"
    assert told == ["UNKNOWN"]


async def test_a_drained_worker_hands_back_and_another_goes_on(world):
    began, finish = asyncio.Event(), asyncio.Event()

    async def slow(call):
        began.set()
        await finish.wait()
        return "finished"

    world.probe.script["first"] = slow
    async with world.worker() as worker:
        run_id = await world.start(one_probe("drained"))
        await began.wait()
        draining = asyncio.create_task(worker.drain(5.0))
        await world.eventually(lambda: worker._host.draining)
        finish.set()
        await draining
        run = await world.run_row(run_id)
        assert (run["status"], run["worker_id"], run["strikes"], run["path"]) == ("PENDING", None, 0, "last")
        states = await world.rows("select state from workers where id = %s", worker.id)
        assert states == [{"state": "stopped"}]
    async with world.worker():
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED"
    assert len(world.probe.called("first")) == 1


async def test_a_step_that_does_not_finish_within_grace_is_handed_back(world):
    began = asyncio.Event()

    async def hangs(call):
        if call.resumed:
            return "resumed"
        began.set()
        await asyncio.Event().wait()
        return None

    world.probe.script["first"] = hangs
    async with world.worker(grace_s=0.5):
        run_id = await world.start(one_probe("hangs"))
        await began.wait()
    run = await world.run_row(run_id)
    assert (run["status"], run["strikes"], run["path"]) == ("PENDING", 0, "first")
    async with world.worker():
        await world.ended(run_id)
    assert (await world.steps(run_id))["first"]["output"] == "resumed"


async def test_our_own_database_being_away_uses_up_no_attempt(world):
    from stanchion.base import Unavailable

    away = True

    def first(call):
        nonlocal away
        if away:
            away = False
            raise Unavailable("db.unavailable", "Away.")
        return {"attempt": call.attempt, "resumed": call.resumed}

    world.probe.script["first"] = first
    async with world.worker():
        run_id = await world.start(one_probe("db-away"))
        run = await world.ended(run_id)
    assert (run["status"], run["strikes"]) == ("SUCCEEDED", 0)
    assert (await world.steps(run_id))["first"]["output"] == {"attempt": 1, "resumed": True}


async def test_nothing_of_a_run_survives_its_end(world, tmp_path):
    class Value(dict):
        pass

    seen = []

    async def keep(call):
        value = Value(text="secret")
        seen.append(weakref.ref(value))
        seen.append(weakref.ref(asyncio.current_task()))
        return dict(value)

    world.probe.script["first"] = keep
    async with world.worker() as worker:
        from stanchion.runs.engine.execution import Execution

        run_id = await world.start(one_probe("forgets"))
        await world.ended(run_id)
        world.probe.calls.clear()
        await world.eventually(lambda: worker.running == 0)
        await worker._host.writer.flush()

        def forgotten() -> bool:
            gc.collect()
            held = [o for o in gc.get_objects() if type(o) is Execution and o.run.id == run_id]
            return not held and all(ref() is None for ref in seen)

        await world.eventually(forgotten)
        assert not any("secret" in str(o) for o in gc.get_objects() if type(o) is dict and o.get("text") == "secret")


async def test_wake_ups_are_heard(world):
    listener = await Listener.open(world.env, "app", ("stanchion_ready",))
    try:
        world.notifier.ready("heard")
        async for channel, payload in listener.messages(60.0):
            assert (channel, payload) == ("stanchion_ready", "heard")
            break
        else:
            pytest.fail("no wake-up came")
    finally:
        await listener.close()


async def test_lists_tell_why_runs_wait(world):
    world.probe.script["first"] = ask_once("a9")
    async with world.worker():
        await world.start(one_probe("before"))
        run_id = await world.start(one_probe("listed"), queue="special")
        other = await world.start(one_probe("listed"))
        await world.until(other, "SUSPENDED")
    found = await list_runs(world.ctx, PageParams(limit=2))
    assert [(str(r.run.id), r.waiting_on.kind) for r in found.items] == [
        (str(other), "approval"),
        (str(run_id), "worker"),
    ]
    assert found.next is not None
    only = await list_runs(world.ctx, PageParams(), waiting=WaitingKind.APPROVAL, blueprint="listed")
    assert [r.run.id for r in only.items] == [other]


async def test_an_idle_worker_asks_one_question_a_tick(fresh_database_urls, monkeypatch):
    """At the usual tick that is one query a second, whatever its duties."""
    async with Database(fresh_database_urls) as database:
        await idle(World(make_env(database), fresh_database_urls.owner), monkeypatch)


async def idle(world, monkeypatch):
    ticks, statements = 0, 0
    execute, sleep = psycopg.AsyncCursor.execute, world.env.clock.sleep

    async def counted(self, query, *args, **kwargs):
        nonlocal statements
        statements += 1
        return await execute(self, query, *args, **kwargs)

    async def ticking(seconds):
        nonlocal ticks
        ticks += seconds == workers.TICK_S
        await sleep(min(seconds, 0.005))

    async with world.worker():
        monkeypatch.setattr(type(world.env.clock), "sleep", lambda _, seconds: ticking(seconds))
        await world.eventually(lambda: ticks > 1)
        monkeypatch.setattr(psycopg.AsyncCursor, "execute", counted)
        before = ticks
        await world.eventually(lambda: ticks >= before + 30)
        asked, looked = statements, ticks - before
    assert looked - 1 <= asked <= looked + 1
