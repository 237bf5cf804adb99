"""`stanchion connector`: configured adapters to external systems."""

from __future__ import annotations

from typing import Any

import click

from stanchion.cli import output, problems
from stanchion.cli.client import path
from stanchion.cli.kit import Session, limit_options, remote


def _resources(resources: Any) -> str:
    """One line each: name, what can be done with it, key, fields."""
    return "\n".join(
        f"{one['name']}: {', '.join(one['operations'])}; key {one['key']}; fields {', '.join(one['fields'])}"
        for one in resources
    )


_SHOWN = output.columns("name", "adapter", "environment", "version", "description")
_FACTS = output.columns(
    "name", "adapter", "environment", "version", "digest", "owner", "description", "resources", resources=_resources
)


@click.group()
def connector() -> None:
    """Connectors: which external systems Blueprints may reach, and how."""


@connector.command("list")
@limit_options
@remote
def list_connectors(session: Session, limit: int, everything: bool) -> None:
    """List connectors."""
    session.list(session.api.items(path("connectors"), limit=None if everything else limit), _SHOWN, key="name")


@connector.command()
@click.argument("name")
@remote
def show(session: Session, name: str) -> None:
    """Show one connector and its resources."""
    session.one(session.api.get(path("connectors", name)), _FACTS, key="name")


@connector.command()
@click.argument("name")
@remote
def test(session: Session, name: str) -> int:
    """Ask the external system whether it is there. Changes nothing."""
    answer: dict[str, Any] = session.api.post(path("connectors", name, "test"))
    fine = bool(answer["ok"])
    if session.form in {"table", "id"}:
        words = f"{answer['detail']} {answer['hint']}".strip() or ("It answers." if fine else "It does not answer.")
        code = f"{answer['code']}, " if answer["code"] else ""
        output.note(f"{words} ({code}{answer['duration_ms']} ms)")
    else:
        output.write_document(session.form, answer)
    return problems.OK if fine else problems.FAILED
