"""`stanchion settings`: the settings of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from stanchion.base.config import load_settings, shown
from stanchion.cli import output
from stanchion.cli.kit import Session, local

_SHOWN = output.columns("key", "value", "source")


@click.group()
def settings() -> None:
    """Settings: from STANCHION_* variables, then stanchion.toml, then defaults."""


@settings.command()
@click.option(
    "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (default: stanchion.toml)."
)
@local
def show(session: Session, file: Path | None) -> None:
    """Show every setting with where its value comes from. Secrets are masked."""
    loaded = load_settings(
        session.environment, file=file, overrides={"data": str(session.data) if session.data else None}
    )
    session.list(shown(loaded), _SHOWN, key="key")
