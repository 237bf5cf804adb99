"""`stanchion audit`: the record of every change."""

from __future__ import annotations

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote

_SHOWN = output.columns(
    "time=recorded_at", "event=event_type", "actor=actor_name", "target=target_kind", "target id=target_id"
)


@click.group()
def audit() -> None:
    """Audit: no change without its record."""


@audit.command("list")
@click.option("--target-kind", help="Only records about this kind of thing, such as run or principal.")
@click.option("--target-id", help="Only records about this one.")
@click.option("--run", "run_id", help="Only records of this run.")
@click.option("--event", help="Only this event, such as approval.decided.")
@limit_options
@remote
def list_records(
    session: Session,
    target_kind: str | None,
    target_id: str | None,
    run_id: str | None,
    event: str | None,
    limit: int,
    everything: bool,
) -> None:
    """List records, the newest first."""
    run = session.whole_id("runs", run_id) if run_id else None
    found = session.api.items(
        path("audit"),
        target_kind=target_kind,
        target_id=target_id,
        run=run,
        event=event,
        limit=None if everything else limit,
    )
    session.list(found, _SHOWN)
