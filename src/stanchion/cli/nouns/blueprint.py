"""`stanchion blueprint`: list, show, validate, graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click

from stanchion.cli import output, problems
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote
from stanchion.cli.nouns.apply import read_documents, send_documents

_SHOWN = output.columns("name", "version", "description", "owner", "digest")
_FACTS = output.columns("name", "version", "digest", "description", "owner", "input=input_schema", "source")


@click.group()
def blueprint() -> None:
    """Blueprints: versioned workflow documents."""


@blueprint.command("list")
@limit_options
@remote
def list_blueprints(session: Session, limit: int, everything: bool) -> None:
    """List the Blueprints that are live."""
    session.list(session.api.items(path("blueprints"), limit=None if everything else limit), _SHOWN, key="name")


@blueprint.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="A version; else the live one.")
@click.option("--source", is_flag=True, help="Only the text, as its author wrote it.")
@remote
def show(session: Session, name: str, version: int | None, source: bool) -> None:
    """Show one Blueprint."""
    found: dict[str, Any] = session.api.get(path("blueprints", name), version=version)
    if source:
        click.echo(found["source"], nl=not str(found["source"]).endswith("\n"))
        return
    session.one(found, _FACTS, key="name")


@blueprint.command()
@click.option(
    "-f",
    "--file",
    "paths",
    required=True,
    multiple=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder or file; may be repeated.",
)
@remote
def validate(session: Session, paths: tuple[Path, ...]) -> int:
    """Check documents without publishing them: every error, with its file, line and column."""
    documents = read_documents(paths)
    issues: list[dict[str, Any]] = send_documents(session, "/api/blueprints/validate", {"documents": documents})[
        "issues"
    ]
    wrong = sum(issue.get("severity", "error") == "error" for issue in issues)
    if session.form != "table":
        session.list(issues, output.columns("file", "line", "column", "message"), key="code")
    else:
        problems.report_issues(issues)
        counted = f"{wrong} error{'s' if wrong != 1 else ''}" if wrong else "no errors"
        output.note(f"{len(documents)} document{'s' if len(documents) != 1 else ''}, {counted}.")
    return problems.FAILED if wrong else problems.OK


@blueprint.command()
@click.argument("name")
@click.option("--version", type=click.IntRange(1), help="A version; else the live one.")
@remote
def graph(session: Session, name: str, version: int | None) -> None:
    """Draw the steps of a Blueprint as a tree."""
    found: dict[str, Any] = session.api.get(path("blueprints", name), version=version)
    document: dict[str, Any] = found["document"]
    lines = list(_tree(document.get("steps", []), ""))
    if session.form != "table":
        output.write_document(session.form, document.get("steps", []))
        return
    click.echo(click.style(f"{found['name']} v{found['version']}", bold=True))
    for line in lines:
        click.echo(line)


# Where a verb's config leads on: to steps of its own, or (an approval's ways out) by a word.
_BLOCKS = ("then", "else", "on_reject", "on_expire")
_COMMON = {"id", "if", "retry", "timeout", "for_each", "compensate", "description"}


def _tree(steps: list[dict[str, Any]], indent: str) -> Iterator[str]:
    for index, step in enumerate(steps):
        last = index == len(steps) - 1
        verb = next((key for key in step if key not in _COMMON), None)
        guard = click.style(f"  if {step['if']}", dim=True) if "if" in step else ""
        loop = cast("dict[str, Any]", step.get("for_each") or {})
        over = click.style(f"  for each in {loop['in']}", dim=True) if loop else ""
        word = verb.upper() if verb else "FOR_EACH"
        yield f"{indent}{'└─' if last else '├─'} {step.get('id', '?')}  {click.style(word, fg='blue')}{over}{guard}"
        below = indent + ("   " if last else "│  ")
        config = cast("dict[str, Any]", step.get(verb) or {}) if verb else {}
        blocks = [(name, config[name]) for name in _BLOCKS if name in config]
        if "steps" in loop:
            blocks.append(("each", loop["steps"]))
        for name, block in blocks:
            condition = f" {config['if']}" if name == "then" and "if" in config else ""
            word = f": {block}" if isinstance(block, str) else ""  # a way out that is no block: skip, fail
            yield f"{below}{click.style(f'{name}{condition}{word}', dim=True)}"
            yield from _tree(cast("list[dict[str, Any]]", block), below) if not word else ()
