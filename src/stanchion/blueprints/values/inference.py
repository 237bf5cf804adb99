"""Types told from values: the JSON Schema of a config that declares none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from stanchion.base import Json, did_you_mean
from stanchion.blueprints.check import Fault, key_of, type_name
from stanchion.blueprints.types import Schema

_WORDS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def inferred(values: Mapping[str, Json], overlays: Mapping[str, Mapping[str, Json]]) -> tuple[Schema, list[Fault]]:
    """The schema of an object that every environment's values fit, and why there is none.

    Args:
        values: what holds where nothing else is said.
        overlays: by environment, what it sets otherwise.

    A whole number in one place and a fraction in another make a number. An object is closed under the keys it has, an
    empty one is open; a list of unlike elements has elements of any type.
    """
    faults: list[Fault] = []
    schema = _of(dict(values), "/values", faults)
    for environment, overlay in overlays.items():
        schema = _beside(schema, dict(overlay), f"/environments/{key_of(environment)}", environment, faults)
    return schema, faults


def _of(value: Json, pointer: str, faults: list[Fault]) -> Schema:
    """The schema of one value. A null, which has no type to tell, is a fault."""
    if isinstance(value, dict):
        if not value:
            return {"type": "object"}
        members = {name: _of(item, f"{pointer}/{key_of(name)}", faults) for name, item in value.items()}
        return {"type": "object", "required": list(members), "properties": cast("Json", members)}
    if isinstance(value, list):
        return _of_list(value)
    if value is None:
        message = "The type of null cannot be told from it."
        hint = "Declare the values under schema, this one as {type: [string, 'null']} or the like."
        faults.append(Fault(pointer=pointer, code="config.untyped", message=message, hint=hint))
        return {}
    return {"type": type_name(value)}


def _of_list(value: list[Json]) -> Schema:
    if not value:
        return {"type": "array"}
    found: list[Fault] = []
    items: Schema | None = _of(value[0], "", found)
    for one in value[1:]:
        items = _both(items, _of(one, "", found)) if items is not None else None
    return {"type": "array", "items": cast("Json", {} if items is None or found else items)}


def _beside(schema: Schema, overlay: Json, pointer: str, environment: str, faults: list[Fault]) -> Schema:
    """`schema` widened by what an environment sets in its place."""
    properties = schema.get("properties")
    if isinstance(overlay, dict) and schema.get("type") == "object" and isinstance(properties, dict):
        members = dict(properties)
        for name, item in overlay.items():
            at = f"{pointer}/{key_of(name)}"
            if name in members:
                members[name] = cast("Json", _beside(cast("Schema", members[name]), item, at, environment, faults))
                continue
            message = f"values has no {name} that {environment} could set otherwise."
            hint = did_you_mean(name, members)
            hint = hint if hint.startswith("Did") else f"Give {name} a value under values too, for everywhere else."
            faults.append(Fault(pointer=at, code="config.unknown_key", message=message, hint=hint, at_key=True))
        return {**schema, "properties": members}
    if not schema:  # a null, of which it is said already that it has no type
        return schema
    found = _of(overlay, pointer, faults)
    both = _both(schema, found) if found else schema
    if both is not None:
        return both
    here, there = _WORDS[str(found.get("type"))], _WORDS[str(schema.get("type"))]
    message = f"In {environment} this is {here}, and under values it is {there}."
    hint = "Write one type everywhere, or declare what it may be under schema."
    faults.append(Fault(pointer=pointer, code="config.type", message=message, hint=hint))
    return schema


def _both(one: Schema, other: Schema) -> Schema | None:
    """The schema that values of either fit, or None where expressions could not rely on a type."""
    if one == other:
        return one
    kinds = {str(one.get("type")), str(other.get("type"))}
    if kinds == {"integer", "number"}:
        return {"type": "number"}
    if kinds == {"array"}:
        return _both_lists(one, other)
    if kinds == {"object"} and "properties" in one and "properties" in other:
        return _both_objects(one, other)
    return None


def _both_lists(one: Schema, other: Schema) -> Schema:
    if "items" not in one or "items" not in other:  # one of them is empty
        return other if "items" not in one else one
    items = _both(cast("Schema", one["items"]), cast("Schema", other["items"]))
    return {"type": "array", "items": cast("Json", items or {})}


def _both_objects(one: Schema, other: Schema) -> Schema | None:
    left, right = cast("dict[str, Json]", one["properties"]), cast("dict[str, Json]", other["properties"])
    members: dict[str, Json] = {**left, **right}
    for name in left.keys() & right.keys():
        both = _both(cast("Schema", left[name]), cast("Schema", right[name]))
        if both is None:
            return None
        members[name] = cast("Json", both)
    required: list[Json] = [name for name in left if name in right]
    return {"type": "object", "required": required, "properties": members}
