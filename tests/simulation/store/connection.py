"""What SimDatabase yields: as much of psycopg.AsyncConnection as stanchion.db.tx and the engine use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row, tuple_row

from tests.simulation.store.registry import Key, key_of
from tests.simulation.store.session import Job, Session

_CLOSED = "the connection is closed"


class SimConnection:
    """One connection, in autocommit mode unless in a `transaction()` block."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._closed_by_us = False

    @property
    def closed(self) -> bool:
        """Whether nothing more can be said over it."""
        return self._closed_by_us or not self.session.alive

    @property
    def broken(self) -> bool:
        """Whether it was closed by anyone but its owner."""
        return not self.session.alive and not self._closed_by_us

    def cursor(self, *, row_factory: Callable[..., Any] = tuple_row) -> SimCursor:
        """A cursor; the row factories known are tuple_row, dict_row, class_row, and args_row of a dataclass."""
        return SimCursor(self, row_factory)

    async def execute(self, query: str, params: Any = (), *, prepare: bool | None = None) -> SimCursor:
        """Run `query` on a new cursor."""
        cursor = SimCursor(self, tuple_row)
        return await cursor.execute(query, params, prepare=prepare)

    def transaction(self) -> SimTransaction:
        """A transaction block: commits at its end, rolls back on an exception."""
        return SimTransaction(self)

    async def ask(self, key: Key | None, text: str, params: Any) -> Any:
        """One round trip: a statement, or for no key the end of the transaction block."""
        session = self.session
        if self._closed_by_us or not session.alive:
            self.check()
        link = session.link
        try:
            if (waits := link.request()) is not None:
                await waits
        except psycopg.OperationalError as error:
            session.end(error)
            raise
        if not session.alive:
            self.check()
        failure: Exception | None = None
        result: Any = None
        try:
            result = session.finish(commit=params) if key is None else session.statement(key, text, params)
            if result.__class__ is Job:
                result = await _outcome(session, result)
        except psycopg.Error as error:
            failure = error
        if not session.alive:
            self.check()
        try:
            if (waits := link.reply()) is not None:
                await waits
        except psycopg.OperationalError as error:
            session.end(error)
            raise
        if not session.alive:
            self.check()
        if failure is not None:
            raise failure
        return result

    def begin(self, tenant: str | None = None) -> None:
        """Open a transaction block, walled to `tenant` if there is one."""
        if self._closed_by_us or not self.session.alive:
            self.check()
        self.session.begin(tenant)

    async def end(self, error: BaseException | None) -> None:
        """End the transaction block: COMMIT, or ROLLBACK after an error."""
        session = self.session
        if session.tx is None:
            if error is None:
                self.check()
        elif error is None:
            await self.ask(None, "", params=True)
        else:
            # psycopg sends ROLLBACK and swallows its failure: the server rolls back in any case.
            session.finish(commit=False)

    def check(self) -> None:
        """Raises what ended the session, if anything did."""
        if self._closed_by_us:
            raise psycopg.OperationalError(_CLOSED)
        if not self.session.alive:
            error = self.session.error
            raise type(error)(*error.args) if error is not None else psycopg.OperationalError(_CLOSED)

    async def notifies(self, *, timeout: float | None = None) -> AsyncGenerator[psycopg.Notify]:
        """Notifications as they come, until `timeout` seconds have passed. Raises OperationalError when the session dies."""
        session, loop = self.session, asyncio.get_running_loop()
        until = None if timeout is None else loop.time() + timeout
        while True:
            while session.inbox:
                channel, payload = session.inbox.popleft()
                yield psycopg.Notify(channel, payload, 0)
            self.check()
            if until is not None and loop.time() >= until:
                return
            session.reader = loop.create_future()
            timer = None if until is None else loop.call_at(until, session.wake)
            try:
                await session.reader
            finally:
                session.reader = None
                if timer is not None:
                    timer.cancel()

    def abandon(self) -> None:
        """End the session; its locks are free, but for a commit under way, which goes on."""
        self._closed_by_us = True
        self.session.end(psycopg.OperationalError(_CLOSED))

    async def close(self) -> None:
        """The same, as psycopg says it."""
        self.abandon()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _outcome(session: Session, job: Job) -> Any:
    """Wait for a job; a cancelled client takes its statement back and waits for the server's word, as psycopg does."""
    try:
        return await job.done
    except asyncio.CancelledError:
        session.cancel()
        if not job.finished:
            job.done = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait([job.done])
            except asyncio.CancelledError:
                # Cancelled again: nobody waits for the server's word now, and the pool throws the connection away.
                session.end(psycopg.OperationalError("another command is already in progress"))
                raise
        raise


class SimTransaction:
    """psycopg's transaction block."""

    def __init__(self, connection: SimConnection) -> None:
        self._connection = connection

    async def __aenter__(self) -> Self:
        self._connection.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._connection.end(error)


class SimCursor:
    """A cursor with the result of its last statement."""

    def __init__(self, connection: SimConnection, row_factory: Callable[..., Any]) -> None:
        self._connection = connection
        self._by_name, self._make = (False, _tuple) if row_factory is tuple_row else _maker(row_factory)
        self._rows: list[dict[str, Any]] = []
        self._at = 0
        self.rowcount = -1

    async def execute(self, query: str, params: Any = (), *, prepare: bool | None = None) -> Self:
        """Run `query`."""
        result = await self._connection.ask(key_of(query), query, params)
        if result.__class__ is list:
            self._rows, self.rowcount = result, len(result)
        else:
            self._rows, self.rowcount = [], result
        self._at = 0
        return self

    async def fetchall(self) -> list[Any]:
        """The rows not yet fetched."""
        rows, self._at = self._rows[self._at :], len(self._rows)
        make = self._make
        return [make(**row) for row in rows] if self._by_name else [make(row) for row in rows]

    async def fetchone(self) -> Any:
        """The next row or None."""
        if self._at >= len(self._rows):
            return None
        row = self._rows[self._at]
        self._at += 1
        return self._make(**row) if self._by_name else self._make(row)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None


def _maker(row_factory: Callable[..., Any]) -> tuple[bool, Callable[..., Any]]:
    """What makes a row, and whether it takes the columns by name."""
    # Looked for by the name of the factory's inner function, which psycopg makes anew for each class.
    name = getattr(row_factory, "__name__", "")
    if name in ("class_row_", "args_row_"):
        # A row that is made by position is made by name here: its fields stand in the order of the columns, which the
        # contract suite sees to on the real side.
        return True, row_factory.__closure__[0].cell_contents  # type: ignore[index]
    if row_factory is dict_row:
        return False, dict
    raise TypeError(f"the simulated cursor does not know the row factory {row_factory!r}")


def _tuple(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row.values())
