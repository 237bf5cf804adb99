"""SQLite for the `sql` adapter: a connection per call, in a thread, that can do no more than the call needs."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar, cast
from urllib.parse import quote

from stanchion.base import Json, dumps
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.paths import inside
from stanchion.tools.adapters.statements import read_statement
from stanchion.tools.types import Record

T = TypeVar("T")

_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
# What a declared write may never do: reach other files, change the connection, end our transaction.
_NEVER = {
    sqlite3.SQLITE_ATTACH,
    sqlite3.SQLITE_DETACH,
    sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_TRANSACTION,
    sqlite3.SQLITE_SAVEPOINT,
}
# Calls at once; others wait.
_THREADS = 16
# A table's own name may be anything, so it is always quoted. A primary key that is no rowid may hold nulls in SQLite, but
# nobody means it to.
_COLUMNS = """
select m.name as table_name, '"' || replace(m.name, '"', '""') || '"' as written, m.type as kind,
  p.name as column_name, p.type as type, p."notnull" = 0 and p.pk = 0 as nullable, p.pk as key
from sqlite_master m join pragma_table_info(m.name) p
where m.type in ('table', 'view') and substr(m.name, 1, 7) <> 'sqlite_' order by m.name, p.cid limit ?
"""


def _only_reads(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY


def _only_data(action: int, *_: object) -> int:
    return sqlite3.SQLITE_DENY if action in _NEVER else sqlite3.SQLITE_OK


class SqliteDriver:
    """See the module. A file is opened read-only for reads, and never created."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # Threads of its own: a call may wait for another writer's lock for its whole time, and the loop's own threads
        # resolve the names of everybody's hosts.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sqlite")

    async def read(
        self, call: Call, statement: str, values: Record, skip: int, limit: int
    ) -> list[Mapping[str, object]]:
        """At most `limit` rows after the first `skip`, from a file opened read-only."""

        def work(connection: sqlite3.Connection) -> list[Mapping[str, object]]:
            connection.set_authorizer(_only_reads)
            left = skip
            with closing(connection.execute(statement, _bound(statement, values))) as cursor:
                while left > 0:
                    if not (passed := cursor.fetchmany(min(left, 1000))):
                        return []
                    left -= len(passed)
                return [dict(row) for row in cursor.fetchmany(limit)]

        return await self._run(call, "ro", work)

    async def write(
        self,
        call: Call,
        statement: str,
        values: Record,
        probe: str | None,
        key: str,  # noqa: ARG002
    ) -> int | None:
        """One immediate transaction: SQLite has one writer, so taking the write lock serialises on every key."""

        def work(connection: sqlite3.Connection) -> int | None:
            connection.execute("begin immediate")
            try:
                connection.set_authorizer(_only_data)
                if probe is not None and connection.execute(probe, _bound(probe, values)).fetchone() is not None:
                    rows = None
                else:
                    with closing(connection.execute(statement, _bound(statement, values))) as cursor:
                        cursor.fetchall()
                        rows = max(cursor.rowcount, 0)
            except BaseException:
                connection.set_authorizer(None)
                if connection.in_transaction:
                    connection.execute("rollback")
                raise
            connection.set_authorizer(None)
            connection.execute("commit")
            return rows

        return await self._run(call, "rw", work)

    async def test(self, call: Call) -> str:
        """Open the file and count its tables."""

        def work(connection: sqlite3.Connection) -> str:
            count = connection.execute("select count(*) from sqlite_master where type in ('table', 'view')").fetchone()
            return f"SQLite {sqlite3.sqlite_version}, {count[0]} tables and views."

        return await self._run(call, "ro", work)

    async def columns(self, call: Call, limit: int) -> list[Mapping[str, object]]:
        """At most `limit` columns of the tables and views, in order, for `sql_found`."""

        def work(connection: sqlite3.Connection) -> list[Mapping[str, object]]:
            connection.execute("pragma query_only = on")
            return [dict(row) for row in connection.execute(_COLUMNS, (limit,))]

        return await self._run(call, "ro", work)

    async def close(self) -> None:
        """Nothing stays open between calls; threads end with the calls they have."""
        self._threads.shutdown(wait=False)

    async def _run(self, call: Call, mode: str, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a thread. When time is up the statement is interrupted and its end awaited, so that the
        outcome of a write is always known."""
        database = cast("Mapping[str, Json]", call.target.connector.settings["database"])
        path = inside(self._root, str(database["path"]))
        opened: list[sqlite3.Connection] = []
        late = False
        call.calls += 1

        def in_thread() -> T:
            with closing(_open(path, mode, call.left_s())) as connection:
                opened.append(connection)
                if late:
                    raise _timeout(call.target)
                return work(connection)

        task = asyncio.get_running_loop().run_in_executor(self._threads, in_thread)
        # A cancelled caller does not wait for the thread; its exception is then nobody's.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({task}, timeout=call.left_s())
        finally:
            late = not task.done()
            if late:
                for connection in opened:
                    # It may have ended and closed between the look and this line.
                    with contextlib.suppress(sqlite3.ProgrammingError):
                        connection.interrupt()
        try:
            return await asyncio.shield(task)
        except sqlite3.Error as error:
            raise _problem(call.target, error, str(database["path"])) from None


def _timeout(target: Target) -> AdapterProblem:
    return target.problem("adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True)


def _open(path: Path, mode: str, busy_s: float) -> sqlite3.Connection:
    uri = f"file:{quote(str(path))}?mode={mode}"
    connection = sqlite3.connect(uri, uri=True, timeout=busy_s, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _bound(statement: str, values: Record) -> dict[str, object]:
    """The parameters that the statement uses, as SQLite stores them: lists and objects as JSON text."""
    used = read_statement(statement, "sqlite").parameters
    return {name: dumps(v).decode() if isinstance(v := values[name], list | dict) else v for name in used}


def _problem(target: Target, error: sqlite3.Error, named: str) -> AdapterProblem:
    """Nothing was written in any of these cases: the transaction was rolled back or never began."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return target.problem("adapter.busy", "is locked by another writer.", retryable=True)
    if code == sqlite3.SQLITE_INTERRUPT:
        return _timeout(target)
    if code == sqlite3.SQLITE_CANTOPEN:
        return target.problem(
            "adapter.unreachable",
            f"cannot be opened: there is no database file {named!r}, or no right to it.",
            hint="The path in the connector is relative to the connectors' folder; it is never created.",
        )
    if code in {sqlite3.SQLITE_AUTH, sqlite3.SQLITE_READONLY}:
        return target.problem(
            "adapter.not_allowed",
            "declares a statement that does more than its operation may.",
            hint="fetch, lookup and probe only read; a push neither attaches files nor ends its transaction.",
        )
    retryable = code in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
    return target.problem("adapter.refused", f"refused the statement: {error}.", retryable=retryable)
