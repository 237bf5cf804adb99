"""A worker that lost the database, and not its life, leaves no blame on its runs."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.queue import Listener
from stanchion.runs import Worker
from stanchion.runs.engine import claiming
from tests.runs.test_flow import one_probe
from tests.runs.test_ownership import die_with, sweep_of


@pytest.fixture
def gate(monkeypatch) -> asyncio.Event:
    """Workers begin a session only while it is set."""
    gate, really = asyncio.Event(), Listener.open

    async def opened(*args) -> Listener:
        await gate.wait()
        return await really(*args)

    monkeypatch.setattr(Listener, "open", opened)
    gate.set()
    return gate


async def never(_worker) -> int:
    raise AssertionError("no run is to blame, so none is executed on probation")


async def test_a_session_that_the_database_ended_is_no_strike(world, gate):
    """However often it happens within one step, and although another worker took the runs for stranded each time."""
    began: asyncio.Queue[int] = asyncio.Queue()
    done = asyncio.Event()

    async def first(call):
        began.put_nowait(call.claim.epoch)
        await done.wait()

    world.probe.script["first"] = first
    async with world.worker(queues=("away",), spawn_probation=never) as worker:
        run_id = await world.start(one_probe("away"), queue="away")
        for _ in range(4):
            await asyncio.wait_for(began.get(), 60)
            assert (await world.run_row(run_id))["strikes"] == 1
            gate.clear()
            await world.rows(
                "select 1 as x from (select pg_terminate_backend(l.pid) from pg_locks l join workers w"
                " on w.lock_key = ((l.classid::bigint << 32) | l.objid::bigint) where l.locktype = 'advisory' and w.id = %s) t",
                worker.id,
            )
            await world.eventually(lambda before=worker.id: sweep_of(world, before))
            assert (await world.run_row(run_id))["strikes"] == 1
            gate.set()
        done.set()
        run = await world.ended(run_id)
    assert (run["status"], run["strikes"]) == ("SUCCEEDED", 0)


async def test_a_run_that_held_up_its_worker_past_the_lease_keeps_the_strike(world):
    """Nothing was wrong with the database then."""
    began: asyncio.Queue[int] = asyncio.Queue()
    seen = asyncio.Event()

    async def first(call):
        began.put_nowait(call.claim.epoch)
        await (asyncio.Event() if call.claim.epoch == 1 else seen).wait()

    world.probe.script["first"] = first
    async with world.worker(queues=("slow",), spawn_probation=never) as worker:
        run_id = await world.start(one_probe("slow"), queue="slow")
        await asyncio.wait_for(began.get(), 60)
        before = worker.id
        await world.rows("update workers set lease_until = clock_timestamp() - interval '1 s' where id = %s", before)
        await world.eventually(lambda: sweep_of(world, before))
        assert (await world.run_row(run_id))["strikes"] >= 1
        await asyncio.wait_for(began.get(), 60)
        assert (await world.run_row(run_id))["strikes"] == 2
        seen.set()
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED"


async def test_a_child_on_probation_does_not_end_between_its_claim_and_its_run(world, monkeypatch):
    """A look around then finds nothing left to claim, and nothing held yet."""
    spawned, looks = [], asyncio.Event()
    really_load, really_tick = claiming.load, Worker._tick

    async def slow_load(*args):
        looks.clear()
        await looks.wait()
        return await really_load(*args)

    async def tick(worker, **kwargs) -> None:
        await really_tick(worker, **kwargs)
        looks.set()

    async def spawn(parent) -> int:
        spawned.append(parent)
        monkeypatch.setattr(claiming, "load", slow_load)
        monkeypatch.setattr(Worker, "_tick", tick)
        async with world.worker(queues=("between",), probation_of=parent) as child:
            await world.eventually(lambda: child._stopped.is_set())
        return 0

    run_id = await world.start(one_probe("between"), queue="between")
    await die_with(world, "between", 2)
    async with world.worker(queues=("between",), spawn_probation=spawn) as worker:
        run = await world.ended(run_id)
        assert spawned == [worker.id]
    assert run["status"] == "SUCCEEDED"
