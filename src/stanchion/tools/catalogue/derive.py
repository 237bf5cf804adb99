"""What a tool is made of, with its connector: the schema of its arguments, what models are told, and the program of a call.

A call is a run of one step whose program is derived from the tool and its connector, never written by anybody: the same
handlers, ledger, approvals and records as any other step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from stanchion.base import Json, did_you_mean, digest
from stanchion.blueprints import Lookup, Schema
from stanchion.tools.catalogue.types import Tool
from stanchion.tools.records import types_of
from stanchion.tools.types import Connector, Operation

# Keywords by which a tool may narrow an argument, and which direction is narrower.
_AT_LEAST: Final = frozenset({"minimum", "minLength", "minItems"})
_AT_MOST: Final = frozenset({"maximum", "maxLength", "maxItems"})
_FREE: Final = frozenset({"description", "examples"})
_ONCE: Final = frozenset({"enum", "const", "pattern"})
NARROWING: Final = tuple(sorted(_AT_LEAST | _AT_MOST | _FREE | _ONCE))
_STRICTNESS: Final = {"read": 0, "write": 1, "destructive": 2}
# Where the arguments of each verb go in its step.
FIELD_OF: Final = {"fetch": "where", "lookup": "", "push": "record", "execute": "arguments"}


def operation_of(tool: Tool, connector: Connector) -> Operation | None:
    """The connector's operation that the tool is, or None if it has none such."""
    found = connector.operations if tool.verb == "execute" else connector.resources
    resource = found.get(tool.called)
    return None if resource is None else resource.operations.get(tool.verb)


def declared_arguments(tool: Tool, connector: Connector) -> dict[str, Schema]:
    """Argument -> schema as the connector declares it: the parameters of a fetch or an execute, the fields of a push, the
    `key` of a lookup. The operation must be there."""
    if tool.verb == "execute":
        return dict(connector.operations[tool.called].operations["execute"].parameters)
    resource = connector.resources[tool.called]
    if tool.verb == "lookup":
        return {"key": resource.fields[resource.key]}
    return dict(resource.fields if tool.verb == "push" else resource.operations["fetch"].parameters)


def narrowing_faults(tool: Tool, declared: Mapping[str, Schema]) -> Iterator[tuple[str, str, str]]:
    """(pointer, message, hint) of what would not narrow the operation's schema but change it."""
    for name, keywords in tool.narrowed.items():
        at = f"/input/properties/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in declared:
            yield at, f"{tool.operation} has no argument {name}.", did_you_mean(name, declared)
            continue
        for keyword, value in keywords.items():
            if reason := _not_narrower(keyword, value, declared[name]):
                yield f"{at}/{keyword}", reason, f"A tool may narrow by: {', '.join(NARROWING)}."
    for number, name in enumerate(tool.required):
        if name not in declared:
            message = f"{tool.operation} has no argument {name}."
            yield f"/input/required/{number}", message, did_you_mean(name, declared)


def _not_narrower(keyword: str, value: Json, schema: Schema) -> str:
    known = schema.get(keyword)
    if keyword not in NARROWING:
        return f"{keyword} is nothing by which a tool may narrow an argument."
    if keyword == "enum":
        return "" if _is_part(value, known) else "The enum has values that the connector's has not."
    if keyword in _FREE or known is None:
        return ""
    if keyword in _ONCE:
        return "" if value == known else f"The connector says {keyword} {json.dumps(known)} itself."
    if not isinstance(value, int | float) or not isinstance(known, int | float):
        return f"{keyword} is a number."
    wider = value < known if keyword in _AT_LEAST else value > known
    return f"{keyword} {value} is wider than the connector's {known}." if wider else ""


def _is_part(value: Json, known: Json) -> bool:
    if not isinstance(value, list):
        return False
    return not isinstance(known, list) or all(one in known for one in value)


def input_schema(tool: Tool, connector: Connector) -> dict[str, Json]:
    """JSON Schema of the tool's arguments: the operation's, narrowed. An argument is required unless it may be null."""
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for name, schema in declared_arguments(tool, connector).items():
        merged = {**schema, **tool.narrowed.get(name, {})}
        if name in tool.required and "null" in types_of(schema):
            kinds = [kind for kind in types_of(schema) if kind != "null"]
            merged["type"] = kinds[0] if len(kinds) == 1 else cast("list[Json]", kinds)
        if "null" not in types_of(merged):
            required.append(name)
        properties[name] = merged
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def told_of(tool: Tool, connector: Connector) -> dict[str, Json]:
    """Everything that a model is told of the tool: what a person approves is exactly this, and its digest is bound to it."""
    return {
        "name": tool.model_name,
        "description": tool.model_description,
        "input_schema": input_schema(tool, connector),
        "annotations": {
            "readOnlyHint": tool.effect == "read",
            "destructiveHint": tool.effect == "destructive",
            "idempotentHint": tool.effect == "read" or tool.idempotency != "none",
        },
    }


def told_digest(tool: Tool, connector: Connector) -> str:
    """The digest of what a model is told."""
    return digest(told_of(tool, connector))


def strictness_fault(tool: Tool, operation: Operation) -> tuple[str, str, str] | None:
    """(pointer, message, hint) where the tool says less of its effect, or something else of repetitions, than is so."""
    if _STRICTNESS[tool.effect] < _STRICTNESS[operation.effect]:
        message = f"{tool.operation} is {operation.effect}; the tool says {tool.effect}."
        return "/effect", message, f"Say `effect: {operation.effect}`, or something stricter."
    if tool.effect != "read" and operation.effect == "read" and tool.verb != "execute":
        return "/effect", f"A {tool.verb} reads.", "Say `effect: read`."
    if tool.effect != "read" and operation.effect != "read" and tool.idempotency != operation.idempotency:
        message = f"{tool.operation} declares idempotency {operation.idempotency}; the tool says {tool.idempotency}."
        return "/idempotency", message, f"Say `idempotency: {operation.idempotency}`."
    return None


def blueprint_of(tool: Tool, connector: Connector) -> dict[str, Json]:
    """The document of a Blueprint whose run is one call: an approval if the tool has one, then the step.

    Its input is {arguments, dry_run}. A dry run of a write makes its intent and its outcome and calls nothing. The approval
    stands before the write in its branch, so that it decides over it (I8); what a branch gives is its step's output.
    """
    schema = input_schema(tool, connector)
    properties = cast("dict[str, dict[str, Json]]", schema["properties"])
    absent = {
        name: {**one, "default": None} if "null" in types_of(one) and "default" not in one else one
        for name, one in properties.items()
    }
    arguments: Json = {**schema, "properties": cast("dict[str, Json]", absent)}
    asking = _asking(tool, properties)
    output: dict[str, Json] = {}
    if tool.effect == "read":
        steps: list[Json] = [*asking, {"id": "call", tool.verb: _step(tool, properties)}]
        output = {"output": "${steps.call}"}
    else:
        tried: Json = {"id": "tried", tool.verb: {**_step(tool, properties), "simulate": True}}
        call: Json = {"id": "call", tool.verb: _step(tool, properties)}
        gate: Json = {"if": "input.dry_run", "then": [tried], "else": [*asking, call]}
        steps = [{"id": "trial", "logic_gate": gate}]
    return {
        "blueprint": tool.name,
        "owner": tool.owner,
        "input": {
            "type": "object",
            "required": ["arguments", "dry_run"],
            "properties": {"arguments": arguments, "dry_run": {"type": "boolean"}},
            "additionalProperties": False,
        },
        "steps": steps,
        **output,
    }


def _asking(tool: Tool, properties: Mapping[str, Json]) -> list[Json]:
    if tool.approval is None:
        return []
    # What is shown is what is written, word for word: an approval is bound to it (I8).
    shown: Json = _each(properties) if tool.verb == "execute" else "${input.arguments}"
    asked: dict[str, Json] = {"policy": tool.approval, "show": [shown]}
    if tool.facts is not None:
        asked["facts"] = _over_input(tool.facts)
    return [{"id": "approval", "govern": asked}]


def _over_input(facts: Json) -> Json:
    """The facts with `arguments` where their author wrote it, as the program has it."""
    if isinstance(facts, dict):
        return {name: _over_input(value) for name, value in facts.items()}
    if isinstance(facts, list):
        return [_over_input(value) for value in facts]
    return facts.replace("${arguments.", "${input.arguments.") if isinstance(facts, str) else facts


def _each(properties: Mapping[str, Json]) -> dict[str, Json]:
    return {name: f"${{input.arguments.{name}}}" for name in properties}


def _step(tool: Tool, properties: Mapping[str, Json]) -> dict[str, Json]:
    each = _each(properties)
    place = "operation" if tool.verb == "execute" else "resource"
    step: dict[str, Json] = {"connector": tool.connector, place: tool.called, "tool": tool.name}
    if tool.verb == "fetch":
        return {**step, "where": each, "limit": tool.limit}
    if tool.verb == "lookup":
        return {**step, "key": "${input.arguments.key}", "missing": None}
    return {**step, FIELD_OF[tool.verb]: each if tool.verb == "execute" else "${input.arguments}"}


def arguments_in(verb: str, config: Mapping[str, Json]) -> dict[str, Json]:
    """The arguments of a step as the tool's schema has them, from its values."""
    if verb == "lookup":
        return {"key": config.get("key")}
    found = config.get(FIELD_OF[verb])
    return dict(found) if isinstance(found, Mapping) else {}


def lookup_with(body: Mapping[str, Json], lookup: Lookup) -> Lookup:
    """The look-up that sees `body` as the tool of its name."""
    named = body.get("tool")

    def seen(kind: str, name: str) -> Mapping[str, Json] | None:
        return body if (kind, name) == ("tool", named) else lookup(kind, name)

    return seen


def connector_body(body: Mapping[str, Json], lookup: Lookup) -> Mapping[str, Json] | None:
    """The body of the tool's connector, None if there is none to be found."""
    call = body.get("call")
    named = cast("dict[str, Any]", call).get("connector") if isinstance(call, dict) else None
    return lookup("connector", named) if isinstance(named, str) else None
