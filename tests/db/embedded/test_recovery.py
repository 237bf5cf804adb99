"""Owners and servers that died, pid files that lie, sockets that others hold."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import psycopg
import pytest

from stanchion.base import Conflict, Unavailable
from stanchion.db.embedded import server as server_module
from stanchion.db.embedded.lock import try_lock
from stanchion.db.embedded.postmaster import Process

OWNER = """
    server = EmbeddedPostgres(Path(args[0]))
    urls = server.start()
    with psycopg.connect(urls.owner) as connection:
        connection.execute("create table if not exists kept as select 42 as n")
    print(server.postmaster_pid, urls.owner, flush=True)
    signal.pause()
"""


def pid_file(data: Path) -> Path:
    return data / "postgres" / "cluster" / "postmaster.pid"


def claim_pid(data: Path, pid: int) -> None:
    """Make the pid file name `pid`, keeping its file's owner."""
    lines = pid_file(data).read_text().splitlines()
    pid_file(data).write_text("\n".join([str(pid), *lines[1:]]) + "\n")


def kill_server(pid: int) -> None:
    process = Process(pid, is_child=False)
    process.send(signal.SIGKILL)
    assert process.wait(10)
    process.close()


def kept(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute("select n from kept").fetchone()


def test_two_owners_in_two_processes(make, data, scenario):
    first = scenario(OWNER, data)
    pid = int(first.says().split()[0])
    with pytest.raises(Conflict) as refused:
        make(data).start()
    holder = first.process.pid
    assert refused.value.code == "db.data_in_use"
    assert str(refused.value) == (
        f"The data folder {data} is in use by process {holder}. "
        f"Stop it (Ctrl-C in its terminal, or kill {holder}), or choose another --data."
    )
    assert refused.value.fields["pid"] == holder
    first.kill()
    server = make(data)
    server.start()
    assert server.postmaster_pid == pid


def test_two_owners_in_one_process(make, data):
    make(data).start()
    with pytest.raises(Conflict, match=rf"in use by this process \(pid {os.getpid()}\). Stop that one first"):
        make(data).start()


def test_the_server_outlives_a_killed_owner_and_the_next_one_adopts_it(make, data, scenario):
    first = scenario(OWNER, data)
    pid, url = first.says().split()
    with psycopg.connect(url) as connection:
        first.kill()
        server = make(data)
        assert server.start().owner == url
        assert server.postmaster_pid == int(pid)
        assert connection.execute("select n from kept").fetchone() == (42,)  # its clients noticed nothing
    server.stop()
    assert not Path(f"/proc/{pid}").exists() or Process(int(pid), is_child=False).wait(0)
    server.start()
    assert server.postmaster_pid != int(pid)


@pytest.mark.parametrize("claimed", ["nobody", "a program", "a program in our folder", "another server"])
def test_a_pid_file_that_names_someone_else_is_not_believed(make, data, tmp_path, whole, claimed):
    server = make(data, durable=True)
    urls = server.start()
    with psycopg.connect(urls.owner) as connection:
        connection.execute("create table kept as select 42 as n")
    kill_server(server.postmaster_pid)
    found = pid_file(data).stat()
    cwd = pid_file(data).parent if claimed == "a program in our folder" else "/"
    # The same user as the server's: it is then that PostgreSQL, by itself, refuses to start.
    user = {"user": found.st_uid, "group": found.st_gid} if os.geteuid() == 0 else {}
    sleeper = subprocess.Popen(["sleep", "60"], cwd=cwd, **user)
    subprocess.run(["cp", "-a", whole, tmp_path / "other"], check=True)
    other = make(tmp_path / "other")
    other.start()
    pid = {"nobody": 2**22 + 1, "another server": other.postmaster_pid}.get(claimed, sleeper.pid)
    try:
        claim_pid(data, pid)
        (data / "postgres" / "run" / ".s.PGSQL.5432.lock").write_text(f"{pid}\n")
        again = make(data) if claimed == "nobody" else server  # by a new owner, or by the same one after a crash
        if again is not server:
            server.stop()
        again.start()
        assert again.postmaster_pid not in {None, pid}
        assert kept(urls.owner) == (42,)
        assert sleeper.poll() is None
        assert other.is_running()
        assert pid_file(data).read_text().splitlines()[0] == str(again.postmaster_pid)
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("content", [b"", b"12", b"not a pid\n/somewhere\n", b"-1\n" * 8])
def test_a_pid_file_cut_off_or_senseless(make, data, content):
    server = make(data)
    server.start()
    kill_server(server.postmaster_pid)
    pid_file(data).write_bytes(content)
    server.start()
    assert server.is_running()


def test_a_killed_server_and_its_busy_process(make, data):
    server = make(data, durable=True)
    urls = server.start()
    with psycopg.connect(urls.owner) as connection:
        connection.execute("create table kept as select 42 as n")
    # A backend in a computation does not look up when its postmaster dies: it would write beside a second server.
    busy = psycopg.connect(urls.owner, autocommit=True)
    row = busy.execute("select pg_backend_pid()").fetchone()
    backend = Process(row[0], is_child=False)
    busy.pgconn.send_query(b"do $$ begin loop end loop; end $$")
    assert not backend.wait(0.2)
    kill_server(server.postmaster_pid)
    assert not backend.wait(0.2)
    assert not server.is_running()
    server.start()
    assert backend.wait(0)
    assert kept(urls.owner) == (42,)
    backend.close()
    busy.close()


def test_processes_that_cannot_be_ended_are_named(make, data, monkeypatch):
    server = make(data)
    server.start()
    server.stop()
    monkeypatch.setattr(server_module, "_ORPHAN_WAIT_S", 0.05)
    held = try_lock(data / "postgres" / "server.lock")
    try:
        with pytest.raises(Unavailable, match="was killed, and processes of it still run: pids unknown, perhaps in an"):
            server.start()
    finally:
        os.close(held)
    server.start()


def test_another_program_on_our_socket(make, data):
    server = make(data)
    server.start()
    server.stop()
    path = data / "postgres" / "run" / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(path))
        foreign.listen()
        with pytest.raises(Conflict) as refused:
            server.start()
    assert refused.value.code == "db.socket_in_use"
    assert f"(pid {os.getpid()}), listens on the database's socket {path}." in str(refused.value)
    server.start()  # it is closed now: what is left is a stale socket, and goes


def test_a_file_in_the_place_of_our_socket_is_not_removed(make, data):
    server = make(data)
    server.start()
    server.stop()
    path = data / "postgres" / "run" / ".s.PGSQL.5432"
    path.write_text("mine")
    with pytest.raises(Conflict, match=r"is in the place of the database's socket, and is not a socket. Move it away."):
        server.start()
    assert path.read_text() == "mine"


def test_a_running_server_that_is_not_ours_behind_our_socket(make, data, tmp_path, scenario):
    first = scenario(OWNER, data)
    first.says()
    first.kill()
    other = make(tmp_path / "other")
    other.start()
    ours = data / "postgres" / "run" / ".s.PGSQL.5432"
    ours.rename(ours.with_name("aside"))
    (tmp_path / "other" / "postgres" / "run" / ".s.PGSQL.5432").rename(ours)
    server = make(data)
    with pytest.raises(Unavailable, match=r"(?s)left by an earlier owner .* cannot be used: .*authentication failed"):
        server.start()
    # Also if it has our passwords: the process and the cluster's id are asked.
    credentials = data / "postgres" / "credentials.json"
    mine = credentials.read_text()
    theirs = (tmp_path / "other" / "postgres" / "credentials.json").read_text()
    credentials.write_text(theirs.replace(other.cluster_id, mine.split('"cluster_id":"')[1].split('"')[0]))
    with pytest.raises(Conflict, match=rf"\(postgres, pid {other.postmaster_pid}\) is not the one of"):
        server.start()
    assert other.is_running()
    credentials.write_text(mine)
    ours.with_name("aside").rename(ours)
    server.start()


def test_a_server_that_does_not_answer(make, data, scenario):
    first = scenario(OWNER, data)
    pid = int(first.says().split()[0])
    first.kill()
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(
            Unavailable, match=rf"(?s)\(pid {pid}\) runs, but cannot be used: .*end it: kill -INT {pid}"
        ):
            make(data).start(timeout_s=0.1)
    finally:
        os.kill(pid, signal.SIGCONT)
    server = make(data)
    server.start()
    assert server.postmaster_pid == pid


def test_a_server_still_starting_or_stopping_is_waited_for(make, data, scenario):
    first = scenario(OWNER, data)
    pid = int(first.says().split()[0])
    first.kill()
    lines = pid_file(data).read_text().splitlines()
    pid_file(data).write_text("\n".join([*lines[:7], "stopping"]) + "\n")
    with pytest.raises(Unavailable, match=rf"\(pid {pid}\) is stopping and takes no connections. Wait and start again"):
        make(data).start(timeout_s=0.05)
    os.kill(pid, signal.SIGINT)
    server = make(data)
    server.start()
    assert server.postmaster_pid != pid


def test_an_owner_killed_while_it_makes_the_cluster(make, empty, scenario):
    first = scenario(
        """
        from stanchion.db.embedded import cluster
        spawn = cluster.spawn
        def spawn_and_die(*arguments, **options):
            process = spawn(*arguments, **options)
            while not (Path(args[0]) / "postgres" / "setup" / "cluster" / "PG_VERSION").exists():
                pass
            os.kill(os.getpid(), signal.SIGKILL)
        cluster.spawn = spawn_and_die
        EmbeddedPostgres(Path(args[0])).start()
        """,
        empty,
    )
    assert first.process.wait(30) == -signal.SIGKILL
    assert (empty / "postgres" / "setup").exists()
    assert not (empty / "postgres" / "cluster").exists()
    server = make(empty)
    server.start()  # waits until the initdb that was left alone has ended, then begins anew
    assert server.is_running()
    assert not (empty / "postgres" / "setup").exists()


def test_a_start_cut_short_before_the_roles_exist_is_completed(make, empty, monkeypatch):
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    server = make(empty)
    with monkeypatch.context() as patch:
        patch.setattr(server_module.roles, "set_up_database", die)
        with pytest.raises(KeyboardInterrupt):
            server.start()
    assert not server.is_running()
    with psycopg.connect(server.start().owner) as connection:
        row = connection.execute("select extname from pg_extension where extname = 'vector'").fetchone()
    assert row == ("vector",)
