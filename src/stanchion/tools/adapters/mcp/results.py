"""From what a tool returned to the one result of an EXECUTE: texts, structured content, and other items, all bounded."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from stanchion.base import Json, dumps
from stanchion.tools.adapters.mcp.definitions import Definition, value_complaints

# Half of what a step may return, as the ledger keeps of a result (effects.rules).
RESULT_BYTES_MAX = 524_288
ITEMS_MAX = 200
_TEXT: Json = {"type": "string"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a tool returned.

    Attributes:
        result: `{text, structured, items, problems}`: its texts joined by line breaks; its structured content or null;
            images, sound, resources and links, each an object with `type`; what was left out or does not fit.
        problems: the same as in `result`: reasons for which a read fails. Without anything a server said.
    """

    result: Mapping[str, Json]
    problems: Sequence[str]


def result_schema(definition: Definition) -> dict[str, Json]:
    """JSON Schema of a result, for expressions; the server's own schema where it is an object with plain properties."""
    structured: Json = {"type": ["object", "null"]}
    properties = (definition.output_schema or {}).get("properties")
    if isinstance(properties, dict) and properties:
        structured = {
            "type": ["object", "null"],
            "properties": {name: plain_schema(schema, nullable=False) for name, schema in properties.items()},
        }
    return {
        "type": "object",
        "required": ["text", "structured", "items", "problems"],
        "properties": {
            "text": _TEXT,
            "structured": structured,
            "items": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
            "problems": {"type": "array", "items": _TEXT},
        },
    }


_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")


def plain_schema(schema: Json, *, nullable: bool) -> dict[str, Json]:
    """A server's schema of one value in the keywords that documents have: its types, its choices, its description."""
    given = schema if isinstance(schema, dict) else {}
    named = given.get("type")
    types = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    known: list[Json] = [name for name in types if name in _TYPES]
    if not known or known == ["null"]:
        known = list(_TYPES[:-1])
    choices = given.get("enum")
    if nullable and "null" not in known:
        known.append("null")
    out: dict[str, Json] = {"type": known[0] if len(known) == 1 else known}
    if isinstance(choices, list) and choices:
        out["enum"] = [*choices, None] if "null" in known and None not in choices else choices
    if isinstance(given.get("description"), str):
        out["description"] = given["description"]
    return out


def outcome_of(definition: Definition, content: Sequence[Mapping[str, Json]], structured: Json) -> Outcome:
    """The outcome of a call that its tool did not call an error. `content` is as the protocol has it."""
    problems: list[str] = []
    texts = [str(item.get("text", "")) for item in content if item.get("type") == "text"]
    text = "\n".join(texts)
    items = [_item(item) for item in content if item.get("type") != "text"]
    if len(items) > ITEMS_MAX:
        problems.append(f"{len(items) - ITEMS_MAX} of {len(items)} items are left out")
        items = items[:ITEMS_MAX]
    fits, complaint = _structured(definition, structured)
    if complaint:
        problems.append(complaint)
    result: dict[str, Json] = {"text": text, "structured": fits, "items": list(items), "problems": []}
    if len(dumps(result)) > RESULT_BYTES_MAX:
        problems.append(f"it is larger than {RESULT_BYTES_MAX} bytes: only the beginning of its text is kept")
        # A character has at most six bytes in JSON.
        result = {"text": text[: RESULT_BYTES_MAX // 8], "structured": None, "items": [], "problems": []}
    result["problems"] = list(problems)
    return Outcome(result=result, problems=problems)


def _structured(definition: Definition, structured: Json) -> tuple[Json, str]:
    schema = definition.output_schema
    if schema is None:
        return (structured if isinstance(structured, dict) else None), ""
    if structured is None:
        return None, "there is no structured content, which the tool's output schema promises"
    if complaints := value_complaints(schema, structured):
        return None, f"the structured content does not fit the tool's output schema ({'; '.join(complaints[:3])})"
    return structured, ""


def _item(item: Mapping[str, Json]) -> dict[str, Json]:
    """One item that is no text, in our own words; fields of other types are left out."""
    kind = str(item.get("type", ""))
    if kind in {"image", "audio"}:
        data = _text(item, "data")
        return {"type": kind, "mime_type": _text(item, "mimeType"), "bytes": _size(data), "data": data}
    if kind == "resource":
        held = cast("Mapping[str, Json]", item.get("resource") or {})
        out: dict[str, Json] = {"type": kind, "uri": _text(held, "uri"), "mime_type": _text(held, "mimeType")}
        if "blob" in held:
            return {**out, "bytes": _size(_text(held, "blob")), "data": _text(held, "blob")}
        return {**out, "text": _text(held, "text")}
    if kind == "resource_link":
        names = {"uri": "uri", "name": "name", "mime_type": "mimeType", "description": "description"}
        return {"type": kind, **{ours: _text(item, theirs) for ours, theirs in names.items()}}
    return {"type": "other"}


def _text(item: Mapping[str, Json], name: str) -> str:
    value = item.get(name)
    return value if isinstance(value, str) else ""


def _size(data: str) -> int | None:
    try:
        return len(base64.b64decode(data, validate=True))
    except (binascii.Error, ValueError):
        return None
