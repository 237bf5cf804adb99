"""Landlock (Linux 5.13, landlock(7)): a process gives up, for itself and its children and for good, all rights to some paths.

Landlock grants, it does not deny: everything is granted but what lies on the way to those paths. So what is made later
directly beside one, or beside a folder above it, cannot be used by these processes. A process under Landlock can trace no
process outside its own domain either, so that the memory of others (`/proc/<pid>/mem`) is closed to it, even as root.

This file needs nothing but the standard library: it is also run by its path, to start a command that has given up what its
parent must keep: `python landlock.py '{"keep": [...], "needed": [...]}' COMMAND [ARGUMENT ...]`.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_GET_VERSION: Final = 1
_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
# Rights of landlock(7), by the version of its interface that brought them.
_WRITE_FILE, _READ_FILE = 1 << 1, 1 << 2
_CHANGE_FOLDER: Final = sum(1 << n for n in range(4, 13))  # remove and make entries of each kind
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_OF_FILES: Final = _WRITE_FILE | _READ_FILE | _TRUNCATE
# Exit codes of env(1), for a command that cannot be started.
_REFUSED, _NOT_FOUND = 125, 127


class LandlockError(Exception):
    """The kernel refuses, with its reason."""


def version() -> int:
    """The version of the kernel's Landlock; 0 where it has none."""
    if sys.platform != "linux":
        return 0
    return max(0, _libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_GET_VERSION)))


def give_up(keep: Sequence[Path], *, needed: Sequence[Path] = ()) -> bool:
    """Give up, for this process and all its children, every right to `keep` and what is in them, there or not yet.

    Must be called before the process has a second thread: Landlock holds for the calling thread and what it starts.
    `needed` is granted in any case. Returns False where the kernel has no Landlock. Raises LandlockError if the kernel
    refuses, or there are threads.
    """
    found = version()
    if found == 0:
        return False
    if threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        raise LandlockError("this process has threads already")
    handled = _WRITE_FILE | _READ_FILE | _CHANGE_FOLDER
    handled |= (_REFER if found >= 2 else 0) | (_TRUNCATE if found >= 3 else 0)
    libc = _libc()
    ruleset = _checked(libc.syscall(_CREATE_RULESET, struct.pack("Q", handled), ctypes.c_size_t(8), ctypes.c_uint(0)))
    try:
        granted = _beside([_real(path) for path in keep]) if keep else [Path("/")]
        for path in (*granted, *map(_real, needed)):
            _grant(ruleset, path, handled)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0)))
    finally:
        os.close(ruleset)
    return True


def command_without(keep: Sequence[Path], needed: Sequence[Path], command: Sequence[str]) -> tuple[str, ...]:
    """The command line that starts `command` after giving up `keep`."""
    said = json.dumps({"keep": [str(path) for path in keep], "needed": [str(path) for path in needed]})
    return (sys.executable, "-I", "-S", __file__, said, *command)


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
        raise LandlockError(os.strerror(ctypes.get_errno()))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _main(said: str, command: list[str]) -> int:
    """Become the command. Says nothing of its own to stdout, which is the command's."""
    asked = json.loads(said)
    try:
        if not give_up([Path(path) for path in asked["keep"]], needed=[Path(path) for path in asked["needed"]]):
            return _REFUSED
    except LandlockError:
        return _REFUSED
    try:
        os.execvp(command[0], command)  # noqa: S606 - what it is for: no shell
    except OSError:
        return _NOT_FOUND


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
