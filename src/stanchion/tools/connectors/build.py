"""The Connector that a published body says. The body was checked at publish; a later defect is ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stanchion.base import Json, NotFound, did_you_mean
from stanchion.blueprints import duration_s
from stanchion.tools.connectors.schema import EXECUTE, VERBS
from stanchion.tools.records import types_of
from stanchion.tools.types import Connector, Limits, Operation, Resource

# For a call, unless the connector says otherwise; a step's own timeout may shorten it.
TIMEOUT_S_DEFAULT = 30.0
_COMMON = {
    "connector",
    "description",
    "owner",
    "labels",
    "risk",
    "adapter",
    "environment",
    "timeout",
    "resources",
    "execute",
}
# Adapters that compare the fields of what they read, and so take any of them as parameter.
_FILTERING = {"files", "objects"}
_SCALARS = {"string", "integer", "number", "boolean"}


def connector_of(body: Mapping[str, Json], digest: str = "") -> Connector:
    """The connector of a checked body."""
    resources = cast("Mapping[str, Mapping[str, Json]]", body.get("resources", {}))
    operations = cast("Mapping[str, Mapping[str, Json]]", body.get(EXECUTE, {}))
    adapter = str(body["adapter"])
    return Connector(
        name=str(body["connector"]),
        description=str(body.get("description", "")),
        owner=str(body["owner"]),
        adapter=adapter,
        environment=str(body["environment"]),
        timeout_s=(duration_s(str(body["timeout"])) or TIMEOUT_S_DEFAULT) if "timeout" in body else TIMEOUT_S_DEFAULT,
        digest=digest,
        resources={name: _resource(name, resource, adapter) for name, resource in resources.items()},
        settings={name: value for name, value in body.items() if name not in {*_COMMON, "limits"}},
        limits=Limits(**cast("Any", body.get("limits", {}))),
        operations={name: _executed(name, operation, adapter) for name, operation in operations.items()},
    )


def _executed(name: str, body: Mapping[str, Json], adapter: str) -> Resource:
    return Resource(
        name=name,
        description=str(body.get("description", "")),
        key="",
        fields={},
        operations={EXECUTE: _operation(EXECUTE, body, {}, adapter)},
        settings={},
    )


def _resource(name: str, body: Mapping[str, Json], adapter: str) -> Resource:
    fields = cast("Mapping[str, Mapping[str, Json]]", body["fields"])
    operations = {
        verb: _operation(verb, cast("Mapping[str, Json]", body[verb]), fields, adapter)
        for verb in VERBS
        if verb in body
    }
    settings = {n: v for n, v in body.items() if n not in {"description", "key", "fields", *VERBS}}
    return Resource(
        name=name,
        description=str(body.get("description", "")),
        key=str(body.get("key", "")),
        fields=fields,
        operations=operations,
        settings=settings,
    )


def _operation(
    verb: str, body: Mapping[str, Json], fields: Mapping[str, Mapping[str, Json]], adapter: str
) -> Operation:
    parameters: Mapping[str, Mapping[str, Json]] = cast("Any", body.get("parameters", {}))
    if verb == "fetch" and adapter in _FILTERING:
        # They are filtered by any field of a simple type; a parameter that is absent filters nothing.
        parameters = {
            name: {"type": list(dict.fromkeys([*types_of(schema), "null"]))}
            for name, schema in fields.items()
            if set(types_of(schema)) <= {*_SCALARS, "null"}
        }
    own = {"parameters", "effect", "idempotency", "reversible", "undone_by", "result"}
    return Operation(
        verb=cast("Any", verb),
        parameters=parameters,
        effect=cast("Any", body.get("effect", "write" if verb == "push" else "read")),
        idempotency=cast("Any", body.get("idempotency", "none")),
        reversible=bool(body.get("reversible", "undone_by" in body)),
        undone_by=str(body.get("undone_by", "")),
        result=cast("Any", body.get("result", {})),
        settings={name: value for name, value in body.items() if name not in own},
    )


def resource_of(connector: Connector, resource: str, verb: str) -> tuple[Resource, Operation]:
    """The resource and its operation; for `execute`, the operation of that name as both.

    Raises NotFound `connector.unknown_resource` or `connector.no_such_operation`.
    """
    if verb == EXECUTE:
        return _operation_of(connector, resource)
    found = connector.resources.get(resource)
    if found is None:
        raise NotFound(
            "connector.unknown_resource",
            f"The connector {connector.name!r} has no resource {resource!r}.",
            hint=did_you_mean(resource, connector.resources),
        )
    operation = found.operations.get(verb)
    if operation is None:
        raise NotFound(
            "connector.no_such_operation",
            f"The resource {connector.name}.{resource} has no {verb}.",
            hint=f"It has: {', '.join(found.operations)}.",
        )
    return found, operation


def _operation_of(connector: Connector, name: str) -> tuple[Resource, Operation]:
    found = connector.operations.get(name)
    if found is None:
        raise NotFound(
            "connector.no_such_operation",
            f"The connector {connector.name!r} has no operation {name!r} to execute.",
            hint=did_you_mean(name, connector.operations),
        )
    return found, found.operations[EXECUTE]
