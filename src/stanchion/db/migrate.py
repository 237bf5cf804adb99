"""Forward-only migrations: numbered SQL files, applied by the owner, one at a time, under one lock.

A file `NNNN_pre_*.sql` runs before the new code is deployed (it must fit the code of N-1 and N), `NNNN_post_*.sql`
after. Each runs in a transaction with `lock_timeout` 4 s and `statement_timeout` 5 s, so that a migration that would
block traffic fails instead. Applied files are recorded with their digest; a changed file is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import LiteralString, cast

import psycopg

from stanchion.base import Conflict, Unavailable, digest_bytes
from stanchion.db.roles import give_grants

# The advisory lock of all migrators of one database ("stan" in ASCII, then 1).
_LOCK = 0x7374616E_00000001


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One file: its number, its name without `.sql`, its text and the digest of the text."""

    number: int
    name: str
    sql: str
    digest: str


def migrations() -> list[Migration]:
    """All migrations that this version ships, in order."""
    found: list[Migration] = []
    for entry in (resources.files("stanchion.db") / "migrations").iterdir():
        if entry.name.endswith(".sql"):
            sql = entry.read_text(encoding="utf-8")
            name = entry.name.removesuffix(".sql")
            found.append(Migration(number=int(name[:4]), name=name, sql=sql, digest=digest_bytes(sql.encode())))
    return sorted(found, key=lambda m: m.number)


def migrate(owner_url: str, *, exactly: bool = False) -> list[str]:
    """Apply what is missing, and give the process types' roles what they lack; return the names applied.

    Args:
        owner_url: of the schema's owner.
        exactly: also take from those roles what this version does not need (`roles.give_grants`).

    Raises Conflict `migration.changed` if an applied file differs from what this version ships, and Conflict
    `migration.newer` if the database is ahead of this version; Unavailable `migration.locked` if a lock was not free.
    """
    with psycopg.connect(owner_url, autocommit=True, connect_timeout=10) as connection:
        connection.execute(
            "create table if not exists migrations (name text primary key, digest text not null,"
            " applied_at timestamptz not null default clock_timestamp())"
        )
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        try:
            applied = _apply(connection)
            give_grants(connection, exactly=exactly)
        except psycopg.errors.LockNotAvailable as error:
            raise Unavailable(
                "migration.locked",
                f"A migration waited longer than 4 s for a lock: {error.diag.message_primary}.",
                hint="Something holds a long transaction; run `stanchion migrate` again when it has ended.",
            ) from error
        finally:
            connection.execute("select pg_advisory_unlock(%s)", (_LOCK,))
    return applied


def _apply(connection: psycopg.Connection[tuple[object, ...]]) -> list[str]:
    done = {str(name): str(digest) for name, digest in connection.execute("select name, digest from migrations")}
    shipped = migrations()
    unknown = sorted(set(done) - {m.name for m in shipped})
    if unknown:
        raise Conflict(
            "migration.newer",
            f"The database has migration {unknown[-1]}, which this version does not know.",
            hint="Install the newer Stanchion, or restore a backup made with this version.",
        )
    applied: list[str] = []
    for migration in shipped:
        if migration.name in done:
            if done[migration.name] != migration.digest:
                raise Conflict(
                    "migration.changed",
                    f"Migration {migration.name} was applied with other text than this version ships.",
                    hint="Migrations are forward-only: restore the file and add a new one.",
                )
            continue
        with connection.transaction():
            connection.execute("set local lock_timeout = '4s'; set local statement_timeout = '5s'")
            # The text of a shipped file, never input.
            connection.execute(cast("LiteralString", migration.sql))
            connection.execute(
                "insert into migrations (name, digest) values (%s, %s)", (migration.name, migration.digest)
            )
        applied.append(migration.name)
    return applied
