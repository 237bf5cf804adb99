"""`stanchion kill`: stop every use of a thing at once, and let it go on."""

from __future__ import annotations

import sys
from typing import Any, cast

import click

from stanchion.base.errors import Invalid, NotFound
from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, reason_option, remote

_SHOWN = output.columns("id", "kind", "name", "version", "by=set_by", "since=set_at", "reason", "lifted=lifted_at")
_FACTS = output.columns(
    "id", "kind", "name", "version", "reason", "killed by=set_by", "since=set_at", "lifted by=lifted_by",
    "lifted=lifted_at", "why lifted=lift_reason",
)  # fmt: skip


class _Killing(click.Group):
    """`stanchion kill TARGET` is `stanchion kill set TARGET`: in an emergency nobody looks for the verb."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """A word with a slash in it, or `tenant`, is what to kill."""
        if args and ("/" in args[0] or args[0] == "tenant"):
            args = ["set", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=_Killing)
def kill() -> None:
    """Kill switches: stop every use of a Blueprint, a connector, a flag or the whole tenant within a second.

    `stanchion kill connector/casebook --reason …` shows what is in flight and asks before it does so.
    """


@kill.command("set")
@click.argument("target")
@click.option("--version", type=click.IntRange(1), help="Only this version; otherwise every one.")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def set_kill(session: Session, target: str, version: int | None, reason: str, yes: bool) -> None:
    """Stop every use of TARGET: blueprint/NAME, connector/NAME, tool/NAME, flag/NAME or tenant. New work is refused, runs wait."""
    kind, name = _target(session, target)
    impact: dict[str, Any] = session.api.get(path("kills", kind, name, "impact"), version=version)
    what = f"{kind}/{name}" + (f" v{version}" if version else "")
    output.note(f"{what}: {_counts(impact) if kind != 'flag' else 'everybody would get the value of their own.'}")
    if impact["newest"]:
        click.echo(_table(impact["newest"]), err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise Invalid(
                "cli.usage", "A kill asks before it stops anything, and there is no terminal.", hint="Give --yes."
            )
        then = "" if kind == "flag" else " New work is refused, and these wait until it is lifted."
        if not click.confirm(f"Kill {what}?{then}", err=True):
            output.note("Nothing was changed.")
            click.get_current_context().exit(1)
    body = {"kind": kind, "name": name, "version": version, "reason": reason}
    made: dict[str, Any] = session.api.post(path("kills"), body)
    session.one(made, _FACTS)
    output.note(f"Killed. To let it go on: stanchion kill lift {made['id']} --reason …")


@kill.command("list")
@click.option("--lifted", is_flag=True, help="Also those that were lifted.")
@limit_options
@remote
def list_kills(session: Session, lifted: bool, limit: int, everything: bool) -> None:
    """List the kill switches in force, the newest first."""
    found = session.api.items(path("kills"), lifted=lifted or None, limit=None if everything else limit)
    session.list(found, _SHOWN)


@kill.command()
@click.argument("which")
@remote
def show(session: Session, which: str) -> None:
    """Show one, by its id or what it stops, with the runs that it holds back."""
    found: dict[str, Any] = session.api.get(path("kills", _which(session, which, lifted=True)))
    session.one(found, _FACTS)
    if session.form == "table" and found["lifted_at"] is None and found["kind"] != "flag":
        output.note(f"In flight: {_counts(found['in_flight'])}")
        if found["in_flight"]["newest"]:
            click.echo(_table(found["in_flight"]["newest"]), err=True)


@kill.command()
@click.argument("which")
@reason_option
@remote
def lift(session: Session, which: str, reason: str) -> None:
    """Let it go on, by the kill's id or what it stops. Runs that wait for it go on by themselves."""
    done: dict[str, Any] = session.api.post(
        path("kills", _which(session, which, lifted=False), "lift"), {"reason": reason}
    )
    session.one(done, _FACTS)
    output.note("Lifted.")


def _target(session: Session, said: str) -> tuple[str, str]:
    kind, _, name = said.partition("/")
    if kind == "tenant" and not name:
        return kind, str(session.api.get(path("whoami"))["tenant"])
    if not kind or not name:
        raise Invalid(
            "cli.usage",
            f"{said!r} names nothing to kill.",
            hint="Write blueprint/NAME, connector/NAME, tool/NAME, flag/NAME or tenant.",
        )
    return kind, name


def _which(session: Session, said: str, *, lifted: bool) -> str:
    """The id of a kill, from an id or from what it stops."""
    if "/" not in said and said != "tenant":
        return session.whole_id("kills", said, lifted=lifted or None)
    kind, name = _target(session, said)
    found = [row for row in session.api.items(path("kills")) if (row["kind"], row["name"]) == (kind, name)]
    if not found:
        raise NotFound("cli.not_killed", f"{kind}/{name} is not killed.", hint="See stanchion kill list.")
    if len(found) > 1:
        told = ", ".join(f"{row['id']} (v{row['version']})" if row["version"] else str(row["id"]) for row in found)
        raise Invalid("cli.usage", f"{kind}/{name} is killed {len(found)} times: {told}.", hint="Give the id.")
    return str(found[0]["id"])


def _counts(impact: dict[str, Any]) -> str:
    if not (impact["running"] or impact["waiting"] or impact["queued"]):
        return "no run is in flight."
    return f"{impact['running']} running, {impact['waiting']} waiting, {impact['queued']} queued."


def _table(runs: object) -> str:
    rows = cast("list[dict[str, Any]]", runs)
    return "\n".join(
        f"  {row['run_id']}  {row['blueprint']} v{row['version']}  {row['status']}"
        + (f" ({row['waiting_on']})" if row["waiting_on"] else "")
        for row in rows
    )
