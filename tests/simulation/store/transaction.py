"""One transaction: what its statements read, lock and write. This is what a statement's model works with.

Reads see the committed rows under the transaction's own writes. A model reads everything its statement needs *before*
it first waits for a lock: rows are never changed in place, so what it has read is the statement's snapshot. After a
lock it looks at `lock`'s answer, the row's newest version, and checks its conditions again, as PostgreSQL does (READ COMMITTED).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg

from tests.simulation.store.locks import UPDATE
from tests.simulation.store.tables import Row, Table

if TYPE_CHECKING:
    from tests.simulation.store.locks import Lock
    from tests.simulation.store.server import SimServer
    from tests.simulation.store.session import Session


class SimTx:
    """A transaction of a session.

    Attributes:
        text: the SQL of the statement in hand.
        tenant: the setting stanchion.tenant, local to this transaction; None where it was never set.
        writes: table -> key -> the row as this transaction leaves it (None: deleted).
    """

    __slots__ = (
        "app",
        "failed",
        "held",
        "notes",
        "server",
        "session",
        "tenant",
        "text",
        "waits_for",
        "writes",
    )

    def __init__(self, session: Session) -> None:
        self.session = session
        self.app = session.role == "app"
        self.server: SimServer = session.server
        self.text = ""
        self.tenant = session.tenant
        self.writes: dict[str, dict[Hashable, Row | None]] = {}
        self.notes: dict[tuple[str, str], None] = {}
        self.held: list[Lock] = []
        self.waits_for: Lock | None = None
        self.failed = False

    @property
    def changes(self) -> bool:
        """Whether its commit has anything to apply or to tell."""
        return bool(self.writes or self.notes)

    def now(self) -> datetime:
        """clock_timestamp(): the server's clock."""
        return self.server.clock.now()

    def table(self, name: str) -> Table:
        """The table's definition and committed rows."""
        return self.server.tables[name]

    # --- reading

    def wall(self, table: Table) -> str | None:
        """The tenant that row-level security holds this transaction to on `table`, None if to none. Raises
        UndefinedObject where no tenant was ever set."""
        if not self.app or not table.wall:
            return None
        if self.tenant is None:
            raise psycopg.errors.UndefinedObject('unrecognized configuration parameter "stanchion.tenant"')
        return self.tenant

    def get(self, name: str, key: Hashable) -> Row | None:
        """The visible row with this primary key."""
        table = self.server.tables[name]
        if self.writes and (over := self.writes.get(name)) is not None and key in over:
            row = over[key]
        else:
            row = table.rows.get(key)
        if self.app and row is not None and (wall := self.wall(table)) is not None and row[table.wall] != wall:
            return None
        return row

    def by(self, name: str, column: str, value: Any) -> list[Row]:
        """The visible rows with `value` in an indexed column."""
        table = self.server.tables[name]
        bucket = table.indexes[column].get(value)
        over = self.writes.get(name)
        if over:
            rows = [row for key, row in bucket.items() if key not in over] if bucket else []
            rows += [row for row in over.values() if row is not None and row[column] == value]
        elif bucket:
            rows = list(bucket.values())
        else:
            return []
        return self._walled(table, rows) if self.app else rows

    def all(self, name: str) -> list[Row]:
        """All visible rows."""
        table = self.server.tables[name]
        over = self.writes.get(name)
        if over:
            rows = [row for key, row in table.rows.items() if key not in over]
            rows += [row for row in over.values() if row is not None]
        else:
            rows = list(table.rows.values())
        return self._walled(table, rows) if self.app else rows

    def _walled(self, table: Table, rows: list[Row]) -> list[Row]:
        wall = self.wall(table)
        if wall is None:
            return rows
        column = table.wall
        return [row for row in rows if row[column] == wall]

    def unique(self, name: str, constraint: str, values: tuple[Any, ...]) -> Row | None:
        """The visible row with these values of a unique constraint."""
        table = self.server.tables[name]
        for row in (self.writes.get(name) or {}).values():
            if row is not None and table.unique_key(constraint, row) == values:
                return row
        key = table.taken[constraint].get(values)
        return None if key is None else self.get(name, key)

    # --- locking

    async def lock(self, name: str, key: Hashable, mode: int = UPDATE) -> Row | None:
        """Lock a row, waiting for it if need be; return its newest version, None if it is gone."""
        self._require(name, "U")
        return await self._lock(name, key, mode)

    async def lock_to_delete(self, name: str, key: Hashable) -> Row | None:
        """Lock a row for its deletion; return its newest version."""
        self._require(name, "D")
        return await self._lock(name, key, UPDATE)

    async def _lock(self, name: str, key: Hashable, mode: int) -> Row | None:
        locks = self.server.locks
        lock = (name, key)
        if not locks.try_lock(self, lock, mode):
            await locks.wait(self, lock, mode)
        return self.get(name, key)

    def lock_or_skip(self, name: str, key: Hashable, mode: int = UPDATE) -> Row | None:
        """Lock a row if that needs no waiting (`skip locked`) and return its newest version."""
        self._require(name, "U")
        if not self.server.locks.try_lock(self, (name, key), mode):
            return None
        return self.get(name, key)

    def try_advisory(self, key: int, *, session: bool = False) -> bool:
        """pg_try_advisory_xact_lock, or pg_try_advisory_lock for the `session`."""
        return self.server.advisory(self, key, session=session)

    # --- writing

    def _require(self, name: str, letter: str) -> None:
        table = self.server.tables[name]
        if letter not in (table.app if self.app else table.engine):
            raise psycopg.errors.InsufficientPrivilege(f"permission denied for table {name}")

    def _write(self, name: str, key: Hashable, row: Row | None) -> None:
        over = self.writes.get(name)
        if over is None:
            self.writes[name] = {key: row}
        else:
            over[key] = row

    def _check_wall(self, table: Table, row: Row) -> None:
        wall = self.wall(table)
        if wall is not None and row[table.wall] != wall:
            raise psycopg.errors.InsufficientPrivilege(
                f'new row violates row-level security policy for table "{table.name}"'
            )

    def update(self, name: str, row: Row, changes: Row) -> Row:
        """Write the new version of a row that this transaction has locked; return it."""
        table = self.server.tables[name]
        new = row | changes
        table.checked(new)
        self._write(name, table.key_of(new), new)
        return new

    async def insert(self, name: str, given: Row, *, or_nothing: bool = False) -> Row | None:
        """Insert a row with its defaults, waiting for a transaction that is inserting the same key; return it.

        Raises UniqueViolation; with `or_nothing` (`on conflict do nothing`) returns None instead.
        """
        self._require(name, "I")
        table = self.server.tables[name]
        row = table.made(given, self.server.clock.now())
        if self.app:
            self._check_wall(table, row)
        key = table.key_of(row)
        taken = self._taken_now(table, table.pkey, key)
        if taken is None:
            taken = await self._is_taken(table, table.pkey, key)
        if taken or (table.unique and await self._any_taken(table, row)):
            if or_nothing:
                return None
            raise psycopg.errors.UniqueViolation(f'duplicate key value violates a unique constraint of table "{name}"')
        self._write(name, key, row)
        return row

    async def _any_taken(self, table: Table, row: Row) -> bool:
        for constraint in table.unique:
            value = table.unique_key(constraint, row)
            if value is not None:
                taken = self._taken_now(table, constraint, value)
                if taken or (taken is None and await self._is_taken(table, constraint, value)):
                    return True
        return False

    def _taken_now(self, table: Table, constraint: str, value: Any) -> bool | None:
        """Whether a row has this key, None where that is to be waited for; if none has, the key is this transaction's
        from now on. Looks behind the wall, as indexes do."""
        over = self.writes.get(table.name) or {}
        if constraint == table.pkey:
            if value in over:
                return over[value] is not None
            key = value if value in table.rows else None
        else:
            for row in over.values():
                if row is not None and table.unique_key(constraint, row) == value:
                    return True
            key = table.taken[constraint].get(value)
        if key is None:
            return False if self.server.locks.try_lock(self, (constraint, value), UPDATE) else None
        return over[key] is not None if key in over else None

    async def _is_taken(self, table: Table, constraint: str, value: Hashable) -> bool:
        """The same, waiting for whoever writes or is about to write a row of this key."""
        while (taken := self._taken_now(table, constraint, value)) is None:
            key = value if constraint == table.pkey else table.taken[constraint].get(value)
            if key in table.rows:
                return not await self._await_writer(table, key)
            await self.server.locks.wait(self, (constraint, value), UPDATE)
        return taken

    async def _await_writer(self, table: Table, key: Hashable) -> bool:
        """Whether a committed row is gone once whoever is updating or deleting it has ended: an insert of the same key
        waits for that, and only then finds a conflict or none."""
        lock = (table.name, key)
        locks = self.server.locks
        for holder in locks.holders(lock):
            if holder is not self and key in (holder.writes.get(table.name) or {}):
                await locks.wait(self, lock, UPDATE)
                locks.drop(self, lock)
        return key not in table.rows

    def delete(self, name: str, row: Row) -> None:
        """Delete a row that this transaction has locked."""
        table = self.server.tables[name]
        self._write(name, table.key_of(row), None)

    def notify(self, channel: str, payload: str) -> None:
        """Tell `channel` when this transaction commits; the same twice is told once, as in PostgreSQL."""
        self.notes[channel, payload] = None

    def references(self, name: str, key: Hashable, constraint: str) -> None:
        """A foreign key. Raises ForeignKeyViolation."""
        table = self.server.tables[name]
        if key not in table.rows and key not in (self.writes.get(name) or {}):
            raise psycopg.errors.ForeignKeyViolation(f'violates foreign key constraint "{constraint}"')


def ordered(rows: Iterable[Row], *columns: str) -> list[Row]:
    """Rows by these columns, ascending."""
    return sorted(rows, key=lambda row: tuple([row[column] for column in columns]))
