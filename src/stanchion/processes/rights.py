"""What `stanchion doctor` finds out about an external database: whether it fits, and who connects with more than they need."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, cast
from urllib.parse import urlsplit

import psycopg

from stanchion.base import Problem, SystemClock
from stanchion.base.config import mask
from stanchion.base.kept import held_by_broker
from stanchion.base.settings import Settings
from stanchion.db import FACES, PROCESS_TYPES, DatabaseUrls, Face, ProcessType, difference, login, migrations
from stanchion.processes.database import external_urls
from stanchion.processes.password import PROCESS

Finding = tuple[Literal["ok", "warning", "failed"], str, str]

_SKEW_S: Final = 2.0
# The rights of whoever connected, and of everything that it may become.
_WHO_SQL: Final = """
select current_setting('server_version_num')::int, session_user::text, clock_timestamp(),
       array_remove(array[
           case when exists (select from pg_roles where (rolsuper or rolbypassrls) and pg_has_role(session_user, oid, 'member'))
                then 'is superuser or bypasses row-level security' end,
           case when exists (select from pg_roles where (rolcreaterole or rolcreatedb or rolreplication)
                             and pg_has_role(session_user, oid, 'member'))
                then 'may make roles or databases, or replicate' end,
           case when exists (select from pg_class where relnamespace = to_regnamespace('public') and relkind = 'r'
                             and pg_has_role(session_user, relowner, 'member'))
                then 'owns tables' end,
           case when has_schema_privilege(session_user, 'public', 'create')
                  or has_database_privilege(session_user, current_database(), 'create')
                then 'may change the schema' end], null)
"""


def external_findings(settings: Settings) -> Iterator[Finding]:
    """Findings (result, detail, hint) about the server that the settings name, as each process type that they are for."""
    file = settings.database.password_file
    if file is not None and any(held.is_relative_to(file.parent) for held in held_by_broker(settings)):
        yield (
            "failed",
            f"{file.parent} has keys of the broker below it, so web, worker and scheduler do not see a new {file.name} there",
            "Keep the passwords of the database in a folder of their own.",
        )
    for process in _types(settings):
        try:
            urls = external_urls(settings, process)
        except Problem as problem:
            yield "failed", problem.message, problem.hint
            continue
        if urls is None:
            return
        for face in FACES if urls.process is None else FACES[:1]:
            yield from _as(urls, process, face)
    if settings.database.engine_url is not None:
        yield (
            "warning",
            "all process types share stanchion_app and stanchion_engine, so each may do what any of them needs",
            "`stanchion migrate --print-roles` says how to make a role per process type.",
        )


def _types(settings: Settings) -> tuple[ProcessType, ...]:
    """The types that these settings are for: all of them, or the one whose role the URL names."""
    url = settings.database.url or ""
    if PROCESS in url:
        return PROCESS_TYPES
    user = urlsplit(url).username
    return tuple(process for process in PROCESS_TYPES if login(process) == user) or ("web",)


def _as(urls: DatabaseUrls, process: ProcessType, face: Face) -> Iterator[Finding]:
    url = urls.app if face == "app" else urls.engine
    try:
        more: dict[str, Any] = {"options": urls.options(face)} if urls.process else {}
        if urls.password is not None:
            more["password"] = asyncio.run(_read(urls))
        with psycopg.connect(url, autocommit=True, connect_timeout=5, **more) as connection:
            yield from _server(connection, process if urls.process else None)
            if face == "app":
                yield from _schema(connection)
    except Problem as problem:
        yield "failed", problem.message, problem.hint
    except psycopg.Error as error:
        hint = "Check the URL and that the server accepts this role."
        if urls.process is not None:
            hint += " `stanchion migrate --print-roles` says how to make the roles of the process types."
        yield "failed", f"{mask(url)}: {str(error).strip()}", hint


async def _read(urls: DatabaseUrls) -> str:
    return "" if urls.password is None else await urls.password()


def _server(connection: psycopg.Connection[Any], process: ProcessType | None) -> Iterator[Finding]:
    row = connection.execute(_WHO_SQL).fetchone()
    if row is None:
        return
    version, user, there, above = cast("tuple[int, str, datetime, list[str]]", row)
    if version < 150000:
        yield "failed", f"PostgreSQL {version // 10000} is too old", "Use PostgreSQL 15 or newer."
    elif above:
        wanted = "stanchion_app, stanchion_engine" if process is None else login(process)
        yield "failed", f"{user} has more rights than a process needs: it {', '.join(above)}", f"Use the role {wanted}."
    elif process is None:
        yield "ok", f"PostgreSQL {version // 10000} as {user}", ""
    else:
        yield from _grants(connection, process, f"PostgreSQL {version // 10000} as {user}")
    skew = abs((SystemClock().now() - there.astimezone(UTC)).total_seconds())
    if skew > _SKEW_S:
        yield "warning", f"the server's clock differs by {skew:.1f} s", "Run a time service (NTP) on both."


def _grants(connection: psycopg.Connection[Any], process: ProcessType, who: str) -> Iterator[Finding]:
    found = difference(connection)
    mine = f"stanchion_{process}_"
    missing = sorted({f"{verb} on {table}" for role, table, verb, _ in found.missing if role.startswith(mine)})
    surplus = sorted({f"{verb} on {table}" for role, table, verb, _ in found.surplus if role.startswith(mine)})
    others = connection.execute(
        "select rolname from pg_roles where rolname = any(%s) and pg_has_role(session_user, oid, 'member') order by 1",
        ([f"stanchion_{other}_{face}" for other in PROCESS_TYPES if other != process for face in FACES],),
    ).fetchall()
    if missing:
        yield "failed", f"{who} lacks {', '.join(missing)}", "stanchion migrate"
    elif surplus:
        yield (
            "warning",
            f"{who} has more than it needs: {', '.join(surplus)}",
            "When no older version runs any more: stanchion migrate --exactly",
        )
    elif others:
        names = ", ".join(str(name) for (name,) in others)
        yield "warning", f"{who} may also become {names}", "Revoke these roles from it: each process type has its own."
    else:
        yield "ok", f"{who}, with the rights of this process type alone", ""


def _schema(connection: psycopg.Connection[Any]) -> Iterator[Finding]:
    try:
        applied = {str(row[0]) for row in connection.execute("select name from migrations")}
    except psycopg.Error:
        yield "failed", "the schema is not there", "stanchion migrate"
        return
    missing = [migration.name for migration in migrations() if migration.name not in applied]
    if missing:
        yield "failed", f"{len(missing)} migrations are missing: {', '.join(missing)}", "stanchion migrate"
    else:
        yield "ok", "the schema is up to date", ""
