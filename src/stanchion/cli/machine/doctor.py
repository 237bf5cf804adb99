"""`stanchion doctor`: is this machine fit, and is the instance on it well? Every finding names a way out."""

from __future__ import annotations

import locale
import os
import platform
import pwd
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import click

from stanchion.base.config import load_settings
from stanchion.base.errors import Problem
from stanchion.base.settings import Settings
from stanchion.cli import output, problems
from stanchion.cli.client import Api
from stanchion.cli.kit import Session, local
from stanchion.cli.profiles import local_profile

Level = Literal["ok", "warning", "failed"]
Finding = dict[str, str]
_SHOWN = output.columns("check", "result", "detail", "hint")
# The embedded database needs some 60 MB; half a gigabyte leaves room for write-ahead log and payloads.
_FREE_BYTES_LOW = 512 * 1024 * 1024
_FREE_BYTES_MIN = 64 * 1024 * 1024
# The Date header has whole seconds and may itself be one old; a skew that matters (leases, expiries) is larger.
_CLOCK_SKEW_S = 5.0


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (default: stanchion.toml)."
)
@local
def doctor(session: Session, file: Path | None) -> int:
    """Check data folder, user, locale, disk, port, database and clock. Changes nothing; exit code 1 if a check failed."""
    try:
        settings = load_settings(
            session.environment, file=file, overrides={"data": str(session.data) if session.data else None}
        ).settings
    except Problem as problem:
        session.list([_finding("settings", "failed", problem.message, "")], _SHOWN, key="check")
        return problems.FAILED
    findings = [_finding("settings", "ok", "every value is valid", "")]
    for check in (_python, _user, _locale, _data, _disk, _port, _programs, _broker):
        findings.extend(check(settings))
    findings.extend(_box(settings, _mcp_connectors(settings)))
    findings.extend(_instance(settings, session))
    session.list(findings, _SHOWN, key="check")
    failed = sum(finding["result"] == "failed" for finding in findings)
    output.note(f"{failed} of {len(findings)} checks failed." if failed else "This machine is fit.")
    return problems.FAILED if failed else problems.OK


def _finding(check: str, result: Level, detail: str, hint: str) -> Finding:
    return {"check": check, "result": result, "detail": detail, "hint": hint}


def _python(_: Settings) -> Iterator[Finding]:
    version = platform.python_version()
    fine = sys.version_info >= (3, 11)
    yield _finding(
        "python",
        "ok" if fine else "failed",
        f"{version} at {sys.executable}",
        "" if fine else "Install Python 3.11 or newer.",
    )
    if sys.platform != "linux":
        yield _finding(
            "system",
            "warning",
            f"{platform.system()}",
            "The embedded database runs on Linux; elsewhere name one with database.url.",
        )
    else:
        yield _finding(
            "system", "ok", f"Linux {platform.release()}, {platform.machine()}, {' '.join(platform.libc_ver())}", ""
        )


def _user(_: Settings) -> Iterator[Finding]:
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid} (without a name)"
    if uid != 0:
        yield _finding("user", "ok", name, "")
        return
    candidates = [user for user in ("stanchion", "postgres", "nobody") if _exists(user)]
    if candidates:
        yield _finding("user", "ok", f"root; the embedded database runs as {candidates[0]}", "")
    else:
        yield _finding("user", "failed", "root, and no user for the embedded database", "useradd --system stanchion")


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _locale(_: Settings) -> Iterator[Finding]:
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.upper().replace("-", "") == "UTF8" or sys.flags.utf8_mode:
        yield _finding("locale", "ok", f"{encoding}", "")
    else:
        yield _finding("locale", "warning", f"texts are read as {encoding}", "Set LC_ALL=C.UTF-8 or PYTHONUTF8=1.")


def _data(settings: Settings) -> Iterator[Finding]:
    data = settings.data
    existing = next((folder for folder in (data, *data.parents) if folder.exists()), Path("/"))
    if not existing.is_dir():
        yield _finding("data folder", "failed", f"{existing} is no folder", "Choose another --data.")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield _finding(
            "data folder",
            "failed",
            f"{existing} cannot be written by this user",
            "Choose another --data, or give this user the folder.",
        )
    else:
        said = str(data) if data.exists() else f"{data} (will be made)"
        yield _finding("data folder", "ok", said, "")


def _disk(settings: Settings) -> Iterator[Finding]:
    existing = next(folder for folder in (settings.data, *settings.data.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    said = f"{free / 1e9:.1f} GB free at {existing}"
    if free < _FREE_BYTES_MIN:
        yield _finding("disk", "failed", said, "Free some space, or choose a --data on another disk.")
    elif free < _FREE_BYTES_LOW:
        yield _finding("disk", "warning", said, "Soon the database cannot write.")
    else:
        yield _finding("disk", "ok", said, "")


def _port(settings: Settings) -> Iterator[Finding]:
    host, port = settings.web.host, settings.web.port
    profile = local_profile(settings.data)
    if profile is not None and profile.url.endswith(f":{port}") and _open(host, port):
        yield _finding("port", "ok", f"{port}, used by the instance of this data folder", "")
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            yield _finding(
                "port",
                "warning",
                f"{host}:{port}: {error.strerror}",
                "`up` takes the next free port, or choose one with --port.",
            )
            return
    yield _finding("port", "ok", f"{host}:{port} is free", "")


def _open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def _programs(settings: Settings) -> Iterator[Finding]:
    from stanchion.processes.diagnosis import database_findings  # noqa: PLC0415 - psycopg loads when it is needed

    for result, detail, hint in database_findings(settings):
        yield _finding("database", result, detail, hint)


def _broker(settings: Settings) -> Iterator[Finding]:
    from stanchion.processes.diagnosis import broker_findings  # noqa: PLC0415 - as above

    for result, detail, hint in broker_findings(settings):
        yield _finding("broker", result, detail, hint)


def _box(settings: Settings, needed_by: list[str]) -> Iterator[Finding]:
    from stanchion.processes.diagnosis import box_findings  # noqa: PLC0415 - as above

    for result, detail, hint in box_findings(settings, needed_by):
        yield _finding("commands", result, detail, hint)


def _mcp_connectors(settings: Settings) -> list[str]:
    """Live connectors of the running instance whose adapter may run a command."""
    profile = local_profile(settings.data)
    if profile is None:
        return []
    try:
        found = Api(profile.url, profile.token, timeout_s=5).items("/api/connectors", limit=1000)
        return [str(connector["name"]) for connector in found if connector.get("adapter") == "mcp"]
    except Problem:
        return []  # that it does not answer is said of the instance


def _instance(settings: Settings, session: Session) -> Iterator[Finding]:
    try:
        profile = local_profile(settings.data)
        if profile is None:
            yield _finding("instance", "ok", "none was started in this data folder", "")
            return
        api = Api(profile.url, profile.token, timeout_s=5)
        checks: list[tuple[str, Callable[[], object]]] = [
            ("instance", lambda: api.get("/health/ready")),
            ("access", lambda: api.get("/api/whoami")),
        ]
        for name, ask in checks:
            ask()
            yield _finding(
                name, "ok", profile.url if name == "instance" else f"the key in {profile.source} is valid", ""
            )
        yield _clock(api, session)
        workers = [worker for worker in api.items("/api/workers", limit=200) if worker.get("state") == "live"]
        said = f"{len(workers)} live, {sum(int(w['running']) for w in workers)} runs held"
        yield _finding(
            "workers",
            "ok" if workers else "failed",
            said,
            "" if workers else "Is `stanchion up` or `serve worker` running?",
        )
    except Problem as problem:
        away = problem.code == "cli.unreachable"
        detail = (
            f"not running ({profile.url})" if away and (profile := local_profile(settings.data)) else problem.message
        )
        yield _finding("instance", "ok" if away else "failed", detail, problem.hint if not away else "")


def _clock(api: Api, session: Session) -> Finding:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 20 ms for one check

    answered = api.call("GET", "/health/live").headers.get("date")
    if not answered:
        return _finding("clock", "warning", "the server does not say its time", "")
    skew = abs((session.clock.now() - parsedate_to_datetime(answered)).total_seconds())
    fine = skew < _CLOCK_SKEW_S
    return _finding(
        "clock",
        "ok" if fine else "warning",
        f"{skew:.1f} s from the server's",
        "" if fine else "Run a time service (NTP).",
    )
