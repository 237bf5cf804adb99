"""The input of a run from the command line: `name=value` pairs, `@file.json`, or `-` for standard input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stanchion.base.errors import Invalid, Problem
from stanchion.cli.client import path

if TYPE_CHECKING:
    from stanchion.cli.kit import Session

input_option = click.option(
    "-i", "--input", "given", multiple=True, metavar="NAME=VALUE|@FILE|-", help="Input of the run; may be repeated.",
)  # fmt: skip


def read_input(
    session: Session, blueprint: str, given: tuple[str, ...], *, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """The input as one object. A later part wins over an earlier one.

    In `name=value` the value is text where the Blueprint's input schema (or the `schema` given) says text, else JSON if it is
    JSON.

    Raises:
        Invalid: `cli.usage` for what is neither form, or no JSON object.
    """
    found: dict[str, Any] = {}
    for part in given:
        if part == "-":
            found.update(_object(sys.stdin.read(), "standard input"))
        elif part.startswith("@"):
            try:
                found.update(_object(Path(part[1:]).read_text(encoding="utf-8"), part[1:]))
            except OSError as error:
                raise Invalid("cli.usage", f"{part[1:]} cannot be read: {error.strerror}.") from error
        elif "=" in part:
            name, _, value = part.partition("=")
            schema = _schema(session, blueprint) if schema is None else schema
            found[name] = _value(value, schema.get("properties", {}).get(name, {}))
        else:
            raise Invalid(
                "cli.usage", f"{part!r} is no input.", hint="Write name=value, @file.json, or - for standard input."
            )
    return found


def _schema(session: Session, blueprint: str) -> dict[str, Any]:
    try:
        return dict(session.api.get(path("blueprints", blueprint)).get("input_schema") or {})
    except Problem:
        return {}  # who may start a run need not be allowed to read its Blueprint


def _value(said: str, schema: dict[str, Any]) -> Any:
    kinds = schema.get("type")
    if kinds == "string" or (isinstance(kinds, list) and "string" in kinds):
        return said
    try:
        return json.loads(said)
    except ValueError:
        return said


def _object(said: str, place: str) -> dict[str, Any]:
    try:
        value = json.loads(said)
    except ValueError as error:
        raise Invalid("cli.usage", f"{place} is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise Invalid("cli.usage", f"{place} holds no JSON object.", hint='An input is an object: {"name": "value"}.')
    return value  # pyright: ignore[reportUnknownVariableType]
