"""`stanchion release drain`: no new run begins on a version, and those that began on it finish."""

from __future__ import annotations

from typing import Any

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote
from stanchion.cli.nouns.named import ARTIFACT
from stanchion.cli.nouns.release_revoke import confirm, counts, digest_of, runs_table, tell

_SHOWN = output.columns(
    "kind", "name", "version", "live", "left", "empty since=emptied_at", "by=set_by", "since=set_at", "reason",
    "undrained=lifted_at",
)  # fmt: skip
_FACTS = output.columns(
    "kind", "name", "version", "live", "left", "running", "waiting", "queued", "empty since=emptied_at", "reason",
    "drained by=set_by", "since=set_at", "undrained by=lifted_by", "undrained=lifted_at", "why undrained=lift_reason",
)  # fmt: skip
_LIFTED = output.columns("kind", "name", "version", "undrained by=lifted_by", "undrained=lifted_at", "why=lift_reason")


def _where(artifact: dict[str, Any], *more: str) -> str:
    if "version" not in artifact:
        raise Invalid(
            "cli.usage", f"{artifact['kind']}/{artifact['name']} names no version.", hint="Write KIND/NAME@VERSION."
        )
    return path("drains", artifact["kind"], artifact["name"], str(artifact["version"]), *more)


@click.command()
@click.argument("artifact", type=ARTIFACT)
@click.option("--status", is_flag=True, help="Show what is left of a drain instead.")
@click.option("--reason", help="Why; kept in the audit log.")
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def drain(session: Session, artifact: dict[str, Any], status: bool, reason: str | None, yes: bool) -> None:
    """Let no new run begin on KIND/NAME@VERSION; those that began on it finish. `--status` says how many are left."""
    where = _where(artifact)
    if status:
        _show(session, session.api.get(where))
        return
    if not reason:
        raise Invalid("cli.usage", "There is no reason.", hint="Give --reason, or --status to see what is left.")
    impact: dict[str, Any] = session.api.get(path("revocations", digest_of(session, artifact), "impact"))
    what = f"{artifact['kind']}/{artifact['name']}@{artifact['version']}"
    tell(impact, what)
    if any(one["standing"] == "live" for one in impact["standing"]):
        confirm(f"Drain {what}? It is live: starts are refused until another version is.", yes=yes)
    made: dict[str, Any] = session.api.post(path("drains"), {**artifact, "reason": reason})
    session.one(made, _FACTS)
    output.note(f"Drained. What is left: stanchion release drain {what} --status")


def _show(session: Session, found: dict[str, Any]) -> None:
    session.one(found, _FACTS)
    if session.form == "table" and found["left"]:
        output.note(f"Left: {counts(found['impact'])}")
        click.echo(runs_table(found["impact"]["newest"]), err=True)


@click.command()
@click.option("--lifted", is_flag=True, help="Also those that were undrained.")
@limit_options
@remote
def drained(session: Session, lifted: bool, limit: int, everything: bool) -> None:
    """List the drained versions, each with how many runs are left and since when there is none."""
    found = session.api.items(path("drains"), lifted=lifted or None, limit=None if everything else limit)
    session.list(found, _SHOWN)


@click.command()
@click.argument("artifact", type=ARTIFACT)
@reason_option
@remote
def undrain(session: Session, artifact: dict[str, Any], reason: str) -> None:
    """Let new runs begin on KIND/NAME@VERSION again."""
    session.one(session.api.post(_where(artifact, "undrain"), {"reason": reason}), _LIFTED)
    output.note("Undrained.")


COMMANDS = (drain, drained, undrain)
