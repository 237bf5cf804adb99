"""The checkpoint writer and its connection: kept while commits follow one another, given back when none does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from stanchion.db import GroupWriter
from stanchion.runs.engine import store, writer
from stanchion.runs.engine.writer import Checkpoint, CheckpointWriter


class Counted:
    """The real database, counting what is taken of its pool."""

    def __init__(self, db) -> None:
        self._db = db
        self.taken = 0
        self.given_back = 0
        self.sessions: list = []

    @asynccontextmanager
    async def connection(self, role):
        self.taken += 1
        try:
            async with self._db.connection(role) as tx:
                self.sessions.append(tx)
                yield tx
        finally:
            self.given_back += 1


@pytest.fixture
def scene(env):
    counted = Counted(env.db)
    return CheckpointWriter(replace(env, db=counted), lambda _: False), counted, env.ids


def checkpoint(ids) -> Checkpoint:
    """Of a run that nobody knows: the answer is that it is fenced."""
    run = ids.new()
    return Checkpoint(run, {"id": run, "epoch": 1, "status": "RUNNING", "cursor": 1, "path": "b"}, [])


@pytest.fixture
def flights(monkeypatch):
    """Each statement on its way waits for `go`; (session, batch size) of those that began."""
    real, began, go = store.checkpoint, [], asyncio.Semaphore(0)

    async def held(tx, **said):
        began.append(tx)
        await go.acquire()
        return await real(tx, **said)

    monkeypatch.setattr(store, "checkpoint", held)
    return began, go


async def begun(flights, count: int) -> None:
    async with asyncio.timeout(10):
        while len(flights[0]) < count:
            await asyncio.sleep(0)


async def pending(group) -> None:
    """Until a checkpoint waits behind the one in flight."""
    async with asyncio.timeout(10):
        while not group._group.followed:
            await asyncio.sleep(0)


async def test_commits_that_follow_one_another_keep_their_connection(scene, flights):
    group, counted, ids = scene
    tasks = []
    for number in range(1, 4):
        tasks.append(asyncio.create_task(group.write(checkpoint(ids))))
        if number > 1:
            await pending(group)
            flights[1].release()
        await begun(flights, number)
    assert (counted.taken, counted.given_back) == (1, 0)
    assert len(set(map(id, flights[0]))) == 1
    flights[1].release()
    assert await asyncio.gather(*tasks) == [None] * 3
    await group.flush()
    assert (counted.taken, counted.given_back) == (1, 1)


async def test_after_so_many_commits_the_pool_has_its_say(scene, flights, monkeypatch):
    monkeypatch.setattr(writer, "_KEPT_MAX", 1)
    group, counted, ids = scene
    tasks = []
    for number in range(1, 4):
        tasks.append(asyncio.create_task(group.write(checkpoint(ids))))
        if number > 1:
            await pending(group)
            flights[1].release()
        await begun(flights, number)
    assert (counted.taken, counted.given_back) == (2, 1)
    flights[1].release()
    await asyncio.gather(*tasks)
    assert (counted.taken, counted.given_back) == (2, 2)


async def test_a_connection_that_failed_is_not_kept(scene, flights, monkeypatch):
    group, counted, ids = scene
    real, failures = store.checkpoint, [psycopg.OperationalError("gone")]

    async def failing(tx, **said):
        answer = await real(tx, **said)
        if failures:
            raise failures.pop()
        return answer

    monkeypatch.setattr(store, "checkpoint", failing)
    first = asyncio.create_task(group.write(checkpoint(ids)))
    await begun(flights, 1)
    second = asyncio.create_task(group.write(checkpoint(ids)))
    await pending(group)
    for _ in range(3):
        flights[1].release()
    assert await asyncio.gather(first, second) == [None, None]
    assert counted.taken == counted.given_back == 2


async def test_a_writer_that_is_cancelled_gives_its_connection_back(scene, flights):
    group, counted, ids = scene
    first = asyncio.create_task(group.write(checkpoint(ids)))
    await begun(flights, 1)
    second = asyncio.create_task(group.write(checkpoint(ids)))
    await pending(group)
    flights[1].release()
    await begun(flights, 2)  # on the kept connection
    [lane] = [task for task in asyncio.all_tasks() if "GroupWriter._drain" in repr(task)]
    lane.cancel()
    await asyncio.wait([lane])
    assert (counted.taken, counted.given_back) == (1, 1)
    assert second.cancelled() or (await asyncio.wait([second]) and second.cancelled())
    assert await first is None


async def test_several_lanes_keep_none(scene, flights, monkeypatch):
    class Two(GroupWriter[Any, Any]):
        __class_getitem__ = classmethod(lambda cls, _: cls)

        def __init__(self, commit, **said):
            super().__init__(commit, **(said | {"lanes": 2, "batch_max": 1}))

    monkeypatch.setattr(writer, "GroupWriter", Two)
    _, counted, ids = scene
    group = CheckpointWriter(scene[0]._env, lambda _: False)
    tasks = [asyncio.create_task(group.write(checkpoint(ids))) for _ in range(12)]
    for _ in tasks:
        flights[1].release()
    await asyncio.gather(*tasks)
    await group.flush()
    assert counted.taken == counted.given_back == 12
