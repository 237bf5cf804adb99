"""What a pooled connection brings along, and what its loss is called."""

from __future__ import annotations

import psycopg
import pytest

from stanchion.base import Unavailable
from stanchion.db import Database, DatabaseUrls


@pytest.mark.parametrize(("role", "limit"), [("engine", "5s"), ("app", "15s")])
async def test_the_server_ends_a_session_that_stands_still_inside_a_transaction(db: Database, role, limit):
    """Without it a worker that is frozen or cut off keeps its locks, and nobody can take its runs over."""
    async with db.connection(role) as tx:
        cursor = await tx.execute("show idle_in_transaction_session_timeout")
        assert await cursor.fetchone() == (limit,)


async def test_such_an_end_is_the_databases_absence_and_blames_no_statement(db: Database, database_urls: DatabaseUrls):
    async def stand_still() -> None:
        async with db.engine_tx() as tx:
            await tx.execute("set local idle_in_transaction_session_timeout = '50ms'")
            await gone(database_urls.engine, tx.info.backend_pid)
            await tx.execute("select 1")

    with pytest.raises(Unavailable) as told:
        await stand_still()
    assert told.value.code == "db.unavailable"
    assert told.value.retryable
    async with db.engine_tx() as tx:
        await tx.execute("select 1")


async def gone(url: str, pid: int) -> None:
    """Wait until that server process has ended."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        while True:
            cursor = await other.execute("select from pg_stat_activity where pid = %s", (pid,))
            if await cursor.fetchone() is None:
                return


async def test_sessions_that_the_server_ended_while_they_were_idle_are_never_handed_out(
    db: Database, database_urls: DatabaseUrls
):
    async with db.connection("engine") as one, db.connection("engine") as two:
        pids = [one.info.backend_pid, two.info.backend_pid]
    async with await psycopg.AsyncConnection.connect(database_urls.engine, autocommit=True) as other:
        for pid in pids:
            await other.execute("select pg_terminate_backend(%s)", (pid,))
    for pid in pids:
        await gone(database_urls.engine, pid)
    async with db.connection("engine") as tx:
        await tx.execute("select 1")
        assert tx.info.backend_pid not in pids


async def test_a_full_disk_is_said_to_be_one(db: Database):
    async def fill() -> None:
        async with db.engine_tx() as tx:
            await tx.execute("do $$ begin raise exception 'could not extend file' using errcode = 'disk_full'; end $$")

    with pytest.raises(Unavailable) as told:
        await fill()
    assert told.value.code == "db.disk_full"
    assert told.value.retryable
