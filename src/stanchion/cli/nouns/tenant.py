"""`stanchion tenant`: whose data."""

from __future__ import annotations

from typing import Any

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote

_SHOWN = output.columns("name", "display name=display_name", "created=created_at")


@click.group()
def tenant() -> None:
    """Tenants: walls between whose data it is."""


@tenant.command("list")
@limit_options
@remote
def list_tenants(session: Session, limit: int, everything: bool) -> None:
    """List the tenants you may see."""
    session.list(session.api.items(path("tenants"), limit=None if everything else limit), _SHOWN, key="name")


@tenant.command()
@click.argument("name")
@click.option("--display-name", default="", help="For people; else the name.")
@click.option("--admin", default="admin", show_default=True, help="Name of its first principal, an admin.")
@remote
def create(session: Session, name: str, display_name: str, admin: str) -> None:
    """Create a tenant with its first admin. The admin's key is written to standard output once."""
    body = {"name": name, "display_name": display_name, "admin": admin}
    made: dict[str, Any] = session.api.post(path("tenants"), body)
    if session.form in {"table", "id"}:
        click.echo(made["key"]["text"])
        output.note(f"Created tenant {name}. This is the only time the key of {admin} is shown.")
    else:
        output.write_document(session.form, made)
