"""What must hold in a connector's document beyond its schema, whatever its adapter."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from stanchion.base import Json, did_you_mean
from stanchion.blueprints import ConfigIssue, dangling, duration_s, type_name
from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.paths import path_complaint
from stanchion.tools.connectors.schema import EXECUTE, TIMEOUT_S_MAX, VERBS
from stanchion.tools.egress import check_egress
from stanchion.tools.records import types_of

# A user and password in a URL, and the beginnings of keys that well-known issuers hand out.
_CREDENTIAL = re.compile(
    r"[a-z][a-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@"
    r"|\bpassword\s*=\s*[^\s:]"
    r"|\b(?:sk-[A-Za-z0-9_-]{20,}|ghp_[A-Za-z0-9]{36}|AKIA[0-9A-Z]{16}|xox[abp]-[A-Za-z0-9-]{10,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----",
    re.IGNORECASE,
)


def check_connector(body: Mapping[str, Json], adapter: Adapter | None) -> Iterable[ConfigIssue]:
    """All complaints about a document beyond its schema that do not take its adapter's knowledge. What is there fits
    the schema; anything may be missing."""
    yield from _check_credentials("", body)
    yield from _check_timeout(body)
    yield from _check_egress(body)
    for name, value in _mapping(body.get("resources") or {}).items():
        yield from _check_resource(f"/resources/{name}", name, _mapping(value), adapter.refused if adapter else {})
    yield from _check_offers(body, adapter)
    operations = _mapping(body.get(EXECUTE) or {})
    for name, value in operations.items():
        yield from _check_executed(f"/{EXECUTE}/{name}", _mapping(value), operations)


def _mapping(value: Json) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", value)


def _check_credentials(pointer: str, value: Json | Mapping[str, Json]) -> Iterator[ConfigIssue]:
    if isinstance(value, str) and _CREDENTIAL.search(value):
        yield ConfigIssue(
            pointer=pointer,
            code="connector.credential",
            message="This looks like a credential.",
            hint="A connector never holds one: it is published, shown and kept for ever. Name it: secret://local/NAME.",
        )
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _check_credentials(f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _check_credentials(f"{pointer}/{number}", item)


def _check_resource(
    pointer: str, name: str, resource: Mapping[str, Json], refused: Mapping[str, str]
) -> Iterator[ConfigIssue]:
    fields = _mapping(resource.get("fields") or {})
    for field, schema in fields.items():
        yield from _check_field(f"{pointer}/fields/{field}", _mapping(schema))
    yield from _check_key(pointer, name, resource, fields)
    if not any(verb in resource for verb in VERBS):
        yield ConfigIssue(
            pointer=pointer,
            code="connector.no_operation",
            message=f"The resource {name!r} has no operation.",
            hint=f"Give it one of: {', '.join(v for v in VERBS if v not in refused)}.",
        )
    for verb, reason in refused.items():
        if verb in resource:
            yield ConfigIssue(pointer=f"{pointer}/{verb}", code="connector.not_offered", message=reason)
    for verb in VERBS:
        parameters = _mapping(_mapping(resource.get(verb) or {}).get("parameters") or {})
        for parameter, schema in parameters.items():
            yield from _check_field(f"{pointer}/{verb}/parameters/{parameter}", _mapping(schema))


def _check_offers(body: Mapping[str, Json], adapter: Adapter | None) -> Iterator[ConfigIssue]:
    """A connector offers records or operations, or both; operations only where its adapter has them."""
    if EXECUTE in body:
        if adapter is not None and EXECUTE not in adapter.operation_schemas:
            reason = adapter.refused.get(EXECUTE, f"The adapter `{adapter.name}` has records and no operations.")
            yield ConfigIssue(pointer=f"/{EXECUTE}", code="connector.not_offered", message=reason)
    elif "resources" not in body and adapter is not None and EXECUTE in adapter.operation_schemas:
        if set(VERBS) <= adapter.refused.keys():
            return  # it has operations alone, and is published once before them, to be asked for them (discover)
        yield ConfigIssue(
            pointer="",
            code="connector.missing_field",
            message="The connector offers nothing.",
            hint="Give it `resources`, which have records, or `execute`, which has operations.",
        )


def _check_executed(
    pointer: str, operation: Mapping[str, Json], operations: Mapping[str, Json]
) -> Iterator[ConfigIssue]:
    for parameter, schema in _mapping(operation.get("parameters") or {}).items():
        yield from _check_field(f"{pointer}/parameters/{parameter}", _mapping(schema))
    reads = operation.get("effect") == "read"
    if not reads and "effect" in operation and "idempotency" not in operation:
        yield ConfigIssue(
            pointer=pointer,
            code="connector.missing_field",
            message="An operation that writes says its `idempotency`.",
            hint="key, natural, probe or none: how a repetition is recognised; there is no default.",
        )
    for name in ("idempotency", "reversible", "undone_by") if reads else ():
        if name in operation:
            yield ConfigIssue(
                pointer=f"{pointer}/{name}",
                code="connector.unknown_field",
                message=f"An operation that reads has no `{name}`: it changes nothing.",
                hint="Leave it out, or say `effect: write`.",
            )
    undoing = operation.get("undone_by")
    if isinstance(undoing, str) and undoing not in operations:
        yield ConfigIssue(
            pointer=f"{pointer}/undone_by",
            code="connector.unknown_operation",
            message=f"The connector has no operation {undoing!r} that would undo this one.",
            hint=did_you_mean(undoing, operations),
        )


def _check_key(
    pointer: str, name: str, resource: Mapping[str, Json], fields: Mapping[str, Json]
) -> Iterator[ConfigIssue]:
    key = resource.get("key")
    if key is None:
        if "lookup" in resource:
            yield ConfigIssue(
                pointer=f"{pointer}/lookup",
                code="connector.missing_field",
                message=f"A lookup needs the `key` of the resource {name!r}.",
                hint="`key` names the field that identifies a record.",
            )
        return
    if not fields:
        return
    if str(key) not in fields:
        yield ConfigIssue(
            pointer=f"{pointer}/key",
            code="connector.unknown_key",
            message=f"The key {key!r} is not a field of {name!r}.",
            hint=did_you_mean(str(key), fields),
        )
    elif (types := types_of(_mapping(fields[str(key)]))) and not {"string", "integer"} & set(types):
        yield ConfigIssue(
            pointer=f"{pointer}/key",
            code="connector.bad_key",
            message=f"The key {key!r} is neither a string nor an integer.",
        )


def _check_field(pointer: str, schema: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    types = types_of(schema)
    if not types or set(types) == {"null"}:
        yield ConfigIssue(
            pointer=pointer,
            code="connector.bad_field",
            message="A field needs a type that is not only null.",
            hint='Such as {type: string} or {type: [integer, "null"]}.',
        )
    if schema.get("sensitive"):
        yield ConfigIssue(
            pointer=f"{pointer}/sensitive",
            code="connector.bad_field",
            message="Fields of connectors cannot be marked sensitive yet.",
        )
    for place in _unfitting(schema):
        yield ConfigIssue(
            pointer=f"{pointer}{place}",
            code="connector.bad_field",
            message=f"The field is {' or '.join(types)}, and this is of another type.",
            unquoted="string" in types,
        )
    for place, message, hint in dangling(dict(schema), pointer):
        yield ConfigIssue(pointer=place, code="connector.bad_field", message=message, hint=hint)


def _unfitting(schema: Mapping[str, Json]) -> Iterator[str]:
    """Where a constant of the schema is of none of its types: it would never be met."""
    types = {*types_of(schema), *(("integer",) if "number" in types_of(schema) else ())}
    choices = schema.get("enum")
    found = {f"/enum/{n}": choice for n, choice in enumerate(choices if isinstance(choices, list) else [])}
    found |= {f"/{keyword}": schema[keyword] for keyword in ("const",) if keyword in schema}
    for place, value in found.items():
        if types and type_name(value) not in types:
            yield place


def _check_egress(body: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    yield from check_egress(body)
    ca_file = _mapping(body.get("egress") or {}).get("ca_file", "x")
    if (complaint := path_complaint(str(ca_file))) is not None:
        yield ConfigIssue(pointer="/egress/ca_file", code="connector.path_escapes", message=f"The path {complaint}.")


def _check_timeout(body: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    seconds = duration_s(str(body.get("timeout", "1s")))
    if seconds is not None and not 0.1 <= seconds <= TIMEOUT_S_MAX:
        yield ConfigIssue(
            pointer="/timeout",
            code="connector.bad_timeout",
            message=f"The timeout is {seconds:g} s; it may be from 0.1 to {TIMEOUT_S_MAX} s.",
        )
