"""`stanchion artifact`: immutable versions."""

from __future__ import annotations

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote

_SHOWN = output.columns("kind", "name", "version", "digest", "author", "created=created_at", "changelog")
_FACTS = output.columns(
    "kind", "name", "version", "digest", "owner", "author", "created=created_at", "changelog", "source"
)


@click.group()
def artifact() -> None:
    """Artifacts: content-addressed versions of what changes behaviour."""


@artifact.command("list")
@click.option("--kind", help="Only this kind, such as blueprint, connector or policy.")
@limit_options
@remote
def list_artifacts(session: Session, kind: str | None, limit: int, everything: bool) -> None:
    """List the latest version of each artifact."""
    session.list(
        session.api.items(path("artifacts"), kind=kind, limit=None if everything else limit), _SHOWN, key="name"
    )


@artifact.command()
@click.argument("kind")
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="A version; else the latest.")
@remote
def show(session: Session, kind: str, name: str, version: int | None) -> None:
    """Show one version."""
    session.one(session.api.get(path("artifacts", kind, name), version=version), _FACTS, key="digest")


@artifact.command()
@click.argument("kind")
@click.argument("name")
@limit_options
@remote
def history(session: Session, kind: str, name: str, limit: int, everything: bool) -> None:
    """List every version of an artifact, the newest first."""
    found = session.api.items(path("artifacts", kind, name, "versions"), limit=None if everything else limit)
    session.list(found, _SHOWN, key="digest")
