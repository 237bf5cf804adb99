"""What a connector's document says of writes and operations over HTTP, and what is wrong with it.

A request is put together from a template: a text that is exactly `{name}` stands for a value (of the record, of the
arguments, `{record}`, `{arguments}` or `{idempotency_key}`), everything else is sent as written. JSON-RPC is the same with
`rpc` in place of method and body.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, cast

from stanchion.base import Json, did_you_mean
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.adapters.http_parts import CONSTANTS, PATH, POINTER, check_shape, path_parameters, placeholders

KEY: Final = "idempotency_key"
KEY_HEADER_DEFAULT: Final = "Idempotency-Key"
# What a status or an error code of JSON-RPC can be declared to mean.
Meaning = Literal["applied", "already", "refused", "unsure"]
MEANINGS: Final[tuple[Meaning, ...]] = ("applied", "already", "refused", "unsure")

_HEADER: Json = {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}$"}
_STATUSES: Json = {"type": "array", "maxItems": 50, "items": {"type": "integer", "minimum": 200, "maximum": 599}}
_CODES: Json = {"type": "array", "maxItems": 50, "items": {"type": "integer"}}
_RPC: Json = {
    "type": "object",
    "required": ["method"],
    "additionalProperties": False,
    "properties": {
        "method": {"type": "string", "minLength": 1, "maxLength": 200},
        "params": {"type": ["array", "object"]},
        "already": _CODES,
        "refused": _CODES,
        "unsure": _CODES,
    },
}
_REQUEST: dict[str, Json] = {
    "path": PATH,
    "query": CONSTANTS,
    "body": {},
    "encoding": {"enum": ["json", "form"]},
    "nulls": {"enum": ["send", "omit"]},
    "rpc": _RPC,
}
_WRITE: dict[str, Json] = {
    "key_header": _HEADER,
    "probe": {
        "type": "object",
        "required": ["path"],
        "additionalProperties": False,
        "properties": {"path": PATH, "query": CONSTANTS, "rpc": _RPC, "found": POINTER},
    },
    "answers": {
        "type": "object",
        "additionalProperties": False,
        "properties": dict.fromkeys(MEANINGS, _STATUSES),
    },
    "applied_if": {
        "type": "object",
        "required": ["at", "equals"],
        "additionalProperties": False,
        "properties": {"at": POINTER, "equals": {"type": ["string", "integer", "boolean"]}},
    },
}
PUSH_SCHEMA: Final[Schema] = {
    "type": "object",
    "required": ["path", "idempotency"],
    "additionalProperties": False,
    "properties": {
        "method": {"enum": ["POST", "PUT", "PATCH"]},
        **_REQUEST,
        "idempotency": {"enum": ["key", "natural", "probe", "none"]},
        **_WRITE,
        "receipt": {
            "type": "object",
            "maxProperties": 20,
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,62}$"},
            "additionalProperties": POINTER,
        },
        "effect": {"enum": ["write", "destructive"]},
    },
}
EXECUTE_SCHEMA: Final[Schema] = {
    "type": "object",
    "required": ["path"],
    "additionalProperties": False,
    "properties": {
        "method": {"enum": ["GET", "POST", "PUT", "PATCH", "DELETE"]},
        **_REQUEST,
        "places": {
            "type": "object",
            "maxProperties": 100,
            "additionalProperties": {
                "type": "object",
                "required": ["in"],
                "additionalProperties": False,
                "properties": {
                    "in": {"enum": ["query", "header", "body"]},
                    "name": {"type": "string", "minLength": 1, "maxLength": 200},
                },
            },
        },
        "result_at": POINTER,
        **_WRITE,
    },
}


def check_operations(body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    """All complaints about pushes and operations beyond the schema."""
    for name, value in _mapping(body.get("resources")).items():
        resource = _mapping(value)
        if "push" in resource:
            yield from _check_push(f"/resources/{name}/push", resource)
    for name, value in _mapping(body.get("execute")).items():
        yield from _check_execute(f"/execute/{name}", _mapping(value))


def _check_push(pointer: str, resource: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    push, fields = _mapping(resource["push"]), _mapping(resource["fields"])
    known = {*fields, KEY, "record"}
    yield from _check_request(pointer, push, known, inside=set(fields) | {KEY})
    method = str(push.get("method", "POST"))
    yield from _check_idempotency(pointer, push, method, str(push["idempotency"]), set(fields))


def _check_execute(pointer: str, operation: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    parameters = _mapping(operation.get("parameters"))
    known = {*parameters, KEY, "arguments"}
    yield from _check_request(pointer, operation, known, inside=set(parameters) | {KEY})
    method = "POST" if "rpc" in operation else str(operation.get("method", "POST"))
    if "rpc" not in operation and "method" not in operation:
        yield _missing(pointer, "An operation says its `method`, or the `rpc` that it calls.", "method: POST")
    yield from _check_places(pointer, operation, method)
    if method == "GET" and "body" in operation:
        yield _unknown(f"{pointer}/body", "A GET has no body.", "Say another method, or leave it out.")
    yield from _check_effect(pointer, operation, method)
    if operation.get("effect") != "read" and "idempotency" in operation:
        yield from _check_idempotency(pointer, operation, method, str(operation["idempotency"]), set(parameters))


def _check_places(pointer: str, operation: Mapping[str, Json], method: str) -> Iterator[ConfigIssue]:
    in_path, parameters = path_parameters(str(operation["path"])), _mapping(operation.get("parameters"))
    for name, place in _mapping(operation.get("places")).items():
        at = f"{pointer}/places/{name}"
        if name not in parameters or name in in_path:
            why = "is in the path already" if name in in_path else "is no parameter of the operation"
            yield _unknown(at, f"{name} {why}.", did_you_mean(name, parameters))
        elif _mapping(place)["in"] == "body" and method in {"GET", "DELETE"}:
            yield _unknown(at, f"A {method} has no body.", "Put it into the query or a header.")


def _check_effect(pointer: str, operation: Mapping[str, Json], method: str) -> Iterator[ConfigIssue]:
    """The method and the declared effect agree."""
    effect, at = operation.get("effect"), f"{pointer}/effect"
    if effect == "read" and method in {"PUT", "PATCH", "DELETE"}:
        yield ConfigIssue(
            pointer=at,
            code="connector.bad_effect",
            message=f"A {method} changes something; it does not read.",
            hint="Say `effect: write` or `effect: destructive`, and its `idempotency`.",
        )
    elif effect in {"write", "destructive"} and method == "GET":
        yield ConfigIssue(
            pointer=at,
            code="connector.bad_effect",
            message="A GET changes nothing by its meaning, and is repeated and cached on its way.",
            hint="Use the method that the API has for this change, or say `effect: read`.",
        )
    for field in ("key_header", "probe", "applied_if", "answers") if effect == "read" else ():
        if field in operation:
            yield _unknown(f"{pointer}/{field}", f"An operation that reads has no `{field}`.", "Leave it out.")


def _check_request(
    pointer: str, operation: Mapping[str, Json], known: set[str], *, inside: set[str]
) -> Iterator[ConfigIssue]:
    """The path's and templates' names, and that a request is either JSON-RPC or has a method and a body."""
    yield from check_shape(f"{pointer}/path", str(operation["path"]))
    for name in path_parameters(str(operation["path"])):
        if name not in inside:
            yield _undeclared(f"{pointer}/path", f"The path uses {{{name}}}", inside)
    for field, template in _templates(operation):
        for name in placeholders(template):
            if name not in known:
                yield _undeclared(f"{pointer}/{field}", f"The template uses {{{name}}}", known)
    if "rpc" in operation:
        for field in ("method", "body", "encoding", "places"):
            if field in operation:
                yield _unknown(
                    f"{pointer}/{field}",
                    f"JSON-RPC has no `{field}` of its own.",
                    "Say the parameters in `rpc.params`.",
                )
    if operation.get("encoding") == "form" and isinstance(operation.get("body"), list):
        yield _unknown(f"{pointer}/body", "A form is an object of names and values.", "Write names and templates.")


def _templates(operation: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for field in ("query", "body"):
        if field in operation:
            yield field, operation[field]
    params = _mapping(operation.get("rpc")).get("params")
    if params is not None:
        yield "rpc/params", params


def _check_idempotency(
    pointer: str, operation: Mapping[str, Json], method: str, idempotency: str, names: set[str]
) -> Iterator[ConfigIssue]:
    path = path_parameters(str(operation["path"]))
    if idempotency == "natural" and "rpc" not in operation and not (method in {"PUT", "DELETE"} and set(path) & names):
        yield ConfigIssue(
            pointer=f"{pointer}/idempotency",
            code="connector.bad_idempotency",
            message="`natural` over HTTP is a PUT or DELETE at the record's own path.",
            hint="Such as method: PUT, path: /invoices/{number}. A POST makes a new record each time.",
        )
    if idempotency == "probe" and "probe" not in operation:
        yield ConfigIssue(
            pointer=f"{pointer}/idempotency",
            code="connector.missing_probe",
            message="`idempotency: probe` needs a `probe`: a GET that tells whether the write is there.",
            hint="probe: {path: /invoices, query: {reference: '{idempotency_key}'}, found: /items/0}",
        )
    if "probe" not in operation:
        return
    if idempotency != "probe":
        yield ConfigIssue(
            pointer=f"{pointer}/probe",
            code="connector.unused_probe",
            message=f"`idempotency: {idempotency}` does not use a `probe`.",
            hint="Say `idempotency: probe`, or leave it out.",
        )
    probe = _mapping(operation["probe"])
    used = set(path_parameters(str(probe["path"])))
    for _, template in _templates(probe):
        used |= set(placeholders(template))
    for name in sorted(used - names - {KEY}):
        yield _undeclared(f"{pointer}/probe", f"The probe uses {{{name}}}", {*names, KEY})
    if not used:
        yield ConfigIssue(
            pointer=f"{pointer}/probe",
            code="connector.unused_parameter",
            message="The probe asks the same whatever was written.",
            hint="Let it use {idempotency_key}, or a field that names the record.",
        )


def _undeclared(pointer: str, what: str, known: set[str]) -> ConfigIssue:
    return ConfigIssue(
        pointer=pointer,
        code="connector.undeclared_parameter",
        message=f"{what}, which is not declared.",
        hint=f"It may use: {', '.join(f'{{{name}}}' for name in sorted(known))}.",
    )


def _unknown(pointer: str, message: str, hint: str) -> ConfigIssue:
    return ConfigIssue(pointer=pointer, code="connector.unknown_field", message=message, hint=hint)


def _missing(pointer: str, message: str, hint: str) -> ConfigIssue:
    return ConfigIssue(pointer=pointer, code="connector.missing_field", message=message, hint=hint)


def _mapping(value: Json) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", value or {})
