"""`stanchion release`: which versions are live."""

from __future__ import annotations

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote

_SHOWN = output.columns("kind", "name", "version", "environment", "released=released_at", "by=released_by", "digest")


@click.group()
def release() -> None:
    """Releases: which version of each artifact is live in this environment."""


@release.command("list")
@limit_options
@remote
def list_releases(session: Session, limit: int, everything: bool) -> None:
    """List what is live."""
    session.list(session.api.items(path("releases"), limit=None if everything else limit), _SHOWN, key="name")
