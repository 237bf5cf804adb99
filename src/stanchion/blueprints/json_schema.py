"""The part of JSON Schema that documents may use for values, and validating values against it.

Keywords outside `SCHEMA_OF_SCHEMAS` are refused instead of ignored, so that a misspelt one is found at publish.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, cast

import jsonschema

from stanchion.base import Json, canonical, did_you_mean, loads
from stanchion.blueprints.types import Schema

FORMATS = ("decimal", "date-time", "date", "email", "uri", "uuid")
TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_SCHEMA: Json = {"$ref": "#/$defs/schema"}
_COUNT: Json = {"type": "integer", "minimum": 0}

SCHEMA_OF_SCHEMAS: Schema = {
    "$ref": "#/$defs/schema",
    "$defs": {
        "schema": {
            "type": "object",
            "x-label": "keyword known",
            "additionalProperties": False,
            "properties": {
                "type": {
                    "anyOf": [
                        {"type": "string", "enum": list(TYPES)},
                        {"type": "array", "minItems": 1, "items": {"type": "string", "enum": list(TYPES)}},
                    ]
                },
                "title": {"type": "string"},
                "description": {"type": "string"},
                "default": {},
                "examples": {"type": "array"},
                "enum": {"type": "array", "minItems": 1},
                "const": {},
                "format": {"type": "string", "enum": list(FORMATS)},
                "properties": {"type": "object", "additionalProperties": _SCHEMA},
                "required": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
                "additionalProperties": {"anyOf": [{"type": "boolean"}, _SCHEMA]},
                "items": _SCHEMA,
                "minItems": _COUNT,
                "maxItems": _COUNT,
                "uniqueItems": {"type": "boolean"},
                "minProperties": _COUNT,
                "maxProperties": _COUNT,
                "minLength": _COUNT,
                "maxLength": _COUNT,
                "pattern": {"type": "string"},
                "minimum": {"type": "number"},
                "maximum": {"type": "number"},
                "exclusiveMinimum": {"type": "number"},
                "exclusiveMaximum": {"type": "number"},
                "anyOf": {"type": "array", "minItems": 1, "items": _SCHEMA},
                "oneOf": {"type": "array", "minItems": 1, "items": _SCHEMA},
                "sensitive": {"type": "boolean", "description": "encrypted under the run's own key"},
            },
        }
    },
}


def closed(schema: Schema) -> Schema:
    """`schema` with every object that declares properties closed, unless it says `additionalProperties` itself.

    Expressions treat undeclared properties as absent; a value that carries one is refused by the same rule.
    """
    out: dict[str, Json] = {}
    for keyword, value in schema.items():
        if keyword == "properties" and isinstance(value, dict):
            out[keyword] = {k: cast("Json", closed(v)) if isinstance(v, dict) else v for k, v in value.items()}
        elif keyword in ("items", "additionalProperties") and isinstance(value, dict):
            out[keyword] = cast("Json", closed(value))
        elif keyword in ("anyOf", "oneOf") and isinstance(value, list):
            out[keyword] = [cast("Json", closed(v)) if isinstance(v, dict) else v for v in value]
        else:
            out[keyword] = value
    if "properties" in out:
        out.setdefault("additionalProperties", False)
    return out


def dangling(schema: Json, pointer: str) -> list[tuple[str, str, str]]:
    """(pointer, message, hint) of what is well-formed but wrong: a required name without a property, a bad pattern."""
    found: list[tuple[str, str, str]] = []
    if isinstance(schema, list):
        for index, item in enumerate(schema):
            found += dangling(item, f"{pointer}/{index}")
    if not isinstance(schema, dict):
        return found
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, dict):
        for index, name in enumerate(required if isinstance(required, list) else []):
            if name not in properties:
                message = f"{name} is required and not among the properties."
                found.append((f"{pointer}/required/{index}", message, did_you_mean(str(name), properties)))
        for name, item in properties.items():
            found += dangling(item, f"{pointer}/properties/{name.replace('~', '~0').replace('/', '~1')}")
    pattern = schema.get("pattern")
    if isinstance(pattern, str) and (reason := _bad_pattern(pattern)):
        found.append((f"{pointer}/pattern", f"The pattern is no regular expression: {reason}.", ""))
    for keyword in ("items", "additionalProperties", "anyOf", "oneOf"):
        found += dangling(schema.get(keyword), f"{pointer}/{keyword}")
    return found


def _bad_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def with_defaults(schema: Schema, value: Json) -> Json:
    """`value` with the `default` of every declared property it lacks, also within objects that it has.

    An absent object without a default of its own stays absent; lists and unions are left as they are. `value` itself is
    not changed.
    """
    properties = schema.get("properties")
    if not isinstance(value, dict) or not isinstance(properties, dict):
        return value
    out = dict(value)
    for name, declared in properties.items():
        if isinstance(declared, dict) and (name in out or "default" in declared):
            out[name] = with_defaults(declared, out[name] if name in out else declared["default"])
    return out


def misfits(schema: Json, pointer: str) -> list[tuple[str, str, str]]:
    """(pointer, message, hint) of every `default` that its own schema would refuse; `schema` itself is well-formed."""
    found: list[tuple[str, str, str]] = []
    if not isinstance(schema, dict):
        return found
    if "default" in schema:
        inner = closed({k: v for k, v in schema.items() if k != "default"})
        for place, message in validate_value(inner, with_defaults(inner, schema["default"])):
            text = f"The default does not fit its own schema: {message}"
            found.append((f"{pointer}/default{place}", text, "Correct the default, or what the schema says of it."))
    properties = schema.get("properties")
    for name, item in properties.items() if isinstance(properties, dict) else ():
        found += misfits(item, f"{pointer}/properties/{name.replace('~', '~0').replace('/', '~1')}")
    return found


_CHECKER = jsonschema.FormatChecker(formats=())


@_CHECKER.checks("decimal")
def _is_decimal(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        number = Decimal(value)
    except InvalidOperation:
        return False
    return number.is_finite() and "_" not in value and value == value.strip() and value.isascii()


@_CHECKER.checks("date-time")
def _is_date_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return len(value) > 10 and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


@_CHECKER.checks("date")
def _is_date(value: object) -> bool:
    if not isinstance(value, str):
        return True
    try:
        return len(value) == 10 and bool(date.fromisoformat(value))
    except ValueError:
        return False


def _matches(form: str) -> Callable[[object], bool]:
    return lambda value: not isinstance(value, str) or bool(re.match(form, value))


for _name, _form in {
    "email": r"[^@\s]+@[^@\s]+\Z",
    "uri": r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z",
    "uuid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z",
}.items():
    _CHECKER.checks(_name)(_matches(_form))


@lru_cache(maxsize=512)
def _validator(schema: bytes) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(cast("Any", loads(schema)), format_checker=_CHECKER)


def validate_value(schema: Schema, value: Json) -> list[tuple[str, str]]:
    """Faults of `value` under `schema` as (JSON pointer, message), in document order; empty if it fits.

    Formats are checked, `decimal` among them (a text such as `12.50`). Validators are cached by the schema's content.
    """
    found: list[tuple[str, str]] = []
    for error in _validator(canonical(schema)).iter_errors(cast("Any", value)):
        pointer = "".join(f"/{str(p).replace('~', '~0').replace('/', '~1')}" for p in error.absolute_path)
        if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
            known = cast("Mapping[str, object]", error.schema.get("properties", {}))
            for name in cast("Mapping[str, object]", error.instance):
                if name not in known:
                    hint = did_you_mean(name, known)
                    found.append((f"{pointer}/{name}", f"{name} is no declared property. {hint}".strip()))
            continue
        message = error.message if len(error.message) <= 300 else error.message[:300] + "…"
        found.append((pointer, message[:1].upper() + message[1:] + "."))
    return sorted(found)
