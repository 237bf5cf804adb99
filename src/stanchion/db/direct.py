"""The few statements that are sent thousands of times a second, straight through libpq.

A cursor of psycopg converts the query and its parameters anew for each execution, makes objects on the way, and goes
through its generators: 36 µs of processor time for a statement with four texts where 17 are enough, and 0.12 ms until
the answer where 0.06 are (measured in a loop; a run that is alone in an idle worker meets cold caches and pays twice).
That is nothing for a verb, and a good part of what a checkpoint costs.

Only single statements in autocommit mode go this way: they are their own transaction. Nothing else differs: the same
connections, errors and text formats, loaded by psycopg's own adapters (docs/adr/0019-direct-statements.md).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, Self, TypeVar, cast
from uuid import UUID

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, TransactionStatus

from stanchion.db.tx import Tx, many_by_position

RowT = TypeVar("RowT")

_PARAMETER: Final = re.compile(r"%\((\w+)\)s|%%")
# As long as psycopg's cursors wait until the server has heard that a statement is taken back.
_CANCEL_S: Final = 5.0
_GOOD: Final = frozenset((ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK))


@dataclass(frozen=True, slots=True)
class _Statement:
    """A query as the server takes it. `names`: of the parameters $1, $2, ... in their order."""

    name: bytes
    query: bytes
    names: tuple[str, ...]

    @classmethod
    def of(cls, query: str) -> Self:
        names: dict[str, int] = {}

        def numbered(found: re.Match[str]) -> str:
            return "%" if found[1] is None else f"${names.setdefault(found[1], len(names) + 1)}"

        text = _PARAMETER.sub(numbered, query).encode()
        return cls(f"direct_{len(_STATEMENTS)}".encode(), text, tuple(names))


_STATEMENTS: Final[dict[str, _Statement]] = {}


class Session(psycopg.AsyncConnection[Any]):
    """A pooled connection, which also takes statements directly; whoever does has it to himself meanwhile."""

    def __init__(self, pgconn: psycopg.pq.abc.PGconn, **more: Any) -> None:
        super().__init__(pgconn, **more)
        self._known: set[bytes] = set()
        self._loading = Transformer(self)

    async def direct(self, row: Callable[..., RowT], statement: _Statement, params: Mapping[str, object]) -> list[RowT]:
        """Run a statement, prepared at its first sight; each row of its answer is `row(*columns)`.

        Raises psycopg.Error as a cursor does. A caller who is cancelled takes the statement back and waits for the
        server's word, also as with a cursor.
        """
        values = [parameter(params[name]) for name in statement.names]
        try:
            result = await self._execute(statement, values)
        except psycopg.errors.InvalidSqlStatementName:
            # After a rollback psycopg deallocates everything that is prepared. Nothing has been done yet.
            self._known.discard(statement.name)
            result = await self._execute(statement, values)
        self._loading.set_pgresult(result)
        return self._loading.load_rows(0, result.ntuples, lambda columns: row(*columns))

    async def _execute(self, statement: _Statement, values: list[bytes | None]) -> psycopg.pq.abc.PGresult:
        if statement.name not in self._known:
            # Known from here on: who is cancelled now does not learn whether the server knows it.
            self._known.add(statement.name)
            self.pgconn.send_prepare(statement.name, statement.query)
            await self._answered()
        self.pgconn.send_query_prepared(statement.name, values)
        return await self._answered()

    async def _answered(self) -> psycopg.pq.abc.PGresult:
        """The answer to what was sent; a cancelled caller leaves an idle session behind, or none."""
        try:
            return await self._answer()
        except asyncio.CancelledError:
            try:
                await self.cancel_safe(timeout=_CANCEL_S)
                await self._answer()
            except psycopg.Error:
                pass  # taken back, or the session is lost
            except BaseException:
                self.pgconn.finish()
                raise
            raise

    async def _answer(self) -> psycopg.pq.abc.PGresult:
        """Send what is to be sent and wait for everything that is answered: a commit may fail after its statement."""
        pgconn = self.pgconn
        while pgconn.flush():
            await self._ready(writing=True)
        result: psycopg.pq.abc.PGresult | None = None
        failed: psycopg.pq.abc.PGresult | None = None
        while True:
            while pgconn.is_busy():
                await self._ready()
            found = pgconn.get_result()
            if found is None:
                break
            result = found
            if found.status not in _GOOD:
                failed = failed or found
        if failed is not None:
            raise error_from_result(failed, encoding=self.info.encoding)
        if result is None:
            raise psycopg.OperationalError("the server closed the connection")
        return result

    async def _ready(self, *, writing: bool = False) -> None:
        """Wait until the socket has something to read, and read it; or, if `writing`, until it takes more.

        Each wait hears of the socket anew. uvloop tells of a broken socket once and then watches it no more, though there
        may be more to read than has come by then: a server that is ended at once (`pg_ctl -m immediate`) sends a warning
        before it closes, and whoever went on waiting for the answer waited for ever. And libpq closes a socket that it
        finds dead, whose number may be another's a moment later: nothing is read while the loop still watches it.
        """
        loop, pgconn = asyncio.get_running_loop(), self.pgconn
        told: asyncio.Future[None] = loop.create_future()
        readable = False

        def reads() -> None:
            nonlocal readable
            readable = True
            takes()

        def takes() -> None:
            if not told.done():
                told.set_result(None)

        socket = pgconn.socket
        try:
            loop.add_reader(socket, reads)
            if writing:
                loop.add_writer(socket, takes)
            await told
        finally:
            loop.remove_reader(socket)
            if writing:
                loop.remove_writer(socket)
        if readable:
            pgconn.consume_input()


async def direct(tx: Tx, row: Callable[..., RowT], query: LiteralString, params: Mapping[str, object]) -> list[RowT]:
    """All rows of `query`, each `row(*columns)`, in the order of its columns.

    `params` are texts, bytes of UTF-8, whole numbers, booleans, UUIDs, lists of texts, or None; the query casts them
    where PostgreSQL cannot tell their types. A transaction block, and a connection that is not of a pool, go the common
    way.
    """
    if not isinstance(tx, Session) or tx.pgconn.transaction_status != TransactionStatus.IDLE:
        texts = {name: value.decode() if isinstance(value, bytes) else value for name, value in params.items()}
        return await many_by_position(tx, row, query, texts)
    statement = _STATEMENTS.get(query)
    if statement is None:
        statement = _STATEMENTS[query] = _Statement.of(query)
    return await tx.direct(row, statement, params)


def parameter(value: object) -> bytes | None:
    """A parameter as PostgreSQL reads it."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if value is None:
        return None
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int | UUID):
        return str(value).encode()
    if isinstance(value, list):
        return _array(cast("list[str]", value))
    raise TypeError(f"{type(value).__name__} is not a parameter of a direct statement")


def _array(items: Sequence[str]) -> bytes:
    """A list of texts as PostgreSQL writes arrays."""
    quoted = (item.replace("\\", "\\\\").replace('"', '\\"') for item in items)
    return ("{" + ",".join(f'"{item}"' for item in quoted) + "}").encode()
