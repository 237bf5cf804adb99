"""PostgreSQL refuses to run as root. Started as root, its programs run as an unprivileged user instead.

That user may be unable to enter the folders above the programs (a virtual environment under /root) or above the
data. Then, and only then, the program keeps one capability, CAP_DAC_READ_SEARCH (it may read and enter what it
does not own, and may write nothing of it), so that no folder's mode has to be changed. `droproot.py` does the drop.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stanchion.base import Unavailable

CANDIDATES = ("stanchion", "postgres", "nobody")
# How droproot.py begins the one line it writes when it cannot do its work.
DROP_FAILED = "stanchion-droproot:"
_DROPROOT = Path(__file__).with_name("droproot.py")
# Nothing of the caller's environment reaches the server. The zone saves initdb a search through all of them.
_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The operating system's user the server runs as, where that is not the caller."""

    name: str
    uid: int
    gid: int


def choose_account() -> Account | None:
    """Who the server runs as: None (the caller) for ordinary users; for root the first of `CANDIDATES`.

    Raises:
        Unavailable: `db.no_unprivileged_user` if root finds none of them.
    """
    if os.geteuid() != 0:
        return None
    for name in CANDIDATES:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid != 0:
            return Account(name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid)
    raise Unavailable(
        "db.no_unprivileged_user",
        f"PostgreSQL does not run as root, and this machine has none of the users {', '.join(CANDIDATES)}.",
        hint="Add one (useradd --system stanchion), or run Stanchion as an ordinary user.",
        retryable=False,
    )


def spawn(
    arguments: Sequence[str | Path], *, account: Account | None, needs: Sequence[Path], output: int, keep: int
) -> subprocess.Popen[bytes]:
    """Start a PostgreSQL program as `account`, detached from this terminal.

    It gets a session of its own (Ctrl-C does not reach it), `/` as folder, umask 077, a minimal environment,
    no input, no open file but `output` and `keep`.

    Args:
        arguments: the program's path and its arguments.
        account: whom to become; None to stay who we are.
        needs: files and folders the program must be able to read; checked as `account` before it starts.
        output: the file descriptor that takes what it prints.
        keep: a file descriptor it keeps open: the server's lock.
    """
    command = [os.fspath(argument) for argument in arguments]
    if account:
        required = [f"--need={path}" for path in needs]
        drop = [sys.executable, "-I", "-S", "-B", os.fspath(_DROPROOT), str(account.uid), str(account.gid)]
        command = [*drop, *required, "--", *command]
    return subprocess.Popen(  # noqa: S603 - programs we ship, arguments we made
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=_ENVIRONMENT,
        cwd="/",
        umask=0o077,
        start_new_session=True,
        close_fds=True,
        pass_fds=(keep,),
    )


def drop_problem(said: str, account: Account | None) -> Unavailable | None:
    """The problem behind a line of droproot.py, if there is one in `said`."""
    for line in said.splitlines():
        if line.startswith(DROP_FAILED) and account:
            return Unavailable(
                "db.server_user",
                f"The database server has to run as user {account.name}, because PostgreSQL refuses root, and "
                f"{line.removeprefix(DROP_FAILED).strip()}.",
                hint="Run Stanchion as an ordinary user; or install it and put --data where that user may pass "
                "(for example /opt and /var/lib, chmod o+x on the folder named); or, in a container, "
                "add the capability DAC_READ_SEARCH.",
                retryable=False,
            )
    return None
