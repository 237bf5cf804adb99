"""Connections lent out by a pool of psycopg and given back, whoever is cancelled meanwhile.

A task that is cancelled while it gives a connection back to psycopg's pool (3.3.3) loses it, and with it the one that waited
for it: that one hears that no connection became free in time, and the pool is smaller by one from then on, until it is empty
(tests/db/test_lending.py has the two turns of the loop in which it happens). Seen where a killed worker's connection had its
broker cancel what it read for it: one write of another worker waited 5 s. One that is cancelled while it waits stays in the
pool's queue until a connection is offered to it, and Python 3.11's `asyncio.wait_for` may drop its cancel (gh-86296).
So the pool is talked to by tasks that nobody cancels.

Where it has a connection at hand and nobody is talking to it, it is talked to at once: nothing is awaited then, so no cancel
can come. A turn of a busy worker's loop takes milliseconds: with claims a few turns later, a commit carried 80 checkpoints
instead of 110 (`make bench`, engine).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from stanchion.db.tx import Tx

T = TypeVar("T")


class Lending:
    """What one pool has lent. Of one event loop, as the pool is."""

    def __init__(self, pool: AsyncConnectionPool[Tx]) -> None:
        self.pool: Final = pool
        # Tasks are held by nobody else: the loop knows them weakly.
        self._talking: set[asyncio.Task[Any]] = set()

    async def take(self) -> Tx:
        """A connection, to be given back. Raises PoolTimeout if none becomes free in time.

        Who is cancelled meanwhile has none: it is given back when it comes.
        """
        if not self._talking and self.pool.get_stats()["pool_available"]:
            return await self.pool.getconn()
        taking = self._talk(self.pool.getconn())
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._unwanted)
            raise

    async def give(self, connection: Tx) -> None:
        """Give a connection back. Who is cancelled meanwhile has given it back all the same."""
        if not self._talking and connection.pgconn.transaction_status == TransactionStatus.IDLE:
            return await self.pool.putconn(connection)
        return await asyncio.shield(self._talk(self.pool.putconn(connection)))

    def _talk(self, talk: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(talk)
        self._talking.add(task)
        task.add_done_callback(self._talking.discard)
        return task

    def _unwanted(self, taking: asyncio.Task[Tx]) -> None:
        # Whoever asked is gone; so is whom a problem of the pool would be told.
        if not taking.cancelled() and taking.exception() is None:
            self._talk(self.pool.putconn(taking.result()))
