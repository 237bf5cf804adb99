"""Group commit: concurrent callers share a transaction without waiting for one another's convenience.

A `GroupWriter` has one lane or a few. Each lane takes everything that is pending, commits it in one call, answers each
waiter, and takes what has come in meanwhile. There is no timer: an idle lane commits at once, so that a lone caller
pays one commit as before, and batches grow by themselves under load (measured: 2.9-4.1 times as many durable steps
per second as pgbench's transactions, docs/explanation). Items with the same key always use the same lane, one after
the other, so that two batches never fight over one row; items of a batch stand in the order of their keys, so that
two processes lock shared rows in the same order.

A batch that the database refuses is halved until the guilty item stands alone: it alone gets the error (I4). A lost
connection, a deadlock or a timeout blames nobody: the whole batch is repeated a few times and then fails as
`db.unavailable`. Hence the one demand on `commit`: repeating it after it may already have happened changes nothing
more (writes by key, or fenced by an epoch).

Users: checkpoints and starts of `runs`; the effect ledger of `tools` for intents and receipts.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Generic, TypeVar

import psycopg

from stanchion.base import Clock, Unavailable

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

_key = attrgetter("key")

_BACKOFF_S: Final = (0.02, 0.1, 0.5, 1.0)


@dataclass(slots=True, eq=False)
class _Entry(Generic[ItemT, ResultT]):
    item: ItemT
    key: Any
    weight: int
    future: asyncio.Future[ResultT]


class _Lane(Generic[ItemT, ResultT]):
    __slots__ = ("pending", "task")

    def __init__(self) -> None:
        self.pending: deque[_Entry[ItemT, ResultT]] = deque()
        self.task: asyncio.Task[None] | None = None


class GroupWriter(Generic[ItemT, ResultT]):
    """Coalesces `submit` calls into few `commit` calls.

    Args:
        commit: commits a batch in one transaction and returns one result per item, in the batch's order. It opens
            its own connection. It may be called again with the same items (see above).
        clock: for the pauses between repetitions and the durations reported.
        lanes: batches in flight at once. 1 makes the largest batches, and so costs least where many callers wait at all times
            (docs/adr/0033-one-commit-in-flight.md); with 2, fewer callers meet a batch that has just left.
        batch_max: items per batch. `weight_max`: sum of the items' weights (bytes) per batch; a single item may exceed it.
        on_commit: told (items, seconds) after each commit.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT]]],
        *,
        clock: Clock,
        lanes: int = 2,
        batch_max: int = 512,
        weight_max: int = 4 << 20,
        on_commit: Callable[[int, float], None] | None = None,
    ) -> None:
        self._commit_batch = commit
        self._clock = clock
        self._batch_max = batch_max
        self._weight_max = weight_max
        self._on_commit = on_commit
        self._lanes: list[_Lane[ItemT, ResultT]] = [_Lane() for _ in range(lanes)]

    def submit(self, item: ItemT, *, key: Any, weight: int = 0) -> asyncio.Future[ResultT]:
        """Commit `item` together with whatever else is pending; what is returned has its own result once it is durable.

        `key` is hashable and orders with the other keys of this writer (a number, a text); `weight` is in bytes.

        Awaiting it raises what the database says of this item alone, or Unavailable `db.unavailable`. If whoever waits is
        cancelled, the item may or may not be committed.
        """
        lane = self._lanes[hash(key) % len(self._lanes)]
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        lane.pending.append(_Entry(item, key, weight, future))
        if lane.task is None:
            lane.task = asyncio.create_task(self._drain(lane))
        return future

    @property
    def followed(self) -> bool:
        """Whether the commit in flight is followed by another in the same turn of the loop; never said of several lanes."""
        return len(self._lanes) == 1 and bool(self._lanes[0].pending)

    async def flush(self) -> None:
        """Wait until everything submitted so far is committed or has failed."""
        while tasks := [lane.task for lane in self._lanes if lane.task is not None]:
            await asyncio.wait(tasks)

    async def _drain(self, lane: _Lane[ItemT, ResultT]) -> None:
        try:
            while lane.pending:
                await self._settle(self._take(lane.pending))
        finally:
            lane.task = None
            for entry in lane.pending:  # only if this task was cancelled: no waiter is left hanging
                entry.future.cancel()
            lane.pending.clear()

    def _take(self, pending: deque[_Entry[ItemT, ResultT]]) -> list[_Entry[ItemT, ResultT]]:
        batch = [pending.popleft()]
        weight = batch[0].weight
        while pending and len(batch) < self._batch_max and weight + pending[0].weight <= self._weight_max:
            entry = pending.popleft()
            weight += entry.weight
            batch.append(entry)
        batch.sort(key=_key)
        return batch

    async def _settle(self, batch: list[_Entry[ItemT, ResultT]]) -> None:
        """Answer every waiter of `batch`, whatever happens."""
        try:
            results = await self._repeat(batch)
        except asyncio.CancelledError:
            for entry in batch:
                entry.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - a waiter must get every error there is, a defect's too
            if len(batch) == 1 or isinstance(error, Unavailable):
                for entry in batch:
                    if not entry.future.done():
                        entry.future.set_exception(error)
                return
            middle = len(batch) // 2
            await self._settle(batch[:middle])
            await self._settle(batch[middle:])
        else:
            for entry, result in zip(batch, results, strict=True):
                if not entry.future.done():
                    entry.future.set_result(result)

    async def _repeat(self, batch: list[_Entry[ItemT, ResultT]]) -> Sequence[ResultT]:
        """Commit, and commit again after a failure that blames no item."""
        items = [entry.item for entry in batch]
        for pause in (*_BACKOFF_S, None):
            started = self._clock.monotonic()
            try:
                results = await self._commit_batch(items)
            except (psycopg.OperationalError, Unavailable) as error:
                if isinstance(error, psycopg.errors.ProgramLimitExceeded):
                    raise  # an item too large for an index or a document: its own fault
                if pause is None:
                    if isinstance(error, Unavailable):
                        raise
                    raise Unavailable(
                        "db.unavailable",
                        f"The database did not accept the write: {type(error).__name__}.",
                        hint="See /health/dependencies; the write is repeated when the run is resumed.",
                        retry_after_s=1,
                    ) from error
                await self._clock.sleep(pause)
            else:
                if self._on_commit is not None:
                    self._on_commit(len(items), self._clock.monotonic() - started)
                return results
        raise AssertionError  # pragma: no cover - the last round returns or raises
