"""Markdown tables, and the fields of a JSON Schema as one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stanchion.blueprints import SCHEMA_OF_SCHEMAS

REQUIRED = "**needed**"
_WORDS = {
    "object": "object",
    "array": "list",
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "null": "`null`",
}


@dataclass(frozen=True, slots=True)
class Field:
    """What people say of one field: an example as it stands in YAML, what it means, and the default if it has one."""

    example: str
    meaning: str
    default: str = ""


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `|` and line ends in cells are taken care of."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|")


def code(text: str) -> str:
    """Inline code; text that holds backticks gets longer ones."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def fields(schema: Mapping[str, Any], said: Mapping[str, Field], where: str) -> str:
    """The fields of an object schema, nested ones by their dotted path.

    Raises SystemExit if `said` lacks a field of the schema, or says something of a field that is none.
    """
    found = list(_walk(schema, ""))
    names = [name for name, _, _ in found]
    if missing := [name for name in names if name not in said]:
        raise SystemExit(f"{where}: nothing is said about {', '.join(missing)}")
    if unknown := [name for name in said if name not in names]:
        raise SystemExit(f"{where}: the schema has no {', '.join(unknown)}")
    rows = [
        (
            code(name),
            type_of(inner),
            REQUIRED if needed else said[name].default or "–",
            code(said[name].example),
            said[name].meaning,
        )
        for name, inner, needed in found
    ]
    return table(("field", "type", "default", "example", "meaning"), rows)


def _walk(schema: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
    required = schema.get("required", [])
    for name, inner in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, inner, name in required
        if "properties" in inner and inner.get("type") == "object":
            yield from _walk(inner, f"{path}.")


def type_of(schema: Mapping[str, Any]) -> str:
    """A field's type in words, with its bounds."""
    marks = {
        "x-artifact": lambda v: f"name of a {v}",
        "x-expression": lambda _: "[expression](expressions.md)",
        "x-duration": lambda _: "duration",
        "x-block": lambda _: "list of steps",
        "x-schema": lambda _: "JSON Schema",
        "x-parameters": lambda _: "names → JSON Schema",
    }
    for mark, said in marks.items():
        if schema.get(mark):
            return said(schema[mark])
    if "$ref" in schema:
        return {"#/$defs/block": "list of steps", "#/$defs/schema": "JSON Schema"}[schema["$ref"]]
    if "anyOf" in schema:
        return " or ".join(type_of(option) for option in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(code("null" if v is None else str(v)) for v in schema["enum"])
    kinds = schema.get("type", [])
    words = " or ".join(_WORDS[k] for k in ([kinds] if isinstance(kinds, str) else kinds)) or "any value"
    return words + _bounds(schema) + (", `${ }`" if schema.get("x-template") else "") + _elements(schema)


def _elements(schema: Mapping[str, Any]) -> str:
    inner = schema.get("items", schema.get("additionalProperties"))
    if not isinstance(inner, Mapping):
        return ""
    joined = "of" if "items" in schema else "→"
    return f" {joined} {type_of(inner)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    said: list[str] = []
    if low is not None or high is not None:
        said.append(f"{low} to {high}" if low is not None and high is not None else f"from {low}")
    for least, most, unit in (
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "elements"),
        ("minProperties", "maxProperties", "entries"),
    ):
        if most in schema:
            least_said = f"{schema[least]} to" if schema.get(least) else "up to"
            said.append(f"{least_said} {schema[most]} {unit}")
    if "pattern" in schema:
        said.append(code(schema["pattern"]))
    return f" ({', '.join(said)})" if said else ""


def schema_keywords() -> Sequence[str]:
    """The keywords of JSON Schema that documents may use."""
    return tuple(SCHEMA_OF_SCHEMAS["$defs"]["schema"]["properties"])  # type: ignore[index, call-overload]
