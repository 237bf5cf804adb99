"""The plan of an apply: shown, asked about, kept in a file and read back."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import click

from stanchion.base.errors import Conflict, Invalid
from stanchion.cli import output
from stanchion.cli.nouns import artifact_diff

_FORMAT = "stanchion.apply-plan/1"
_FILE_BYTES_MAX = 16 << 20
_SIGNS = {"created": ("+", "green"), "updated": ("~", "yellow")}


def show(plan: Mapping[str, Any]) -> None:
    """Write a plan to stderr: what is new or changes, by how much, whose new runs get it, and what the gates say."""
    for line in _lines(plan):
        click.echo(line, err=True)


def _lines(plan: Mapping[str, Any]) -> Iterator[str]:
    kind = ", which is production" if plan["production"] else ""
    yield click.style(f"Plan for environment {plan['environment']}{kind}", bold=True)
    changed = [change for change in plan["changes"] if change["change"] != "unchanged"]
    for change in changed:
        sign, colour = _SIGNS[change["change"]]
        versions = (
            f"{change['live_version']} → {change['version']}" if change["live_version"] else f"{change['version']}, new"
        )
        reaches = f"  new runs of {', '.join(change['reaches'])}" if change["reaches"] else ""
        yield click.style(f"{sign} {change['kind']}/{change['name']} {versions}", fg=colour) + reaches
        if change["diff"] and change["live_version"]:
            # The first line of a diff names the versions, which stand above.
            yield from (f"    {line}" for line in list(artifact_diff.render(change["diff"]))[1:])
    if rest := len(plan["changes"]) - len(changed):
        yield f"  {rest} unchanged"
    yield from gate_lines(plan.get("gates"))


def gate_lines(ruling: Mapping[str, Any] | None) -> Iterator[str]:
    """What the gates say, a line each and the way out below; nothing if they ask for nothing."""
    if ruling is None or not ruling["findings"]:
        return
    yield f"Gates ({ruling['policy']}): {ruling['verdict']}"
    for finding in ruling["findings"]:
        yield f"  {finding['gate']}: {finding['verdict']} {finding['why']}"
        if finding["way_out"]:
            yield textwrap.indent(finding["way_out"], "      ")


def agreed(plan: Mapping[str, Any]) -> bool:
    """Whether the person at the terminal says yes; nobody is asked about a plan that changes nothing."""
    changed = sum(change["change"] != "unchanged" for change in plan["changes"])
    if not changed:
        return True
    what = "this" if changed == 1 else f"these {changed}"
    return click.confirm(f"Make {what} live in {plan['environment']}?", err=True)


def is_asked() -> bool:
    """Whether a person is there to be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def keep(file: Path, plan: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Write a plan with its documents and what it rests on. Raises Conflict `cli.unwritable`."""
    content = {
        "format": _FORMAT,
        "environment": plan["environment"],
        "changelog": body["changelog"],
        "expected": {**plan["expected"], **body.get("expected", {})},
        "changes": [
            {name: change[name] for name in ("kind", "name", "live_version", "version", "change", "digest")}
            for change in plan["changes"]
        ],
        "documents": body["documents"],
    }
    try:
        file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise Conflict(
            "cli.unwritable", f"{file} cannot be written: {error.strerror}.", hint="Name another."
        ) from error
    output.note(
        f"Wrote {file}: stanchion apply --plan {file} does this, or nothing if another version is live by then."
    )


def read(file: Path) -> dict[str, Any]:
    """The request that a kept plan stands for. Raises Invalid `cli.usage`."""
    try:
        with file.open("rb") as opened:
            data = opened.read(_FILE_BYTES_MAX + 1)
        content: object = json.loads(data) if len(data) <= _FILE_BYTES_MAX else None
    except OSError as error:
        raise Invalid("cli.usage", f"{file} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError):
        content = None
    fields = ("environment", "changelog", "expected", "documents")
    if not isinstance(content, dict) or cast("dict[str, Any]", content).get("format") != _FORMAT:
        raise Invalid(
            "cli.usage", f"{file} is no plan.", hint="stanchion apply -f FOLDER --dry-run --out FILE writes one."
        )
    known = cast("dict[str, Any]", content)
    if missing := [name for name in fields if name not in known]:
        raise Invalid("cli.usage", f"The plan {file} has no {missing[0]}.", hint="Make it anew: it was changed.")
    return {name: known[name] for name in fields} | {"dry_run": False}
