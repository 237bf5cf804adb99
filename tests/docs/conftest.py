"""A wheel, and an empty place in which it alone is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.fences import Shell


def build_wheel(repo: Path, folder: Path) -> Path:
    """Build the wheel with uv, from its cache if it has the build backend, else with the network."""
    programs = [p for p in (shutil.which("uv"), str(repo / ".venv/bin/uv")) if p and Path(p).exists()]
    said = "uv is not there"
    for extra in (["--offline"], ["--system-certs"], []):
        for program in programs:
            cache = {"UV_CACHE_DIR": str(repo / ".venv/cache/uv")} if (repo / ".venv/cache/uv").exists() else {}
            done = subprocess.run(
                [program, "build", "--wheel", "-q", *extra, "-o", str(folder), str(repo)],
                capture_output=True,
                text=True,
                env={**os.environ, **cache},
            )
            if done.returncode == 0:
                return next(folder.glob("*.whl"))
            said = done.stderr
    raise AssertionError(f"The wheel cannot be built: {said}")


def environment_of(repo: Path, place: Path) -> dict[str, str]:
    """Variables of a reader's shell: nothing but Python and the system, an empty HOME, pip that finds the wheel alone.

    Its dependencies are not downloaded: `deps` holds links to those this project's environment has, without Stanchion.
    """
    dist, deps, home = place / "dist", place / "deps", place / "home"
    for folder in (dist, deps, home):
        folder.mkdir()
    build_wheel(repo, dist)
    for entry in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if "stanchion" not in entry.name.lower() and not entry.name.endswith(".pth"):
            (deps / entry.name).symlink_to(entry)
    python = Path(sys.base_prefix) / "bin"
    return {
        "HOME": str(home),
        "PATH": f"{python}:/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "160",
        "PYTHONPATH": str(deps),
        # As on a terminal: what is written first is seen first.
        "PYTHONUNBUFFERED": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(dist),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        # Other tests may have the port that the page names.
        "STANCHION_WEB_PORT": "0",
    }


@pytest.fixture(scope="session")
def reader(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return environment_of(repo, tmp_path_factory.mktemp("reader"))


@pytest.fixture
def shell(reader: dict[str, str], tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path, reader)
    yield made
    made.close()
