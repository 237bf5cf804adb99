"""`stanchion run`: executions of Blueprints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from stanchion.cli import output, problems
from stanchion.cli.client import path
from stanchion.cli.follow import ENDED, follow
from stanchion.cli.inputs import input_option, read_input
from stanchion.cli.kit import Session, limit_options, reason_option, remote

STATUSES = ("PENDING", "RUNNING", "SUSPENDED", "SUCCEEDED", "FAILED", "CANCELLED")
SHOWN = output.columns(
    "id", "status", "blueprint", "created=created_at", "ended=ended_at", "waits on=waiting_on.text", "simulated",
    simulated=output.some,
)  # fmt: skip
FACTS = output.columns(
    "id", "status", "waits on=waiting_on.text", "blueprint", "version", "digest", "items", "attempt", "input", "output", "error",
    "requested by=requested_by", "created=created_at", "started=started_at", "ended=ended_at", "simulated",
    items=output.counted, error=output.failure, simulated=output.some,
)  # fmt: skip
_STEPS = output.columns(
    "path", "verb", "status", "attempt", "started=started_at", "ended=ended_at", "error=error.message", "simulated",
    simulated=output.some,
)  # fmt: skip
# An item's id is never shortened: only whole ones are found, for items are in no list of runs.
_ITEMS = output.columns("item=item_no", "status", "id", "waits on=waiting_on.text", "error=error.message", id=str)


@click.group()
def run() -> None:
    """BlueprintRuns: start one, watch it, decide about it."""


@run.command()
@click.argument("blueprint")
@input_option
@click.option("--idempotency-key", help="A second start with the same key and input returns the first run.")
@click.option("--queue", help="Queue of the workers that shall execute it.")
@click.option("--priority", type=click.IntRange(-100, 100), help="Higher goes first within its queue.")
@click.option("--wait", is_flag=True, help="Return when it has ended; exit code 1 if it did not succeed.")
@click.option("--follow", "watched", is_flag=True, help="As --wait, and show what happens.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), help="Longest wait in seconds; then exit code 7, and the run goes on."
)
@remote
def start(
    session: Session,
    blueprint: str,
    given: tuple[str, ...],
    idempotency_key: str | None,
    queue: str | None,
    priority: int | None,
    wait: bool,
    watched: bool,
    timeout: float | None,
) -> int:
    """Start a run of a Blueprint."""
    chosen = {"queue": queue, "priority": priority}
    body = {
        "input": read_input(session, blueprint, given),
        **{name: value for name, value in chosen.items() if value is not None},
    }
    headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
    started: dict[str, Any] = session.api.post(path("blueprints", blueprint, "runs"), body, headers)
    run_id = str(started["run_id"])
    if not wait and not watched:
        session.one({"id": run_id, **started}, SHOWN, key="run_id")
        if started.get("repeated"):
            output.note("This key has started it before; nothing new was started.")
        output.note(f"Watch it: stanchion run watch {run_id}")
        return problems.OK
    return _to_the_end(session, run_id, watched=watched, timeout=timeout)


@run.command("list")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False))
@click.option("--blueprint", help="Only runs of this Blueprint.")
@click.option(
    "--waiting-on",
    help="Only runs that wait on this: approval, child, retry, effect, broker, killed, revoked, worker, worker_lost.",
)
@click.option("--since", help="Only runs created after this time (2026-11-20 or 24h or 7d).")
@limit_options
@remote
def list_runs(
    session: Session,
    status: str | None,
    blueprint: str | None,
    waiting_on: str | None,
    since: str | None,
    limit: int,
    everything: bool,
) -> None:
    """List runs, the newest first."""
    found = session.api.items(
        path("runs"),
        status=status,
        blueprint=blueprint,
        waiting_on=waiting_on,
        since=session.since(since),
        limit=None if everything else limit,
    )
    session.list(found, SHOWN)


@run.command()
@click.argument("run_id")
@remote
def show(session: Session, run_id: str) -> None:
    """Show a run: its state, why it waits, its input and output."""
    session.one(session.api.get(path("runs", session.whole_id("runs", run_id))), FACTS)


@run.command()
@click.argument("run_id")
@remote
def steps(session: Session, run_id: str) -> None:
    """List the StepRuns of a run, in order."""
    session.list(session.api.items(path("runs", session.whole_id("runs", run_id), "steps")), _STEPS, key="path")


@run.command()
@click.argument("run_id")
@click.option("--status", type=click.Choice(STATUSES, case_sensitive=False))
@limit_options
@remote
def items(session: Session, run_id: str, status: str | None, limit: int, everything: bool) -> None:
    """List the items of a run that fans out."""
    whole = session.whole_id("runs", run_id)
    session.list(
        session.api.items(path("runs", whole, "items"), status=status, limit=None if everything else limit), _ITEMS
    )


@run.command()
@click.argument("run_id")
@click.option("--timeout", type=click.FloatRange(min=0), help="Longest wait in seconds; then exit code 7.")
@remote
def watch(session: Session, run_id: str, timeout: float | None) -> int:
    """Follow a run to its end."""
    return _to_the_end(session, session.whole_id("runs", run_id), watched=True, timeout=timeout)


@run.command()
@click.argument("run_id")
@click.option("--after", help="Begin after this event id.")
@remote
def events(session: Session, run_id: str, after: str | None) -> None:
    """Write a run's events, one JSON object a line, until it ends."""

    def lines() -> Iterator[dict[str, Any]]:
        for event in session.api.events(path("runs", session.whole_id("runs", run_id), "events"), after):
            yield {"id": event.id, "event": event.name, "data": event.data}

    session.form = "ndjson" if session.form == "table" else session.form
    session.list(lines(), ())


@run.command()
@click.argument("run_id")
@reason_option
@remote
def cancel(session: Session, run_id: str, reason: str) -> None:
    """Cancel a run: it ends before its next step."""
    _act(session, run_id, "cancel", reason)


@run.command()
@click.argument("run_id")
@reason_option
@remote
def retry(session: Session, run_id: str, reason: str) -> None:
    """Run a FAILED run again from the step it failed in."""
    _act(session, run_id, "retry", reason)


def _act(session: Session, run_id: str, verb: str, reason: str) -> None:
    answer: dict[str, Any] = session.api.post(path("runs", session.whole_id("runs", run_id), verb), {"reason": reason})
    session.one(answer, SHOWN)


def _to_the_end(session: Session, run_id: str, *, watched: bool, timeout: float | None) -> int:
    try:
        ended = follow(
            session.api,
            run_id,
            live=watched and session.live,
            say=output.note if watched else lambda _: None,
            waits=output.note,
            timeout_s=timeout,
        )
    except KeyboardInterrupt:
        output.note(f"\nDetached; the run goes on. Return to it: stanchion run watch {run_id}")
        return problems.INTERRUPTED
    session.one(ended, FACTS)
    return problems.OK if ended["status"] == ENDED[0] else problems.FAILED
