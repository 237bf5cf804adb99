"""A user of its own for the broker under `up` (`broker.user`, docs/adr/0031-the-brokers-user.md). For `up` as root.

The broker becomes that user, and keeps of root one right: to files whatever their modes say, since the files of connectors, the
database's socket and the installation belong to who started `up`. It cannot trace, signal or become anybody, mount, or
configure the kernel; what it starts has not even that one right. Web, workers and scheduler stay root by name and keep rights
over files alone: so they neither trace nor signal the broker, and Landlock keeps its keys from them.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stanchion.base import Denied, Invalid, Unavailable
from stanchion.base.settings import Settings

# Capabilities by number (capabilities(7)).
_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER, _SETGID, _SETUID, _SETPCAP = 0, 1, 2, 3, 6, 7, 8
_NEEDED: Final = {
    "CHOWN": _CHOWN, "DAC_OVERRIDE": _DAC_OVERRIDE, "SETGID": _SETGID, "SETUID": _SETUID, "SETPCAP": _SETPCAP,
}  # fmt: skip
_OF_BROKER: Final = frozenset({_DAC_OVERRIDE})
_OF_OTHERS: Final = frozenset({_CHOWN, _DAC_OVERRIDE, _DAC_READ_SEARCH, _FOWNER})
_PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 8, 23, 24
_CAPABILITY_V3: Final = 0x20080522
_LAST: Final = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of this machine, or a number that is nobody's."""

    uid: int
    gid: int


def account_of(settings: Settings) -> Account | None:
    """Whom the broker becomes, or None. Raises Invalid `broker.user_unknown`."""
    said = settings.broker.user
    if said is None:
        return None
    try:
        found = pwd.getpwuid(int(said)) if said.isdecimal() else pwd.getpwnam(said)
    except KeyError:
        if not said.isdecimal():
            raise _unknown(f"This machine has no user {said}.") from None
        account = Account(uid=int(said), gid=int(said))
    else:
        account = Account(uid=found.pw_uid, gid=found.pw_gid)
    if account.uid == 0 or account.gid == 0:
        raise _unknown(f"broker.user is {said}, which is root, or of root's group.")
    return account


def prepare(settings: Settings, *, change: bool = True) -> None:
    """Before the broker is started: see that it can become its user, and give that user the folder of the keys (`change`).

    Raises Invalid `broker.user_unknown`, Denied `broker.user_refused`.
    """
    account = account_of(settings)
    if account is None:
        return
    missing = [name for name, number in _NEEDED.items() if not _effective() >> number & 1]
    if missing:
        raise _refused(f"this `up` has not the capabilities {', '.join(missing)}")
    if change and settings.secrets.key_file is None:
        _give(settings.secrets_key_file, account)


def become(account: Account) -> None:
    """Become the user, for good, with the one right that the broker needs. Clears what the kernel was asked to do when the
    parent dies: ask again. Raises Unavailable `broker.user_failed`."""
    try:
        _limit(_OF_BROKER)
        _prctl(_PR_SET_KEEPCAPS, 1)
        os.setgroups([])
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
        _set(_OF_BROKER)
    except OSError as error:
        raise Unavailable(
            "broker.user_failed",
            f"The broker cannot become user {account.uid}: {error.strerror}.",
            hint="Does this container's user namespace map that id? Leave out broker.user otherwise.",
            retryable=False,
        ) from error


def keep_files_only() -> None:
    """Give up, for good and all children, what root may beside files."""
    _limit(_OF_OTHERS)
    _set(_OF_OTHERS)


def _give(key_file: Path, account: Account) -> None:
    """The folder of the keys, made if it is not there, and the file in it."""
    folder = key_file.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(handle, account.uid, account.gid)
        with suppress(FileNotFoundError):
            file = os.open(key_file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=handle)
            try:
                found = os.fstat(file)
                # What has another name elsewhere may be somebody else's file.
                if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
                    os.fchown(file, account.uid, account.gid)
            finally:
                os.close(file)
    except OSError as error:
        raise _refused(f"the folder {folder} cannot be given to that user: {error.strerror}") from error
    finally:
        os.close(handle)


def _limit(kept: frozenset[int]) -> None:
    """No program that is started from here on has another capability, not even one that is root."""
    for number in range(_LAST + 1):
        if number not in kept and _libc().prctl(_PR_CAPBSET_READ, ctypes.c_ulong(number), 0, 0, 0) == 1:
            _prctl(_PR_CAPBSET_DROP, number)


def _set(kept: frozenset[int]) -> None:
    bits = sum(1 << number for number in kept)
    low, high = bits & 0xFFFFFFFF, bits >> 32
    # Effective, permitted, inheritable: of the last nothing, so that what is started has none unless it is root.
    data = struct.pack("6I", low, low, 0, high, high, 0)
    if _libc().capset(struct.pack("Ii", _CAPABILITY_V3, 0), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _effective() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _prctl(option: int, value: int) -> None:
    if _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _unknown(what: str) -> Invalid:
    return Invalid("broker.user_unknown", what, hint="Add one (useradd --system stanchion-broker), and name it.")


def _refused(why: str) -> Denied:
    return Denied(
        "broker.user_refused",
        f"broker.user is set, and the broker cannot have a user of its own: {why}.",
        hint="Run `up` as root; or leave broker.user out, or run `stanchion serve broker` as that user (broker.uids).",
    )


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
