"""The broker with a user of its own: a real `up` as root, what each process may, and that connectors still work."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from stanchion.base import Denied, Invalid
from stanchion.base.settings import BrokerSettings, SecretsSettings, Settings
from stanchion.cli.sealing import keep_secret
from stanchion.processes import ownuser
from tests.processes.instance import Up, clean_environment, until
from tests.support.root import need_root, needs_root

UID = 61_234
only_root = needs_root("only root gives the broker another user")
CONNECTOR = """
connector: shelf
owner: tests
adapter: sql
environment: local
database: {driver: sqlite, path: shelf.sqlite}
resources:
  books:
    key: id
    fields: {id: {type: string}, title: {type: string}}
    lookup: {statement: "select id, title from books where id = :key"}
    push:
      statement: "insert into books (id, title) values (:id, :title) on conflict (id) do update set title = excluded.title"
      idempotency: natural
"""
# What a process that is root by name tries, confined and limited as the others are.
OTHER = """
import ctypes, os, signal, sys
from pathlib import Path
from stanchion.processes.isolation import confine_from
from stanchion.processes.ownuser import keep_files_only
keys, data, broker = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
if sys.argv[4] == "as the others":
    keep_files_only()
    confine_from([keys], needed=[data])
def tried(name, run):
    try:
        run()
        print(name)
    except OSError:
        pass
tried("key", lambda: (keys / "secrets.key").read_bytes())
tried("memory", lambda: open(f"/proc/{broker}/mem", "rb").close())
tried("signal", lambda: os.kill(broker, 0))
tried("become", lambda: os.setresuid(61234, 61234, 61234))
"""


def settings_of(tmp_path: Path, user: str | None = str(UID), **secrets: Path) -> Settings:
    return Settings(data=tmp_path / "data", broker=BrokerSettings(user=user), secrets=SecretsSettings(**secrets))


def test_whom_the_broker_becomes(tmp_path):
    assert ownuser.account_of(settings_of(tmp_path, None)) is None
    assert ownuser.account_of(settings_of(tmp_path)) == ownuser.Account(uid=UID, gid=UID)
    nobody = ownuser.account_of(settings_of(tmp_path, "nobody"))
    assert nobody is not None
    assert nobody == ownuser.account_of(settings_of(tmp_path, str(nobody.uid)))
    for said in ("no-such-user", "root", "0"):
        with pytest.raises(Invalid) as caught:
            ownuser.account_of(settings_of(tmp_path, said))
        assert caught.value.code == "broker.user_unknown"


def test_who_is_not_root_is_told_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(ownuser, "_effective", lambda: 0)
    with pytest.raises(Denied, match="SETUID") as caught:
        ownuser.prepare(settings_of(tmp_path))
    assert caught.value.code == "broker.user_refused"
    ownuser.prepare(settings_of(tmp_path, None))
    assert not (tmp_path / "data.keys").exists()


@only_root
def test_the_folder_of_the_keys_changes_hands_and_nothing_else(tmp_path):
    keys = tmp_path / "data.keys"
    keys.mkdir(mode=0o700)
    (keys / "secrets.key").write_text("0" * 64)
    ownuser.prepare(settings_of(tmp_path))
    assert [(path.stat().st_uid, path.stat().st_gid) for path in (keys, keys / "secrets.key")] == [(UID, UID)] * 2
    # A file of somebody else's under the key's name is not given away.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("x")
    for put in (lambda: os.link(elsewhere, keys / "secrets.key"), lambda: (keys / "secrets.key").symlink_to(elsewhere)):
        (keys / "secrets.key").unlink()
        put()
        with suppress(Denied):
            ownuser.prepare(settings_of(tmp_path))
        assert elsewhere.stat().st_uid == 0
    # What the operator chose is the operator's to give.
    own = tmp_path / "own"
    own.mkdir()
    ownuser.prepare(settings_of(tmp_path, key_file=own / "k"))
    assert own.stat().st_uid == 0


@dataclass(kw_only=True)
class Ran:
    up: Up
    keys: Path
    pids: dict[str, int]

    def status(self, name: str) -> dict[str, str]:
        lines = Path(f"/proc/{self.pids[name]}/status").read_text().splitlines()
        return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    need_root("only root gives the broker another user")
    folder = tmp_path_factory.mktemp("own")
    keys = folder / "data.keys"
    keys.mkdir(mode=0o700)
    (keys / "secrets.key").write_text("ab" * 32 + "\n")
    (keys / "secrets.key").chmod(0o600)
    config = folder / "stanchion.toml"
    config.write_text(f'[broker]\nuser = "{UID}"\n')
    up = Up(folder / "data", "--config", str(config))
    try:
        up.ready()
        yield Ran(up=up, keys=keys, pids={name: up.pid_of(name) for name in ("broker", "web", "worker-1", "scheduler")})
    finally:
        code, said = up.interrupt()
        assert code == 0, said


def test_the_broker_has_its_own_user_and_one_right_of_roots(ran: Ran) -> None:
    broker = ran.status("broker")
    assert set(broker["Uid"].split()) == set(broker["Gid"].split()) == {str(UID)}
    assert broker["Groups"] == ""
    assert (int(broker["CapEff"], 16), int(broker["CapPrm"], 16), int(broker["CapBnd"], 16)) == (2, 2, 2)
    assert (int(broker["CapInh"], 16), int(broker["CapAmb"], 16)) == (0, 0)
    for name in ("web", "worker-1", "scheduler"):
        other = ran.status(name)
        assert set(other["Uid"].split()) == {"0"}
        assert int(other["CapEff"], 16) == int(other["CapBnd"], 16) == 0b1111, "over files"
        assert other["NoNewPrivs"] == "1"


def test_the_keys_changed_hands_and_the_others_reach_neither_them_nor_the_broker(ran: Ran) -> None:
    for path in (ran.keys, ran.keys / "secrets.key"):
        found = path.stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode) & 0o077) == (UID, 0)

    def reached(how: str) -> set[str]:
        line = [sys.executable, "-c", OTHER, str(ran.keys), str(ran.up.data), str(ran.pids["broker"]), how]
        return set(subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout.split())

    assert reached("as root") == {"key", "memory", "signal", "become"}, "the control: root as it is"
    assert reached("as the others") == set()


def test_connectors_reach_the_files_of_who_started_it_and_secrets_are_kept(ran: Ran) -> None:
    shelf = ran.up.data / "connectors" / "shelf.sqlite"
    with sqlite3.connect(shelf) as database:
        database.execute("create table books (id text primary key, title text)")
    shelf.chmod(0o600)
    blueprint = (
        "blueprint: shelving\nowner: tests\ninput: {type: object, properties: {}}\nsteps:\n"
        "  - id: put\n    push: {connector: shelf, resource: books, record: {id: b1, title: Middlemarch}}\n"
        "  - id: look\n    lookup: {connector: shelf, resource: books, key: b1}\n"
        'output: "${steps.look.record.title}"\n'
    )
    api = ran.up.api()
    try:
        keep_secret(api, "kept/word", {"value": "a value"}, connectors=["shelf"])
        documents = [{"path": "a.yaml", "source": CONNECTOR}, {"path": "b.yaml", "source": blueprint}]
        api.post("/api/artifacts/apply", {"documents": documents})
        run = api.post("/api/blueprints/shelving/runs", {"input": {}})["run_id"]

        def ended() -> dict[str, object] | None:
            found = api.get(f"/api/runs/{run}")
            return found if found["status"] in {"SUCCEEDED", "FAILED"} else None

        found = until(ended, "the run ended")
        assert (found["status"], found["output"]) == ("SUCCEEDED", "Middlemarch"), found
    finally:
        api.close()
    with sqlite3.connect(shelf) as database:
        assert database.execute("select count(*) from books").fetchone() == (1,)


def test_it_is_started_again_with_its_own_user_and_the_doctor_says_so(ran: Ran) -> None:
    before = ran.pids["broker"]
    os.kill(before, 9)
    until(lambda: ran.up.pid_of("broker") not in {0, before} and ran.up.ready_of("broker"), "the broker is back")
    ran.pids["broker"] = ran.up.pid_of("broker")
    assert ran.status("broker")["Uid"].split()[0] == str(UID)
    done = subprocess.run(
        [sys.executable, "-m", "stanchion", "doctor", "--data", str(ran.up.data), "-o", "json"],
        capture_output=True,
        text=True,
        env=clean_environment(STANCHION_BROKER_USER=str(UID)),
        timeout=60,
        check=False,
    )
    details = [row["detail"] for row in json.loads(done.stdout) if row["check"] == "broker"]
    assert any(f"user {UID}" in detail for detail in details), details
