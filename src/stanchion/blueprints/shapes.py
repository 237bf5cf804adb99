"""What should stand where nothing, or something of another form, stands: hints that show the shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from stanchion.base import Json
from stanchion.blueprints.json_schema import SCHEMA_OF_SCHEMAS, TYPES
from stanchion.blueprints.types import Schema

_A_SCHEMA = cast("Mapping[str, Json]", SCHEMA_OF_SCHEMAS["$defs"])["schema"]


def wanted_shape(name: str, options: list[Schema], value: Json) -> str:
    """A hint that shows what is wanted as `name`, of the schemas `options`; empty where it would say nothing new."""
    known = "" if name.isdigit() or not name else f"{name}: "
    for schema in options:
        kinds = schema.get("type")
        kind = kinds if isinstance(kinds, str) else "object" if isinstance(kinds, list) and "object" in kinds else ""
        if schema.get("properties") == cast("Schema", _A_SCHEMA)["properties"]:
            return _schema_shape(name, known, value)
        if kind == "object":
            return f"Write {known}{_object(schema)}."
        if kind == "array":
            return _list(name, schema, value)
    if value is not None:
        return ""
    lasting = any(o.get("x-duration") is True for o in options)
    return f"Write {known}60s, or leave it out." if lasting else "Nothing stands here: write it, or leave it out."


def _schema_shape(name: str, known: str, value: Json) -> str:
    if name == "input":
        return f"Write {known}{{type: object, properties: {{…}}}}, or leave it out."
    kind = value if isinstance(value, str) and value in TYPES else "string"
    return f"Write {known}{{type: {kind}}}."


def _object(schema: Schema) -> str:
    required = cast("list[str]", schema.get("required", []))
    if required:
        return "{" + ", ".join(f"{name}: …" for name in required) + "}"
    if not schema.get("minProperties"):
        return "{}"
    inner = schema.get("additionalProperties")
    is_schema = isinstance(inner, dict) and inner.get("x-schema") is True
    return "{name: " + ("{type: string}" if is_schema else _object(inner) if isinstance(inner, dict) else "…") + "}"


def _list(name: str, schema: Schema, value: Json) -> str:
    items = schema.get("items")
    element = _object(items).strip("{}") if isinstance(items, dict) and items.get("required") else "…"
    if value is None:
        return f"Write at least one element below {name}: - {element}"
    return f"Write a list: each element below {name} after a dash, - {element}"
