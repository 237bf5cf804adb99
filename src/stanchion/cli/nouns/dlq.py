"""`stanchion dlq`: failed runs that wait for a person's decision."""

from __future__ import annotations

from typing import Any

import click

from stanchion.base.errors import Invalid, NotFound
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote

_SHOWN = output.columns("id", "reason", "blueprint", "ended=ended_at", "error=error.message")
_FACTS = output.columns(
    "id", "blueprint", "version", "reason", "step", "attempt", "strikes", "error", "input", "pins",
    "requested by=requested_by", "created=created_at", "ended=ended_at", error=output.failure, pins=output.pinned,
)  # fmt: skip


@click.group()
def dlq() -> None:
    """Dead letters: failed runs that wait for a person's decision."""


@dlq.command("list")
@click.option("--reason", "why", help="Only those dead for this reason, such as poison.")
@click.option("--blueprint", help="Only those of this Blueprint.")
@click.option("--since", help="Only those that ended after this time (2026-11-20 or 24h or 7d).")
@limit_options
@remote
def list_dead(
    session: Session, why: str | None, blueprint: str | None, since: str | None, limit: int, everything: bool
) -> None:
    """List dead letters."""
    found = session.api.items(
        path("dlq"), reason=why, blueprint=blueprint, since=session.since(since), limit=None if everything else limit
    )
    session.list(found, _SHOWN)


@dlq.command()
@click.argument("run_id")
@remote
def show(session: Session, run_id: str) -> None:
    """Show one: its error, the step it died in, its attempts, its input and the versions it is bound to."""
    session.one(session.api.get(path("dlq", _whole_id(session, run_id))), _FACTS)


def _whole_id(session: Session, said: str) -> str:
    """The full id: of a dead letter, or else of a run, of which the server then says what it is."""
    try:
        return session.whole_id("dlq", said)
    except NotFound:
        return session.whole_id("runs", said)


def _selection(command: Any) -> Any:
    for decorate in reversed(
        [
            click.argument("run_ids", nargs=-1),
            click.option("--filter-reason", help="All that died for this reason."),
            click.option("--filter-blueprint", help="All of this Blueprint."),
            click.option("--filter-since", help="All that ended after this time (2026-11-20 or 24h or 7d)."),
            click.option(
                "--max", "most", type=click.IntRange(1, 1000), help="Of a filter's, only so many, the newest."
            ),
            reason_option,
        ]
    ):
        command = decorate(command)
    return command


@dlq.command()
@_selection
@remote
def requeue(session: Session, **said: Any) -> None:
    """Run them again from the step they died in, by id or all of a filter."""
    _act(session, "requeue", "Requeued", **said)


@dlq.command()
@_selection
@remote
def discard(session: Session, **said: Any) -> None:
    """Decide that they stay failed: they leave the list, their record stays."""
    _act(session, "discard", "Discarded", **said)


def _act(
    session: Session,
    verb: str,
    done: str,
    *,
    run_ids: tuple[str, ...],
    filter_reason: str | None,
    filter_blueprint: str | None,
    filter_since: str | None,
    most: int | None,
    reason: str,
) -> None:
    chosen = {"reason": filter_reason, "blueprint": filter_blueprint, "since": session.since(filter_since)}
    wanted = {name: value for name, value in chosen.items() if value is not None}
    if bool(run_ids) == bool(wanted):
        raise Invalid(
            "cli.usage", f"Say which dead letters to {verb}: ids, or a filter.", hint="stanchion dlq list shows them."
        )
    body: dict[str, object] = {"reason": reason}
    if run_ids:
        body["run_ids"] = [_whole_id(session, run_id) for run_id in run_ids]
    else:
        body["filter"] = wanted
    if most is not None:
        body["max"] = most
    answer: dict[str, Any] = session.api.post(path("dlq", verb), body)
    if session.form in {"table", "id"}:
        for run_id in answer["run_ids"]:
            click.echo(run_id)
    else:
        output.write_document(session.form, answer)
    output.note(f"{done} {answer['count']}.")
