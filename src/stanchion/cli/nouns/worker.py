"""`stanchion worker`: the processes that execute runs."""

from __future__ import annotations

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, remote

_SHOWN = output.columns(
    "id", "name", "state", "running", "capacity", "queues", "host", "pid", "lease until=lease_until"
)


@click.group()
def worker() -> None:
    """Workers: the processes that execute BlueprintRuns."""


@worker.command("list")
@remote
def list_workers(session: Session) -> None:
    """List workers with what they hold."""
    session.list(session.api.items(path("workers"), limit=200), _SHOWN)
