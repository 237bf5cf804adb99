"""`stanchion tool`: operations that models are told of, called, and what it takes before one may be used."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import click

from stanchion.base.errors import Invalid
from stanchion.cli import output, problems
from stanchion.cli.client import path
from stanchion.cli.inputs import read_input
from stanchion.cli.kit import Session, limit_options, reason_option, remote

# Seconds that a call is waited for before it goes on by itself.
_WAIT_S = 20


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_SHOWN = output.columns(
    "name", "version", "enabled", "killed", "effect", "operation", "owner", "author", killed=output.some
)
_FACTS = output.columns(
    "name", "version", "live", "enabled", "killed", "flag", "effect", "operation", "idempotency", "approval", "owner", "author",
    "description", "meanwhile=fallback", "set by=state.by", "set=state.at", "why=state.reason",
    "models call it=model.name", "models are told=model.description", "takes=model.input_schema",
    "annotations=model.annotations", "told", "digest", killed=output.some, **{"model.input_schema": _text, "model.annotations": _text},
)  # fmt: skip
_VERSIONS = output.columns("version", "live", "enabled", "killed", "effect", "author", "digest", killed=output.some)
_POINTS = output.columns("number", "point", "holds", "evidence", "way_out")
_CALLED = output.columns(
    "run_id", "status", "tool", "version", "dry_run", "output", "error", "simulated",
    output=_text, error=_text, simulated=output.some,
)  # fmt: skip


class _Named(click.ParamType[dict[str, Any]]):
    """`NAME` or `NAME@VERSION`."""

    name = "TOOL"
    _FORM = re.compile(r"(?:tool/)?(?P<name>[a-z][a-z0-9-]{0,62})(?:@(?P<version>[1-9][0-9]{0,8}))?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The tool as the API names it."""
        if isinstance(value, dict):
            return value  # pyright: ignore[reportUnknownVariableType]
        found = self._FORM.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no tool: write NAME or NAME@VERSION.", param, ctx)
        return {"name": found["name"], "version": int(found["version"]) if found["version"] else None}


_TOOL = click.argument("named", metavar="TOOL", type=_Named())


@click.group()
def tool() -> None:
    """Tools: operations of connectors that models are told of. They are published by `stanchion apply`."""


@tool.command("list")
@limit_options
@remote
def list_tools(session: Session, limit: int, everything: bool) -> None:
    """List the tools that are live, and which may be used here."""
    session.list(session.api.items(path("tools"), limit=None if everything else limit), _SHOWN, key="name")


@tool.command()
@_TOOL
@remote
def show(session: Session, named: dict[str, Any]) -> None:
    """Show a tool with exactly what models are told of it, and every version."""
    found: dict[str, Any] = session.api.get(path("tools", named["name"]), version=named["version"])
    session.one(found, _FACTS, key="version")
    if session.form == "table":
        click.echo("")
        session.list(found["versions"], _VERSIONS, key="version")


@tool.command()
@_TOOL
@click.option("--try", "attempt", is_flag=True, help="First try what wants trying: a dry run, again, the disable path.")
@remote
def check(session: Session, named: dict[str, Any], attempt: bool) -> int:
    """Print the eight points of the tool gate with their evidence. Exit code 6 if one does not hold."""
    where = path("tools", named["name"], "try" if attempt else "check")
    if attempt:
        found: dict[str, Any] = session.api.post(where, {"version": named["version"]})
    else:
        found = session.api.get(where, version=named["version"])
    return _points(session, found)


def _points(session: Session, found: dict[str, Any]) -> int:
    if session.form == "table":
        called = f"{found['name']} v{found['version']}"
        for point in found["points"]:
            mark = click.style("holds", fg="green") if point["holds"] else click.style("fails", fg="red")
            click.echo(f"{point['number']}  {mark}  {point['point']}: {point['evidence']}")
            if point["way_out"]:
                click.echo(f"          {point['way_out']}")
        state = "enabled" if found["enabled"] else "disabled"
        output.note(f"{called} is {state} here. {_verdict(found)}")
    else:
        session.one(found, output.columns("name", "version", "passes", "enabled", "points"), key="version")
    return problems.OK if found["passes"] else problems.GATE


def _verdict(found: dict[str, Any]) -> str:
    missing = sum(not point["holds"] for point in found["points"])
    return f"{missing} of {len(found['points'])} points do not hold." if missing else "All points hold."


@tool.command()
@_TOOL
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def approve(session: Session, named: dict[str, Any], reason: str, yes: bool) -> None:
    """Approve what models are told of a version: its author may not. Bound to exactly what is shown."""
    found: dict[str, Any] = session.api.get(path("tools", named["name"]), version=named["version"])
    click.echo(json.dumps(found["model"], indent=2, ensure_ascii=False), err=True)
    _confirm(f"Models are told this of {found['name']} v{found['version']}. Is it right?", yes=yes)
    body = {"version": found["version"], "told": found["told"], "reason": reason}
    made: dict[str, Any] = session.api.post(path("tools", named["name"], "approve"), body)
    session.one(made, output.columns("name", "told", "by", "at", "reason"), key="told")
    output.note("Approved.")


@tool.command()
@_TOOL
@reason_option
@remote
def enable(session: Session, named: dict[str, Any], reason: str) -> int:
    """Enable a version here if all eight points of the gate hold. Exit code 6 if one does not."""
    body = {"version": named["version"], "reason": reason}
    return _points(session, session.api.post(path("tools", named["name"], "enable"), body))


@tool.command()
@_TOOL
@reason_option
@remote
def disable(session: Session, named: dict[str, Any], reason: str) -> None:
    """Disable a version here, on every process within a second."""
    body = {"version": named["version"], "reason": reason}
    session.one(session.api.post(path("tools", named["name"], "disable"), body), _FACTS, key="version")
    output.note("Disabled.")


@tool.command()
@_TOOL
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask; for scripts.")
@remote
def kill(session: Session, named: dict[str, Any], reason: str, yes: bool) -> None:
    """Stop every use of a tool at once: new calls are refused, runs that come to it wait until an admin lifts it."""
    impact: dict[str, Any] = session.api.get(
        path("kills", "tool", named["name"], "impact"), version=named["version"]
    )  # fmt: skip
    running = f"{impact['running']} running, {impact['waiting']} waiting, {impact['queued']} queued"
    what = f"tool/{named['name']}" + (f" v{named['version']}" if named["version"] else "")
    _confirm(f"Kill {what}? Runs that are pinned to it: {running}.", yes=yes)
    body = {"kind": "tool", **named, "reason": reason}
    made: dict[str, Any] = session.api.post(path("kills"), body)
    session.one(made, output.columns("id", "kind", "name", "version", "reason", "by=set_by", "since=set_at"))
    output.note(f"Killed. To let it go on: stanchion kill lift {made['id']} --reason …")


@tool.command()
@_TOOL
@click.option(
    "-a", "--argument", "given", multiple=True, metavar="NAME=VALUE|@FILE|-", help="An argument; may be repeated."
)
@click.option("--dry-run", is_flag=True, help="Make intent and outcome, and send nothing; also of a disabled version.")
@click.option("--idempotency-key", help="The same key gives the same call.")
@click.option("--wait", type=click.IntRange(0, 30), default=_WAIT_S, show_default=True, help="Seconds to wait for it.")
@remote
def call(
    session: Session,
    named: dict[str, Any],
    given: tuple[str, ...],
    dry_run: bool,
    idempotency_key: str | None,
    wait: int,
) -> int:
    """Call a tool: a run of its own, with its ledger, approvals and records."""
    shown: dict[str, Any] = session.api.get(path("tools", named["name"]), version=named["version"])
    model: dict[str, Any] = shown.get("model") or {}
    schema: dict[str, Any] = model.get("input_schema", {})
    body = {
        "arguments": read_input(session, "", given, schema=schema),
        "version": named["version"],
        "dry_run": dry_run,
    }
    headers = {"Prefer": f"wait={wait}", **({"Idempotency-Key": idempotency_key} if idempotency_key else {})}
    made: dict[str, Any] = session.api.post(path("tools", named["name"], "calls"), body, headers)
    session.one(made, _CALLED, key="run_id")
    if made["status"] not in ("SUCCEEDED", "FAILED", "CANCELLED"):
        output.note(f"It goes on: stanchion run watch {made['run_id']}")
    return problems.FAILED if made["status"] in ("FAILED", "CANCELLED") else problems.OK


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Invalid(
            "cli.usage", "This asks before it changes anything, and there is no terminal.", hint="Give --yes."
        )
    if not click.confirm(question, err=True):
        output.note("Nothing was changed.")
        click.get_current_context().exit(1)
