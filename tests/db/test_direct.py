"""Statements sent straight through libpq behave as through a cursor: values, errors, transactions, cancels, losses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.adapt import Transformer

from stanchion.base import Unavailable
from stanchion.db import Database, DatabaseUrls, direct
from stanchion.db.direct import Session, parameter

_ECHO = (
    "select %(text)s::text, %(json)s::json, %(whole)s::bigint, %(yes)s::bool, %(id)s::uuid, %(list)s::text[],"
    " %(none)s::text, 7 %% 4, 1.5::float8, %(text)s::text"
)


def row(*columns: Any) -> tuple[Any, ...]:
    return columns


async def test_values_come_back_as_they_went(db: Database):
    some = uuid4()
    params = {
        "text": 'it\'s "ünï" \\ \n☃',
        "json": b'{"a": [1, null]}',
        "whole": -(1 << 40),
        "yes": True,
        "id": some,
        "list": ["a", 'b"c', "d\\e", "{,}", "", "NULL", "☃"],
        "none": None,
    }
    async with db.connection("engine") as tx:
        for _ in range(2):  # the second time it is prepared already
            [(text, json, whole, yes, uuid, many, none, rest, real, again)] = await direct(tx, row, _ECHO, params)
            assert (text, whole, yes, uuid, none, rest, real, again) == (
                params["text"], params["whole"], True, some, None, 3, 1.5, params["text"],
            )  # fmt: skip
            assert json == {"a": [1, None]}
            assert many == params["list"]
            assert isinstance(uuid, UUID)


@given(
    items=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8), max_size=5)
)
@settings(max_examples=200)
def test_lists_are_written_as_psycopg_reads_them(items: list[str]):
    text = psycopg.adapters.types["text"].array_oid
    assert Transformer().get_loader(text, psycopg.pq.Format.TEXT).load(parameter(items) or b"") == items


async def test_no_row_is_an_empty_list(db: Database):
    async with db.connection("engine") as tx:
        assert await direct(tx, row, "select 1 where %(no)s", {"no": False}) == []


async def test_it_takes_part_in_a_transaction(db: Database):
    async with db.engine_tx() as tx:
        await tx.execute("create temp table seen (n int) on commit drop")
        assert await direct(tx, row, "insert into seen select %(n)s::int returning n", {"n": 5}) == [(5,)]
        assert await direct(tx, row, "select n from seen", {}) == [(5,)]


async def test_what_psycopg_deallocates_is_prepared_again(db: Database):
    async with db.connection("engine") as tx:
        for _ in range(3):
            assert await direct(tx, row, "select %(n)s::int + 40", {"n": 2}) == [(42,)]
            with pytest.raises(psycopg.errors.DivisionByZero):
                async with tx.transaction():
                    await tx.execute("select 1 / 0", prepare=True)
            await tx.execute("select 1")
            assert await direct(tx, row, "select %(n)s::int + 40", {"n": 2}) == [(42,)]


async def test_an_error_is_psycopgs_and_leaves_the_session_usable(db: Database):
    async with db.connection("engine") as tx:
        for _ in range(2):
            with pytest.raises(psycopg.errors.DivisionByZero) as told:
                await direct(tx, row, "select 1 / %(n)s::int", {"n": 0})
            assert told.value.diag.sqlstate == "22012"
        with pytest.raises(psycopg.errors.UndefinedTable):
            await direct(tx, row, "select * from nowhere", {})
        assert await direct(tx, row, "select 1 / %(n)s::int", {"n": 1}) == [(1,)]
        assert not tx.broken


async def test_a_commit_that_fails_is_an_error_of_its_statement(db: Database):
    """The statement itself was answered well: who looks at the first answer alone takes a lost change for done."""
    async with db.connection("engine") as tx:
        await tx.execute("create temp table once (n int unique deferrable initially deferred)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            await direct(
                tx, row, "insert into once select %(n)s::int from generate_series(1, 2) returning repeat('x', 20000)",
                {"n": 1},
            )  # fmt: skip
        assert await direct(tx, row, "select count(*) from once", {}) == [(0,)]


async def test_what_is_larger_than_the_socket_takes_at_once_arrives_whole(db: Database):
    large = "ü" * (8 << 20)
    async with db.connection("engine") as tx:
        assert await direct(tx, row, "select length(%(t)s::text), %(t)s::text", {"t": large}) == [(len(large), large)]


async def test_a_cancelled_caller_takes_the_statement_back_and_the_session_goes_on(
    db: Database, database_urls: DatabaseUrls
):
    async with db.connection("engine") as tx:
        pid = tx.info.backend_pid
        waiting = asyncio.create_task(direct(tx, row, "select pg_sleep(%(s)s::int)", {"s": 600}))
        async with await psycopg.AsyncConnection.connect(database_urls.engine, autocommit=True) as other:
            busy = "select 1 from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"
            while not await (await other.execute(busy, (pid,))).fetchone():
                pass
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await direct(tx, row, "select pg_backend_pid()", {}) == [(pid,)]


@pytest.mark.parametrize("turns", range(1, 6))
async def test_wherever_a_caller_is_cancelled_the_next_one_gets_his_answer(db: Database, turns: int):
    async with db.connection("engine") as tx:
        query = "select %(n)s::int + 1"
        waiting = asyncio.create_task(direct(tx, row, query, {"n": 1}))
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            assert await waiting == [(2,)]
        assert await direct(tx, row, query, {"n": 2}) == [(3,)]


async def test_a_session_that_the_server_ends_is_the_databases_absence(db: Database, database_urls: DatabaseUrls):
    async def sleep() -> None:
        async with db.connection("engine") as tx:
            pids.append(tx.info.backend_pid)
            await direct(tx, row, "select pg_sleep(%(s)s::int)", {"s": 600})

    pids: list[int] = []
    waiting = asyncio.create_task(sleep())
    async with await psycopg.AsyncConnection.connect(database_urls.engine, autocommit=True) as other:
        busy = "select pg_terminate_backend(pid) from pg_stat_activity where pid = any(%s) and wait_event = 'PgSleep'"
        while not await (await other.execute(busy, (pids,))).fetchone():
            pass
    with pytest.raises(Unavailable) as told:
        await waiting
    assert told.value.code == "db.unavailable"
    async with db.connection("engine") as tx:
        assert tx.info.backend_pid not in pids


def server_that_goes_with_a_warning(listening: socket.socket) -> None:
    """One session of a server that is ended at once (`pg_ctl -m immediate`): it says so with a notice, which is no answer,
    and closes without having read what it was asked last. To the client's kernel that is an error on the socket."""
    session, _ = listening.accept()
    with session:
        length = int.from_bytes(session.recv(4), "big")
        session.recv(length - 4, socket.MSG_WAITALL)
        said = [(b"R", bytes(4)), (b"S", b"client_encoding\0UTF8\0"), (b"S", b"server_version\0" + b"18.0\0")]
        session.sendall(b"".join(map(message, [*said, (b"Z", b"I")])))
        session.recv(1, socket.MSG_PEEK)
        session.sendall(message((b"N", b"SWARNING\0VWARNING\0C57P01\0Mterminating connection\0\0")))


def message(kind_and_body: tuple[bytes, bytes]) -> bytes:
    kind, body = kind_and_body
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_server_that_goes_with_a_notice_and_a_question_unread(
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
):
    """uvloop tells a broken socket once, and never again: whoever then waited for the rest waited for ever."""

    async def ask() -> None:
        session = await Session.connect(f"postgresql://me@127.0.0.1:{port}/x?sslmode=disable", autocommit=True)
        asked = asyncio.create_task(direct(session, row, "select 1", {}))
        await asyncio.sleep(0)  # until it waits
        server.join(60)  # the loop sees the notice and the broken socket at once
        async with asyncio.timeout(60):
            await asked

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        server = threading.Thread(target=server_that_goes_with_a_warning, args=[listening], daemon=True)
        server.start()
        with asyncio.Runner(loop_factory=loop_factory) as runner, pytest.raises(psycopg.OperationalError):
            runner.run(ask())


async def test_a_caller_who_goes_while_nothing_answers_leaves_a_closed_session(
    db: Database, database_urls: DatabaseUrls
):
    """Cancelled twice: the second time nobody waits for the server's word, so nobody may use the session either."""
    with contextlib.suppress(psycopg.OperationalError):
        async with db.connection("engine") as tx:
            waiting = asyncio.create_task(direct(tx, row, "select pg_sleep(%(s)s::int)", {"s": 600}))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert tx.closed
    async with db.connection("engine") as tx:
        assert await direct(tx, row, "select 1", {}) == [(1,)]


async def test_a_parameter_of_another_kind_is_refused(db: Database):
    async with db.connection("engine") as tx:
        with pytest.raises(TypeError, match="float is not a parameter"):
            await direct(tx, row, "select %(n)s::float8", {"n": 1.5})
        assert await direct(tx, row, "select 1", {}) == [(1,)]
