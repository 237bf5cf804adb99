"""Row locks and advisory locks, with waiting and deadlock detection.

Row locks have two modes, which is all that the engine's statements need: SHARE (`for share`) and UPDATE (`for update`,
and every update and delete). A key that is being inserted is locked in mode UPDATE under the name of its unique
constraint, so that a second insert of it waits for the first one's end, as in PostgreSQL.

Waiters stand in a queue and are handed the lock in its order; a SHARE request that agrees with the holders does not
queue up behind a waiting UPDATE, as in PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg

if TYPE_CHECKING:
    import contextvars

    from tests.simulation.store.transaction import SimTx

SHARE: Final = 1
UPDATE: Final = 2

Name = tuple[str, Hashable]


@dataclass(slots=True, eq=False)
class _Wait:
    tx: SimTx
    mode: int
    future: asyncio.Future[None]


class Lock:
    """Who holds it, and who waits for it, in their order."""

    __slots__ = ("holders", "name", "queue")

    def __init__(self, name: Name) -> None:
        self.name = name
        self.holders: dict[SimTx, int] = {}
        self.queue: list[_Wait] = []

    def allows(self, tx: SimTx, mode: int) -> bool:
        """Whether `tx` may have it now."""
        if len(self.holders) == 1 and tx in self.holders:
            return True
        if mode == SHARE:
            return all(held == SHARE or holder is tx for holder, held in self.holders.items())
        return not self.holders


class LockTable:
    """All locks of transactions: rows and transaction-level advisory locks alike."""

    def __init__(self, context: contextvars.Context, deadlock_s: float) -> None:
        self._locks: dict[Name, Lock] = {}
        self._context = context
        self._deadlock_s = deadlock_s
        self.waits = 0

    def try_lock(self, tx: SimTx, name: Name, mode: int) -> bool:
        """Take the lock if nobody else's stands against it."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = Lock(name)
        elif not lock.allows(tx, mode):
            return False
        holders = lock.holders
        held = holders.get(tx)
        if held is None:
            tx.held.append(lock)
            holders[tx] = mode
        elif held < mode:
            holders[tx] = mode
        return True

    async def wait(self, tx: SimTx, name: Name, mode: int) -> None:
        """Wait for the lock and take it. Raises DeadlockDetected."""
        loop = asyncio.get_running_loop()
        lock = self._locks[name]
        wait = _Wait(tx, mode, loop.create_future())
        lock.queue.append(wait)
        tx.waits_for = lock
        self.waits += 1
        timer = loop.call_later(self._deadlock_s, self._look, wait, context=self._context)
        try:
            await wait.future
        except BaseException:
            if wait in lock.queue:
                lock.queue.remove(wait)
            self._hand_on(lock)
            raise
        finally:
            tx.waits_for = None
            timer.cancel()

    def release(self, tx: SimTx) -> None:
        """Free everything `tx` holds."""
        for lock in tx.held:
            holders = lock.holders
            del holders[tx]
            if lock.queue:
                self._hand_on(lock)
            elif not holders:
                del self._locks[lock.name]
        tx.held.clear()

    def drop(self, tx: SimTx, name: Name) -> None:
        """Free one lock before the transaction's end: it was only waited for, not wanted."""
        lock = self._locks[name]
        lock.holders.pop(tx, None)
        tx.held.remove(lock)
        self._hand_on(lock)

    def names(self) -> list[Name]:
        """What is locked now."""
        return list(self._locks)

    def holders(self, name: Name) -> list[SimTx]:
        """Who holds the lock now."""
        lock = self._locks.get(name)
        return [] if lock is None else list(lock.holders)

    def _hand_on(self, lock: Lock) -> None:
        while lock.queue and lock.allows(lock.queue[0].tx, lock.queue[0].mode):
            wait = lock.queue.pop(0)
            if wait.future.done():
                continue
            if wait.tx not in lock.holders:
                wait.tx.held.append(lock)
            lock.holders[wait.tx] = max(wait.mode, lock.holders.get(wait.tx, 0))
            wait.future.set_result(None)
        if not lock.queue and not lock.holders:
            self._locks.pop(lock.name, None)

    def _look(self, wait: _Wait) -> None:
        if not wait.future.done() and self._in_cycle(wait.tx):
            wait.tx.waits_for = None  # the cycle is broken: whoever looks next finds none
            wait.future.set_exception(psycopg.errors.DeadlockDetected("deadlock detected"))

    def _in_cycle(self, start: SimTx) -> bool:
        seen: dict[SimTx, None] = {}
        todo = [start]
        while todo:
            tx = todo.pop()
            if tx.waits_for is None:
                continue
            for holder in tx.waits_for.holders:
                if holder is tx:
                    continue
                if holder is start:
                    return True
                if holder not in seen:
                    seen[holder] = None
                    todo.append(holder)
        return False
