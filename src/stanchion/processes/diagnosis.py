"""What can be said of database and broker before anything starts: for `stanchion doctor`. Changes nothing."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence

from stanchion.base import Problem
from stanchion.base.settings import Settings
from stanchion.db.embedded import find_binaries
from stanchion.processes.isolation import held_by_broker, landlock_version, tried
from stanchion.processes.ownuser import account_of, prepare
from stanchion.processes.rights import Finding, external_findings
from stanchion.processes.sockets import ask_unix
from stanchion.secrets.holding import KeyFile
from stanchion.tools import Sandbox


def database_findings(settings: Settings) -> Iterator[Finding]:
    """Findings (result, detail, hint) about the embedded programs, or about the external server."""
    if settings.database.url is None:
        try:
            yield "ok", f"embedded PostgreSQL, programs in {find_binaries()}", ""
        except Problem as problem:
            yield "failed", problem.message, problem.hint
        return
    yield from external_findings(settings)


def broker_findings(settings: Settings) -> Iterator[Finding]:
    """Findings about the broker: whether it answers, and what keeps its keys from the other processes (I9)."""
    if settings.broker.address is not None:
        yield "ok", f"on another machine, {settings.broker.address}", ""
        return
    status, answer = ask_unix(settings.run_folder / "broker.sock", "/health/ready")
    if status == 200:
        yield "ok", f"ready, takes calls at {settings.broker_socket}", ""
    elif status:
        yield "failed", f"not ready: {answer.decode('utf-8', 'replace')}", f"Its log is in {settings.data / 'log'}."
    yield from _keys(settings)
    yield from _user(settings)
    yield from _key_file(settings)


def box_findings(settings: Settings, needed_by: Sequence[str]) -> Iterator[Finding]:
    """Whether this machine boxes commands. `needed_by`: connectors that may run one; where they cannot, that is a fault."""
    if settings.broker.address is not None:
        return
    try:
        asyncio.run(Sandbox().admit("production"))
    except Problem as problem:
        needs = f" {', '.join(needed_by[:5])} may need one." if needed_by else ""
        yield "failed" if needed_by else "warning", problem.message + needs, problem.hint
        return
    yield "ok", "commands of connectors run in a box (bubblewrap, seccomp)", ""


def _user(settings: Settings) -> Iterator[Finding]:
    """Whose the broker is, under `up`."""
    try:
        account = account_of(settings)
        if account is None:
            yield (
                "ok",
                "has the user of the other processes (broker.user gives it one of its own under `up` as root)",
                "",
            )
            return
        prepare(settings, change=False)
    except Problem as problem:
        yield "failed", problem.message, problem.hint
        return
    yield "ok", f"has a user of its own, user {account.uid}, and of root's rights those over files alone", ""


def _key_file(settings: Settings) -> Iterator[Finding]:
    """Whether the broker will take its key file as it is. Reads no key."""
    path, way = settings.secrets_key_file, ""
    try:
        account = account_of(settings)
        owner = os.geteuid() if account is None else account.uid
        KeyFile(path, data=settings.data).check_place(owner)
    except Problem as problem:
        yield "failed", problem.message, problem.hint
        return
    try:
        found = path.lstat()
    except FileNotFoundError:
        yield "ok", f"there is no key file {path} yet; the broker makes it with the first secret", ""
        return
    except OSError as error:
        yield (
            "warning",
            f"the key file {path} cannot be looked at: {error.strerror}",
            "Run the doctor as the broker's user.",
        )
        return
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        wrong, way = "is no regular file", "Name the file itself by secrets.key_file."
    elif mode & 0o177:
        wrong, way = (
            f"has mode {mode:04o}; only its owner may read it",
            f"`chmod 600 {path}`, and `stanchion secret rekey`.",
        )
    elif found.st_uid not in {owner, 0} and account is None:
        wrong, way = f"belongs to user {found.st_uid}, and the broker is user {owner}", f"`chown {owner} {path}`"
    else:
        yield (
            "ok",
            f"the key file {path} has mode {mode:04o}, is outside the data folder, and belongs to user {found.st_uid}",
            "",
        )
        return
    yield "failed", f"the key file {path} {wrong}", way


def _keys(settings: Settings) -> Iterator[Finding]:
    keys = ", ".join(str(path) for path in held_by_broker(settings))
    why = tried(settings)
    if not why:
        said = f"Landlock (version {landlock_version()}) keeps {keys} from web, worker and scheduler"
        yield "ok", f"{said}; the broker is non-dumpable", ""
        return
    yield (
        "warning",
        f"nothing but file modes keeps {keys} from web, worker and scheduler: {why}; the broker is non-dumpable",
        "Run `stanchion serve broker` as a user of its own (broker.socket, broker.uids), or use Linux 5.13 or newer.",
    )
