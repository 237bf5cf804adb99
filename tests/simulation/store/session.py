"""A session on the server's side: it runs statements in the server's own time, whatever becomes of its client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Generator
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any

import psycopg

from tests.simulation.store import registry
from tests.simulation.store.link import Commit, Link
from tests.simulation.store.transaction import SimTx

if TYPE_CHECKING:
    import contextvars

    from tests.simulation.store.server import SimServer

GONE = "server closed the connection unexpectedly"


class Job:
    """Something the server does that takes time: a coroutine driven in the server's context, outside any task.

    It has run up to its first wait, on `waits`. `done` is the future that its client waits on.
    """

    __slots__ = ("_context", "_coro", "_waits", "done", "finished")

    def __init__(self, coro: Coroutine[Any, Any, Any], context: contextvars.Context, waits: Any) -> None:
        self._coro = coro
        self._context = context
        self._waits: asyncio.Future[Any] | None = None
        self.done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.finished = False
        self._wait_on(waits)

    def abort(self, error: BaseException) -> None:
        """Make the coroutine meet `error` where it waits, now."""
        if not self.finished:
            self._waits = None
            self._go(error)

    def _wait_on(self, waits: Any) -> None:
        if waits is None:
            asyncio.get_running_loop().call_soon(self._go, None, context=self._context)
            return
        waits._asyncio_future_blocking = False
        self._waits = waits
        waits.add_done_callback(self._woken, context=self._context)

    def _woken(self, future: asyncio.Future[Any]) -> None:
        if future is self._waits:
            self._go(None)

    def _go(self, error: BaseException | None) -> None:
        if self.finished:
            return
        try:
            waits = self._coro.send(None) if error is None else self._coro.throw(error)
        except StopIteration as stop:
            self.finished = True
            if not self.done.done():
                self.done.set_result(stop.value)
        except Exception as raised:  # whatever it is, it is the client's
            self.finished = True
            if not self.done.done():
                self.done.set_exception(raised)
                self.done.exception()  # a client that is dead or was cancelled never asks
        else:
            self._wait_on(waits)


@coroutine
def _resumed(coro: Coroutine[Any, Any, Any], waits: Any) -> Generator[Any, None, Any]:
    """Go on with a coroutine that has been run up to its first wait."""
    while True:
        try:
            yield waits
        except BaseException as error:
            thrown: BaseException | None = error
        else:
            thrown = None
        try:
            waits = coro.send(None) if thrown is None else coro.throw(thrown)
        except StopIteration as stop:
            return stop.value


class Session:
    """One connection as the server sees it.

    Attributes:
        tenant: what a new transaction finds as stanchion.tenant: None, or '' once it was set locally before.
        tx: the open transaction block, or None in autocommit mode.
        channels: what it listens to. `inbox`: notifications that arrived and were not read.
    """

    def __init__(self, server: SimServer, role: str, link: Link, *, idle_s: float | None = None) -> None:
        self.server = server
        self.role = role
        self.link = link
        self.alive = True
        self.error: Exception | None = None
        self.tenant: str | None = None
        self.tx: SimTx | None = None
        self.channels: dict[str, None] = {}
        self.inbox: deque[tuple[str, str]] = deque()
        self.reader: asyncio.Future[None] | None = None
        self.job: Job | None = None
        self._running: SimTx | None = None
        self._committing = False
        self._idle_s = idle_s
        self._idle_since = 0.0
        self._time = asyncio.get_running_loop().time
        self._idle_timer: asyncio.TimerHandle | None = None

    # --- statements

    def begin(self, tenant: str | None = None) -> None:
        """Open a transaction block, with `tenant` as its stanchion.tenant if there is one."""
        if self.tx is not None:
            raise NotImplementedError("savepoints are not simulated")
        tx = self.tx = SimTx(self)
        if tenant is not None:
            tx.tenant = tenant
        if self._idle_s is not None:
            loop = asyncio.get_running_loop()
            self._idle_since = loop.time()
            self._idle_timer = loop.call_later(self._idle_s, self._look_idle, context=self.server.context)

    def _look_idle(self) -> None:
        """idle_in_transaction_session_timeout: one timer per transaction block, set again while it is not idle."""
        self._idle_timer = None
        if self.tx is None or not self.alive or self._idle_s is None:
            return
        loop = asyncio.get_running_loop()
        busy = self._running is not None
        left = self._idle_s if busy else self._idle_since + self._idle_s - loop.time()
        if left > 0:
            self._idle_timer = loop.call_later(left, self._look_idle, context=self.server.context)
            return
        self.end(
            psycopg.errors.IdleInTransactionSessionTimeout("terminating connection due to idle-in-transaction timeout")
        )

    def statement(self, key: registry.Key, text: str, params: Any) -> registry.Rows | int | Job:
        """Run a statement: its result, or the job that goes on with it if it has to wait. Raises what it fails of.

        Most statements wait for nothing. Only what does wait costs a coroutine of its own, in `_rest` and `_commit`.
        """
        registry.CALLS[key] += 1
        block = self.tx
        tx = SimTx(self) if block is None else block
        if tx.failed:
            raise psycopg.errors.InFailedSqlTransaction(
                "current transaction is aborted, commands ignored until end of transaction block"
            )
        tx.text = text
        try:
            result: Any = registry.MODELS[key](tx, params)
            if result.__class__ is CoroutineType:
                try:
                    waits = self.server.context.run(result.send, None)
                except StopIteration as stop:
                    result = stop.value
                else:
                    return self._begin(self._rest(tx, block, _resumed(result, waits)))
        except BaseException:
            self._failed(tx, block)
            raise
        if block is None:
            return self._end(tx, result)
        self._idle_since = self._time()
        return result

    def finish(self, *, commit: bool) -> Any:
        """End the transaction block: nothing, or the job that commits it."""
        tx, self.tx = self.tx, None
        assert tx is not None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        if commit and not tx.failed:
            return self._end(tx, None)
        self.server.rollback(tx)
        return None

    def _begin(self, coro: Coroutine[Any, Any, Any]) -> Any:
        context = self.server.context
        try:
            waits = context.run(coro.send, None)
        except StopIteration as stop:
            return stop.value
        self.job = Job(coro, context, waits)
        return self.job

    def _failed(self, tx: SimTx, block: SimTx | None) -> None:
        if block is None:
            self.server.rollback(tx)
        else:
            tx.failed = True
            self._idle_since = self._time()

    async def _rest(self, tx: SimTx, block: SimTx | None, waiting: Awaitable[Any]) -> registry.Rows | int:
        """Go on with a statement that waits."""
        self._running = tx
        try:
            result = await waiting
        except BaseException:
            self._running = None
            self._failed(tx, block)
            raise
        self._running = None
        if block is None:
            return await self._commit(tx, result, self.link.commit() if tx.writes or tx.notes else Commit.OK)
        self._idle_since = self._time()
        return result

    def _end(self, tx: SimTx, result: Any) -> Any:
        """Commit: the result, or the job that does it."""
        if tx.writes or tx.notes:
            outcome = self.link.commit()
            if outcome is not Commit.OK:
                return self._begin(self._commit(tx, result, outcome))
        self.server.commit(tx)
        return result

    async def _commit(self, tx: SimTx, result: Any, pending: Awaitable[Commit] | Commit) -> Any:
        self._committing = True
        self._running = tx
        try:
            outcome = pending if isinstance(pending, Commit) else await pending
        except BaseException:
            self.server.rollback(tx)
            raise
        finally:
            self._committing = False
            self._running = None
        if outcome is Commit.OK or outcome is Commit.LOST_AFTER:
            self.server.commit(tx)
        else:
            self.server.rollback(tx)
        if outcome is Commit.REFUSED:
            raise psycopg.errors.SerializationFailure("could not serialize access (simulated)")
        if outcome is not Commit.OK:
            self.job = None  # it is this very coroutine, which raises by itself
            self.end(psycopg.OperationalError(GONE))
            raise psycopg.OperationalError(GONE)
        return result

    # --- how it is broken off

    def cancel(self) -> None:
        """The client takes its statement back: one that waits for a lock fails, a commit goes on."""
        job = self.job
        if job is not None and not job.finished and not self._committing:
            job.abort(psycopg.errors.QueryCanceled("canceling statement due to user request"))

    def end(self, error: Exception, *, applied: bool | None = None) -> None:
        """The session is over: roll back, free locks, tell whoever waits on this side.

        A commit that is under way goes on, unless `applied` says at once what became of it (the server itself stops).
        """
        if not self.alive:
            return
        self.alive = False
        self.error = error
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        self.server.forget(self)
        if self._committing and applied is None:
            return
        tx = self._running or self.tx
        if self._committing and applied and self._running is not None:
            self.server.commit(self._running)
        if self.job is not None and not self.job.finished:
            self.job.abort(psycopg.OperationalError(str(error)))
        if tx is not None:
            self.server.rollback(tx)
        self.tx = None
        self.wake()

    # --- notifications

    def arrive(self, channel: str, payload: str) -> None:
        """A notification has come over the network."""
        if self.alive:
            self.inbox.append((channel, payload))
            self.wake()

    def wake(self) -> None:
        """Let the reader of notifications look again."""
        if self.reader is not None and not self.reader.done():
            self.reader.set_result(None)
