"""Migrations: schema.sql equals their sum, they are repeatable, refuse what they should, and wall every tenant table."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from stanchion.base import Conflict
from stanchion.db import DatabaseUrls, migrate, migrations
from stanchion.db.embedded import find_binaries


def dump(owner_url: str) -> str:
    """The schema as pg_dump prints it, without what differs between servers and runs."""
    out = subprocess.run(
        [find_binaries() / "pg_dump", "--schema-only", "--no-owner", "--no-comments", owner_url],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # What the roles of process types have is data of its own (db/grants.toml), given after the migrations.
    out = re.sub(r", stanchion_(walled|across)\b|\bstanchion_(walled|across), ", "", out)
    lines = [
        line
        for line in out.splitlines()
        if line
        and not line.startswith(("--", "SET ", "SELECT pg_catalog", "\\restrict", "\\unrestrict"))
        and not re.search(r"TO stanchion_(web|worker|scheduler|broker)_(app|engine);$", line)
        and "EXTENSION" not in line
        and "SCHEMA public" not in line
    ]
    return "\n".join(lines) + "\n"


def test_schema_sql_is_the_sum_of_the_migrations(
    repo: Path, fresh_database_urls: DatabaseUrls, request: pytest.FixtureRequest
) -> None:
    assert fresh_database_urls.owner
    path = repo / "src" / "stanchion" / "db" / "schema.sql"
    now = dump(fresh_database_urls.owner)
    if request.config.getoption("--write-schema"):
        path.write_text(now)
    assert path.read_text() == now, "run `make schema` and commit schema.sql"


def test_a_second_migrate_changes_nothing(fresh_database_urls: DatabaseUrls) -> None:
    assert fresh_database_urls.owner
    assert migrate(fresh_database_urls.owner) == []


def test_a_changed_file_is_refused(fresh_database_urls: DatabaseUrls) -> None:
    assert fresh_database_urls.owner
    with psycopg.connect(fresh_database_urls.owner, autocommit=True) as connection:
        connection.execute("update migrations set digest = 'sha256:other'")
    with pytest.raises(Conflict) as caught:
        migrate(fresh_database_urls.owner)
    assert caught.value.code == "migration.changed"


def test_a_newer_database_is_refused(fresh_database_urls: DatabaseUrls) -> None:
    assert fresh_database_urls.owner
    with psycopg.connect(fresh_database_urls.owner, autocommit=True) as connection:
        connection.execute("insert into migrations (name, digest) values ('9999_pre_future', 'x')")
    with pytest.raises(Conflict) as caught:
        migrate(fresh_database_urls.owner)
    assert caught.value.code == "migration.newer"
    assert "9999_pre_future" in caught.value.message


def test_names_are_numbered_once_each_and_say_their_phase() -> None:
    # Numbers are given out before the work begins, so one may stay unused.
    found = migrations()
    numbers = [m.number for m in found]
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers))
    assert all(re.fullmatch(r"\d{4}_(pre|post)_[a-z0-9_]+", m.name) for m in found)


@pytest.mark.parametrize("role", ["app", "engine"])
def test_run_time_roles_are_neither_owner_nor_superuser_nor_bypass(database_urls: DatabaseUrls, role: str) -> None:
    with psycopg.connect(getattr(database_urls, role)) as connection:
        row = connection.execute(
            "select rolsuper, rolbypassrls, rolcreatedb, rolcreaterole from pg_roles where rolname = current_user"
        ).fetchone()
        assert row == (False, False, False, False)
        owned = connection.execute("select count(*) from pg_class where relowner = current_user::regrole").fetchone()
        assert owned == (0,)


def test_every_table_has_forced_row_level_security_and_a_policy(database_urls: DatabaseUrls) -> None:
    assert database_urls.owner
    with psycopg.connect(database_urls.owner) as connection:
        open_tables = connection.execute(
            "select relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname = 'public'"
            " and relkind in ('r', 'p') and relname <> 'migrations' and not (relrowsecurity and relforcerowsecurity"
            " and exists (select 1 from pg_policy p where p.polrelid = c.oid))"
        ).fetchall()
    assert open_tables == []


def test_without_a_tenant_every_tenant_table_fails_closed(database_urls: DatabaseUrls) -> None:
    with psycopg.connect(database_urls.app, autocommit=True) as connection:
        for table in (
            "runs",
            "step_runs",
            "artifacts",
            "approvals",
            "effects",
            "audit_records",
            "principals",
            "releases",
        ):
            with pytest.raises(psycopg.errors.UndefinedObject):
                connection.execute(f"select 1 from {table}".encode())


def test_audit_records_cannot_be_changed_at_run_time(database_urls: DatabaseUrls) -> None:
    for url in (database_urls.app, database_urls.engine):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("select set_config('stanchion.tenant', 'default', false)")
            for statement in (
                "update audit_records set actor = 'x'",
                "delete from audit_records",
                "truncate audit_records",
            ):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(statement.encode())
