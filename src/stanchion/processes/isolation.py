"""Keeping the keys of secrets, and the memory of their holder, from every other process (I9).

The broker alone reads the keys. Where it runs under the same user as the others, file modes cannot say so; Landlock can
(Linux 5.13, landlock(7)): web, worker and scheduler give up, for themselves and all their children and for good, every
right to the folder of the keys. A process under Landlock can also trace no process outside its own domain, so the memory
of the broker (`/proc/<pid>/mem`) is closed to it even as root; that the broker is non-dumpable closes it to the others of
its user besides.

Landlock grants, it does not deny: everything is granted but what lies on the way to the folder. So what is made later
directly beside it, or beside a folder above it, cannot be used by these processes; what lies in folders that are there is.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

from stanchion.base import Unavailable, dumps, landlock, loads
from stanchion.base.kept import held_by_broker, needed_by_others
from stanchion.base.settings import Settings

__all__ = [
    "Confinement",
    "confine",
    "confine_from",
    "held_by_broker",
    "landlock_version",
    "needed_by_others",
    "tried",
    "tried_with",
    "wipe_environment",
]


class Confinement(StrEnum):
    """What keeps the broker's keys from another process."""

    LANDLOCK = "landlock"
    NONE = "none"


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where it has none."""
    return landlock.version()


def confine(settings: Settings) -> Confinement:
    """Keep what belongs to the broker from this process and all its children, for good. See `confine_from`."""
    return confine_from(held_by_broker(settings), needed=needed_by_others(settings))


def confine_from(secrets: Sequence[Path], *, needed: Sequence[Path] = ()) -> Confinement:
    """Give up, for this process and all its children, every right to `secrets` and what is in them, there or not yet.

    As `landlock.give_up`. Returns NONE where the kernel has no Landlock. Raises Unavailable `process.isolation` if the kernel
    refuses, or there are threads.
    """
    try:
        given_up = landlock.give_up(secrets, needed=needed)
    except landlock.LandlockError as error:
        raise Unavailable(
            "process.isolation",
            f"The keys of secrets cannot be kept from this process: {error}.",
            hint="Report this with the kernel's version; `stanchion doctor` says what this machine offers.",
            retryable=False,
        ) from error
    return Confinement.LANDLOCK if given_up else Confinement.NONE


def tried(settings: Settings) -> str:
    """Do in a process what web, worker and scheduler do, and have it look for the keys; how it went, empty if they are kept.

    For `stanchion doctor`: it says what holds on this machine, not what should.
    """
    held = held_by_broker(settings)
    return tried_with(keep=held, look=held, needed=needed_by_others(settings))


def tried_with(*, keep: Sequence[Path], look: Sequence[Path], needed: Sequence[Path]) -> str:
    """Have a process give up `keep`, and say whether it could read `look` all the same."""
    if landlock_version() == 0:
        return "this kernel has no Landlock"
    said = {name: [str(path) for path in paths] for name, paths in (("keep", keep), ("look", look), ("needed", needed))}
    # A process of its own and no fork of this one, which may have threads.
    command = [sys.executable, "-m", "stanchion.processes.isolation"]
    try:
        done = subprocess.run(command, input=dumps(said), capture_output=True, timeout=_TRY_S, check=False)  # noqa: S603 - ourselves
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the attempt to keep them from a process failed ({type(error).__name__})"
    return _LOOKED.get(done.returncode, "the attempt to keep them from a process failed")


_TRY_S: Final = 30.0
_LOOKED: Final = {0: "", 2: "a process that had given them up could still read them"}


def _look(keep: Sequence[Path], look: Sequence[Path], needed: Sequence[Path]) -> int:
    confine_from(keep, needed=needed)
    for secret in look:
        files = (secret, *(secret.iterdir() if secret.is_dir() else ()))
        if any(path.is_file() and _opens(path) for path in files):
            return 2
    return 0


def _opens(path: Path) -> bool:
    try:
        path.open("rb").close()
    except OSError:
        return False
    return True


def wipe_environment() -> None:
    """Overwrite the variables that this process was started with, where `/proc/<pid>/environ` shows them.

    `base.config.replace_environment` comes first: nothing may point there any more.
    """
    if sys.platform != "linux":
        return
    # proc(5): the fields after the name in parentheses are counted from 3; env_start and env_end are 50 and 51.
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    if 0 < start < end:
        ctypes.memset(start, 0, end - start)


if __name__ == "__main__":
    asked = cast("dict[str, list[str]]", loads(sys.stdin.buffer.read()))
    sys.exit(_look(*([Path(path) for path in asked[name]] for name in ("keep", "look", "needed"))))
