"""The definition of an MCP tool as a connector pins it, its digest, and what changed between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import jsonschema
from jsonschema.validators import validator_for  # pyright: ignore[reportUnknownVariableType]
from referencing import Registry
from referencing.exceptions import Unresolvable

from stanchion.base import Json, digest

# The parts of a definition, in the words of the protocol. A part that the server does not give is null in the digest.
PARTS = ("title", "description", "inputSchema", "outputSchema", "annotations")
# How a person is told which part changed.
_SAID = {
    "title": "title",
    "description": "description",
    "inputSchema": "input schema",
    "outputSchema": "output schema",
    "annotations": "annotations",
}
_ORDER = ("read", "write", "destructive")
Effect = Literal["read", "write", "destructive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """One tool as its server lists it: `parts` holds what it gives of PARTS."""

    tool: str
    parts: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def digest(self) -> str:
        """The content address of name, title, description, schemas and annotations: what an owner released."""
        return digest({"name": self.tool, **{part: self.parts.get(part) for part in PARTS}})

    @property
    def input_schema(self) -> Mapping[str, Json]:
        """JSON Schema of the arguments."""
        return _object(self.parts.get("inputSchema"))

    @property
    def output_schema(self) -> Mapping[str, Json] | None:
        """JSON Schema of the structured content, if the tool declares one."""
        found = self.parts.get("outputSchema")
        return found if isinstance(found, dict) else None


def definition_of(tool: str, pinned: Mapping[str, Json]) -> Definition:
    """The definition that a connector's document holds."""
    return Definition(tool=tool, parts={part: pinned[part] for part in PARTS if pinned.get(part) is not None})


def changed(pinned: Definition, listed: Definition) -> list[str]:
    """Which parts differ, as a person is told: "description", "input schema (property b is new)"."""
    return [
        _SAID[part] + _how(part, pinned.parts.get(part), listed.parts.get(part))
        for part in PARTS
        if digest(pinned.parts.get(part)) != digest(listed.parts.get(part))
    ]


def _how(part: str, before: Json, after: Json) -> str:
    """Names alone, bounded: the server's texts are not repeated, they may be written to be read by a model."""
    if before is None or after is None:
        return " (added)" if before is None else " (taken away)"
    if part in {"inputSchema", "outputSchema"}:
        old, new = _object(_object(before).get("properties")), _object(_object(after).get("properties"))
        said = [
            *(f"{_name(name)} is new" for name in new.keys() - old.keys()),
            *(f"{_name(name)} is gone" for name in old.keys() - new.keys()),
            *(f"{_name(name)} differs" for name in old.keys() & new.keys() if digest(old[name]) != digest(new[name])),
        ]
        return f" ({', '.join(sorted(said)[:5])})" if said else ""
    if part == "annotations":
        old, new = _object(before), _object(after)
        names = sorted(name for name in old.keys() | new.keys() if digest(old.get(name)) != digest(new.get(name)))
        return f" ({', '.join(_name(name) for name in names[:5])})"
    return ""


def _name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "_-." else "?" for c in text[:40])


def _object(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def hinted(definition: Definition) -> Effect:
    """The least effect that the server's own hints admit. What it does not say is no hint: `read`.

    Hints are untrusted: they make an owner's declaration stricter and never milder.
    """
    hints = _object(definition.parts.get("annotations"))
    if hints.get("readOnlyHint") is True:
        return "read"
    if hints.get("destructiveHint") is True:
        return "destructive"
    return "write" if hints.get("readOnlyHint") is False or hints.get("destructiveHint") is False else "read"


def milder(declared: str, hint: Effect) -> bool:
    """Whether an owner's declaration says less than the server's hints."""
    return declared in _ORDER and _ORDER.index(declared) < _ORDER.index(hint)


def not_repeatable(definition: Definition) -> bool:
    """Whether the server says that a second call with the same arguments has an effect of its own."""
    return _object(definition.parts.get("annotations")).get("idempotentHint") is False


def schema_complaint(schema: Mapping[str, Json]) -> str | None:
    """Why a tool's schema is none, or None. References out of the document are refused: nothing is ever loaded."""
    for reference in _references(cast("Json", schema)):
        if not reference.startswith("#"):
            return "refers to a document outside of it"
    try:
        validator_for(cast("Any", schema), default=jsonschema.Draft202012Validator).check_schema(cast("Any", schema))  # pyright: ignore[reportUnknownMemberType]
    except jsonschema.SchemaError:
        return "is no JSON Schema"
    return None


def _references(value: Json) -> Iterator[str]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name in {"$ref", "$dynamicRef"} and isinstance(item, str):
                yield item
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def value_complaints(schema: Mapping[str, Json], value: object) -> list[str]:
    """Where `value` does not fit, and which keyword it breaks, without the value: "/a: is not of type number"."""
    validator = validator_for(cast("Any", schema), default=jsonschema.Draft202012Validator)(schema, registry=Registry())  # pyright: ignore[reportUnknownVariableType]
    found: list[str] = []
    try:
        for error in validator.iter_errors(cast("Any", value)):  # pyright: ignore[reportUnknownMemberType]
            place = "".join(f"/{part}" for part in error.absolute_path) or "the whole"
            found.append(f"{place[:100]}: {_broken(error)}")
            if len(found) == 10:
                break
    except Unresolvable:
        found.append("the whole: a reference of its schema leads nowhere")
    return sorted(found)


def _broken(error: jsonschema.ValidationError) -> str:
    keyword, wanted = error.validator, cast("object", error.validator_value)
    if keyword == "type":
        return f"is not of type {wanted}" if isinstance(wanted, str) else "is of another type"
    if keyword == "required" and isinstance(error.instance, dict):
        names = cast("list[object]", wanted) if isinstance(wanted, list) else []
        return f"lacks {', '.join(str(name) for name in names if name not in error.instance)[:100]}"
    if keyword == "additionalProperties":
        return "has a property that is not declared"
    return f"breaks {str(keyword)!r}"
