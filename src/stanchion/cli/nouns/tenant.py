"""`stanchion tenant`: whose data."""

from __future__ import annotations

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
@click.option("--display-name", help="For people; else the name.")
@remote
def create(session: Session, name: str, display_name: str | None) -> None:
    """Create a tenant."""
    made = session.api.post(path("tenants"), {"name": name, "display_name": display_name or name})
    session.one(made, _SHOWN, key="name")
    output.note(f"Created tenant {name}.")
