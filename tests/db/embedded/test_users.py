"""Root, which PostgreSQL refuses, and ordinary users, on one machine."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import psycopg
import pytest

from stanchion.base import Unavailable, loads
from stanchion.db.embedded import unprivileged
from tests.support.root import needs_root

as_root = needs_root("only root can become another user")
NOBODY = (65534, 65534)
DAC_READ_SEARCH = 1 << 2

START = """
    import json
    server = EmbeddedPostgres(Path(args[0]), durable=False)
    try:
        urls = server.start()
    except Problem as problem:
        print(json.dumps([problem.code, str(problem)]), flush=True)
    else:
        print(json.dumps([server.postmaster_pid, urls.owner]), flush=True)
        signal.pause() if len(args) > 1 else None
        server.stop()
"""

WITHOUT_CAPABILITY = """
    import ctypes
    assert ctypes.CDLL(None).prctl(24, 2, 0, 0, 0) == 0  # PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH
"""


def facts(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def capabilities(pid: int) -> set[int]:
    return {int(facts(pid)[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}


def folders_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    return {one: (one.stat().st_mode, one.stat().st_uid, one.stat().st_gid) for one in path.parents}


@as_root
def test_root_starts_the_server_as_someone_else_and_touches_no_folder_above(make, empty):
    empty.parent.chmod(0o700)
    before = folders_above(empty)
    server = make(empty)
    urls = server.start()
    account = unprivileged.choose_account()
    assert account
    status = facts(server.postmaster_pid)
    assert status["Uid"].split() == [str(account.uid)] * 4
    assert status["Gid"].split() == [str(account.gid)] * 4
    assert status["Groups"].strip() == ""
    assert status["NoNewPrivs"] == "1"
    # That user cannot enter pytest's folder: the server may read what others own, and nothing more.
    assert capabilities(server.postmaster_pid) == {DAC_READ_SEARCH}
    assert folders_above(empty) == before
    with psycopg.connect(urls.app) as connection:
        assert connection.execute("select current_user").fetchone() == ("stanchion_app",)
    assert (empty / "postgres" / "credentials.json").stat().st_uid == 0
    assert (empty / "postgres" / "cluster").stat().st_uid == account.uid


@as_root
def test_where_the_folders_are_open_no_capability_is_kept(make, open_folder, monkeypatch):
    server = make(open_folder / "data")
    server.start()
    expected = 0 if all_may_pass(Path(unprivileged.__file__)) else DAC_READ_SEARCH
    assert capabilities(server.postmaster_pid) == {expected}
    assert (open_folder / "data").stat().st_mode & 0o777 == 0o710


def all_may_pass(file: Path) -> bool:
    """Whether the programs, which lie in the same environment as this file's interpreter, are open to all."""
    from stanchion.db.embedded import find_binaries

    return all(one.stat().st_mode & 0o1 for one in find_binaries().parents)


@as_root
def test_without_the_capability_the_closed_folder_is_named(empty, scenario):
    empty.parent.chmod(0o700)
    closed = next(one for one in reversed(empty.parents) if not one.stat().st_mode & 0o1)
    told = scenario(WITHOUT_CAPABILITY + START, empty).ends()
    code, says = loads(told)
    assert code == "db.server_user"
    assert f"that user may not enter {closed}, on the way to" in says
    assert "Run Stanchion as an ordinary user; or install it and put --data where that user may pass" in says


@as_root
def test_a_machine_without_an_unprivileged_user(empty, monkeypatch, make):
    monkeypatch.setattr(unprivileged, "CANDIDATES", ("no-such-user", "root"))
    with pytest.raises(Unavailable, match=r"none of the users no-such-user, root. Add one .useradd --system stanchion"):
        make(empty)


@as_root
def test_a_user_and_root_side_by_side(make, open_folder, scenario):
    mine, theirs = open_folder / "root", open_folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, *NOBODY)
    first = scenario(START, theirs, "wait", user=NOBODY)
    pid, url = loads(first.says())
    assert facts(pid)["Uid"].split() == ["65534"] * 4
    server = make(mine)
    server.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("select current_user").fetchone() == ("stanchion_owner",)
    server.stop()
    assert facts(pid)["State"].startswith("S")
    # Their folder is theirs, ours is ours.
    code, says = loads(scenario(START, theirs).ends())
    assert code == "db.data_owner"
    assert says == (
        f"The folder {theirs} belongs to user nobody, and this is user root. "
        "Run Stanchion as user nobody, or choose another --data."
    )
    code, says = loads(scenario(START, mine, user=NOBODY).ends())
    assert code == "db.data_owner"
    assert f"{mine}/postgres belongs to user root, and this is user nobody" in says
    assert facts(pid)["State"].startswith("S")
    first.kill()
    assert loads(scenario(START, theirs, user=NOBODY).ends()) == [pid, url]  # adopted, then stopped


@as_root
def test_a_folder_a_user_may_not_write(open_folder, scenario):
    code, says = loads(scenario(START, open_folder / "data", user=NOBODY).ends())
    assert code == "db.data_unwritable"
    assert says == (
        f"The data folder cannot be used: {open_folder}/data: Permission denied (as user nobody). "
        "Give this user the folder, or choose another --data."
    )


def test_an_ordinary_user_stays_who_they_are(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert unprivileged.choose_account() is None


def test_the_first_candidate_that_exists_is_taken(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(unprivileged, "CANDIDATES", ("no-such-user", "nobody"))
    found = unprivileged.choose_account()
    assert found == unprivileged.Account(
        name="nobody", uid=pwd.getpwnam("nobody").pw_uid, gid=pwd.getpwnam("nobody").pw_gid
    )
