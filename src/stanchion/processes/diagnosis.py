"""What can be said of the database before anything starts: for `stanchion doctor`. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC
from typing import Literal

import psycopg

from stanchion.base import Problem, SystemClock
from stanchion.base.config import mask
from stanchion.base.settings import Settings
from stanchion.db import DatabaseUrls, migrations
from stanchion.db.embedded import find_binaries
from stanchion.processes.database import external_urls
from stanchion.processes.isolation import held_by_broker, landlock_version, tried
from stanchion.processes.sockets import ask_unix

_SKEW_S = 2.0
Finding = tuple[Literal["ok", "warning", "failed"], str, str]


def database_findings(settings: Settings) -> Iterator[Finding]:
    """Findings (result, detail, hint) about the embedded programs, or about the external server."""
    urls = external_urls(settings.database)
    if urls is None:
        try:
            yield "ok", f"embedded PostgreSQL, programs in {find_binaries()}", ""
        except Problem as problem:
            yield "failed", problem.message, problem.hint
        return
    for role, url in (("stanchion_app", urls.app), ("stanchion_engine", urls.engine)):
        yield from _server(role, url)
    yield from _schema(urls)


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


def _server(role: str, url: str) -> Iterator[Finding]:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            row = connection.execute(
                "select current_setting('server_version_num')::int, current_user::text, rolsuper or rolbypassrls,"
                " clock_timestamp() from pg_roles where rolname = current_user"
            ).fetchone()
    except psycopg.Error as error:
        yield "failed", f"{mask(url)}: {str(error).strip()}", "Check the URL and that the server accepts this role."
        return
    if row is None:
        return
    version, user, above, there = row
    if version < 150000:
        yield "failed", f"PostgreSQL {version // 10000} is too old", "Use PostgreSQL 15 or newer."
    elif above:
        yield "failed", f"{user} is superuser or bypasses row-level security", f"Use the role {role}."
    else:
        yield "ok", f"PostgreSQL {version // 10000} as {user}", ""
    skew = abs((SystemClock().now() - there.astimezone(UTC)).total_seconds())
    if skew > _SKEW_S:
        yield "warning", f"the server's clock differs by {skew:.1f} s", "Run a time service (NTP) on both."


def _schema(urls: DatabaseUrls) -> Iterator[Finding]:
    try:
        with psycopg.connect(urls.app, autocommit=True, connect_timeout=5) as connection:
            applied = {str(row[0]) for row in connection.execute("select name from migrations")}
    except psycopg.Error:
        yield "failed", "the schema is not there", "stanchion migrate"
        return
    missing = [migration.name for migration in migrations() if migration.name not in applied]
    if missing:
        yield "failed", f"{len(missing)} migrations are missing: {', '.join(missing)}", "stanchion migrate"
    else:
        yield "ok", "the schema is up to date", ""
