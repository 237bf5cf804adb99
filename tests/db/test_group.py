"""The group writer by itself: coalescing, lanes, bisection, repetition."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from stanchion.base import SystemClock, Unavailable
from stanchion.db import GroupWriter


class Clock(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


class Sink:
    def __init__(self) -> None:
        self.batches: list[list] = []
        self.committed: list = []
        self.failures: list[BaseException] = []
        self.bad: set = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.active = 0

    async def commit(self, items):
        self.active += 1
        await self.gate.wait()
        self.active -= 1
        self.batches.append(list(items))
        if self.failures:
            raise self.failures.pop(0)
        if self.bad & set(items):
            raise psycopg.errors.DataError("bad row")
        self.committed += items
        return [item * 10 for item in items]


def writer(sink, **kwargs) -> GroupWriter[int, int]:
    return GroupWriter(sink.commit, clock=Clock(), **kwargs)


async def submit_all(group, numbers, **kwargs):
    return await asyncio.gather(*(group.submit(n, key=n, **kwargs) for n in numbers), return_exceptions=True)


async def test_what_is_pending_shares_a_commit_and_everybody_gets_their_own_result():
    sink = Sink()
    group = writer(sink, lanes=1)
    assert await submit_all(group, [3, 1, 2]) == [30, 10, 20]
    assert sink.batches == [[1, 2, 3]]


async def test_batches_are_bounded_by_number_and_by_weight():
    sink = Sink()
    assert await submit_all(writer(sink, lanes=1, batch_max=4), range(10)) == [n * 10 for n in range(10)]
    assert [len(b) for b in sink.batches] == [4, 4, 2]
    sink.batches.clear()
    await submit_all(writer(sink, lanes=1, weight_max=100), range(5), weight=60)
    assert [len(b) for b in sink.batches] == [1] * 5


async def test_one_key_is_always_in_one_lane():
    sink = Sink()
    sink.gate.clear()
    group = writer(sink, lanes=2)
    waiting = [group.submit(n, key=7) for n in range(5)]
    while not sink.active:
        await asyncio.sleep(0)
    more = group.submit(9, key=7)
    for _ in range(5):
        await asyncio.sleep(0)
    assert sink.active == 1
    sink.gate.set()
    await asyncio.gather(*waiting, more)
    await group.flush()


async def test_only_the_guilty_fail():
    sink = Sink()
    sink.bad = {3, 11}
    results = await submit_all(writer(sink, lanes=1), range(16))
    assert [n for n, r in enumerate(results) if isinstance(r, psycopg.DataError)] == [3, 11]
    assert sorted(sink.committed) == [n for n in range(16) if n not in (3, 11)]


async def test_what_blames_nobody_is_repeated_whole():
    sink = Sink()
    sink.failures = [psycopg.errors.DeadlockDetected("deadlock"), psycopg.OperationalError("gone")]
    assert await submit_all(writer(sink, lanes=1), [1, 2]) == [10, 20]
    assert sink.batches == [[1, 2]] * 3


async def test_a_database_that_stays_away_fails_everybody_as_unavailable():
    sink = Sink()
    sink.failures = [psycopg.OperationalError("gone")] * 99
    results = await submit_all(writer(sink, lanes=1), [1, 2])
    assert all(isinstance(r, Unavailable) and r.code == "db.unavailable" for r in results)
    assert len(sink.batches) == 5


async def test_a_defect_in_commit_leaves_nobody_hanging():
    sink = Sink()
    sink.failures = [RuntimeError("defect")] * 3
    results = await submit_all(writer(sink, lanes=1), [1, 2])
    assert all(isinstance(r, RuntimeError) for r in results)


async def test_a_waiter_that_leaves_disturbs_nobody():
    sink = Sink()
    sink.gate.clear()
    group = writer(sink, lanes=1)
    tasks = [group.submit(n, key=n) for n in range(3)]
    while not sink.active:
        await asyncio.sleep(0)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    sink.gate.set()
    assert await tasks[0] == 0
    assert await tasks[2] == 20
