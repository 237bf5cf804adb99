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


@connector.command()
@click.argument("name")
@remote
def discover(session: Session, name: str) -> None:
    """Ask the external system what it has. Prints resources and operations to paste into the connector's document;
    changes nothing.

    On a terminal, and with `-o yaml`, that is YAML; `-o json` gives the whole answer, `-o id` the names alone.
    """
    answer: dict[str, Any] = session.api.post(path("connectors", name, "discover"))
    found: dict[str, Any] = {"resources": answer["resources"], "execute": answer["operations"]}
    if session.form in {"json", "ndjson"}:
        output.write_document(session.form, answer)
        return
    if session.form == "id":
        for name_found in [name for part in found.values() for name in part]:
            click.echo(name_found)
    elif any(found.values()):
        output.write_document("yaml", {part: body for part, body in found.items() if body})
    output.note(str(answer["narrative"]))
    for operation, said in answer["capabilities"].items():
        output.note(f"{operation}: {_capability(said)}")


def _capability(said: dict[str, Any]) -> str:
    """`paging by position; needs a key`."""
    return "; ".join(
        f"{word} {', '.join(str(item) for item in value) if isinstance(value, list) else value}"  # pyright: ignore[reportUnknownVariableType]
        for word, value in said.items()
    )
