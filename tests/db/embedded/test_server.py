"""What a started server is like: its roles, its doors, its process."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import psycopg
import pytest

from stanchion.base import Conflict, Invalid, Unavailable
from stanchion.db import PROCESS_TYPES, login
from stanchion.db.embedded import EmbeddedPostgres, find_binaries


def one(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        assert row
        return row[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with EmbeddedPostgres(tmp_path_factory.mktemp("embedded"), settings={"work_mem": "5MB"}) as running:
        yield running


def test_the_roles_are_neither_superuser_nor_above_row_level_security(server):
    with psycopg.connect(server.urls.app) as connection:
        rows = connection.execute(
            "select rolname, rolcanlogin, rolsuper or rolbypassrls or rolcreaterole or rolreplication"
            " from pg_roles where rolname like 'stanchion%' order by 1"
        ).fetchall()
    logins = {"stanchion_app", "stanchion_engine", "stanchion_owner", "stanchion_super", *map(login, PROCESS_TYPES)}
    assert {name for name, may, _ in rows if may} == logins
    assert [name for name, _, above in rows if above] == ["stanchion_super"]
    for process in PROCESS_TYPES:
        assert one(server.urls.processes[process], "select current_user") == f"stanchion_{process}"
    for role in ("owner", "app", "engine"):
        assert one(getattr(server.urls, role), "select current_user") == f"stanchion_{role}"


def test_the_owner_creates_in_public_and_the_others_do_not(server):
    assert one(server.urls.owner, "select pg_get_userbyid(datdba) from pg_database where datname = 'stanchion'") == (
        "stanchion_owner"
    )
    with psycopg.connect(server.urls.owner) as connection:
        connection.execute("create table mine (v vector(3))")
        connection.rollback()
    for url in (server.urls.app, server.urls.engine):
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table theirs ()")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(server.urls.app.replace("/stanchion?", "/postgres?"))


def test_every_door_asks_for_a_password_and_none_is_on_tcp(server):
    assert one(server.urls.app, "show listen_addresses") == ""
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.urls.app.replace("@/", "0@/"))
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host=server.socket_dir, user="stanchion_super", dbname="postgres", port=5432)
    hba = (Path(server.socket_dir).parent / "etc" / "pg_hba.conf").read_text().splitlines()
    assert [line for line in hba if not line.startswith("#")] == ["local all all scram-sha-256"]


def test_secrets_are_readable_by_nobody_else_and_not_shown(server):
    home = Path(server.socket_dir).parent
    assert stat.S_IMODE((home / "credentials.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "run").stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "cluster").stat().st_mode) == 0o700
    password = server.urls.app.split(":")[2].split("@")[0]
    assert len(password) == 64
    assert password not in repr(server.urls)
    logs = "".join(path.read_text() for path in (home / "log").iterdir())
    assert password not in logs
    assert "SCRAM-SHA-256" not in logs


def test_the_cluster_is_what_the_design_asks_for(server):
    app = server.urls.app
    assert one(app, "show server_encoding") == "UTF8"
    assert one(app, "show data_checksums") == "on"
    assert one(app, "select datlocale from pg_database where datname = 'stanchion'") == "C.UTF-8"
    assert one(app, "select upper('é')") == "É"
    assert one(app, "show timezone") == "UTC"
    assert one(app, "select extname from pg_extension where extname = 'vector'") == "vector"
    assert [one(app, f"show {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == ["on"] * 3
    assert one(app, "show work_mem") == "5MB"
    assert str(one(app, "show server_version")).split(".")[0] == "18"


def test_the_id_is_the_one_pg_controldata_tells(server):
    cluster = Path(server.socket_dir).parent / "cluster"
    told = subprocess.run(
        [find_binaries() / "pg_controldata", cluster], capture_output=True, text=True, check=True, env={"LC_ALL": "C"}
    ).stdout
    line = next(line for line in told.splitlines() if "system identifier" in line)
    assert line.split()[-1] == server.cluster_id


async def test_async_clients_use_the_same_urls(server):
    async with await psycopg.AsyncConnection.connect(server.urls.engine) as connection:
        cursor = await connection.execute("select current_user")
        assert await cursor.fetchone() == ("stanchion_engine",)


def test_the_server_stands_apart_from_its_owner(make, data, monkeypatch):
    monkeypatch.setenv("PLANTED_SECRET", "in-the-environment")
    inherited = os.open("/dev/zero", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        server = make(data)
        server.start()
        pid = server.postmaster_pid
        assert os.getsid(pid) == pid  # a terminal's Ctrl-C goes to the owner's session
        assert b"PLANTED_SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
        status = Path(f"/proc/{pid}/status").read_text()
        assert "Umask:\t0077" in status
        assert {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}.isdisjoint({"/dev/zero"})
    finally:
        os.close(inherited)


def test_starting_twice_changes_nothing_and_a_restart_keeps_the_data(make, data):
    server = make(data)
    urls = server.start()
    pid, cluster = server.postmaster_pid, server.cluster_id
    assert server.start() == urls
    assert server.postmaster_pid == pid
    with psycopg.connect(urls.owner) as connection:
        connection.execute("create table kept as select 42 as n")
    server.stop()
    assert not server.is_running()
    assert server.postmaster_pid is None
    with pytest.raises(Conflict, match="was not started by this object"):
        _ = server.urls
    server.stop()
    again = make(data)
    assert again.start() == urls
    assert again.cluster_id == cluster
    assert one(urls.owner, "select n from kept") == 42


def test_a_stop_after_the_folder_was_removed(make, data):
    server = make(data)
    server.start()
    pid = server.postmaster_pid
    shutil.rmtree(data)
    server.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_an_immediate_stop_loses_nothing_committed(make, data):
    server = make(data, durable=True)
    urls = server.start()
    with psycopg.connect(urls.owner) as connection:
        connection.execute("create table kept as select 42 as n")
    server.stop(mode="immediate")
    server.start()
    assert one(urls.owner, "select n from kept") == 42


def test_a_stop_that_takes_too_long_says_so(make, data):
    server = make(data)
    server.start()
    pid = server.postmaster_pid
    os.kill(pid, 19)  # SIGSTOP: it cannot hear the request to end
    try:
        with pytest.raises(Unavailable, match=rf"\(pid {pid}\) did not end within 0.1 s. Wait, or end it at once"):
            server.stop(timeout_s=0.1)
        assert server.is_running()
    finally:
        os.kill(pid, 18)
    server.stop()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"listen_addresses": "*"}, "'listen_addresses' is decided by Stanchion"),
        ({"fsync": "off"}, "'fsync' is decided by Stanchion"),
        ({"include": "/etc/passwd"}, "'include' is decided by Stanchion"),
        ({"work mem": "4MB"}, "'work mem' is not the name of a PostgreSQL setting"),
        ({"work_mem": "4MB'\nlisten_addresses = '*"}, "'work_mem' has a value with a line break"),
    ],
)
def test_settings_that_would_undo_ours_are_refused(data, settings, says):
    with pytest.raises(Invalid, match=says):
        EmbeddedPostgres(data, settings=settings)


def test_a_server_that_refuses_to_start_is_quoted(make, data):
    server = make(data, settings={"work_mem": "a lot"})
    with pytest.raises(Unavailable, match=r'(?s)does not start; it said:.*invalid value for parameter "work_mem"'):
        server.start()
    assert server.postmaster_pid is None
    make(data).start()  # the folder is free again, and the cluster whole


def test_not_durable_is_for_tests(make, data):
    urls = make(data).start()
    assert [one(urls.app, f"show {name}") for name in ("fsync", "synchronous_commit", "full_page_writes")] == [
        "off"
    ] * 3


def test_old_logs_are_removed(make, data):
    server = make(data)
    server.start()
    log = data / "postgres" / "log"
    for hour in range(12):
        (log / f"postgres-20200101T{hour:02}0000Z.log").write_text("old")
    server.prune_logs()
    left = sorted(path.name for path in log.iterdir())
    assert len(left) == 8
    assert "postgres-20200101T040000Z.log" not in left
    assert "postgres-20200101T110000Z.log" in left
    assert (log / left[-1]).stat().st_size > 0
