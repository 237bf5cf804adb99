"""`stanchion approval`: what waits for a person."""

from __future__ import annotations

from typing import Any

import click

from stanchion.base.errors import Conflict
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote

STATUSES = ("PENDING", "APPROVED", "REJECTED", "EXPIRED", "CANCELLED")
SHOWN = output.columns("id", "status", "expires=expires_at", "policy", "title")
FACTS = output.columns(
    "id", "status", "title", "policy", "blueprint", "run=run_id", "step=path", "requested by=requested_by", "may decide=may_decide",
    "expires=expires_at", "decided by=decided_by", "decided=decided_at", "reason", "facts", "shown", "arguments=args_digest",
    may_decide=output.deciders,
)  # fmt: skip


# What approvals ask of a decision's reason, in characters without surrounding blanks.
REASON_CHARS_MIN, REASON_CHARS_MAX = 8, 2000


def _checked_reason(_ctx: click.Context, _param: click.Parameter, said: str) -> str:
    count = len(said.strip())
    if not REASON_CHARS_MIN <= count <= REASON_CHARS_MAX:
        raise click.BadParameter(
            f"a decision needs a reason of {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters; this has {count}."
        )
    return said


_reason_option = click.option(
    "--reason",
    required=True,
    callback=_checked_reason,
    help=f"Why, in {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters; kept in the audit log.",
)


@click.group()
def approval() -> None:
    """Approvals: steps that wait for a person's decision."""


@approval.command("list")
@click.option(
    "--status", type=click.Choice([*STATUSES, "any"], case_sensitive=False), default="PENDING", show_default=True
)
@click.option("--run", "run_id", help="Only those of this run and its items.")
@limit_options
@remote
def list_approvals(session: Session, status: str, run_id: str | None, limit: int, everything: bool) -> None:
    """List approvals, the oldest first."""
    run = session.whole_id("runs", run_id) if run_id else None
    wanted = None if status == "any" else status
    session.list(
        session.api.items(path("approvals"), status=wanted, run=run, limit=None if everything else limit), SHOWN
    )


@approval.command()
@click.argument("approval_id")
@remote
def show(session: Session, approval_id: str) -> None:
    """Show exactly what was asked, untruncated, and who may decide."""
    session.one(session.api.get(path("approvals", session.whole_id("approvals", approval_id))), FACTS)


@approval.command()
@click.argument("approval_id")
@_reason_option
@click.option("--digest", help="Decide only if these are the arguments (args_digest of `approval show`).")
@remote
def approve(session: Session, approval_id: str, reason: str, digest: str | None) -> None:
    """Approve: the run goes on with exactly the arguments shown."""
    _decide(session, approval_id, "approve", reason, digest)


@approval.command()
@click.argument("approval_id")
@_reason_option
@click.option("--digest", help="Decide only if these are the arguments (args_digest of `approval show`).")
@remote
def reject(session: Session, approval_id: str, reason: str, digest: str | None) -> None:
    """Reject: the run does what its step says under on_reject."""
    _decide(session, approval_id, "reject", reason, digest)


def _decide(session: Session, approval_id: str, verdict: str, reason: str, digest: str | None) -> None:
    whole = session.whole_id("approvals", approval_id)
    asked: dict[str, Any] = session.api.get(path("approvals", whole))
    if digest is not None and digest != asked["args_digest"]:
        raise Conflict(
            "approval.arguments_changed",
            f"Approval {whole} asks about the arguments {asked['args_digest']}, not {digest}.",
            hint=f"Look again: stanchion approval show {whole}",
        )
    body = {"reason": reason, "args_digest": asked["args_digest"]}
    decided: dict[str, Any] = session.api.post(path("approvals", whole, verdict), body)
    session.one(decided, SHOWN)
    output.note(f"{str(decided['status']).capitalize()}. The run: stanchion run show {decided['run_id']}")
