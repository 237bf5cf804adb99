"""A pool's connections survive whoever is cancelled: while one is taken, waited for, or given back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest

from stanchion.db import Database, DatabaseUrls, scalar

T = TypeVar("T")
# Turns of the event loop. What a hand-over takes is less: a cancel is tried at each of them.
TURNS = range(9)


@pytest.fixture
async def one(database_urls: DatabaseUrls) -> AsyncIterator[Database]:
    """A database with one connection, for which nobody waits longer than two seconds."""
    async with Database(database_urls, app_max=1, engine_max=1, acquire_timeout_s=2.0) as db:
        yield db


async def turns(count: int) -> None:
    """Let the loop take so many turns: the place where the next thing happens, and no wait for anything."""
    for _ in range(count):
        await asyncio.sleep(0)


class Borrower:
    """A task that has a connection from `has` on, until `may_give`."""

    def __init__(self, db: Database) -> None:
        self.has, self.may_give = asyncio.Event(), asyncio.Event()
        self.pid = 0
        self.task = asyncio.create_task(self._borrow(db))

    async def _borrow(self, db: Database) -> None:
        async with db.connection("engine") as tx:
            self.pid = tx.info.backend_pid
            self.has.set()
            await self.may_give.wait()


@pytest.mark.parametrize(("asked", "cancelled"), list(itertools.product(TURNS, TURNS)))
async def test_who_is_cancelled_while_giving_back_takes_nobodys_connection_along(
    one: Database, asked: int, cancelled: int
):
    first = Borrower(one)
    await first.has.wait()
    second = Borrower(one)
    second.may_give.set()
    await turns(asked)
    first.may_give.set()
    await turns(cancelled)
    first.task.cancel()
    await asyncio.gather(first.task, return_exceptions=True)
    await second.task  # it was told `db.pool_exhausted`, and so was everybody after it
    async with one.connection("engine") as tx:
        assert first.pid == second.pid == tx.info.backend_pid


@pytest.mark.parametrize(("given", "cancelled"), list(itertools.product(TURNS, TURNS)))
async def test_who_is_cancelled_while_waiting_is_and_leaves_the_connection_to_the_next(
    one: Database, given: int, cancelled: int
):
    first = Borrower(one)
    await first.has.wait()
    second = Borrower(one)
    await turns(given)
    first.may_give.set()
    await turns(cancelled)
    second.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second.task
    await first.task
    async with one.connection("engine") as tx:
        assert tx.info.backend_pid == first.pid


async def test_who_is_cancelled_while_the_pool_connects_is_and_leaves_it_whole(database_urls: DatabaseUrls):
    for cancelled in range(40):
        async with Database(database_urls, app_max=1, engine_max=1, acquire_timeout_s=2.0) as db:
            borrower = Borrower(db)
            await turns(cancelled)
            borrower.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await borrower.task
            async with db.connection("engine") as tx:
                assert await scalar(tx, "select 1", {}) == 1


async def test_a_connection_at_hand_is_lent_and_given_back_at_once(one: Database):
    """In a loop that is busy a turn takes milliseconds, and every claim of a worker would wait for some."""
    async with one.connection("engine") as tx:
        pid = tx.info.backend_pid
    borrowed = one.connection("engine")
    tx = at_once(borrowed.__aenter__())
    assert tx.info.backend_pid == pid
    assert at_once(borrowed.__aexit__(None, None, None)) is not True


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that awaits nothing."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value
    asked.close()
    raise AssertionError("it waits for another turn of the loop")
