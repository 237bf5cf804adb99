"""Two pools of connections, one per run-time role, and the transactions on them.

`app` serves a tenant's verbs: row-level security holds it to the tenant set local to the transaction (I13).
`engine` serves claim, checkpoint and sweep across tenants, in named store functions.
"""

from __future__ import annotations

import select
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from stanchion.base import Problem, Unavailable
from stanchion.db.direct import Session
from stanchion.db.lending import Lending
from stanchion.db.roles import Face, ProcessType, face
from stanchion.db.tx import Tx

# Without these a dropped network hangs a query until the client's own timeout (measured, reference: fault row 9).
_CONNECT: Final[dict[str, Any]] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "stanchion",
}

# A process that is frozen or cut off in the middle of a transaction keeps its locks until the server ends the session,
# by itself after two hours (TCP keepalive): measured, a worker stopped with SIGSTOP between an intent's statements kept
# 20 runs from being reclaimed for as long as it stood. The engine's locks must be free before its lease of 10 s is over.
# A verb may think a little between its statements.
_ENGINE_IDLE_MS: Final = 5_000
_APP_IDLE_MS: Final = 15_000


# What a new connection proves who it is with; asked each time, so that a new password needs no restart.
Password = Callable[[], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUrls:
    """libpq URLs of the run-time roles, and of the owner where this process may migrate.

    Attributes:
        app, engine: of a tenant's verbs and across tenants; the same where `process` is said.
        process: connect as this process type, and take its faces (`roles`). None: each URL's user has its rights itself.
        password: of both, where the URLs hold none.
    """

    app: str
    engine: str
    owner: str | None = None
    process: ProcessType | None = None
    password: Password | None = None

    def options(self, role: Face) -> str:
        """The server options that a connection takes its face by; empty where its user is the role."""
        return "" if self.process is None else f"-c role={face(self.process, role)}"


class Database:
    """The pools of one process. Open once, close once."""

    def __init__(
        self,
        urls: DatabaseUrls,
        *,
        app_max: int = 10,
        engine_max: int = 6,
        acquire_timeout_s: float = 5.0,
        lifetime_s: float = 1800.0,
    ) -> None:
        self.urls = urls
        self._acquire_timeout_s = acquire_timeout_s
        self._lifetime_s = lifetime_s
        self._app = Lending(self._pool("app", app_max, _idle_limit(_APP_IDLE_MS)))
        # The engine has few statements, each large and the same every time: prepared at first sight, with a generic
        # plan at once. By default PostgreSQL plans them five times and compares (1-2 ms a checkpoint, measured, then 0.2).
        # A plan may be made while the tables are empty and outlive that by hours; none of them is ever to read a table whole
        # (measured: 2,087 pages for one checkpoint, 2,515 for a claim).
        planned = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
        self._engine = Lending(
            self._pool("engine", engine_max, f"{planned} {_idle_limit(_ENGINE_IDLE_MS)}", prepare_threshold=0)
        )

    def _pool(self, role: Face, max_size: int, options: str, **more: Any) -> AsyncConnectionPool[Tx]:
        async def kwargs() -> dict[str, Any]:
            return {**await self._kwargs(role, options), **more}

        return AsyncConnectionPool(
            self.urls.app if role == "app" else self.urls.engine,
            connection_class=Session,
            kwargs=kwargs,
            min_size=0,
            max_size=max_size,
            max_idle=60,
            # A session outlives the password it began with; none does so for longer than this.
            max_lifetime=self._lifetime_s,
            timeout=self._acquire_timeout_s,
            open=False,
            check=None,
        )

    async def _kwargs(self, role: Face, options: str = "") -> dict[str, Any]:
        """The parameters of a new connection, with the password as it is now."""
        found: dict[str, Any] = {**_CONNECT, "autocommit": True}
        if self.urls.process is not None:  # what pg_stat_activity shows: the face of a session is not in it
            found["application_name"] = f"stanchion {self.urls.process} {role}"
        if said := f"{self.urls.options(role)} {options}".strip():
            found["options"] = said
        if self.urls.password is not None:
            try:
                found["password"] = await self.urls.password()
            except Problem as problem:
                # To whoever connects it is what a server that is away is: try again.
                raise psycopg.OperationalError(f"no password for the database: {problem.message}") from problem
        return found

    async def open(self) -> None:
        """Open both pools without waiting for a connection: readiness tells whether the database is there."""
        await self._app.pool.open(wait=False)
        await self._engine.pool.open(wait=False)

    async def close(self) -> None:
        """Close both pools, waiting briefly for connections in use."""
        await self._app.pool.close(timeout=5)
        await self._engine.pool.close(timeout=5)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self, role: str) -> AsyncGenerator[Tx]:
        """A pooled connection in autocommit mode, of role `app` or `engine`.

        Raises Unavailable `db.unavailable`, `db.pool_exhausted` or `db.disk_full`, all retryable.
        """
        lending = self._app if role == "app" else self._engine
        try:
            connection = await lending.take()
            while _hung_up(connection):
                await connection.close()
                await lending.give(connection)
                connection = await lending.take()
        except PoolTimeout as error:
            raise Unavailable(
                "db.pool_exhausted",
                f"No database connection became free within {self._acquire_timeout_s:g} s.",
                hint="The database is unreachable or every connection is busy; see /health/dependencies.",
                retry_after_s=1,
            ) from error
        try:
            yield connection
        except psycopg.errors.DiskFull as error:
            raise Unavailable(
                "db.disk_full",
                "The database server's disk is full; the change was not made.",
                hint="Free space there, or give it more; what was accepted is kept and goes on by itself then.",
                retry_after_s=5,
            ) from error
        except psycopg.Error as error:
            # By the connection, not by the error's class: the end of a session that stood still is an InternalError.
            if connection.closed or connection.broken:
                raise Unavailable(
                    "db.unavailable",
                    "The database closed the connection.",
                    hint="Try again; the change was not made unless you can read it.",
                    retry_after_s=1,
                ) from error
            raise
        finally:
            await lending.give(connection)

    @asynccontextmanager
    async def tenant_tx(self, tenant: str) -> AsyncGenerator[Tx]:
        """A transaction as role `app`, walled to `tenant` (I13)."""
        async with self.connection("app") as tx, tx.transaction():
            await tx.execute("select set_config('stanchion.tenant', %s, true)", (tenant,))
            yield tx

    @asynccontextmanager
    async def presented_tx(self, credential_id: str) -> AsyncGenerator[Tx]:
        """A transaction as role `app` that sees only the credential row `credential_id`: sign-in, before a tenant is known."""
        async with self.connection("app") as tx, tx.transaction():
            await tx.execute(
                "select set_config('stanchion.tenant', '', true), set_config('stanchion.presented', %s, true)",
                (credential_id,),
            )
            yield tx

    @asynccontextmanager
    async def engine_tx(self) -> AsyncGenerator[Tx]:
        """A transaction as role `engine`, across tenants."""
        async with self.connection("engine") as tx, tx.transaction():
            yield tx

    async def dedicated(self, role: str) -> Tx:
        """A connection of its own outside the pool, for LISTEN and session locks. The caller closes it."""
        if role == "app":
            return await psycopg.AsyncConnection.connect(self.urls.app, **await self._kwargs("app"))
        return await psycopg.AsyncConnection.connect(self.urls.engine, **await self._kwargs("engine"))


def _hung_up(connection: Tx) -> bool:
    """Whether the server has ended this idle session: a restart, an administrator. Nothing else is sent unasked, and a
    look at the socket costs 2 µs, where each dead connection of a pool cost a request or a worker's session (measured:
    6 s until a worker was back, one failure per connection).
    """
    if connection.closed:
        return True
    look = select.poll()
    look.register(connection.fileno(), select.POLLIN)
    return bool(look.poll(0))


def _idle_limit(milliseconds: int) -> str:
    """The server option that ends a session which stands still inside a transaction."""
    return f"-c idle_in_transaction_session_timeout={milliseconds}"
