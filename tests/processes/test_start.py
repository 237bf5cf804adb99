"""Starts that cannot be, each with its reason; nothing is left running."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from stanchion.base import Unavailable
from stanchion.processes.folder import prepare_data
from tests.processes.instance import Up, clean_environment, until


def run_up(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stanchion", "up", *arguments], capture_output=True, text=True, env=clean_environment(**environment), timeout=60, check=False
    )  # fmt: skip


def test_a_port_that_was_asked_for_and_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_up("--data", str(tmp_path / "d"), "--port", str(port))
    assert done.returncode == 5
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "--port 0" in done.stderr
    assert not (tmp_path / "d" / "run" / "up.json").exists()


def test_a_data_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    done = run_up("--data", str(tmp_path / "file" / "data"), "--port", "0")
    assert done.returncode == 8
    assert "Choose another with --data" in done.stderr


@pytest.mark.parametrize(("data", "named"), [("file", "file"), ("file/data", "file/data"), ("made", "made/log")])
def test_a_file_where_a_folder_of_the_data_should_be(tmp_path, data, named):
    (tmp_path / "file").write_text("x")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "log").write_text("x")
    with pytest.raises(Unavailable) as refused:
        prepare_data(tmp_path / data)
    assert (
        refused.value.message == f"The data folder {tmp_path / data} cannot be used: {tmp_path / named} is no folder."
    )
    assert refused.value.hint == "Choose another with --data, or move that file away."


def test_a_wrong_setting_is_refused_before_anything_starts(tmp_path):
    done = run_up("--data", str(tmp_path / "d"), STANCHION_WORKER_CAPACITY="none")
    assert done.returncode == 2
    assert "STANCHION_WORKER_CAPACITY: worker.capacity must be a whole number" in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_database_that_is_away(tmp_path):
    url = "postgresql://stanchion_app:s3cret@127.0.0.1:1/db"
    done = run_up(
        "--data", str(tmp_path / "d"), "--port", "0",
        STANCHION_DATABASE_URL=url, STANCHION_DATABASE_ENGINE_URL=url, STANCHION_DATABASE_OWNER_URL=url,
    )  # fmt: skip
    assert done.returncode == 8
    assert "cannot be reached" in done.stderr
    assert "s3cret" not in done.stderr


def test_a_process_alone_names_its_database(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "stanchion", "serve", "scheduler", "--data", str(tmp_path)], capture_output=True, text=True, env=clean_environment(), timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 1
    assert "STANCHION_DATABASE_URL" in done.stderr


def test_ephemeral_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "stanchion", "up", "--ephemeral", "--port", "0"],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=clean_environment(TMPDIR=str(tmp_path)),
    )  # fmt: skip
    try:
        said = ""
        until(lambda: list(tmp_path.glob("stanchion-*/run/up.json")), "ready")
    finally:
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    assert said.splitlines()[-1] == "Stanchion is stopped; nothing is kept."
    assert list(tmp_path.iterdir()) == []


def test_stopping_while_it_starts(tmp_path):
    up = Up(tmp_path / "d")
    until(lambda: (tmp_path / "d" / "run" / "lock").exists(), "the lock")
    code, err = up.interrupt()
    assert code == 0, err
    assert not (tmp_path / "d" / "postgres" / "cluster" / "postmaster.pid").exists()
