"""The JSON Schema of a connector's document, put together from the common part and its adapter's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from stanchion.base import Json
from stanchion.blueprints import ABOUT_PROPERTIES, Schema
from stanchion.tools.adapter import Adapter
from stanchion.tools.egress import EGRESS_SCHEMA

NAME_PATTERN = "^[a-z][a-z0-9-]{0,62}$"
# What expressions can select with a dot, in CEL.
FIELD_PATTERN = "^[A-Za-z_][A-Za-z0-9_]{0,62}$"
RESOURCE_PATTERN = "^[a-z][a-z0-9_-]{0,62}$"
TIMEOUT_S_MAX = 600
VERBS = ("fetch", "lookup", "push")
EXECUTE = "execute"

_TEXT: Schema = {"type": "string", "maxLength": 2000}
# Over all processes; see docs/explanation/broker.md.
_LIMITS: Json = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "dependentRequired": {"burst": ["calls_per_s"]},
    "properties": {
        "calls_per_s": {"type": "number", "minimum": 0.01, "maximum": 100_000},
        "burst": {"type": "integer", "minimum": 1, "maximum": 100_000},
        "concurrent": {"type": "integer", "minimum": 1, "maximum": 10_000},
    },
}


def fields_schema(count_max: int = 200) -> dict[str, Json]:
    """Schema of a mapping from field (or parameter) name to its schema."""
    return {
        "type": "object",
        "maxProperties": count_max,
        "propertyNames": {"pattern": FIELD_PATTERN},
        "additionalProperties": {"x-schema": True},
    }


def document_schema(adapter: Adapter | None, adapters: tuple[str, ...]) -> Schema:
    """Schema of a whole document. Without a known adapter, what belongs to adapters is left open."""
    properties: dict[str, Json] = {
        "connector": {"type": "string", "pattern": NAME_PATTERN},
        "description": _json(_TEXT),
        "owner": {"type": "string", "minLength": 1, "maxLength": 200},
        **ABOUT_PROPERTIES,
        "adapter": {"enum": list(adapters)},
        "environment": {"type": "string", "pattern": NAME_PATTERN},
        "egress": _json(EGRESS_SCHEMA),
        "timeout": {"type": "string", "x-duration": True, "description": "of one call, at most 10m"},
        "limits": _LIMITS,
        "resources": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 200,
            "propertyNames": {"pattern": RESOURCE_PATTERN},
            "additionalProperties": _json(_resource(adapter) if adapter else COMMON_RESOURCE),
        },
    }
    settings: Mapping[str, Schema] = adapter.settings_schema if adapter else {}
    required = ["connector", "owner", "adapter", "environment"]
    if adapter is None or EXECUTE in adapter.operation_schemas:
        properties[EXECUTE] = _executed(adapter)
    else:
        required.append("resources")
        properties[EXECUTE] = {"type": "object"}
    return {
        "type": "object",
        "required": [*required, *(adapter.settings_required if adapter else ())],
        "additionalProperties": adapter is None,
        "properties": {**properties, **{name: _json(schema) for name, schema in settings.items()}},
    }


# What a resource is whatever its adapter.
_COMMON: dict[str, Json] = {
    "description": {**_TEXT},
    "key": {"type": "string", "pattern": FIELD_PATTERN},
    "fields": {**fields_schema(), "minProperties": 1},
}
COMMON_RESOURCE: Schema = {
    "type": "object",
    "properties": {
        **_COMMON,
        **{verb: {"type": "object", "properties": {"parameters": fields_schema(50)}} for verb in VERBS},
    },
}


# What an operation of EXECUTE is whatever its adapter.
_COMMON_OPERATION: dict[str, Json] = {
    "description": {**_TEXT},
    "parameters": fields_schema(100),
    "result": {"x-schema": True},
    "effect": {"enum": ["read", "write", "destructive"]},
    "idempotency": {"enum": ["key", "natural", "probe", "none"]},
    "reversible": {"type": "boolean"},
    "undone_by": {"type": "string", "pattern": RESOURCE_PATTERN},
}


def _executed(adapter: Adapter | None) -> Json:
    """Schema of `execute`: name -> the operation, with the adapter's own fields."""
    own: Mapping[str, Json] = adapter.operation_schemas[EXECUTE] if adapter else {}
    operation: dict[str, Json] = {
        "type": "object",
        "required": ["effect", *cast("list[str]", own.get("required", []))],
        "additionalProperties": adapter is None,
        "properties": {**_COMMON_OPERATION, **cast("Mapping[str, Json]", own.get("properties", {}))},
    }
    return {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 200,
        "propertyNames": {"pattern": RESOURCE_PATTERN},
        "additionalProperties": operation,
    }


def _resource(adapter: Adapter) -> Schema:
    operations = {
        verb: _operation(adapter.operation_schemas[verb], writes=verb == "push")
        for verb in VERBS
        if verb in adapter.operation_schemas
    }
    # An operation that the adapter refuses is answered with its own reason, not as an unknown field.
    refused: dict[str, Json] = {verb: {"type": "object"} for verb in adapter.refused if verb in VERBS}
    return {
        "type": "object",
        "required": ["fields", *adapter.resource_required],
        "additionalProperties": False,
        "properties": {
            **_COMMON,
            **{name: _json(schema) for name, schema in adapter.resource_schema.items()},
            **operations,
            **refused,
        },
    }


def _operation(schema: Schema, *, writes: bool) -> Json:
    """An adapter's operation schema with `{"x-parameters": true}` replaced by that of declared parameters."""
    properties = cast("Mapping[str, Json]", schema["properties"])
    filled: dict[str, Json] = {
        name: fields_schema(50) if isinstance(value, dict) and value.get("x-parameters") else value
        for name, value in properties.items()
    }
    if writes:
        filled["reversible"] = {"type": "boolean"}
    return {**schema, "properties": filled}


def _json(schema: Schema) -> Json:
    return dict(schema)
