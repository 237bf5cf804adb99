"""The document of a tool, and what it says as a Tool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from stanchion.base import Json
from stanchion.blueprints import ABOUT_PROPERTIES
from stanchion.identity import ROLES
from stanchion.tools.catalogue.types import AuthorizationCase, Effect, ExampleCase, Tool
from stanchion.tools.types import Idempotency, Verb

NAME: Final = "^[a-z][a-z0-9-]{0,62}$"
# What providers of models accept as the name of a function.
MODEL_NAME: Final = "^[a-zA-Z][a-zA-Z0-9_-]{0,63}$"
CASES_MAX: Final = 100
LIMIT_DEFAULT: Final = 100
_CALLED: Final = "^[a-z][a-z0-9_-]{0,62}$"
_TEXT: Final[dict[str, Json]] = {"type": "string", "minLength": 1, "maxLength": 4000}
_CASE_NAME: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 100}
_VALUES: Final[Json] = {"type": "object", "description": "the arguments of a call"}

SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "additionalProperties": False,
    "x-label": "field of a tool",
    "required": ["tool", "owner", "model", "call", "effect", "disable"],
    "properties": {
        "tool": {"type": "string", "pattern": NAME, "description": "Up to 63 small letters, digits and dashes."},
        "description": {**_TEXT, "description": "for people"},
        "owner": {"type": "string", "minLength": 1, "maxLength": 200, "description": "the team that answers for it"},
        **ABOUT_PROPERTIES,
        "model": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name", "description"],
            "properties": {
                "name": {"type": "string", "pattern": MODEL_NAME, "description": "what a model calls it"},
                "description": {**_TEXT, "description": "what a model is told of it"},
            },
        },
        "call": {
            "type": "object",
            "additionalProperties": False,
            "required": ["connector", "verb"],
            "properties": {
                "connector": {"type": "string", "pattern": NAME, "description": "name of a connector"},
                "verb": {"type": "string", "enum": ["fetch", "lookup", "push", "execute"]},
                "resource": {"type": "string", "pattern": _CALLED, "description": "of a fetch, lookup or push"},
                "operation": {"type": "string", "pattern": _CALLED, "description": "of an execute"},
                "limit": {"type": "integer", "minimum": 1, "maximum": 10_000, "description": "records of a fetch"},
            },
        },
        "input": {
            "type": "object",
            "additionalProperties": False,
            "description": "what is narrower than the operation's own schema",
            "properties": {
                "properties": {"type": "object", "additionalProperties": {"type": "object"}},
                "required": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
            },
        },
        "effect": {"type": "string", "enum": ["read", "write", "destructive"]},
        "idempotency": {"type": "string", "enum": ["key", "natural", "probe", "none"]},
        "approval": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "policy": {"type": "string", "pattern": NAME, "description": "the approval policy that judges each call"},
                "facts": {"type": "object", "description": "what it judges, with expressions over `arguments`"},
                "none": {**_TEXT, "description": "why nobody is asked; only of a tool that reads"},
            },
        },
        "disable": {
            "type": "object",
            "additionalProperties": False,
            "required": ["fallback"],
            "properties": {"fallback": {**_TEXT, "description": "what people do while the tool is disabled"}},
        },
        "authorization": {
            "type": "array",
            "maxItems": CASES_MAX,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["case", "principal", "environment", "expect"],
                "properties": {
                    "case": _CASE_NAME,
                    "principal": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["roles"],
                        "properties": {
                            "name": {"type": "string", "minLength": 1, "maxLength": 127},
                            "kind": {"type": "string", "enum": ["user", "service", "schedule"]},
                            "roles": {"type": "array", "uniqueItems": True, "items": {"type": "string", "enum": [*ROLES]}},
                        },
                    },
                    "arguments": _VALUES,
                    "environment": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["name", "production"],
                        "properties": {
                            "name": {"type": "string", "pattern": NAME},
                            "production": {"type": "boolean"},
                        },
                    },
                    "expect": {"type": "string", "enum": ["permit", "deny"]},
                },
            },
        },
        "examples": {
            "type": "array",
            "maxItems": CASES_MAX,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["case", "arguments"],
                "properties": {"case": _CASE_NAME, "arguments": _VALUES},
            },
        },
    },
}  # fmt: skip


def tool_of(body: Mapping[str, Json], digest: str = "") -> Tool:
    """A checked document as a Tool. Raises KeyError, TypeError or ValueError for one that was never checked."""
    said = cast("dict[str, Any]", body)
    call, approval = said["call"], said.get("approval", {})
    narrowed = said.get("input", {})
    return Tool(
        name=str(said["tool"]),
        digest=digest,
        owner=str(said["owner"]),
        description=str(said.get("description", "")),
        model_name=str(said["model"]["name"]),
        model_description=str(said["model"]["description"]),
        connector=str(call["connector"]),
        verb=cast("Verb", call["verb"]),
        called=str(call["operation" if call["verb"] == "execute" else "resource"]),
        narrowed={name: dict(one) for name, one in narrowed.get("properties", {}).items()},
        required=tuple(narrowed.get("required", ())),
        effect=cast("Effect", said["effect"]),
        idempotency=cast("Idempotency", said.get("idempotency", "none")),
        approval=approval.get("policy"),
        no_approval=str(approval.get("none", "")),
        facts=approval.get("facts"),
        fallback=str(said["disable"]["fallback"]),
        limit=int(call.get("limit", LIMIT_DEFAULT)),
        cases=tuple(_case(one) for one in said.get("authorization", ())),
        examples=tuple(ExampleCase(name=one["case"], arguments=one["arguments"]) for one in said.get("examples", ())),
    )


def _case(said: Mapping[str, Any]) -> AuthorizationCase:
    principal, environment = said["principal"], said["environment"]
    kind: Literal["user", "service", "schedule"] = principal.get("kind", "user")
    return AuthorizationCase(
        name=str(said["case"]),
        principal=str(principal.get("name", "somebody")),
        principal_kind=kind,
        roles=tuple(principal["roles"]),
        arguments=said.get("arguments", {}),
        environment=str(environment["name"]),
        production=bool(environment["production"]),
        permit=said["expect"] == "permit",
    )
