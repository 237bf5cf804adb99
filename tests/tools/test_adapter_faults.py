"""What each adapter says when its system misbehaves, and that what it knows of credentials it keeps."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import re
import sqlite3
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from csv import reader
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aiohttp import web

from stanchion.base import Denied, Problem, SystemClock
from stanchion.tools import AdapterProblem
from stanchion.tools.adapters import files_lines
from stanchion.tools.adapters.http_paging import Position
from stanchion.tools.adapters.registry import Adapters
from tests.conformance import worlds
from tests.conformance.test_adapters import KEY, OUTCOME, make_target_database

PLAIN = {**OUTCOME, "comment": None}


@pytest.fixture
async def adapters(tmp_path: Path) -> AsyncIterator[Adapters]:
    found = Adapters(tmp_path, SystemClock())
    yield found
    await found.close()


async def problem_of(awaitable: Any) -> AdapterProblem:
    with pytest.raises(AdapterProblem) as caught:
        await awaitable
    return caught.value


# --- sql


@pytest.fixture
async def postgres(tmp_path: Path, adapters: Adapters, fresh_database_urls) -> worlds.PostgresWorld:
    return worlds.make_postgres(tmp_path, adapters, make_target_database(fresh_database_urls.owner))


@pytest.fixture
def sqlite(tmp_path: Path, adapters: Adapters) -> worlds.SqliteWorld:
    return worlds.make_sqlite(tmp_path, adapters)


@pytest.fixture(params=["sqlite", "postgresql"])
def sql(request, tmp_path: Path, adapters: Adapters) -> worlds.World:
    if request.param == "sqlite":
        return worlds.make_sqlite(tmp_path, adapters)
    urls = request.getfixturevalue("fresh_database_urls")
    return worlds.make_postgres(tmp_path, adapters, make_target_database(urls.owner))


WRITING = [
    "insert into outcomes (case_id) values ('X') returning case_id",
    "with w as (delete from cases returning *) select * from w",
    "update cases set fine_eur = 0",
    "drop table cases",
]


@pytest.mark.parametrize("statement", WRITING)
async def test_a_read_on_postgresql_cannot_write(postgres: worlds.PostgresWorld, statement: str) -> None:
    target = postgres.target("cases", "fetch", statement=statement)
    problem = await problem_of(postgres.adapter.fetch(target, {"least": None}, 10, None))
    assert problem.code == "adapter.not_allowed"
    assert (
        len((await postgres.adapter.fetch(postgres.target("cases", "fetch"), {"least": None}, 10, None)).records) == 5
    )
    assert await postgres.received() == []


@pytest.mark.parametrize(
    "statement", [s for s in WRITING if "with" not in s] + ["attach 'x.db' as x", "pragma user_version = 5"]
)
async def test_a_read_on_sqlite_cannot_write(sqlite: worlds.SqliteWorld, tmp_path: Path, statement: str) -> None:
    target = sqlite.target("cases", "fetch", statement=statement)
    problem = await problem_of(sqlite.adapter.fetch(target, {"least": None}, 10, None))
    assert problem.code == "adapter.not_allowed"
    assert await sqlite.received() == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["casebook.db"]


async def test_two_statements_are_refused_by_the_target_too(sql: worlds.World) -> None:
    target = sql.target("cases", "fetch", statement="select * from cases; delete from cases")
    # The scan refuses it first; without the scan the target does.
    with pytest.raises((ValueError, AdapterProblem)):
        await sql.adapter.fetch(target, {"least": None}, 10, None)


async def test_a_slow_statement_is_broken_off(postgres: worlds.PostgresWorld, sqlite: worlds.SqliteWorld) -> None:
    slow = postgres.target(
        "cases", "fetch", timeout_s=1.0, statement="select *, pg_sleep(30) from cases where :least is null"
    )
    problem = await problem_of(postgres.adapter.fetch(slow, {"least": None}, 10, None))
    assert (problem.code, problem.retryable, problem.sent) == ("adapter.timeout", True, False)
    endless = (
        "with recursive n(x) as (select 1 union all select x + 1 from n) select count(*) from n where :least is null"
    )
    slow = sqlite.target("cases", "fetch", timeout_s=0.3, statement=endless)
    problem = await problem_of(sqlite.adapter.fetch(slow, {"least": None}, 10, None))
    assert (problem.code, problem.retryable, problem.sent) == ("adapter.timeout", True, False)


async def test_a_locked_target_is_tried_again_later(sql: worlds.World) -> None:
    target = sql.target("outcomes", "push", timeout_s=1.0)
    if isinstance(sql, worlds.SqliteWorld):
        holder = sqlite3.connect(sql.path, isolation_level=None)
        holder.execute("begin immediate")
        problem = await problem_of(sql.adapter.push(target, PLAIN, KEY))
        holder.close()
        assert problem.code in {"adapter.busy", "adapter.timeout"}
    else:
        async with await psycopg.AsyncConnection.connect(sql.url) as connection:
            await connection.execute("lock table outcomes in access exclusive mode")
            problem = await problem_of(sql.adapter.push(target, PLAIN, KEY))
        assert problem.code == "adapter.timeout"
    assert problem.retryable
    assert not problem.sent
    assert await sql.received() == []
    assert (await sql.adapter.push(sql.target("outcomes", "push"), PLAIN, KEY)).metadata["applied"] is True


async def test_a_refused_record_is_final_and_was_not_written(sql: worlds.World) -> None:
    target = sql.target("outcomes", "push")
    await sql.adapter.push(target, PLAIN, KEY)
    problem = await problem_of(sql.adapter.push(target, PLAIN, "eff_" + "c" * 64))  # the same case again
    assert (problem.code, problem.retryable, problem.sent) == ("adapter.refused", False, False)
    assert [key for _, key in await sql.received()] == [KEY]


async def test_a_statement_that_writes_no_row_is_a_failure_and_not_a_success(sql: worlds.World) -> None:
    statement = "update outcomes set tier = :tier where case_id = :case_id"
    problem = await problem_of(sql.adapter.push(sql.target("outcomes", "push", statement=statement), PLAIN, KEY))
    assert (problem.code, problem.sent) == ("adapter.nothing_written", False)
    natural = sql.target("outcomes", "push", statement=statement, idempotency="natural")
    assert (await sql.adapter.push(natural, PLAIN, KEY)).metadata["applied"] is False


async def test_a_connection_that_died_while_idle_is_replaced(
    postgres: worlds.PostgresWorld, cluster, fresh_database_urls
) -> None:
    target = postgres.target("cases", "fetch")
    await postgres.adapter.fetch(target, {"least": None}, 10, None)
    async with await psycopg.AsyncConnection.connect(cluster.superuser(fresh_database_urls), autocommit=True) as tx:
        await tx.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database()"
            " and pid <> pg_backend_pid()"
        )
    assert len((await postgres.adapter.fetch(target, {"least": None}, 10, None)).records) == 5


async def test_an_answer_to_commit_that_is_lost_counts_as_sent(
    postgres: worlds.PostgresWorld, cluster, fresh_database_urls
) -> None:
    """A deferred trigger ends its own backend at COMMIT: the outcome cannot be seen from here."""
    async with await psycopg.AsyncConnection.connect(cluster.superuser(fresh_database_urls), autocommit=True) as tx:
        await tx.execute("set search_path = customer")
        await tx.execute(
            "create function dies() returns trigger language plpgsql security definer as"
            " $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$"
        )
        await tx.execute(
            "create constraint trigger dies after insert on outcomes deferrable initially deferred"
            " for each row execute function dies()"
        )
    problem = await problem_of(postgres.adapter.push(postgres.target("outcomes", "push"), PLAIN, KEY))
    assert problem.sent
    assert problem.retryable


@pytest.mark.parametrize("words", ["consuming input failed: FATAL:  terminating connection", "FATAL: the end"])
async def test_a_connection_that_ends_with_its_servers_last_word_was_let_in(
    postgres: worlds.PostgresWorld, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Who is ended in the middle of a call is told FATAL too. It is no refusal of a user, and after COMMIT no certainty."""
    real = psycopg.AsyncConnection.execute

    async def ends(connection: Any, query: Any, *args: Any, **named: Any) -> Any:
        if str(query) == at:
            raise psycopg.OperationalError(words)
        return await real(connection, query, *args, **named)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", ends)
    at = "commit"
    problem = await problem_of(postgres.adapter.push(postgres.target("outcomes", "push"), PLAIN, KEY))
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.unreachable", True, True)
    at = "rollback"
    problem = await problem_of(postgres.adapter.fetch(postgres.target("cases", "fetch"), {"least": None}, 10, None))
    assert (problem.code, problem.sent, problem.retryable) == ("adapter.unreachable", False, True)


async def test_a_transaction_begins_in_one_round_trip(
    postgres: worlds.PostgresWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    real = psycopg.AsyncConnection.execute

    async def noted(connection: Any, query: Any, *args: Any, **named: Any) -> Any:
        said.append(query if isinstance(query, str) else query.as_string(connection))
        return await real(connection, query, *args, **named)

    monkeypatch.setattr(psycopg.AsyncConnection, "execute", noted)
    await postgres.adapter.fetch(postgres.target("cases", "fetch"), {"least": None}, 10, None)
    assert len(said) == 2
    assert said[0].startswith("begin read only; set local statement_timeout = ")
    assert said[1] == "rollback"


async def test_a_locked_database_file_holds_up_nobody_else(sqlite: worlds.SqliteWorld) -> None:
    """The loop's own threads resolve names, for every connector: a file that another writes to must not take them all."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    before = threading.active_count()
    with contextlib.closing(sqlite3.connect(sqlite.path, isolation_level=None)) as other:
        other.execute("begin immediate")
        push = sqlite.adapter.push(sqlite.target("outcomes", "push", timeout_s=5.0), PLAIN, KEY)
        waiting = asyncio.create_task(push)
        while threading.active_count() == before:
            await asyncio.sleep(0)
        async with asyncio.timeout(2.0):
            assert await asyncio.to_thread(lambda: "moves") == "moves"
        other.execute("rollback")
    assert (await waiting).metadata["applied"] is True


async def test_a_database_file_that_is_not_there_is_not_made(sqlite: worlds.SqliteWorld, tmp_path: Path) -> None:
    sqlite.path.unlink()
    for awaitable in (
        sqlite.adapter.fetch(sqlite.target("cases", "fetch"), {"least": None}, 10, None),
        sqlite.adapter.push(sqlite.target("outcomes", "push"), PLAIN, KEY),
    ):
        problem = await problem_of(awaitable)
        assert problem.code == "adapter.unreachable"
        assert f"there is no database file {sqlite.path.name!r}" in problem.message
    assert list(tmp_path.iterdir()) == []


async def test_a_link_out_of_the_folder_is_not_followed(
    sqlite: worlds.SqliteWorld, tmp_path: Path, tmp_path_factory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "other.db"
    sqlite.path.rename(elsewhere)
    sqlite.path.symlink_to(elsewhere)
    with pytest.raises(Denied) as caught:
        await sqlite.adapter.fetch(sqlite.target("cases", "fetch"), {"least": None}, 10, None)
    assert caught.value.code == "connector.path_escapes"


PLANTED = "pl4nted-s3cret"


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://bob:{PLANTED}@127.0.0.1:1/x",
        f"postgresql://bob:{PLANTED}@no-such-host.invalid/x",
        f"postgresql://bob:{PLANTED}@127.0.0.1:notaport/x",
        f"postgresql://bob:{PLANTED}@127.0.0.1/x?sslmod=require",
        f"postgresql://bob:{PLANTED}@[::1/x",
        f"host=127.0.0.1 password={PLANTED}",
        f"mysql://bob:{PLANTED}@x/y",
        "real",
    ],
)
async def test_the_url_is_in_no_error_log_or_receipt(
    postgres: worlds.PostgresWorld, tmp_path: Path, url: str, caplog
) -> None:
    caplog.set_level(logging.DEBUG)
    if url == "real":  # a wrong password at a real server
        import re

        url = re.sub(r"//([^:@/]*):[^@]*@", rf"//\1:{PLANTED}@", postgres.url)
        assert PLANTED in url
    (tmp_path / "casebook.url").write_text(url)
    connector = postgres.target("cases", "fetch").connector
    for awaitable in (
        postgres.adapter.fetch(postgres.target("cases", "fetch", timeout_s=3.0), {"least": None}, 10, None),
        postgres.adapter.push(postgres.target("outcomes", "push", timeout_s=3.0), PLAIN, KEY),
        postgres.adapter.test(connector, 3.0),
    ):
        with pytest.raises(Problem) as caught:
            await awaitable
        error: BaseException | None = caught.value
        assert not getattr(caught.value, "sent", False)
        shown = [caught.value.hint, str(dict(caught.value.fields))]
        while error is not None:
            shown += [str(error), repr(error)]
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        assert PLANTED not in "\n".join(shown)
    assert PLANTED not in caplog.text
    assert PLANTED not in repr(postgres.adapter.__dict__)


async def test_a_url_file_that_others_can_read_is_refused(postgres: worlds.PostgresWorld, tmp_path: Path) -> None:
    (tmp_path / "casebook.url").chmod(0o644)
    with pytest.raises(Denied) as caught:
        await postgres.adapter.fetch(postgres.target("cases", "fetch"), {"least": None}, 10, None)
    assert caught.value.code == "secret.too_open"


# --- files


@pytest.fixture(params=["jsonl", "csv"])
def files(request, tmp_path: Path, adapters: Adapters) -> worlds.FilesWorld:
    return worlds.make_files(tmp_path, adapters, request.param)


async def test_a_line_torn_anywhere_by_a_crash_is_repaired_by_the_next_push(files: worlds.FilesWorld) -> None:
    target = files.target("outcomes", "push")
    keys = ["eff_" + f"{n:064x}" for n in range(3)]
    await files.adapter.push(target, {**PLAIN, "case_id": "C0"}, keys[0])
    before = files.path.read_bytes()
    await files.adapter.push(target, {**PLAIN, "case_id": "C1"}, keys[1])
    line = files.path.read_bytes()[len(before) :]
    for cut in range(1, len(line) - 1):
        files.path.write_bytes(before + line[:cut])
        assert await files.adapter.probe(target, PLAIN, keys[1]) is False or cut == len(line) - 1
        envelope = await files.adapter.push(target, {**PLAIN, "case_id": "C1"}, keys[1])
        assert envelope.metadata["applied"] is True, cut
        assert files.path.read_bytes() == before + line, cut
    torn = files.path.with_name(files.path.name + ".torn")
    assert torn.exists()


async def test_a_whole_last_line_without_its_end_is_kept(files: worlds.FilesWorld) -> None:
    target = files.target("outcomes", "push")
    keys = ["eff_" + f"{n:064x}" for n in range(2)]
    await files.adapter.push(target, {**PLAIN, "case_id": "C0"}, keys[0])
    files.path.write_bytes(files.path.read_bytes().rstrip(b"\n"))
    assert (await files.adapter.push(target, {**PLAIN, "case_id": "C0"}, keys[0])).metadata["applied"] is False
    await files.adapter.push(target, {**PLAIN, "case_id": "C1"}, keys[1])
    assert await files.received() == [("C0", keys[0]), ("C1", keys[1])]


async def test_a_file_that_another_holds_is_waited_for_and_then_left(files: worlds.FilesWorld) -> None:
    await files.adapter.push(files.target("outcomes", "push"), PLAIN, KEY)
    target = files.target("outcomes", "push", timeout_s=0.2)
    with files.path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        problem = await problem_of(files.adapter.push(target, PLAIN, "eff_" + "d" * 64))
        assert (problem.code, problem.retryable, problem.sent) == ("adapter.busy", True, False)
    assert len(await files.received()) == 1


async def test_a_bad_line_is_named(files: worlds.FilesWorld) -> None:
    cases = files.path.with_name(f"cases{files.path.suffix}")
    text = cases.read_text().splitlines(keepends=True)
    text[2] = '{"case_id": \n' if files.path.suffix == ".jsonl" else "C2,x\n"
    cases.write_text("".join(text))
    problem = await problem_of(files.adapter.fetch(files.target("cases", "fetch"), {}, 10, None))
    assert problem.code == "adapter.bad_file"
    assert ("line 3" in problem.message) or ("record 2" in problem.message)
    assert not problem.retryable


async def test_a_file_that_is_not_there(files: worlds.FilesWorld) -> None:
    files.path.with_name(f"cases{files.path.suffix}").unlink()
    assert (
        await problem_of(files.adapter.lookup(files.target("cases", "lookup"), "C1"))
    ).code == "adapter.missing_file"


async def found(files: worlds.FilesWorld) -> str:
    return await files.adapter.test(files.target("cases", "fetch").connector, 5.0)


async def test_looking_at_files_says_what_can_be_done_and_makes_none(files: worlds.FilesWorld) -> None:
    name = f"outcomes{files.path.suffix}"
    assert f"outcomes ({name}, can be made by the first push)" in await found(files)
    assert not files.path.exists()
    await files.adapter.push(files.target("outcomes", "push"), PLAIN, KEY)
    said = await found(files)
    assert f"outcomes ({name}, can be written to)" in said
    assert "can be read)" in said


async def test_looking_at_files_fails_and_says_at_which(files: worlds.FilesWorld, monkeypatch) -> None:
    cases = files.path.with_name(f"cases{files.path.suffix}")
    right = cases.read_bytes()
    cases.unlink()
    problem = await problem_of(found(files))
    assert problem.code == "adapter.missing_file"
    assert f"casebook.cases has no file {cases.name!r}" in problem.message
    assert "outcomes" not in problem.message
    cases.mkdir()
    assert "something else than a file" in (await problem_of(found(files))).message
    cases.rmdir()
    cases.write_bytes(right)

    def refused(*_: Any, **__: Any) -> Any:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(files_lines, "opened", refused)
    problem = await problem_of(found(files))
    assert problem.code == "adapter.unreachable"
    assert problem.message == f"casebook.cases cannot read {cases.name!r}: Permission denied."
    monkeypatch.undo()
    monkeypatch.setattr("os.access", lambda *_: False)
    problem = await problem_of(found(files))
    assert problem.message == f"casebook.outcomes cannot write into the folder of {files.path.name!r}."
    monkeypatch.undo()
    files.body["resources"]["outcomes"]["file"] = f"gone/{files.path.name}"
    cases.unlink()
    problem = await problem_of(found(files))
    assert (
        f"casebook.cases has no file {cases.name!r} in its folder; casebook.outcomes has no folder" in problem.message
    )
    assert str(cases.parent) not in problem.message + problem.hint
    files.body["root"] = "elsewhere"
    assert "casebook has no folder 'elsewhere'" in (await problem_of(found(files))).message


# --- CSV with other delimiters


@pytest.fixture
def csv(tmp_path: Path, adapters: Adapters) -> worlds.FilesWorld:
    return worlds.make_files(tmp_path, adapters, "csv")


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
async def test_another_delimiter_is_noticed_and_can_be_said(csv: worlds.FilesWorld, delimiter: str) -> None:
    cases = csv.path.with_name("cases.csv")
    text = cases.read_text().replace('"[', "").replace(']"', "")
    cases.write_text(
        re.sub(r"(?m)^(.*?),(.*?),(.*?),(.*?),(.*?),.*,(.*)$", r"\1,\2,\3,\4,\5,[],\6", text).replace(",", delimiter)
    )
    cases.write_text(cases.read_text().replace(f"{delimiter}[]{delimiter}note", f"{delimiter}articles{delimiter}note"))
    csv.path.write_text(delimiter.join([*OUTCOME, "idempotency_key"]) + "\nC9;x,y")
    written = csv.path.read_bytes()
    way_out = 'Write `delimiter: "\\t"`' if delimiter == "\t" else f'Write `delimiter: "{delimiter}"`'
    for asked in (
        csv.adapter.fetch(csv.target("cases", "fetch"), {}, 10, None),
        csv.adapter.lookup(csv.target("cases", "lookup"), "C1"),
        csv.adapter.push(csv.target("outcomes", "push"), OUTCOME, KEY),
        found(csv),
    ):
        problem = await problem_of(asked)
        assert problem.code == "adapter.bad_file"
        assert "a tab" in problem.message if delimiter == "\t" else f"by '{delimiter}', not by ','" in problem.message
        assert way_out in problem.hint
    assert csv.path.read_bytes() == written
    csv.path.write_text(delimiter.join([*OUTCOME, "idempotency_key"]) + "\n")
    for resource in csv.body["resources"].values():
        resource["delimiter"] = delimiter
    fetched = await csv.adapter.fetch(csv.target("cases", "fetch"), {}, 10, None)
    assert [r["case_id"] for r in fetched.records] == [c["case_id"] for c in worlds.CASES]
    for _ in range(2):
        await csv.adapter.push(csv.target("outcomes", "push"), OUTCOME, KEY)
    assert await csv.adapter.probe(csv.target("outcomes", "push"), OUTCOME, KEY) is True
    rows = list(reader(csv.path.read_text().splitlines(keepends=True), delimiter=delimiter))
    assert [row[0] for row in rows] == ["case_id", "C1"]
    assert rows[1][3] == OUTCOME["comment"]
    await found(csv)


async def test_a_column_with_delimiters_in_its_name_is_no_other_delimiter(csv: worlds.FilesWorld) -> None:
    cases = csv.path.with_name("cases.csv")
    cases.write_text(cases.read_text().replace("case_id,more,", 'case_id,"a;b;c;d;e;f;g;h",', 1))
    assert len((await csv.adapter.fetch(csv.target("cases", "fetch"), {}, 10, None)).records) == 5
    cases.write_text(cases.read_text().replace("a;b;c;d;e;f;g;h", "a;b").replace(",fine_eur,", ",fine,", 1))
    problem = await problem_of(found(csv))
    assert (problem.code, "has no column fine_eur in 'cases.csv'" in problem.message) == ("adapter.missing_field", True)


# --- http


@pytest.fixture
async def http(adapters: Adapters) -> AsyncIterator[worlds.World]:
    faults: dict[str, Any] = {"next": []}
    async with worlds.http_server(faults) as base_url:
        yield worlds.make_http(adapters, base_url, "offset", faults)
        await adapters.close()


def answer(**kwargs: Any) -> Any:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(**kwargs)

    return handler


async def drop(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def truncate(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"items": [')
    assert request.transport is not None
    request.transport.close()
    return response


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_compression()
    await response.prepare(request)
    with contextlib.suppress(ConnectionError):
        for _ in range(400):
            await response.write(b" " * 1_048_576)
    return response


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


JSON = {"content_type": "application/json"}
FAULTS = [
    ("adapter.unreachable", True, drop),
    ("adapter.truncated", True, truncate),
    ("adapter.too_large", False, endless),
    ("adapter.timeout", True, hang),
    ("adapter.status", True, answer(status=500)),
    ("adapter.status", True, answer(status=503)),
    ("adapter.status", True, answer(status=408)),
    ("adapter.status", False, answer(status=400)),
    ("adapter.status", False, answer(status=401)),
    ("adapter.status", False, answer(status=404)),
    ("adapter.wrong_content_type", False, answer(text="<html>", content_type="text/html")),
    ("adapter.not_json", False, answer(text="{", **JSON)),
    ("adapter.no_records", False, answer(text="[]", **JSON)),
    ("adapter.no_records", False, answer(text='{"items": [1]}', **JSON)),
    ("egress.host_not_allowed", False, answer(status=302, headers={"Location": "http://169.254.169.254/latest"})),
    ("egress.host_not_allowed", False, answer(status=307, headers={"Location": "//other.example/x"})),
    ("egress.bad_host", False, answer(status=302, headers={"Location": "file:///etc/passwd"})),
]


@pytest.mark.parametrize(("code", "retryable", "fault"), FAULTS, ids=[f"{f[0]}-{n}" for n, f in enumerate(FAULTS)])
async def test_each_fault_of_a_server_has_its_name(http: worlds.World, code: str, retryable: bool, fault: Any) -> None:
    # The client itself asks once more where a connection was dropped before any answer.
    http.faults["next"] += [fault] * (2 if fault is drop else 1)
    timeout_s = 0.5 if fault is hang else 20.0
    problem = await problem_of(http.adapter.fetch(http.target("cases", "fetch", timeout_s), {"least": None}, 10, None))
    assert (problem.code, problem.retryable, problem.sent) == (code, retryable, False)
    assert "127.0.0.1" not in str(problem)
    assert len((await http.adapter.fetch(http.target("cases", "fetch"), {"least": None}, 10, None)).records) == 5


@pytest.mark.parametrize(("status", "said"), [(503, "`retry`"), (404, "`base_url`"), (401, "credentials")])
async def test_an_error_status_names_the_path_and_no_more(http: worlds.World, status: int, said: str) -> None:
    http.faults["next"].append(answer(status=status))
    target = http.target("cases", "fetch", query={"secret": "hunter2"})
    problem = await problem_of(http.adapter.fetch(target, {"least": 77}, 10, None))
    assert problem.hint.startswith("GET /api/offset/cases was called")
    assert said in problem.hint
    assert not any(text in problem.hint for text in ("hunter2", "77", "127.0.0.1"))


async def test_retry_after_is_passed_on(http: worlds.World) -> None:
    http.faults["next"].append(answer(status=429, headers={"Retry-After": "7"}))
    problem = await problem_of(http.adapter.fetch(http.target("cases", "fetch"), {"least": None}, 10, None))
    assert problem.retryable
    assert problem.fields["retry_after_s"] == 7.0
    http.faults["next"].append(answer(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    problem = await problem_of(http.adapter.fetch(http.target("cases", "fetch"), {"least": None}, 10, None))
    assert problem.fields["retry_after_s"] == 0.0


@pytest.mark.parametrize(
    "said", ["²", "٧", "Wed, 21 Oct 99999999999 07:28:00 GMT", "Wed, 99 Oct 2015 07:28:00 GMT", "-1"]
)
async def test_a_retry_after_that_is_no_time_is_left_alone(http: worlds.World, said: str) -> None:
    http.faults["next"].append(answer(status=503, headers={"Retry-After": said}))
    problem = await problem_of(http.adapter.fetch(http.target("cases", "fetch"), {"least": None}, 10, None))
    assert (problem.code, problem.fields["status"], "retry_after_s" in problem.fields) == ("adapter.status", 503, False)


async def test_a_redirect_within_the_origin_is_followed_three_times(http: worlds.World) -> None:
    here = {"status": 302, "headers": {"Location": "/api/offset/cases?at=0&size=2"}}
    http.faults["next"] += [answer(**here)] * 3
    envelope = await http.adapter.fetch(http.target("cases", "fetch"), {"least": None}, 2, None)
    assert len(envelope.records) == 2
    http.faults["next"] += [answer(**here)] * 4
    problem = await problem_of(http.adapter.fetch(http.target("cases", "fetch"), {"least": None}, 2, None))
    assert problem.code == "adapter.elsewhere"


async def test_next_links_and_pages_never_lead_elsewhere(http: worlds.World, adapters: Adapters) -> None:
    link = worlds.make_http(adapters, http.body["base_url"], "link", http.faults)
    for url in ("http://evil.example/x", "//evil.example/x", "http://127.0.0.1:1/x", "ftp://127.0.0.1/x"):
        code = "egress.bad_host" if url.startswith("ftp") else "egress.host_not_allowed"
        http.faults["next"].append(answer(text='{"items": []}', headers={"Link": f'<{url}>; rel="next"'}, **JSON))
        problem = await problem_of(link.adapter.fetch(link.target("cases", "fetch"), {"least": None}, 10, None))
        assert problem.code == code
        # A page that was given out when the connector still named that host, and one that never was.
        target, token = link.target("cases", "fetch"), Position(at=url).token()
        page = await link.adapter._pages.sealed(target, token)  # type: ignore[attr-defined]
        problem = await problem_of(link.adapter.fetch(target, {"least": None}, 10, token))
        assert problem.code == "adapter.bad_page"
        problem = await problem_of(link.adapter.fetch(target, {"least": None}, 10, page))
        assert problem.code == code


async def test_paging_that_goes_in_circles_ends(http: worlds.World, adapters: Adapters) -> None:
    cursor = worlds.make_http(adapters, http.body["base_url"], "cursor", http.faults)
    http.faults["next"] += [answer(text='{"items": [], "meta": {"next": "7"}}', **JSON)] * 10
    problem = await problem_of(cursor.adapter.fetch(cursor.target("cases", "fetch"), {"least": None}, 10, None))
    assert problem.code == "adapter.page_loop"
    assert not problem.retryable


async def test_what_is_sent(http: worlds.World, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    await http.adapter.fetch(http.target("cases", "fetch"), {"least": 3000}, 1, None)
    request = http.faults["asked"][-1]
    assert request.method == "GET"
    assert request.query["least"] == "3000"
    assert request.headers["X-Client"] == "stanchion"
    assert request.headers["traceparent"].startswith("00-0af765")
    assert "Cookie" not in request.headers


async def test_a_server_that_is_not_there(adapters: Adapters) -> None:
    world = worlds.make_http(adapters, "http://127.0.0.1:1/api", "offset", {})
    problem = await problem_of(world.adapter.lookup(world.target("cases", "lookup"), "C1"))
    assert (problem.code, problem.retryable, problem.sent) == ("adapter.unreachable", True, False)
