"""`stanchion connector`: configured adapters to external systems."""

from __future__ import annotations

from typing import Any, cast

import click

from stanchion.base import Invalid
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
    return "; ".join(f"{word} {', '.join(map(str, _items(value)))}" for word, value in said.items())


def _items(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else [value]


# Larger documents describe more than one connector.
_OPENAPI_BYTES_MAX = 32 * 1_048_576


@connector.command("import-openapi")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--name", required=True, help="The connector's name.")
@click.option("--owner", default="nobody", show_default=True, help="The team that answers for it.")
@click.option("--environment", default="local", show_default=True, help="The one environment it belongs to.")
@click.option("--base-url", default=None, help="The server, where the document does not name it by an absolute URL.")
@click.option("--under", default="", help="Only paths that begin so: /invoices.")
def import_openapi(file: str, name: str, owner: str, environment: str, base_url: str | None, under: str) -> None:
    """Make a connector's document of an OpenAPI 3 document. Prints YAML for review; publishes nothing.

    FILE is YAML or JSON; - reads standard input. What is no GET writes, and no write is taken to be recognised when
    repeated: say otherwise where the system's own words do.
    """
    from stanchion.tools.adapters.http_openapi import openapi_connector  # noqa: PLC0415 - no other command pays for its import

    with click.open_file(file, "rb") as opened:
        data = opened.read(_OPENAPI_BYTES_MAX + 1)
    if len(data) > _OPENAPI_BYTES_MAX:
        raise Invalid("openapi.too_large", "The OpenAPI document is larger than 32 MiB.", hint="Take a part of it.")
    made = openapi_connector(data, name=name, owner=owner, environment=environment, base_url=base_url, under=under)
    output.write_document("yaml", made.body)
    for note in made.notes:
        output.note(note)
