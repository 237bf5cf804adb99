"""`stanchion migrate`: bring an external database's schema to this version."""

from __future__ import annotations

from pathlib import Path

import click

from stanchion.base.config import load_settings, with_tls
from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.kit import Session, local


@click.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (default: stanchion.toml)."
)
@click.option("--exactly", is_flag=True, help="Also take from the roles what this version does not need.")
@click.option("--print-roles", is_flag=True, help="Print the SQL that makes the run-time roles, and do nothing else.")
@local
def migrate(session: Session, file: Path | None, *, exactly: bool, print_roles: bool) -> None:
    """Apply the migrations that the database lacks, as the schema's owner. `up` does it by itself.

    Forward only; each migration gives up rather than block traffic for more than 4 seconds. The roles of the process types
    are given the rights that this version needs. Take back what older versions needed (--exactly) when none of them runs.
    """
    if print_roles:
        from stanchion.db import roles_sql  # noqa: PLC0415 - psycopg loads when it is needed

        click.echo(roles_sql(), nl=False)
        return
    settings = load_settings(session.environment, file=file).settings.database
    if settings.owner_url is None:
        raise Invalid(
            "config.no_owner",
            "No database is named that could be migrated.",
            hint="Set database.owner_url (STANCHION_DATABASE_OWNER_URL). The embedded database is migrated by `stanchion up`.",
        )
    from stanchion.processes.database import migrate_url  # noqa: PLC0415 - psycopg loads when it is needed

    applied = migrate_url(with_tls(settings.owner_url, settings), exactly=exactly)
    session.list([{"name": name} for name in applied], output.columns("name"), key="name")
    output.note(f"Applied {len(applied)}." if applied else "The schema is up to date.")
