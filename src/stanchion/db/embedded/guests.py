"""Databases beside Stanchion's own on the embedded server, each with a role of its own that sees nothing else.

They stand in for a customer's system where an example needs one: the role owns its database, cannot enter Stanchion's,
and is neither superuser nor able to make others.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from stanchion.base import Conflict, Invalid, SystemClock, SystemIds
from stanchion.db.embedded.configuration import PORT
from stanchion.db.embedded.credentials import SUPER, load_credentials
from stanchion.db.embedded.layout import layout_of
from stanchion.db.embedded.postmaster import read_pid_file

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_PASSWORD_BYTES = 24


def guest_database(data: Path, name: str) -> str:
    """Make the database `name` with a role `guest_<name>` where they are missing; the URL of that role.

    The password is new each time, so an URL given out before is void. The server of `data` must be running.

    Raises:
        Invalid: `db.guest_name`. Conflict: `db.server_not_started`, `db.credentials_lost`.
    """
    if not _NAME.fullmatch(name) or name in {"stanchion", "postgres"}:
        raise Invalid("db.guest_name", f"{name!r} is no name for a database.", hint="Use lower case, digits and _.")
    layout = layout_of(data)
    served = read_pid_file(layout)
    if served is None:
        raise Conflict(
            "db.server_not_started", f"The database server of {data} does not run.", hint=f"stanchion up --data {data}"
        )
    credentials = load_credentials(layout.credentials)
    role, password = f"guest_{name}", SystemIds(SystemClock()).secret(_PASSWORD_BYTES).hex()
    with psycopg.connect(
        host=served.socket_dir,
        port=PORT,
        dbname="postgres",
        user=SUPER,
        password=credentials.passwords[SUPER],
        autocommit=True,
    ) as connection:
        if not connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone():
            connection.execute(
                sql.SQL("create role {} login nosuperuser nocreatedb nocreaterole").format(sql.Identifier(role))
            )
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(verifier)))
        if not connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
            connection.execute(
                sql.SQL("create database {} owner {}").format(sql.Identifier(name), sql.Identifier(role))
            )
            connection.execute(sql.SQL("revoke all on database {} from public").format(sql.Identifier(name)))
    return f"postgresql://{role}:{password}@/{name}?host={quote(served.socket_dir, safe='')}&port={PORT}"
