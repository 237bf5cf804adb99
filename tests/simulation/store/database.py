"""stanchion.db.Database over the simulated server."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self

import psycopg

from stanchion.base import Unavailable
from stanchion.db import Database, DatabaseUrls
from tests.simulation.store.connection import SimConnection
from tests.simulation.store.link import Link
from tests.simulation.store.server import SimServer
from tests.simulation.store.session import GONE

# The pool tries to connect again after pauses that begin with this and double (psycopg_pool's own, without its jitter).
_AGAIN_S = 1.0
# idle_in_transaction_session_timeout of the pools' connections, as stanchion.db.pool sets it.
_ENGINE_IDLE_S = 5.0
_APP_IDLE_S = 15.0


class _Pool:
    """The connections of one role."""

    def __init__(self, role: str, most: int, idle_s: float) -> None:
        self.role = role
        self.most = most
        self.idle_s = idle_s
        self.made = 0
        self.free: list[SimConnection] = []
        self.waiting: deque[asyncio.Future[SimConnection | None]] = deque()


class _Lent:
    """A pooled connection for one block. By hand, not by a generator: there are a thousand of them in a seed."""

    __slots__ = ("_connection", "_db", "_pool")
    _connection: SimConnection

    def __init__(self, db: SimDatabase, pool: _Pool) -> None:
        self._db = db
        self._pool = pool

    async def __aenter__(self) -> SimConnection:
        connection = self._connection = await self._db.acquire(self._pool)
        return connection

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        connection = self._connection
        try:
            if isinstance(error, psycopg.Error) and (connection.closed or connection.broken):
                raise Unavailable(
                    "db.unavailable",
                    "The database closed the connection.",
                    hint="Try again; the change was not made unless you can read it.",
                    retry_after_s=1,
                ) from error
        finally:
            self._db.put(self._pool, connection)


class _LentTx(_Lent):
    """The same, in a transaction; `tenant` None for one of role `engine`."""

    __slots__ = ("_tenant",)

    def __init__(self, db: SimDatabase, pool: _Pool, tenant: str | None) -> None:
        super().__init__(db, pool)
        self._tenant = tenant

    async def __aenter__(self) -> SimConnection:
        connection = self._connection = await self._db.acquire(self._pool)
        try:
            connection.begin(self._tenant)
        except BaseException as error:
            await super().__aexit__(type(error), error, None)
            raise
        return connection

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self._connection.end(error)
        except BaseException as failure:
            await super().__aexit__(type(failure), failure, None)
            raise
        await super().__aexit__(kind, error, trace)


class SimDatabase(Database):
    """The pools of one simulated process: same interface, limits and errors as stanchion.db.Database.

    A subclass only so that Env takes it; nothing of the real one is used.
    """

    def __init__(
        self, server: SimServer, link: Link, *, app_max: int = 10, engine_max: int = 6, acquire_timeout_s: float = 5.0
    ) -> None:
        self.urls = DatabaseUrls(app="sim://app", engine="sim://engine")
        self.server = server
        self.link = link
        self._timeout_s = acquire_timeout_s
        self._pools = {
            "app": _Pool("app", app_max, _APP_IDLE_S),
            "engine": _Pool("engine", engine_max, _ENGINE_IDLE_S),
        }
        self._mine: dict[SimConnection, None] = {}

    async def open(self) -> None:
        """Nothing to do: connections are made when asked for."""

    async def close(self) -> None:
        """Close the pooled connections."""
        for pool in self._pools.values():
            for connection in pool.free:
                await connection.close()
            pool.made -= len(pool.free)
            pool.free.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def connection(self, role: str) -> Any:
        """A pooled connection in autocommit mode. Raises Unavailable as the real one does."""
        return _Lent(self, self._pools[role])

    def tenant_tx(self, tenant: str) -> Any:
        """A transaction as role `app`, walled to `tenant`."""
        return _LentTx(self, self._pools["app"], tenant)

    def engine_tx(self) -> Any:
        """A transaction as role `engine`."""
        return _LentTx(self, self._pools["engine"], None)

    @asynccontextmanager
    async def presented_tx(self, credential_id: str) -> AsyncGenerator[Any]:
        """Sign-in is not simulated."""
        raise NotImplementedError("the simulated store has no credentials")
        yield

    async def dedicated(self, role: str) -> Any:
        """A connection of its own outside the pool. Raises psycopg.OperationalError."""
        return await self._connect(role)

    def kill(self) -> None:
        """The process died: every session of it ends at once on the server's side."""
        for connection in list(self._mine):
            connection.session.end(psycopg.OperationalError(GONE))
        self._mine.clear()

    # --- the pool

    async def _connect(self, role: str, idle_s: float | None = None) -> SimConnection:
        await self.link.connect()
        connection = SimConnection(self.server.connect(role, self.link, idle_s=idle_s))
        self._mine[connection] = None
        return connection

    async def acquire(self, pool: _Pool) -> SimConnection:
        """A connection that is open as far as the pool can see."""
        connection = pool.free.pop() if pool.free else None
        while connection is None or connection.closed:  # the server hung up on an idle session, which the pool sees
            if connection is not None:
                self.put(pool, connection)
            connection = await self._acquire(pool)
        return connection

    async def _acquire(self, pool: _Pool) -> SimConnection:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._timeout_s
        pause = _AGAIN_S
        while True:
            if pool.free:
                return pool.free.pop()
            if pool.made >= pool.most:
                given = await self._wait(pool, until)
                if given is not None:
                    return given
                continue
            pool.made += 1
            try:
                return await self._connect(pool.role, pool.idle_s)
            except psycopg.OperationalError as error:
                self._unmade(pool)
                left = until - loop.time()
                if left <= 0:
                    raise self._exhausted() from error
                await asyncio.sleep(min(pause, left))
                pause *= 2
                if loop.time() >= until:
                    raise self._exhausted() from error
            except BaseException:
                self._unmade(pool)
                raise

    async def _wait(self, pool: _Pool, until: float) -> SimConnection | None:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[SimConnection | None] = loop.create_future()
        pool.waiting.append(future)
        timer = loop.call_at(until, _give_up, future, self._exhausted())
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                given = future.result()
                if given is not None:
                    self.put(pool, given)
                else:
                    self._invite(pool)
            raise
        finally:
            timer.cancel()
            if future in pool.waiting:
                pool.waiting.remove(future)

    def put(self, pool: _Pool, connection: SimConnection) -> None:
        """Take a connection back."""
        job = connection.session.job
        if job is not None and not job.finished:
            # Left in the middle of a statement (cancelled twice): psycopg_pool closes it; a commit under way goes on.
            connection.abandon()
        if connection.closed:
            self._mine.pop(connection, None)
            self._unmade(pool)
            return
        if connection.session.tx is not None:
            connection.session.finish(commit=False)
        while pool.waiting:
            future = pool.waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        pool.free.append(connection)

    def _unmade(self, pool: _Pool) -> None:
        pool.made -= 1
        self._invite(pool)

    @staticmethod
    def _invite(pool: _Pool) -> None:
        """There is room for one more connection: whoever waits longest may make it."""
        while pool.waiting:
            future = pool.waiting.popleft()
            if not future.done():
                future.set_result(None)
                return

    def _exhausted(self) -> Unavailable:
        return Unavailable(
            "db.pool_exhausted",
            f"No database connection became free within {self._timeout_s:g} s.",
            hint="The database is unreachable or every connection is busy; see /health/dependencies.",
            retry_after_s=1,
        )


def _give_up(future: asyncio.Future[Any], error: Unavailable) -> None:
    if not future.done():
        future.set_exception(error)
