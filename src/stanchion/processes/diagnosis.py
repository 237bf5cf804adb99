"""What can be said of the database before anything starts: for `stanchion doctor`. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from stanchion.base import Problem
from stanchion.base.settings import Settings
from stanchion.db.embedded import find_binaries
from stanchion.processes.isolation import held_by_broker, landlock_version, tried
from stanchion.processes.rights import Finding, external_findings
from stanchion.processes.sockets import ask_unix


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
