"""Servers of these tests' own: what is tested here is how they start, so none is shared."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stanchion
from stanchion.db.embedded import EmbeddedPostgres
from stanchion.db.embedded import droproot as droproot_script

Make = Callable[..., EmbeddedPostgres]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes servers and ends what is left of them."""
    made: list[EmbeddedPostgres] = []

    def one(data: Path, **options) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(data, **{"durable": False, **options}))
        return made[-1]

    yield one
    for server in made:
        server.stop(mode="immediate")


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with EmbeddedPostgres(folder, durable=False):
        pass
    return folder


@pytest.fixture
def data(whole: Path, tmp_path: Path) -> Path:
    """A data folder with a stopped cluster: a copy takes a tenth of the time that making one takes."""
    subprocess.run(["cp", "-a", "--reflink=auto", whole, tmp_path / "data"], check=True)
    return tmp_path / "data"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A data folder that is still to be made."""
    return tmp_path / "empty"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder every user can pass through (pytest's own are closed)."""
    folder = Path(tempfile.mkdtemp(prefix="stanchion-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


class Scenario:
    """A script in a Python process of its own, which may be another user's.

    It finds `EmbeddedPostgres`, `Problem`, `Path`, `psycopg` imported and its arguments in `args`.
    """

    def __init__(
        self, script: str, *args: object, user: tuple[int, int] | None = None, under: tuple[str, ...] = ()
    ) -> None:
        head = """
            import os, signal, sys
            from pathlib import Path
            import psycopg
            from stanchion.base import Problem
            from stanchion.db.embedded import EmbeddedPostgres
            args = sys.argv[1:]
        """
        source = textwrap.dedent(head) + textwrap.dedent(script)
        command = [sys.executable, "-B", "-c", source, *map(str, args)]
        if user:
            needs = [f"--need={path}" for path in (sys.executable, os.__file__, Path(stanchion.__file__).parent)]
            command = [sys.executable, "-I", "-S", droproot_script.__file__, *map(str, user), *needs, "--", *command]
        self.process = subprocess.Popen(
            [*under, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def says(self) -> str:
        """The next line it prints."""
        assert self.process.stdout
        line = self.process.stdout.readline().strip()
        assert line, self.process.communicate(timeout=30)[1]
        return line

    def kill(self) -> None:
        """End it without a chance to clean up. The server has a session of its own and lives on."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdout and not self.process.stdout.closed:
            self.process.communicate(timeout=30)

    def ends(self) -> str:
        """All it prints until it ends well."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out.strip()


@pytest.fixture
def scenario() -> Iterator[Callable[..., Scenario]]:
    begun: list[Scenario] = []

    def begin(script: str, *args: object, **options) -> Scenario:
        begun.append(Scenario(script, *args, **options))
        return begun[-1]

    yield begin
    for one in begun:
        one.kill()
