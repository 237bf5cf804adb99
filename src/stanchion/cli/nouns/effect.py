"""`stanchion effect`: calls that changed, or may have changed, an external system."""

from __future__ import annotations

from typing import Any

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote

_SHOWN = output.columns(
    "id", "state", "connector", "operation", "run=run_id", "step=path", "at=intent_at", "simulated",
    simulated=output.some,
)  # fmt: skip
_FACTS = output.columns(
    "id", "state", "class=effect_class", "connector", "operation", "run=run_id", "step=path", "key", "idempotency", "arguments=args_digest", "receipt", "error",
    "attempts", "intent=intent_at", "outcome=outcome_at", "resolved by=resolved_by", "evidence", "simulated",
    simulated=output.some,
)  # fmt: skip


@click.group()
def effect() -> None:
    """Effects: intent before the call, receipt after it, UNKNOWN where no receipt came."""


@effect.command("list")
@click.option("--state", type=click.Choice(["INTENT", "DONE", "FAILED", "UNKNOWN"], case_sensitive=False))
@click.option("--run", "run_id", help="Only those of this run.")
@click.option("--connector", metavar="NAME[@VERSION]", help="Only those on this connector.")
@click.option("--tool", metavar="NAME[@VERSION]", help="Only those made through this tool.")
@click.option("--since", help="Only those last attempted after this time (2026-11-20 or 24h or 7d).")
@click.option("--simulated/--performed", default=None, help="Only those that were not, or were, sent to the target.")
@limit_options
@remote
def list_effects(
    session: Session,
    state: str | None,
    run_id: str | None,
    connector: str | None,
    tool: str | None,
    since: str | None,
    simulated: bool | None,
    limit: int,
    everything: bool,
) -> None:
    """List effects, the newest first: what to compare a target's own records with."""
    run = session.whole_id("runs", run_id) if run_id else None
    found = session.api.items(
        path("effects"),
        state=state,
        run=run,
        connector=connector,
        tool=tool,
        since=session.since(since),
        simulated=simulated if simulated is None else str(simulated).lower(),
        limit=None if everything else limit,
    )
    session.list(found, _SHOWN)


@effect.command()
@click.argument("effect_id")
@remote
def show(session: Session, effect_id: str) -> None:
    """Show one effect."""
    session.one(session.api.get(path("effects", session.whole_id("effects", effect_id))), _FACTS)


@effect.command()
@click.argument("effect_id")
@click.option(
    "--happened/--did-not-happen", required=True, default=None, help="Whether the external system made the change."
)
@click.option("--evidence", required=True, help="How you know; kept in the audit log.")
@click.option(
    "--attempt", type=click.IntRange(min=1), help="Which attempt you looked into; needed where there was more than one."
)
@remote
def resolve(session: Session, effect_id: str, happened: bool, evidence: str, attempt: int | None) -> None:
    """Settle an UNKNOWN effect after looking at the external system; its run goes on."""
    whole = session.whole_id("effects", effect_id)
    said: dict[str, Any] = {"happened": happened, "evidence": evidence}
    if attempt is not None:
        said["attempt"] = attempt
    answer: dict[str, Any] = session.api.post(path("effects", whole, "resolve"), said)
    session.one(answer, _SHOWN)
    output.note(f"Settled as {answer['state']}.")
