"""PostgreSQL for the `sql` adapter: the URL from a private file, few connections kept for use, outcomes classified.

libpq's own messages about connecting may quote the connection string, so none of them is passed on (I9): what went
wrong is said from the SQLSTATE, and of the server's answers only the primary message is.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, LiteralString, cast

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from stanchion.base import Invalid, Json
from stanchion.secrets import read_private
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call
from stanchion.tools.adapters.paths import inside
from stanchion.tools.adapters.postgresql_way import way
from stanchion.tools.adapters.statements import NULL_TEST, read_statement
from stanchion.tools.egress import Egress, Network
from stanchion.tools.types import Record

Connection = psycopg.AsyncConnection[Any]

# Connections per database: at once (one broker calls for all workers), kept for use between calls, and for how long
# (seconds). Opening one costs the server and us many times a short call: as many are kept as are in use under load.
_AT_ONCE, _IDLE_MAX, _IDLE_S = 32, 32, 30.0
_CONNECT: Final[dict[str, Any]] = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "stanchion",
}
# SQLSTATE classes and codes after which the same call may succeed: connection, resources, operator intervention
# (restart), rollback (deadlock, serialization); lock not available, query cancelled (time was up), idle too long.
_RETRYABLE_CLASSES = {"08", "53", "57", "40"}
_RETRYABLE = {"55P03", "57014", "25P03"}
# A worker that is frozen or cut off in the middle of a push must not keep the key's lock, which its successor waits for,
# longer than this: the target then rolls back, and the successor's own push goes through.
_IDLE_IN_TRANSACTION_MS = 5_000
# What a document's URL may say. The rest of what libpq knows (parameters of libpq 18) names files, sockets or programs of the
# broker's machine, has it call somewhere else by itself (`oauth_issuer`), write files (`sslkeylogfile`), or holds a credential.
_SAYABLE = {
    "user",
    "host",
    "port",
    "dbname",
    "sslmode",
    "sslnegotiation",
    "channel_binding",
    "target_session_attrs",
    "load_balance_hosts",
    "connect_timeout",
    "application_name",
    "client_encoding",
    "options",
}
# Refusals that pass: a server that starts or stops, all its connections taken.
_BUSY = re.compile(r"starting up|shutting down|recovery|too many|remaining connection slots")
# The catalogue itself: information_schema shows a table's primary key to its owner alone.
_COLUMNS = """
select c.relname as table_name,
  case when pg_catalog.pg_table_is_visible(c.oid) then quote_ident(c.relname)
    else quote_ident(n.nspname) || '.' || quote_ident(c.relname) end as written,
  case when c.relkind in ('v', 'm') then 'view' else 'table' end as kind,
  a.attname as column_name, t.typname as type, not a.attnotnull as nullable,
  array_position(i.indkey::int2[], a.attnum) + 1 as key,
  (select json_agg(e.enumlabel order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid) as choices
from pg_class c join pg_namespace n on n.oid = c.relnamespace
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid
  left join pg_index i on i.indrelid = c.oid and i.indisprimary
where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'information_schema' and left(n.nspname, 3) <> 'pg_'
  and has_schema_privilege(n.oid, 'usage') and has_column_privilege(c.oid, a.attnum, 'select') and not c.relispartition
order by n.nspname, c.relname, a.attnum
"""


@dataclass(slots=True, kw_only=True)
class _Pool:
    """The connections of one URL."""

    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    idle: list[tuple[float, Connection]] = field(default_factory=list[tuple[float, Connection]])


class PostgresDriver:
    """See the module."""

    def __init__(self, root: Path, network: Network | None = None) -> None:
        self._root = root
        self._network = network or Network()
        # By the digest of the URL: a changed file means another pool, and no URL is kept in memory between calls.
        self._pools: dict[bytes, _Pool] = {}

    async def read(
        self, call: Call, statement: str, values: Record, skip: int, limit: int
    ) -> list[Mapping[str, object]]:
        """At most `limit` rows after the first `skip`, in a read-only transaction."""
        async with self._transaction(call, read_only=True) as connection:
            return await _rows(connection, statement, values, skip, limit)

    async def write(self, call: Call, statement: str, values: Record, probe: str | None, key: str) -> int | None:
        """One transaction under the advisory lock of the key: whoever else writes under it waits, then finds it."""
        async with self._transaction(call, read_only=False) as connection:
            await connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", (key,))
            if probe is not None and await _rows(connection, probe, values, 0, 1):
                return None
            async with connection.cursor() as cursor:
                await cursor.execute(*_prepared(statement, values), binary=True)
                return max(cursor.rowcount, 0)

    async def test(self, call: Call) -> str:
        """Connect, and say which server this is and whether the role may write."""
        async with self._transaction(call, read_only=True) as connection:
            cursor = await connection.execute("select current_setting('server_version')")
            version = await cursor.fetchone()
            return f"PostgreSQL {str(version[0]).split(' ')[0] if version else '?'}."

    async def columns(self, call: Call, limit: int) -> list[Mapping[str, object]]:
        """At most `limit` columns of the tables and views that the role may read, in order, for `sql_found`."""
        async with self._transaction(call, read_only=True) as connection:
            return await _rows(connection, _COLUMNS, {}, 0, limit)

    async def close(self) -> None:
        """Close connections that wait for use."""
        for pool in self._pools.values():
            for _, connection in pool.idle:
                await connection.close()
        self._pools.clear()

    @asynccontextmanager
    async def _transaction(self, call: Call, *, read_only: bool) -> AsyncGenerator[Connection]:
        """A transaction of the target; commits a write. Every failure leaves as an AdapterProblem: `sent` only if the
        connection was lost between our COMMIT and its answer, since before that the server rolls back for certain."""
        target, way_in = call.target, self._way_in(call.target)
        pool = self._pools.setdefault(hashlib.sha256(repr(sorted(way_in.items())).encode()).digest(), _Pool())
        let_in = committing = False
        try:
            async with (
                asyncio.timeout(call.left_s()),
                pool.slots,
                self._borrowed(call, pool, way_in, read_only) as borrowed,
            ):
                let_in = True
                yield borrowed
                committing = not read_only
                await _end(borrowed, "commit" if committing else "rollback")
        except TimeoutError:
            raise target.problem(
                "adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=committing
            ) from None
        except psycopg.Error as error:
            raise _problem(target, error, let_in=let_in, committing=committing) from None

    def _way_in(self, target: Target) -> dict[str, Any]:
        """Host, user and password as libpq takes them: a URL of the document and a secret, or a private file with both."""
        database = cast("Mapping[str, Json]", target.connector.settings["database"])
        credentials = target.credentials
        if "url" in database:
            found = _read_url(str(database["url"])) or {}
            if "password" in database:
                if credentials is None:
                    raise target.problem(
                        "adapter.no_credentials",
                        "needs credentials, and this process holds none.",
                        hint="Calls with credentials go through the broker: `stanchion serve broker`.",
                    )
                found["password"] = credentials.value("/database/password")
                if found.get("sslmode") != "verify-full":
                    # Whoever stands between could ask for the password itself, which libpq would tell.
                    found["require_auth"] = "!password"
            return found
        found = _read_url(read_private(inside(self._root, str(database["url_file"]))))
        if found is None:
            raise Invalid(
                "connector.bad_url",
                f"The URL file of the connector {target.connector.name!r} holds no PostgreSQL URL.",
                hint="One line: postgresql://user:password@host:5432/database?sslmode=verify-full",
            )
        if credentials is not None:
            credentials.derived(str(found.get("password", "")))
        return found

    @asynccontextmanager
    async def _borrowed(
        self, call: Call, pool: _Pool, way_in: Mapping[str, Any], read_only: bool
    ) -> AsyncGenerator[Connection]:
        connection = await self._begun(call, pool, way_in, read_only)
        healthy = False
        try:
            yield connection
            healthy = True
        finally:
            idle = connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            if healthy and idle and len(pool.idle) < _IDLE_MAX and self._pools:
                pool.idle.append((call.clock.monotonic(), connection))
            else:
                await connection.close()
            await self._close_unused(call.clock.monotonic())

    async def _close_unused(self, now: float) -> None:
        """Close what nobody has used for long, of every database and of every password there was."""
        for pool in list(self._pools.values()):
            while pool.idle and now - pool.idle[0][0] > _IDLE_S:
                _, unused = pool.idle.pop(0)
                await unused.close()

    async def _begun(self, call: Call, pool: _Pool, way_in: Mapping[str, Any], read_only: bool) -> Connection:
        """A connection in a new transaction. One kept for use may have died meanwhile; then a new one is opened."""
        call.calls += 1
        while pool.idle:
            since, kept = pool.idle.pop()
            if call.clock.monotonic() - since > _IDLE_S or kept.closed:
                await kept.close()
                continue
            try:
                return await _begin(kept, call, read_only)
            except psycopg.OperationalError:
                await kept.close()
            except BaseException:
                await kept.close()
                raise
        timeout_s = max(2, round(call.left_s()))
        params: dict[str, Any] = await way(Egress.of(call.target.connector, self._network), dict(way_in))
        params |= {**_CONNECT, "connect_timeout": timeout_s}
        fresh = await psycopg.AsyncConnection.connect("", autocommit=True, **params)
        try:
            return await _begin(fresh, call, read_only)
        except BaseException:
            await fresh.close()
            raise


def _read_url(text: str) -> dict[str, Any] | None:
    """The parts of a PostgreSQL URL, or None if it is none."""
    try:
        parts = conninfo_to_dict(text) if text.startswith(("postgresql://", "postgres://")) else {}
    except psycopg.Error:
        return None
    return dict(parts) or None


def url_complaint(text: str) -> str | None:
    """Why a document's URL cannot be used, or None. It holds no password, which is a secret's, and no file, socket or
    program: those belong to the broker's machine, which a document does not choose."""
    found = _read_url(text)
    if found is None or "host" not in found:
        return "is no PostgreSQL URL with a host"
    if "password" in found:
        return "holds a password"
    if any(not host or host.startswith(("/", "@")) for host in str(found["host"]).split(",")):
        return "names a socket of this machine, which a document cannot choose"
    named = sorted(found.keys() - _SAYABLE)
    return f"names {', '.join(named)}, which a document cannot choose" if named else None


async def _begin(connection: Connection, call: Call, read_only: bool) -> Connection:
    """A new transaction with our limits, in one round trip."""
    left_ms = max(1, round(call.left_s() * 1000))
    begin = sql.SQL(
        "begin {}; set local statement_timeout = {}; set local idle_in_transaction_session_timeout = {}"
    ).format(
        sql.SQL("read only" if read_only else "read write"),
        sql.Literal(left_ms),
        sql.Literal(min(left_ms, _IDLE_IN_TRANSACTION_MS)),
    )
    await connection.execute(begin, prepare=False)
    return connection


async def _end(connection: Connection, how: LiteralString) -> None:
    cursor = await connection.execute(how)
    if how == "commit" and cursor.statusmessage != "COMMIT":
        raise psycopg.errors.InFailedSqlTransaction("the transaction had failed")


async def _rows(
    connection: Connection, statement: str, values: Record, skip: int, limit: int
) -> list[Mapping[str, object]]:
    """Rows as they arrive, one by one: a result larger than the limit is never held whole."""
    found: list[Mapping[str, object]] = []
    query, bound = _prepared(statement, values)
    async with connection.cursor(row_factory=dict_row) as cursor, aclosing(_stream(cursor, query, bound)) as stream:
        async for row in stream:
            skip -= 1
            if skip < 0:
                found.append(row)
            if len(found) == limit:
                return found
    return found


def _stream(
    cursor: psycopg.AsyncCursor[dict[str, Any]], query: LiteralString, bound: dict[str, object]
) -> AsyncGenerator[dict[str, Any]]:
    # It is a generator and must be closed before the connection is used again; its declared type does not say so.
    return cast("AsyncGenerator[dict[str, Any]]", cursor.stream(query, bound))


def _prepared(statement: str, values: Record) -> tuple[LiteralString, dict[str, object]]:
    """The statement for psycopg, and the parameters it uses: lists and objects as jsonb."""
    read = read_statement(statement, "postgresql")
    bound: dict[str, object] = {}
    for name in read.parameters:
        value = values[name]
        bound[name] = Jsonb(value) if isinstance(value, list | dict) else value
        bound[name + NULL_TEST] = None if value is None else ""
    # The text of a published connector, checked to be one statement; values only travel as parameters.
    return cast("LiteralString", read.pyformat), bound


def _not_let_in(target: Target) -> AdapterProblem:
    return target.problem(
        "adapter.not_authenticated",
        "did not let us in.",
        hint="Check user, password and database: the connector's `url` and its secret, or its URL file.",
    )


def _problem(target: Target, error: psycopg.Error, *, let_in: bool, committing: bool) -> AdapterProblem:
    state = error.sqlstate
    if state is None:
        return _without_state(target, error, let_in=let_in, committing=committing)
    if state[:2] == "28":
        return _not_let_in(target)
    if state == "57014":
        return target.problem("adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True)
    if state == "25006":
        return target.problem(
            "adapter.not_allowed",
            "declares a statement that writes, where its operation only reads.",
            hint="fetch, lookup and probe only read; what writes is a push.",
        )
    # 57P01-57P03 end the connection, so after our COMMIT its outcome is open.
    lost = committing and state[:3] == "57P"
    retryable = state[:2] in _RETRYABLE_CLASSES or state in _RETRYABLE
    reason = error.diag.message_primary or type(error).__name__
    return target.problem(
        "adapter.refused", f"refused the statement: {reason}.", retryable=retryable, sent=lost, sqlstate=state
    )


def _without_state(target: Target, error: psycopg.Error, *, let_in: bool, committing: bool) -> AdapterProblem:
    # A server that refuses a connection says so in a text without SQLSTATE; one that ends a connection may do so too.
    if not let_in and "FATAL" in str(error) and not _BUSY.search(str(error)):
        return _not_let_in(target)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return target.problem(
            "adapter.unreachable",
            "cannot be reached, or closed the connection.",
            hint="Is the database up, and do host, port and TLS settings in the URL file fit it?",
            retryable=True,
            sent=committing,
        )
    return target.problem("adapter.refused", f"cannot run the statement: {type(error).__name__}.")
