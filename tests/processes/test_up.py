"""`stanchion up` with real processes; the tests share one instance and leave it running, the last ones end it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stanchion.base import Unauthenticated
from stanchion.cli.client import Api
from tests.processes.instance import Up, clean_environment, gone, until


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    instance = Up(tmp_path_factory.mktemp("up") / "data")
    yield instance.ready()
    if instance.process.poll() is None:
        instance.interrupt()


def stanchion(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stanchion", *arguments], capture_output=True, text=True, cwd=cwd, env=clean_environment(), check=False, timeout=60
    )  # fmt: skip


def test_the_command_line_on_this_machine_needs_nothing_else(up, tmp_path):
    done = stanchion("auth", "whoami", "--data", str(up.data), "-o", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["principal"]["name"] == "admin"
    assert stat.S_IMODE((up.data / "profile.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((up.data / "run").stat().st_mode) == 0o700


def test_nothing_is_open_without_a_credential(up):
    api = Api(up.url, None)
    with pytest.raises(Unauthenticated):
        api.get("/api/whoami")
    with pytest.raises(Unauthenticated):
        api.get("/metrics")
    api.close()


def test_no_key_and_no_password_is_in_arguments_environment_or_logs(up):
    secrets = [
        up.profile["token"],
        *json.loads((up.data / "postgres" / "credentials.json").read_text())["passwords"].values(),
    ]
    for pid in (up.process.pid, up.loader, up.pid_of("web"), up.pid_of("worker-1"), up.pid_of("scheduler")):
        assert pid
        for name in ("cmdline", "environ"):
            try:
                said = Path(f"/proc/{pid}/{name}").read_bytes()
            except PermissionError:  # not dumpable: even its own user cannot look (root can, and finds nothing)
                continue
            assert not any(secret.encode() in said for secret in secrets), (pid, name)
    for log in (up.data / "log").iterdir():
        assert not any(secret in log.read_text() for secret in secrets), log


def test_a_second_up_on_the_same_folder_is_refused_with_the_pid(up, tmp_path):
    done = stanchion("up", "--data", str(up.data), "--port", "0", cwd=tmp_path)
    assert done.returncode == 5
    assert f"process {up.process.pid}" in done.stderr
    assert up.url in done.stderr


def test_doctor_finds_the_instance_well(up, tmp_path):
    done = stanchion("doctor", "--data", str(up.data), "-o", "json", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {row["check"]: row["result"] for row in json.loads(done.stdout)}
    assert {
        "settings",
        "python",
        "user",
        "locale",
        "data folder",
        "disk",
        "port",
        "database",
        "instance",
        "access",
        "clock",
        "workers",
    } <= set(found)
    assert "failed" not in found.values()


@pytest.mark.parametrize("name", ["worker-1", "web", "scheduler"])
def test_a_killed_process_is_replaced(up, name):
    before = up.pid_of(name)
    os.kill(before, signal.SIGKILL)
    after = until(lambda: (pid := up.pid_of(name)) != before and pid, f"another {name}")
    until(lambda: up.ready_of(name), f"{name} ready")
    assert after != before
    api = up.api()
    assert api.get("/api/whoami")["principal"]["name"] == "admin"
    api.close()


def test_a_request_waits_while_the_web_process_is_replaced(up):
    api = up.api()
    os.kill(up.pid_of("web"), signal.SIGKILL)
    assert api.get("/health/live") == {"status": "live"}  # the listening socket outlives the process
    api.close()


def test_when_the_loader_is_killed_all_are_replaced(up):
    before = {name: up.pid_of(name) for name in ("web", "worker-1", "scheduler")}
    os.kill(up.loader, signal.SIGKILL)
    for name, pid in before.items():
        assert gone(pid)
        until(lambda name=name, pid=pid: up.pid_of(name) not in {0, pid}, f"another {name}")
        until(lambda name=name: up.ready_of(name), f"{name} ready")


def test_a_killed_database_is_started_again(up):
    postmaster = int((up.data / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    os.kill(postmaster, signal.SIGKILL)
    assert gone(postmaster)
    until(lambda: up.ready_of("worker-1") and up.ready_of("web") and up.ready_of("scheduler"), "ready again")
    api = up.api()
    assert api.get("/api/whoami")["principal"]["name"] == "admin"
    api.close()


def test_ctrl_c_stops_all_in_order(up):
    pids = [up.loader, *(up.pid_of(name) for name in ("web", "worker-1", "scheduler"))]
    postmaster = int((up.data / "postgres" / "cluster" / "postmaster.pid").read_text().splitlines()[0])
    code, err = up.interrupt()
    assert code == 0, err
    assert all(gone(pid, 0) for pid in (*pids, postmaster))
    assert not list((up.data / "run").glob("*.sock"))
    assert not (up.data / "run" / "up.json").exists()
    assert "ended (signal 9); starting it again at once" in err
    assert err.splitlines()[-1] == f"Stanchion is stopped; the data stays in {up.data}."


def test_when_the_supervisor_is_killed_nothing_lives_on_and_the_next_one_takes_over(up):
    again = Up(up.data).ready()
    pids = [again.loader, *(again.pid_of(name) for name in ("web", "worker-1", "scheduler"))]
    key = again.profile["token"]
    again.process.kill()
    again.process.communicate()
    assert all(gone(pid) for pid in pids)
    third = Up(up.data).ready()
    assert third.profile["token"] == key  # the admin's key is kept
    code, err = third.interrupt(signal.SIGTERM)
    assert code == 0, err


def test_a_damaged_profile_is_made_anew(up):
    (up.data / "profile.json").write_text("{")
    again = Up(up.data).ready()
    api = again.api()
    assert api.get("/api/whoami")["principal"]["name"] == "admin"
    api.close()
    assert again.interrupt()[0] == 0
