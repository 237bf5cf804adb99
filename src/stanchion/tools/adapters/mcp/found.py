"""What an MCP server offers, as operations for a connector's document."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

from stanchion.base import Json
from stanchion.tools.adapters.mcp.definitions import Definition, hinted, not_repeatable, schema_complaint
from stanchion.tools.adapters.mcp.results import plain_schema, result_schema
from stanchion.tools.types import DISCOVERED_MAX, Connector, Discovery

_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NO_NAME = re.compile(r"[^a-z0-9_-]+")


def discovery_of(connector: Connector, tools: Mapping[str, Definition]) -> Discovery:
    """The tools as operations, ready to stand under `execute`; what is declared already keeps its name."""
    names = {
        str(resource.operations["execute"].settings.get("tool", name)): name
        for name, resource in connector.operations.items()
    }
    operations: dict[str, Mapping[str, Json]] = {}
    left_out: list[str] = []
    for tool in sorted(tools)[:DISCOVERED_MAX]:
        definition = tools[tool]
        if any(schema_complaint(s) for s in (definition.input_schema, definition.output_schema) if s is not None):
            left_out.append(tool)
            continue
        name = names.get(tool) or _free(tool, {*operations, *names.values()})
        operations[name] = operation_of(name, definition)
    said = f"The server has {counted(len(tools))}."
    if left_out:
        said += f" Left out, as their schemas do not stand by themselves: {', '.join(left_out[:20])}."
    said += " `effect` is the server's own hint, or `destructive` where it gives none: read what the tool does, and declare it."
    return Discovery(
        operations=operations,
        capabilities={
            "execute": {
                "idempotency": ["key", "natural", "none"],
                "effects": ["read", "write", "destructive"],
                "pinned": "name, title, description, schemas and annotations, by digest",
            }
        },
        narrative=said,
        truncated=len(tools) > DISCOVERED_MAX,
    )


def counted(number: int) -> str:
    """`1 tool`, `2 tools`."""
    return f"{number} tool{'' if number == 1 else 's'}"


def operation_of(name: str, definition: Definition) -> dict[str, Json]:
    """One tool as an operation: its effect as strict as it may be, its arguments as parameters."""
    required = cast("list[str]", definition.input_schema.get("required") or [])
    properties = cast("Mapping[str, Json]", definition.input_schema.get("properties") or {})
    effect = hinted(definition) if "annotations" in definition.parts else "destructive"
    if effect == "read" and not _says_so(definition):
        effect = "destructive"
    body: dict[str, Json] = {}
    if name != definition.tool:
        body["tool"] = definition.tool
    parameters: dict[str, Json] = {
        argument: plain_schema(schema, nullable=argument not in required)
        for argument, schema in properties.items()
        if _FIELD.fullmatch(argument)
    }
    if parameters:
        body["parameters"] = parameters
    body |= {"effect": effect}
    if effect != "read":
        body["idempotency"] = "natural" if _repeatable(definition) and not not_repeatable(definition) else "none"
    body |= {
        "digest": definition.digest,
        "definition": dict(definition.parts),
        "result": result_schema(definition),
    }
    return body


def _says_so(definition: Definition) -> bool:
    hints = definition.parts.get("annotations")
    return isinstance(hints, dict) and hints.get("readOnlyHint") is True


def _repeatable(definition: Definition) -> bool:
    hints = definition.parts.get("annotations")
    return isinstance(hints, dict) and hints.get("idempotentHint") is True


def _free(tool: str, taken: set[str]) -> str:
    """A name for the operation: `getTinyImage` -> `get-tiny-image`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", tool).lower()
    name = _NO_NAME.sub("-", words).strip("-_")[:58] or "tool"
    name = name if name[0].isalpha() else f"tool-{name}"[:58]
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found
