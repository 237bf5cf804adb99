"""Data folders that are long, strange, foreign, broken, full or of another version."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import psycopg
import pytest

from stanchion.base import Conflict, Invalid, Unavailable, loads
from stanchion.db.embedded import EmbeddedPostgres
from stanchion.db.embedded import server as server_module


def long_folder(tmp_path: Path) -> Path:
    return tmp_path / ("a-long-name-" * 5) / ("another-long-name-" * 5)


async def test_a_path_too_long_for_a_socket(make, tmp_path, scenario):
    folder = long_folder(tmp_path)
    server = make(folder)
    urls = server.start()
    assert server.socket_dir.startswith("@:stanchion-")
    assert "require_auth=scram-sha-256" in urls.app
    with psycopg.connect(urls.owner) as connection:
        assert connection.execute("select current_user").fetchone() == ("stanchion_owner",)
    async with await psycopg.AsyncConnection.connect(urls.app) as connection:
        cursor = await connection.execute("select current_user")
        assert await cursor.fetchone() == ("stanchion_app",)
    other_process = "print(psycopg.connect(args[0]).execute('select current_user').fetchone()[0])"
    assert scenario(other_process, urls.engine).ends() == "stanchion_engine"
    name = server.socket_dir
    server.stop()
    server.start()
    assert server.socket_dir != name  # nobody can wait for us under a name seen before
    assert list((folder / "postgres" / "run").iterdir()) == []


def test_a_server_on_a_long_path_is_adopted(make, tmp_path, scenario):
    folder = long_folder(tmp_path)
    first = scenario(
        "server = EmbeddedPostgres(Path(args[0])); server.start()\n"
        "print(server.postmaster_pid, server.socket_dir, flush=True); signal.pause()",
        folder,
    )
    pid, name = first.says().split()
    first.kill()
    server = make(folder)
    server.start()
    assert (server.postmaster_pid, server.socket_dir) == (int(pid), name)


def test_the_longest_path_that_fits_uses_a_file(make, tmp_path):
    room = 107 - len("/postgres/run/.s.PGSQL.5432") - len(os.fsencode(tmp_path)) - 1
    server = make(tmp_path / ("x" * room))
    server.start()
    assert server.socket_dir.endswith("x/postgres/run")
    longer = make(tmp_path / ("x" * (room + 1)))
    longer.start()
    assert longer.socket_dir.startswith("@:")


@pytest.mark.parametrize("name", ['o\'b "back\\slash" ünï %63 #;&$(x)', "com,ma"])
def test_strange_names(make, tmp_path, name):
    with psycopg.connect(make(tmp_path / name).start().app) as connection:
        assert connection.execute("select current_user").fetchone() == ("stanchion_app",)


def test_paths_postgresql_cannot_use(tmp_path):
    with pytest.raises(
        Invalid, match=r"path has \d+ bytes, and PostgreSQL takes at most 900: .*Choose a shorter --data"
    ):
        EmbeddedPostgres(tmp_path.joinpath(*["x" * 200] * 5))
    with pytest.raises(Invalid, match="contains a line break"):
        EmbeddedPostgres(tmp_path / "a\nb")


def test_a_symbolic_link_to_the_folder_is_the_folder(make, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    make(tmp_path / "real").start()
    with pytest.raises(Conflict, match="in use by this process"):
        make(tmp_path / "link").start()


def test_another_major_version(make, data):
    server = make(data)
    server.start()
    server.stop()
    (data / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(Conflict) as refused:
        server.start()
    assert refused.value.code == "db.cluster_version"
    assert "was made by PostgreSQL 17, and this installation brings PostgreSQL 18. Start it with the" in str(
        refused.value
    )


def test_a_file_in_the_place_of_the_folder(make, empty):
    empty.write_text("mine")
    with pytest.raises(Conflict, match=f"cannot live in {empty}: it is not a folder"):
        make(empty).start()
    assert empty.read_text() == "mine"


def test_someone_elses_content(make, empty):
    (empty / "postgres").mkdir(parents=True)
    (empty / "postgres" / "notes.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"holds notes.txt, which Stanchion did not make. .*Nothing was changed."):
        make(empty).start()
    assert [path.name for path in (empty / "postgres").iterdir()] == ["notes.txt"]


def test_someone_elses_cluster(make, empty):
    empty.mkdir()
    (empty / "PG_VERSION").write_text("15\n")
    with pytest.raises(Conflict, match="is itself a PostgreSQL data directory"):
        make(empty).start()
    assert [path.name for path in empty.iterdir()] == ["PG_VERSION"]


def test_a_link_in_the_place_of_our_folder(make, empty, tmp_path):
    empty.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (empty / "postgres").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict, match="it is a symbolic link"):
        make(empty).start()


def test_other_things_in_the_data_folder_are_left_alone(make, empty):
    empty.mkdir(mode=0o755)
    (empty / "objects").mkdir()
    make(empty).start()
    assert sorted(path.name for path in empty.iterdir()) == ["objects", "postgres"]
    assert empty.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "is missing"),
        (b"{", "is damaged"),
        (b"[]", "has a form this version does not know"),
        (b'{"schema_v":2}', "has a form this version does not know"),
        (b'{"schema_v":1,"cluster_id":7}', "is damaged"),
        (b'{"schema_v":1,"cluster_id":"7","passwords":{}}', "lacks a role's password"),
    ],
)
def test_lost_passwords(make, data, content, says):
    path = data / "postgres" / "credentials.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Conflict, match=f"credentials.json with its passwords {says}. Restore that file from a backup"):
        make(data).start()


def test_the_passwords_of_another_cluster(make, data):
    path = data / "postgres" / "credentials.json"
    text = path.read_text()
    right = text.split('"cluster_id":"')[1].split('"')[0]
    path.write_text(text.replace(right, "7"))
    with pytest.raises(
        Conflict, match=f"are those of database 7, and .* is database {right}. Restore both from the same"
    ):
        make(data).start()


@pytest.mark.parametrize("missing", ["PG_VERSION", "global/pg_control"])
def test_a_damaged_cluster(make, data, missing):
    (data / "postgres" / "cluster" / missing).unlink()
    with pytest.raises(Conflict, match=rf"is damaged: .*{missing} is missing.*(?s:.)*move .* away"):
        make(data).start()


def test_no_folder_where_the_cluster_should_be(make, data):
    cluster = data / "postgres" / "cluster"
    cluster.rename(data / "aside")
    cluster.symlink_to(data / "aside")
    with pytest.raises(Conflict, match=r"cluster is not a folder. Move it away"):
        make(data).start()


def test_remains_of_a_half_made_cluster_go(make, empty):
    setup = empty / "postgres" / "setup"
    (setup / "cluster" / "base").mkdir(parents=True)
    (setup / "cluster" / "PG_VERSION").write_text("18\n")
    (empty / "postgres" / "lock").write_text("")
    make(empty).start()
    assert not setup.exists()


FULL = """
    import json, subprocess
    folder = Path(args[0])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={args[1]},mode=0755", "tmpfs", folder], check=True)
    server = EmbeddedPostgres(folder / "data", durable=False)
    try:
        server.start()
    except Problem as problem:
        print(json.dumps([problem.code, str(problem)]))
    subprocess.run(["mount", "-o", "remount,size=512m", folder], check=True)
    server.start()
    print(server.is_running())
    server.stop()
    subprocess.run(["dd", "if=/dev/zero", f"of={folder}/full", "bs=64k"], stderr=subprocess.DEVNULL)
    try:
        server.start()
    except Problem as problem:
        print(json.dumps([problem.code, str(problem)]))
    (folder / "full").unlink()
    server.start()
    print(server.is_running())
    server.stop()
"""


def can_mount() -> bool:
    return os.geteuid() == 0 and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="a small disk of one's own needs root")
@pytest.mark.parametrize("size", ["12k", "12m"])
def test_a_full_disk_is_named_and_what_it_left_is_made_anew(tmp_path, scenario, size):
    # A mount namespace of its own: that process alone sees the small disk, and the disk goes with it.
    told = scenario(FULL, tmp_path, size, under=("unshare", "-m")).ends().splitlines()
    assert told[1::2] == ["True", "True"]
    for code, says in map(loads, told[0::2]):
        assert code == "db.disk_full"
        assert f"There is no space left for the database in {tmp_path}" in says
        assert "Free some space, or choose a --data folder on another disk; then start again." in says


@pytest.mark.parametrize(
    ("number", "code", "says"),
    [
        (errno.ENOSPC, "db.disk_full", "Free some space"),
        (errno.EDQUOT, "db.disk_full", "Free some space"),
        (errno.EROFS, "db.data_unwritable", "Read-only file system .*Give this user the folder"),
        (errno.EIO, "db.data_unusable", "Input/output error. Choose another --data"),
    ],
)
def test_what_the_operating_system_refuses(make, data, monkeypatch, number, code, says):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), str(data))

    monkeypatch.setattr(server_module, "prepare_home", refuse)
    with pytest.raises(Unavailable, match=says) as refused:
        make(data).start()
    assert refused.value.code == code
    monkeypatch.undo()
    make(data).start()  # the lock was given back
