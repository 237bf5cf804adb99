"""Schemas of an OpenAPI document as those that connectors have: references followed, other keywords left out, bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any, Final, cast

from stanchion.base import Json
from stanchion.blueprints import FORMATS

# A schema is followed so deep, and so many parts of it are taken; what is beyond may be anything.
DEPTH_MAX: Final = 6
PARTS_MAX: Final = 400
_TYPES: Final = ("object", "array", "string", "integer", "number", "boolean", "null")
_BOUNDS: Final = (
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "uniqueItems",
)


class Schemas:
    """The schemas of one document. `notes`: what could not be taken over."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._parts = 0
        self.notes: list[str] = []

    def resolved(self, value: object) -> object:
        """What a `$ref` leads to, through at most ten; references out of the document lead nowhere."""
        for _ in range(10):
            reference = _mapping(value).get("$ref")
            if not isinstance(reference, str):
                return value
            if not reference.startswith("#/"):
                self.notes.append("A reference that leads out of the document was taken for anything.")
                return {}
            value = self._document
            for part in reference[2:].split("/"):
                value = _mapping(value).get(part.replace("~1", "/").replace("~0", "~").replace("%20", " "))
        return {}

    def parameter(self, schema: object, *, optional: bool, about: Mapping[str, Any]) -> dict[str, Json]:
        """A parameter's schema: it has types, and null among them if it may be left out."""
        self._parts = 0
        made = self._converted(schema, strict=True, depth=0, above=())
        types = self._types(made)
        made["type"] = cast("Json", types if len(types) != 1 else types[0])
        if optional and "null" not in types:
            made["type"] = [*types, "null"]
            if isinstance(made.get("enum"), list):
                made["enum"] = [*cast("list[Json]", made["enum"]), None]
        if made.get("enum") is not None:
            kinds = set(cast("list[str]", made["type"] if isinstance(made["type"], list) else [made["type"]]))
            made["enum"] = [choice for choice in cast("list[Json]", made["enum"]) if _is_one_of(choice, kinds)]
            if not made["enum"]:
                del made["enum"]
        text = " ".join(str(about.get("description") or "").split())
        return {**made, "description": text[:300]} if text and "description" not in made else made

    def result(self, schema: object) -> dict[str, Json]:
        """A result's schema: its shape, without bounds and formats, which answers keep less than requests."""
        self._parts = 0
        return self._converted(schema, strict=False, depth=0, above=()) if schema is not None else {}

    def fields(self, schema: object) -> dict[str, tuple[object, bool]] | None:
        """The properties of an object's schema and whether each is needed; None if it is no object with properties."""
        properties, required = dict[str, object](), set[str]()
        if not self._collect(schema, properties, required, 0) or not properties:
            return None
        return {
            name: (inner, name in required)
            for name, inner in properties.items()
            if _mapping(self.resolved(inner)).get("readOnly") is not True
        }

    def _collect(self, schema: object, properties: dict[str, object], required: set[str], depth: int) -> bool:
        found = _mapping(self.resolved(schema))
        if depth > DEPTH_MAX or "anyOf" in found or "oneOf" in found:
            return False
        if "type" in found and found["type"] not in ("object", ["object"]):
            return False
        for part in _list(found.get("allOf")):
            if not self._collect(part, properties, required, depth + 1):
                return False
        properties.update(_mapping(found.get("properties")))
        required.update(str(name) for name in _list(found.get("required")))
        return True

    def _types(self, made: Mapping[str, Json]) -> list[str]:
        """The types that a schema allows, those of its choices together, or all."""
        said = made.get("type")
        if isinstance(said, str):
            return [said]
        if isinstance(said, list) and said:
            return [str(one) for one in said]
        choices = [_mapping(c) for key in ("anyOf", "oneOf") for c in _list(made.get(key))]
        found = [one for choice in choices for one in self._types(cast("Mapping[str, Json]", choice))]
        return [one for one in _TYPES if one in found] or [*_TYPES]

    def _converted(self, schema: object, *, strict: bool, depth: int, above: tuple[str, ...]) -> dict[str, Json]:
        reference = _mapping(schema).get("$ref")
        if isinstance(reference, str):
            if reference in above:
                return {}
            above = (*above, reference)
        found = _mapping(self.resolved(schema))
        self._parts += 1
        if depth > DEPTH_MAX or self._parts > PARTS_MAX:
            if self._parts > PARTS_MAX:
                self.notes.append(f"A schema of more than {PARTS_MAX} parts was cut: the rest may be anything.")
            return {}
        made: dict[str, Json] = {}
        self._shape(found, made, strict=strict, depth=depth, above=above)
        for part in _list(found.get("allOf")):
            _merge(made, self._converted(part, strict=strict, depth=depth + 1, above=above))
        if strict:
            self._bounds(found, made)
        _nullable(found, made)
        if isinstance(made.get("required"), list):
            known = _mapping(made.get("properties"))
            kept = [name for name in dict.fromkeys(cast("list[str]", made["required"])) if name in known]
            made["required"] = cast("Json", kept)
            if not kept:
                del made["required"]
        return made

    def _shape(
        self, found: Mapping[str, Any], made: dict[str, Json], *, strict: bool, depth: int, above: tuple[str, ...]
    ) -> None:
        def inner(schema: object) -> dict[str, Json]:
            return self._converted(schema, strict=strict, depth=depth + 1, above=above)

        types = [one for one in _list(found.get("type")) or [found.get("type")] if one in _TYPES]
        if types:
            made["type"] = cast("Json", types if len(types) > 1 else types[0])
        if _mapping(found.get("properties")):
            made["properties"] = {str(n): inner(s) for n, s in _mapping(found["properties"]).items()}
            made.setdefault("type", "object")
            # What the document does not name may be there all the same.
            made["additionalProperties"] = True
        if _list(found.get("required")):
            made["required"] = [str(name) for name in _list(found["required"])]
        if isinstance(found.get("additionalProperties"), Mapping):
            made["additionalProperties"] = inner(found["additionalProperties"])
        if "items" in found:
            made["items"] = inner(found["items"])
            made.setdefault("type", "array")
        for choice in ("anyOf", "oneOf"):
            options = [inner(option) for option in _list(found.get(choice))]
            if options and all(options):
                made["anyOf"] = cast("Json", options)
        if depth > 0 and isinstance(found.get("description"), str) and strict:
            made["description"] = " ".join(found["description"].split())[:300]

    def _bounds(self, found: Mapping[str, Any], made: dict[str, Json]) -> None:
        for keyword in _BOUNDS:
            if isinstance(found.get(keyword), int | float):
                made[keyword] = found[keyword]
        for keyword, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            bound = found.get(keyword)
            if bound is True and plain in made:  # as version 3.0 has it
                made[keyword] = made.pop(plain)
            elif isinstance(bound, int | float) and not isinstance(bound, bool):
                made[keyword] = bound
        if found.get("format") in FORMATS:
            made["format"] = found["format"]
        if isinstance(found.get("pattern"), str) and _compiles(found["pattern"]):
            made["pattern"] = found["pattern"]
        if _list(found.get("enum")):
            made["enum"] = [_plain(choice) for choice in _list(found["enum"])[:200]]
        if "const" in found:
            made["enum"] = [_plain(found["const"])]


def _merge(made: dict[str, Json], part: Mapping[str, Json]) -> None:
    for keyword, value in part.items():
        if keyword == "properties":
            made[keyword] = {**_mapping(made.get(keyword)), **_mapping(value)}
        elif keyword == "required":
            made[keyword] = [*_list(made.get(keyword)), *_list(value)]
        else:
            made.setdefault(keyword, value)


def _nullable(found: Mapping[str, Any], made: dict[str, Json]) -> None:
    """`nullable` of version 3.0."""
    if found.get("nullable") is not True or "type" not in made:
        return
    types = made["type"] if isinstance(made["type"], list) else [made["type"]]
    if "null" not in types:
        made["type"] = [*types, "null"]
        if isinstance(made.get("enum"), list) and None not in cast("list[Json]", made["enum"]):
            made["enum"] = [*cast("list[Json]", made["enum"]), None]


def _is_one_of(value: Json, kinds: set[str]) -> bool:
    if value is None:
        return "null" in kinds
    if isinstance(value, bool):
        return "boolean" in kinds
    if isinstance(value, int | float):
        return "number" in kinds or ("integer" in kinds and isinstance(value, int))
    return {str: "string", list: "array", dict: "object"}.get(type(value), "") in kinds


def _plain(value: object) -> Json:
    """YAML reads `2026-03-31` as a date."""
    return value.isoformat() if isinstance(value, date) else cast("Json", value)


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return len(pattern) <= 500


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
