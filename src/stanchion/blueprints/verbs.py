"""The verbs that belong to the document itself, TRANSFORM and LOGIC_GATE, and the schema of a whole document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from stanchion.base import Json
from stanchion.blueprints.about import ABOUT_PROPERTIES
from stanchion.blueprints.json_schema import SCHEMA_OF_SCHEMAS, closed
from stanchion.blueprints.types import ConfigIssue, Lookup, Schema, VerbSpec

# Words that CEL keeps for itself (cel-spec, doc/langdef.md, "Syntax"), and names every scope has.
RESERVED = frozenset(
    [
        "false",
        "in",
        "null",
        "true",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
    ]
)


@dataclass(frozen=True, slots=True)
class Transform:
    """TRANSFORM: one value computed from others. Output `{value: ...}`, typed as its template, or as `schema` says."""

    verb: str = "transform"
    effect: Literal["none", "read", "write"] = "none"
    suspends: bool = False

    @property
    def config_schema(self) -> Schema:
        """`value`: any JSON with `${ }`; `schema`: what it is, where the expression's type cannot tell."""
        return {
            "type": "object",
            "description": "Compute a value.",
            "required": ["value"],
            "additionalProperties": False,
            "properties": {
                "value": {"x-template": True, "description": "any JSON value; texts may hold ${ }"},
                "schema": {"x-schema": True, "description": "JSON Schema of the value, where its type is not known"},
            },
        }

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:  # noqa: ARG002 - the port
        """Nothing beyond the schema."""
        return ()

    def output_schema(
        self,
        config: Mapping[str, Json],
        lookup: Lookup,  # noqa: ARG002 - the port
        types: Callable[[str], Schema],
    ) -> Schema:
        """`{value}`."""
        declared = config.get("schema")
        value = closed(cast("Schema", declared)) if isinstance(declared, dict) else types("/value")
        return _object({"value": dict(value)})


@dataclass(frozen=True, slots=True)
class LogicGate:
    """LOGIC_GATE: run one of two blocks. Output `{branch: then|else}`."""

    verb: str = "logic_gate"
    effect: Literal["none", "read", "write"] = "none"
    suspends: bool = False

    @property
    def config_schema(self) -> Schema:
        """`if` (a boolean expression), `then` and optionally `else` (blocks)."""
        return {
            "type": "object",
            "description": "Choose between two blocks.",
            "required": ["if", "then"],
            "additionalProperties": False,
            "properties": {
                "if": {"type": "string", "x-expression": True, "description": "a boolean expression"},
                "then": {"x-block": True, "description": "steps that run if it is true"},
                "else": {"x-block": True, "description": "steps that run if it is false"},
            },
        }

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:  # noqa: ARG002 - the port
        """Nothing beyond the schema."""
        return ()

    def output_schema(
        self,
        config: Mapping[str, Json],  # noqa: ARG002 - the port
        lookup: Lookup,  # noqa: ARG002 - the port
        types: Callable[[str], Schema],  # noqa: ARG002 - the port
    ) -> Schema:
        """`{branch}`."""
        return _object({"branch": {"type": "string", "enum": ["then", "else"]}})


TRANSFORM: VerbSpec = Transform()
LOGIC_GATE: VerbSpec = LogicGate()


def _object(properties: dict[str, Json]) -> Schema:
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
        "additionalProperties": False,
    }


def with_own(verbs: Mapping[str, VerbSpec]) -> Mapping[str, VerbSpec]:
    """The registered verbs together with TRANSFORM and LOGIC_GATE."""
    return {"transform": TRANSFORM, "logic_gate": LOGIC_GATE, **verbs}


def items_output(item: Schema) -> Schema:
    """Output of a `for_each` whose items give `item`."""
    error = _object({"code": {"type": "string"}, "message": {"type": "string"}})
    number: Json = {"type": "integer"}
    succeeded = _object({"item_no": number, "output": dict(item)})
    failed = _object({"item_no": number, "error": dict(error)})
    return _object(
        {
            "succeeded": {"type": "array", "items": dict(succeeded)},
            "failed": {"type": "array", "items": dict(failed)},
        }
    )


RUN_SCHEMA: Schema = _object(
    {
        "id": {"type": "string"},
        "blueprint": {"type": "string"},
        "environment": {"type": "string"},
        "requested_by": {"type": "string"},
        "started_at": {"type": "string", "format": "date-time"},
    }
)

_NAME: dict[str, Json] = {
    "type": "string",
    "pattern": "^[a-z][a-z0-9-]{0,62}$",
    "description": "Up to 63 lower-case letters, digits and dashes, beginning with a letter.",
}
_IDENTIFIER: dict[str, Json] = {
    "type": "string",
    "pattern": "^[a-z][a-z0-9_]{0,62}$",
    "description": "Up to 63 lower-case letters, digits and underscores, beginning with a letter.",
}
_DURATION: dict[str, Json] = {"type": "string", "x-duration": True}
_BLOCK: Json = {"$ref": "#/$defs/block"}
_EXPRESSION: dict[str, Json] = {"type": "string", "x-expression": True}

_FOR_EACH: Json = {
    "type": "object",
    "description": "Run the step, or the block under `steps`, once per element of a list.",
    "required": ["in"],
    "additionalProperties": False,
    "properties": {
        "in": {**_EXPRESSION, "description": "an expression that gives the list"},
        "as": {**_IDENTIFIER, "description": "a second name for `item`: lower-case letters, digits, underscores"},
        "concurrency": {"type": "integer", "minimum": 1, "maximum": 1000},
        "on_item_error": {"type": "string", "enum": ["stop", "continue"]},
        "max_failures": {"type": "integer", "minimum": 0},
        "steps": _BLOCK,
        "output": {"x-template": True, "description": "what each item gives; needs `steps`"},
    },
}
_RETRY: Json = {
    "type": "object",
    "description": "Repeat a failed attempt.",
    "required": ["attempts"],
    "additionalProperties": False,
    "properties": {
        "attempts": {"type": "integer", "minimum": 1, "maximum": 100, "description": "how often it is tried in all"},
        "backoff": {"type": "string", "enum": ["exponential", "constant"]},
        "initial": _DURATION,
        "max": _DURATION,
    },
}


def document_schema(verbs: Mapping[str, VerbSpec]) -> dict[str, Json]:
    """JSON Schema of a Blueprint document with these verbs (and TRANSFORM, LOGIC_GATE), for editors and the reference.

    Wherever a template may stand, a text with `${` fits too.
    """
    return cast("dict[str, Json]", _for_editors(checking_schema(verbs), template=False))


def _for_editors(schema: Json, *, template: bool) -> Json:
    if isinstance(schema, list):
        return [_for_editors(s, template=template) for s in schema]
    if not isinstance(schema, dict):
        return schema
    template = template or schema.get("x-template") is True
    inner = {
        k: v if k in ("enum", "const", "required") else _for_editors(v, template=template) for k, v in schema.items()
    }
    if not template or not {"type", "anyOf", "enum"} & schema.keys() or isinstance(schema.get("type"), dict):
        return inner
    return {"anyOf": [inner, {"type": "string", "pattern": r"\$\{"}]}


def checking_schema(verbs: Mapping[str, VerbSpec]) -> dict[str, Json]:
    """The schema that documents are checked against: `check.py` knows by itself that a text with `${` fits."""
    known = with_own(verbs)
    step: dict[str, Json] = {
        "id": {**_IDENTIFIER},
        "if": {**_EXPRESSION, "description": "the step is skipped unless this boolean expression is true"},
        "retry": _RETRY,
        "timeout": {**_DURATION, "description": "how long one attempt may take"},
        "for_each": _FOR_EACH,
        **{name: _with_blocks(cast("Json", dict(spec.config_schema))) for name, spec in sorted(known.items())},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Blueprint",
        "type": "object",
        "required": ["blueprint", "owner", "steps"],
        "additionalProperties": False,
        "properties": {
            "blueprint": {**_NAME},
            "description": {"type": "string", "maxLength": 2000},
            "owner": {
                "type": "string",
                "minLength": 1,
                "maxLength": 200,
                "description": "the team that answers for it",
            },
            **ABOUT_PROPERTIES,
            "input": {"$ref": "#/$defs/schema", "description": "JSON Schema of a run's input, an object"},
            "steps": _BLOCK,
            "output": {"x-template": True, "description": "what the run gives"},
        },
        "$defs": {
            "block": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/step"}},
            "step": {
                "type": "object",
                "x-label": "verb or field",
                "required": ["id"],
                "additionalProperties": False,
                "properties": step,
            },
            **cast("dict[str, Json]", SCHEMA_OF_SCHEMAS["$defs"]),
        },
    }


def _with_blocks(schema: Json) -> Json:
    """A verb's schema with `x-block` and `x-schema` replaced by references to their definitions."""
    if isinstance(schema, list):
        return [_with_blocks(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    for mark, ref in (("x-block", "#/$defs/block"), ("x-schema", "#/$defs/schema")):
        if schema.get(mark) is True:
            return {"$ref": ref, **{k: v for k, v in schema.items() if k == "description"}}
    return {k: _with_blocks(v) for k, v in schema.items()}
