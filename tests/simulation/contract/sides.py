"""The two sides of the contract: real PostgreSQL and the model, told apart only here."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Hashable
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from stanchion.base import SystemClock
from stanchion.db import Database, DatabaseUrls
from tests.simulation.store import CalmLink, SimDatabase, SimServer
from tests.simulation.store.tables import new_tables

TABLES = new_tables()
TENANTS = ("acme", "globex")
# Written by none of the statements.
KEPT = ("tenants", "principals")
_PRINCIPAL = "00000000-0000-4000-8000-00000000000"


class Side:
    """One store with two processes on it, a session that hears all channels, and an administrator."""

    name: str

    def __init__(self) -> None:
        self.db: Any = None
        self.other: Any = None
        self.listener: Any = None

    async def open(self) -> None:
        """Begin."""
        raise NotImplementedError

    async def close(self) -> None:
        """End every connection."""
        await self.listener.close()
        await self.db.close()
        await self.other.close()

    async def wipe(self) -> None:
        """No rows but the tenants and one principal of each."""
        raise NotImplementedError

    async def dump(self) -> dict[str, dict[Hashable, dict[str, Any]]]:
        """All rows of all tables but those nobody writes, by primary key."""
        raise NotImplementedError

    async def heard(self) -> list[tuple[str, str]]:
        """The notifications since the last call, in their order."""
        raise NotImplementedError

    async def backdate(self, table: str, column: str, seconds: float, **where: Any) -> None:
        """Move a time of the matching rows into the past."""
        raise NotImplementedError

    async def blocked(self, task: asyncio.Task[Any]) -> bool:
        """Whether `task` waits for a lock rather than ending soon."""
        raise NotImplementedError

    async def terminate(self, connection: Any) -> None:
        """End a session from outside."""
        raise NotImplementedError

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """The committed rows of a table."""
        return list((await self.dump())[table].values())

    async def row(self, table: str, key: Hashable) -> dict[str, Any]:
        """One committed row."""
        return (await self.dump())[table][key]

    async def _listen(self) -> None:
        for channel in ("stanchion_ready", "stanchion_runs", "stanchion_cancel"):
            from stanchion.queue import store

            await store.listen(self.listener, channel)


class Real(Side):
    """PostgreSQL."""

    name = "PostgreSQL"

    def __init__(self, urls: DatabaseUrls, superuser: str) -> None:
        super().__init__()
        self._urls = urls
        self._superuser = superuser
        self._admin: psycopg.AsyncConnection[Any] | None = None

    async def open(self) -> None:
        self.db = Database(self._urls)
        self.other = Database(self._urls)
        await self.db.open()
        await self.other.open()
        self._admin = await psycopg.AsyncConnection.connect(self._superuser, autocommit=True, row_factory=dict_row)
        self.listener = await self.db.dedicated("engine")
        await self._listen()
        for n, tenant in enumerate(TENANTS):
            await self.admin.execute("insert into tenants (name, display_name) values (%s, %s)", (tenant, tenant))
            await self.admin.execute(
                "insert into principals (tenant, id, kind, name, display_name, roles)"
                " values (%s, %s, 'user', 'ada', 'Ada', '{admin}')",
                (tenant, _PRINCIPAL + str(n)),
            )

    async def close(self) -> None:
        await super().close()
        await self.admin.close()

    @property
    def admin(self) -> psycopg.AsyncConnection[Any]:
        assert self._admin is not None
        return self._admin

    async def wipe(self) -> None:
        await self.heard()
        await self.listener.execute("select pg_advisory_unlock_all()")
        deletes = "; ".join(f"delete from {name}" for name in TABLES if name not in KEPT)
        await self.admin.execute(deletes.encode())

    async def dump(self) -> dict[str, dict[Hashable, dict[str, Any]]]:
        dumped: dict[str, dict[Hashable, dict[str, Any]]] = {}
        for name, table in TABLES.items():
            if name in KEPT:
                continue
            cursor = await self.admin.execute(f"select * from {name}".encode())
            dumped[name] = {table.key_of(row): row for row in await cursor.fetchall()}
        return dumped

    async def heard(self) -> list[tuple[str, str]]:
        await self.listener.execute("select 1")
        return [(n.channel, n.payload) async for n in self.listener.notifies(timeout=0)]

    async def backdate(self, table: str, column: str, seconds: float, **where: Any) -> None:
        conditions = " and ".join(f"{key} = %({key})s" for key in where) or "true"
        await self.admin.execute(
            f"update {table} set {column} = {column} - %(by)s where {conditions}".encode(),
            {**where, "by": timedelta(seconds=seconds)},
        )

    async def terminate(self, connection: Any) -> None:
        await self.admin.execute("select pg_terminate_backend(%s)", (connection.info.backend_pid,))

    async def blocked(self, task: asyncio.Task[Any]) -> bool:
        for _ in range(20_000):
            await asyncio.wait([task], timeout=0.002)
            if task.done():
                return False
            cursor = await self.admin.execute(
                "select count(*) as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
            )
            row = await cursor.fetchone()
            if row is not None and row["n"]:
                return True
        raise AssertionError("PostgreSQL neither answers nor waits for a lock")


class Model(Side):
    """The simulated store."""

    name = "the model"

    def __init__(self, deadlock_s: float = 1.0) -> None:
        super().__init__()
        self._deadlock_s = deadlock_s
        self.server: SimServer

    async def open(self) -> None:
        await self._begin()

    async def _begin(self) -> None:
        self.server = SimServer(SystemClock(), random.Random(1), deadlock_s=self._deadlock_s)
        for n, tenant in enumerate(TENANTS):
            self.server.insert("tenants", name=tenant, display_name=tenant)
            self.server.insert(
                "principals",
                tenant=tenant,
                id=UUID(_PRINCIPAL + str(n)),
                kind="user",
                name="ada",
                display_name="Ada",
                roles=["admin"],
            )
        self.db = SimDatabase(self.server, CalmLink())
        self.other = SimDatabase(self.server, CalmLink())
        self.listener = await self.db.dedicated("engine")
        await self._listen()

    async def wipe(self) -> None:
        await self.close()
        await self._begin()

    async def dump(self) -> dict[str, dict[Hashable, dict[str, Any]]]:
        return {name: dict(table.rows) for name, table in self.server.tables.items() if name not in KEPT}

    async def heard(self) -> list[tuple[str, str]]:
        found = list(self.listener.session.inbox)
        self.listener.session.inbox.clear()
        return found

    async def backdate(self, table: str, column: str, seconds: float, **where: Any) -> None:
        definition = self.server.tables[table]
        for key, row in list(definition.rows.items()):
            if all(row[name] == value for name, value in where.items()) and row[column] is not None:
                definition.put(key, {**row, column: row[column] - timedelta(seconds=seconds)})

    async def terminate(self, connection: Any) -> None:
        connection.session.end(psycopg.errors.AdminShutdown("terminating connection due to administrator command"))

    async def blocked(self, task: asyncio.Task[Any]) -> bool:
        for _ in range(30):
            if task.done():
                return False
            await asyncio.sleep(0)
        return True


async def sides(cluster: Any) -> AsyncGenerator[tuple[Real, Model]]:
    """Both, open."""
    urls = cluster.clone()
    real, model = Real(urls, cluster.superuser(urls)), Model()
    await real.open()
    await model.open()
    yield real, model
    await real.close()
    await model.close()
