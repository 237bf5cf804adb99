"""How a failure leaves the command line: words on stderr (JSON with `-o json`) and an exit code (DESIGN §7)."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, cast

import click

from stanchion.base.errors import Kind, Problem
from stanchion.cli.client import Timeout

OK, FAILED, USAGE, NOT_FOUND, DENIED, CONFLICT, GATE, TIMEOUT, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 7, 8, 130

# A request that the server refuses as invalid failed; usage (2) is what the command line itself refuses.
_BY_KIND: Mapping[Kind, int] = {
    Kind.INVALID: FAILED,
    Kind.UNAUTHENTICATED: DENIED,
    Kind.DENIED: DENIED,
    Kind.NOT_FOUND: NOT_FOUND,
    Kind.CONFLICT: CONFLICT,
    Kind.LIMIT_EXCEEDED: FAILED,
    Kind.UNAVAILABLE: UNREACHABLE,
    Kind.INTERNAL: FAILED,
}


def exit_code(problem: Problem) -> int:
    """The exit code of a problem."""
    if isinstance(problem, Timeout):
        return TIMEOUT
    if problem.code in {"config.invalid", "cli.usage", "cli.url"}:
        return USAGE
    if problem.code in {"release.gated", "tool.gated"}:
        return GATE
    return _BY_KIND[problem.kind]


def report(problem: Problem, *, as_json: bool) -> None:
    """Say it on stderr: message, hint, each of its errors, code and request id."""
    if as_json:
        said = {"code": problem.code, "message": problem.message, "hint": problem.hint, **problem.fields}
        sys.stderr.write(json.dumps({"error": said}, indent=2, default=str, ensure_ascii=False) + "\n")
        return
    errors = cast("list[dict[str, Any]]", problem.fields.get("errors") or [])
    # For programs and logs, `detail` names the first of several errors; here they are all on the next lines.
    message = problem.message.partition(" First: ")[0] if errors else problem.message
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {message}", err=True)
    if problem.code == "config.invalid":  # its message holds them already
        errors = []
    report_issues(errors)
    if problem.hint and all(problem.hint != issue.get("hint") for issue in errors):
        click.echo(problem.hint, err=True)
    request_id = problem.fields.get("request_id")
    tail = f"{problem.code}, request {request_id}" if request_id else problem.code
    click.echo(click.style(f"({tail})", dim=True), err=True)


def report_issues(issues: list[dict[str, Any]]) -> None:
    """One line each on stderr, in the form editors jump to: `file:line:column: message`."""
    for issue in issues:
        place = ":".join(str(issue[part]) for part in ("file", "line", "column") if issue.get(part) not in {None, ""})
        where = place or str(issue.get("pointer") or issue.get("place") or issue.get("loc") or "")
        step = f" (step {issue['step']})" if issue.get("step") else ""
        word = "warning: " if issue.get("severity") == "warning" else ""
        message = str(issue.get("message") or issue.get("msg") or issue)
        click.echo(f"  {click.style(where, bold=True) + ': ' if where else ''}{word}{message}{step}", err=True)
        if issue.get("hint"):
            click.echo(f"      {issue['hint']}", err=True)
