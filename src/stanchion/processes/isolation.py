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
import os
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, cast

from stanchion.base import Unavailable, dumps, loads
from stanchion.base.settings import Settings

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_GET_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
# Rights of landlock(7), by the version of its interface that brought them.
_WRITE_FILE, _READ_FILE = 1 << 1, 1 << 2
_CHANGE_FOLDER: Final = sum(1 << n for n in range(4, 13))  # remove and make entries of each kind
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_OF_FILES: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE


class Confinement(StrEnum):
    """What keeps the broker's keys from another process."""

    LANDLOCK = "landlock"
    NONE = "none"


def landlock_version() -> int:
    """The version of the kernel's Landlock; 0 where it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION)))


def confine(settings: Settings) -> Confinement:
    """Keep what belongs to the broker from this process and all its children, for good. See `confine_from`."""
    return confine_from(held_by_broker(settings), needed=needed_by_others(settings))


def held_by_broker(settings: Settings) -> tuple[Path, ...]:
    """What the broker alone reads: the keys of local secrets, and what opens the other providers."""
    own = settings.secrets
    # The folder of the keys is ours as a whole; of one that somebody else chose, the file.
    keys = settings.secrets_key_file.parent if own.key_file is None else own.key_file
    return tuple(path for path in (keys, own.files, own.vault_secret_id_file) if path is not None)


def needed_by_others(settings: Settings) -> tuple[Path, ...]:
    """What the others read, wherever it lies: also in a folder of which the broker has the rest."""
    database, broker = settings.database, settings.broker
    files = (
        database.sslrootcert, database.sslcert, database.sslkey, broker.certificate, broker.key, broker.authority,
    )  # fmt: skip
    return tuple(path for path in (settings.data, *files) if path is not None)


def confine_from(secrets: Sequence[Path], *, needed: Sequence[Path] = ()) -> Confinement:
    """Give up, for this process and all its children, every right to `secrets` and what is in them, there or not yet.

    Must be called before the process has a second thread: Landlock holds for the calling thread and what it starts.
    `needed` is granted in any case. Returns NONE where the kernel has no Landlock. Raises Unavailable `process.isolation`
    if the kernel refuses, or there are threads.
    """
    version = landlock_version()
    if version == 0:
        return Confinement.NONE
    if threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        raise _refused("this process has threads already")
    handled = _WRITE_FILE | _READ_FILE | _CHANGE_FOLDER
    handled |= (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    libc = _libc()
    ruleset = _checked(libc.syscall(_CREATE_RULESET, struct.pack("Q", handled), ctypes.c_size_t(8), ctypes.c_uint(0)))
    try:
        for path in (*_beside([_real(secret) for secret in secrets]), *map(_real, needed)):
            _grant(ruleset, path, handled)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)))
    finally:
        os.close(ruleset)
    return Confinement.LANDLOCK


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _beside(secrets: Sequence[Path]) -> Iterator[Path]:
    """Everything that is not on the way to a secret: the other entries of each folder above one."""
    above = {folder for secret in secrets for folder in secret.parents}
    within = {folder for folder in above if any(folder == secret or secret in folder.parents for secret in secrets)}
    for folder in above - within:
        with suppress(OSError):  # a folder that this user may not list: of what it holds, only `needed` is granted
            yield from (path for path in folder.iterdir() if path not in above and path not in secrets)


def _grant(ruleset: int, path: Path, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return  # gone meanwhile, or not for this user
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISLNK(mode):
            return  # it grants nothing; where it leads is granted, or not, as that place is
        allowed = rights if stat.S_ISDIR(mode) else rights & _OF_FILES
        rule = struct.pack("=Qi", allowed, handle)
        _checked(_libc().syscall(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), rule, ctypes.c_uint(0)))
    finally:
        os.close(handle)


def _checked(result: int) -> int:
    if result < 0:
        raise _refused(os.strerror(ctypes.get_errno()))
    return result


def _refused(reason: str) -> Unavailable:
    return Unavailable(
        "process.isolation",
        f"The keys of secrets cannot be kept from this process: {reason}.",
        hint="Report this with the kernel's version; `stanchion doctor` says what this machine offers.",
        retryable=False,
    )


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


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    asked = cast("dict[str, list[str]]", loads(sys.stdin.buffer.read()))
    sys.exit(_look(*([Path(path) for path in asked[name]] for name in ("keep", "look", "needed"))))
