"""What the superuser sets up in a cluster: the owner, the shared roles and those of the process types, the database, the extension. Run at a start until it was whole.

Each statement states a wish that may already be true, so a start that was cut short is completed by the next one.
"""

from __future__ import annotations

from typing import LiteralString, cast

import psycopg
from psycopg import sql

from stanchion.db.embedded.credentials import APP, DATABASE, ENGINE, LOGINS, OWNER, Credentials
from stanchion.db.roles import roles_sql

_ROLES_SQL = """
do $$
declare wanted text;
begin
    foreach wanted in array array['stanchion_owner', 'stanchion_app', 'stanchion_engine'] loop
        if not exists (select from pg_roles where rolname = wanted) then
            execute format('create role %I', wanted);
        end if;
        execute format(
            'alter role %I login nosuperuser nocreatedb nocreaterole noreplication nobypassrls', wanted);
    end loop;
end $$;
"""


def is_set_up(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Whether `set_up_cluster` ran to its end: it leaves its mark as the database's comment, last of all."""
    row = connection.execute(
        "select shobj_description(oid, 'pg_database') = 'Stanchion, set-up 2' from pg_database where datname = %s",
        (DATABASE,),
    ).fetchone()
    return row is not None and row[0] is True


def set_up_cluster(connection: psycopg.Connection[tuple[object, ...]], credentials: Credentials) -> None:
    """Make the roles and the database. `connection`: superuser, database `postgres`, autocommit.

    Passwords go to the server as SCRAM verifiers, so no statement or log ever holds one.
    """
    connection.execute(_ROLES_SQL)
    connection.execute(cast("LiteralString", roles_sql()))
    for role in (OWNER, APP, ENGINE, *LOGINS):
        verifier = connection.pgconn.encrypt_password(
            credentials.passwords[role].encode(), role.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier.decode()))
        )
    if not connection.execute("select 1 from pg_database where datname = %s", (DATABASE,)).fetchone():
        connection.execute("create database stanchion owner stanchion_owner")
    connection.execute("revoke all on database stanchion, postgres, template1 from public")
    connection.execute("grant connect, temporary on database stanchion to stanchion_app, stanchion_engine")
    for role in LOGINS:
        connection.execute(sql.SQL("grant connect on database stanchion to {}").format(sql.Identifier(role)))


def set_up_database(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """Make the extension and close the schema `public`. `connection`: superuser, database `stanchion`."""
    connection.execute("create extension if not exists vector")
    connection.execute("revoke create on schema public from public")
    connection.execute("grant usage, create on schema public to stanchion_owner")
    connection.execute("comment on database stanchion is 'Stanchion, set-up 2'")
