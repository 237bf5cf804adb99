"""A worker's lease is renewed whatever else it is at: by its own connection, which nothing else waits for."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import psycopg
import pytest

from stanchion.base import Unavailable
from stanchion.db import Database
from stanchion.runs import sweeping
from stanchion.runs.engine import worker as workers
from stanchion.runs.engine.claiming import Claims
from tests.conftest import make_env
from tests.runs.support import World

BEATS: list[bool] = []


@pytest.fixture
async def hasty(fresh_database_urls, monkeypatch):
    """A world whose workers look around and renew their leases many times a second; `BEATS` has each answer."""
    really = workers.store.beat

    async def beat(tx, worker, **kwargs) -> bool:
        BEATS.append(await really(tx, worker, **kwargs))
        return BEATS[-1]

    BEATS.clear()
    monkeypatch.setattr(workers.store, "beat", beat)
    monkeypatch.setattr(workers, "TICK_S", 0.01)
    monkeypatch.setattr(workers, "BEAT_S", 0.02)
    async with Database(fresh_database_urls, acquire_timeout_s=0.2) as database:
        yield World(make_env(database), fresh_database_urls.owner)


async def renewed(world: World, worker: workers.Worker) -> None:
    """Return once the lease has been renewed several times from now on; asked by a connection of its own."""
    async with await psycopg.AsyncConnection.connect(world.env.db.urls.engine, autocommit=True) as look:

        async def row() -> tuple[object, ...] | None:
            cursor = await look.execute("select state, lease_until from workers where id = %s", (worker.id,))
            return await cursor.fetchone()

        before, beats = await row(), len(BEATS)
        await world.eventually(lambda: len(BEATS) >= beats + 4, timeout_s=20)
        after = await row()
    assert before is not None
    assert after is not None
    assert all(BEATS[beats:])
    assert (after[0], after[1] > before[1]) == ("live", True)


async def test_while_a_sweep_has_much_to_do(hasty, monkeypatch):
    """Measured: a sweep of 110 s, during which no worker renewed its lease or heard of a cancel."""
    sweeping_now, go_on, looks = asyncio.Event(), asyncio.Event(), 0
    really, tick = sweeping.sweep, workers.store.tick

    async def long(env, hook):
        sweeping_now.set()
        await go_on.wait()
        return await really(env, hook)

    async def counted(tx, **kwargs):
        nonlocal looks
        looks += 1
        return await tick(tx, **kwargs)

    async with hasty.worker() as worker:
        before = worker.id
        monkeypatch.setattr(sweeping, "sweep", long)
        monkeypatch.setattr(workers.store, "tick", counted)
        await hasty.rows(
            "insert into workers (id, name, host, pid, engine_v, queues, capacity, lock_key, state, lease_until)"
            " values (gen_random_uuid(), 'w', 'h', 1, 1, '{}', 1, 1, 'lost', clock_timestamp())"
        )
        await asyncio.wait_for(sweeping_now.wait(), 60)
        seen = looks
        await renewed(hasty, worker)
        await hasty.eventually(lambda: looks > seen + 3)
        go_on.set()
        await hasty.eventually(lambda: reclaimed(hasty))
        assert worker.id == before


async def reclaimed(world: World) -> bool:
    return await world.rows("select 1 from workers where state = 'lost' and reclaimed_at is null") == []


async def test_while_every_connection_of_the_pool_is_taken(hasty, monkeypatch):
    """None of its duties gives up the session for that: what it holds would be dropped where there is too much to do already."""
    refused: set[str] = set()

    def watched(owner: object, name: str) -> None:
        really = getattr(owner, name)

        async def call(*args, **kwargs):
            try:
                return await really(*args, **kwargs)
            except Unavailable:
                refused.add(name)
                raise

        monkeypatch.setattr(owner, name, call)

    watched(workers.fanout, "advance")
    watched(workers.sweeping, "wake_due")
    watched(workers.Worker, "_tick")
    watched(Claims, "_claim")
    async with hasty.worker() as worker:
        before = worker.id
        async with AsyncExitStack() as taken:
            for _ in range(6):
                await taken.enter_async_context(hasty.env.db.connection("engine"))
            worker._item_ended("acme", uuid4())
            worker._retry_in(0.001)
            worker._claims.poke()
            await hasty.eventually(lambda: refused == {"advance", "wake_due", "_tick", "_claim"}, timeout_s=20)
            await renewed(hasty, worker)
        await hasty.ended(await hasty.start("blueprint: free\nowner: t\nsteps:\n  - {id: a, probe: {name: a}}\n"))
        assert worker.id == before


async def test_a_worker_that_was_taken_for_dead_learns_it_from_its_lease(hasty, monkeypatch):
    async def nothing(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(workers.Worker, "_tick", nothing)
    async with hasty.worker() as worker:
        before = worker.id
        await hasty.rows("update workers set state = 'lost' where id = %s", before)
        await hasty.eventually(lambda: worker.id != before)
