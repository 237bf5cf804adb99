"""Become an unprivileged user for good, then become the program given. Run as a script of its own.

    python -I -S droproot.py UID GID [--need=PATH]... -- PROGRAM ARGUMENT...

A process of its own, and not code between fork and exec, because the caller has threads. It imports nothing but
the standard library, and all of it before the drop: afterwards the interpreter's own files may be out of reach.

Every `--need` must be readable (folders: enterable) as the new user. If one is not, the program keeps
CAP_DAC_READ_SEARCH as an ambient capability. `access(2)` asks with the real user and, for users other than root,
without capabilities, unless SECBIT_NO_SETUID_FIXUP is set (capabilities(7)); PostgreSQL's programs look for each
other with `access`, so that bit is set too. All other capabilities are gone in either case.
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_READ_SEARCH = 1 << 2
_CAP_SETPCAP = 1 << 8
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def main(arguments: list[str]) -> None:
    """Drop and execute; returns only by exiting with 126 and one line on stderr."""
    split = arguments.index("--")
    uid, gid = int(arguments[0]), int(arguments[1])
    needs = [argument.removeprefix("--need=") for argument in arguments[2:split]]
    program = arguments[split + 1 :]
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        _call(libc, "prctl", _PR_SET_KEEPCAPS, 1, 0, 0, 0)
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        _fail(f"this process may not become that user ({error.strerror})")
    blocked = next((path for path in needs if not _readable(path)), None)
    try:
        _call(libc, "prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if blocked is None:
            _limit(libc, effective=0, permitted=0, inheritable=0)
        else:
            _keep_reading(libc)
    except OSError:
        _fail(f"that user may not enter {_first_closed(blocked or '/')}, on the way to {blocked}")
    try:
        os.execv(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        _fail(f"{program[0]} does not start ({error.strerror})")


def _keep_reading(libc: ctypes.CDLL) -> None:
    both = _CAP_DAC_READ_SEARCH | _CAP_SETPCAP
    _limit(libc, effective=both, permitted=both, inheritable=0)
    _call(libc, "prctl", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    one = _CAP_DAC_READ_SEARCH
    _limit(libc, effective=one, permitted=one, inheritable=one)
    _call(libc, "prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, 2, 0, 0)


def _limit(libc: ctypes.CDLL, *, effective: int, permitted: int, inheritable: int) -> None:
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)(_Data(effective, permitted, inheritable), _Data(0, 0, 0))
    _call(libc, "capset", ctypes.byref(header), ctypes.byref(data))


def _call(libc: ctypes.CDLL, name: str, *arguments: object) -> None:
    if libc[name](*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _readable(path: str) -> bool:
    return os.access(path, os.R_OK | os.X_OK if os.path.isdir(path) else os.R_OK)  # noqa: PTH112 - imports stay few


def _first_closed(path: str) -> str:
    """The first folder from the root on that cannot be entered; else `path` itself."""
    parts = [part for part in path.split("/") if part]
    for count in range(len(parts)):
        folder = "/" + "/".join(parts[:count])
        if not os.access(folder, os.X_OK):
            return folder
    return path


def _fail(reason: str) -> None:
    os.write(2, f"stanchion-droproot: {reason}\n".encode())
    os._exit(126)


if __name__ == "__main__":
    main(sys.argv[1:])
