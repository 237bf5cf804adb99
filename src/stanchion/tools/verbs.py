"""What Blueprints must know of FETCH, LOOKUP, PUSH and EXECUTE: their config, what is wrong with it, the type of their output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal

from stanchion.base import Json, did_you_mean
from stanchion.blueprints import ConfigIssue, Lookup, Schema
from stanchion.expressions import has_expressions
from stanchion.tools.connectors import connector_of
from stanchion.tools.records import complaint, types_of
from stanchion.tools.types import RECORDS_MAX, Connector, Operation, Resource
from stanchion.tools.uses import SIMULATE, TOOL, use_issues

_CONNECTOR: Json = {"type": "string", "x-artifact": "connector", "description": "name of a connector"}
_NAME: dict[str, Json] = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"}
_RESOURCE: Json = {**_NAME, "description": "a resource of the connector"}


def _config(required: list[str], **properties: Json) -> Schema:
    return {
        "type": "object",
        "required": ["connector", "resource", *required],
        "additionalProperties": False,
        "properties": {"connector": _CONNECTOR, "resource": _RESOURCE, "tool": TOOL, **properties},
    }


def _object(**properties: Json) -> dict[str, Json]:
    return {
        "type": "object",
        "required": list(properties),
        "properties": dict(properties),
        "additionalProperties": False,
    }


class _Verb(ABC):
    """What the three share: finding the connector, the resource and its operation, or saying which is not there."""

    verb: Literal["fetch", "lookup", "push"]
    suspends = False

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:
        """Complaints about names that the connector does not have and literal values that do not fit it."""
        yield from use_issues(self.verb, config, lookup)
        connector = _connector(config, lookup)
        name = config.get("resource")
        if connector is None or not isinstance(name, str):
            return
        resource = connector.resources.get(name)
        if resource is None:
            yield ConfigIssue(
                pointer="/resource",
                code="blueprint.unknown_resource",
                message=f"The connector {connector.name} has no resource {name}.",
                hint=did_you_mean(name, connector.resources),
            )
        elif self.verb not in resource.operations:
            offers = [n for n, r in connector.resources.items() if self.verb in r.operations]
            yield ConfigIssue(
                pointer="/resource",
                code="blueprint.unknown_operation",
                message=f"{connector.name}.{name} cannot {self.verb}; it has: {', '.join(resource.operations)}.",
                hint=f"{self.verb} is offered by: {', '.join(offers)}." if offers else "Add it to the connector.",
            )
        else:
            yield from self._values(config, resource, resource.operations[self.verb])

    @abstractmethod
    def _values(self, config: Mapping[str, Json], resource: Resource, operation: Operation) -> Iterator[ConfigIssue]:
        """Complaints about the values in the config, given what the connector declares."""

    def _resource(self, config: Mapping[str, Json], lookup: Lookup) -> Resource | None:
        connector = _connector(config, lookup)
        return None if connector is None else connector.resources.get(str(config.get("resource")))


def _connector(config: Mapping[str, Json], lookup: Lookup) -> Connector | None:
    """The connector named in the config; None if there is none, which the check of `x-artifact` says, or a broken one."""
    name = config.get("connector")
    body = lookup("connector", name) if isinstance(name, str) else None
    try:
        return None if body is None else connector_of(body)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # a document of the same apply that has errors of its own, which are said there


class Fetch(_Verb):
    """FETCH {connector, resource, where?, limit?, page?} → {records, count, truncated, page}."""

    verb = "fetch"
    effect: Literal["none", "read", "write"] = "read"
    config_schema: Schema = _config(
        [],
        where={
            "type": "object",
            "x-label": "parameter",
            "additionalProperties": {"x-template": True},
            "description": "values for the parameters of the connector's fetch",
        },
        limit={
            "type": "integer",
            "minimum": 1,
            "maximum": RECORDS_MAX,
            "description": "at most this many records; `truncated` then says whether there are more",
        },
        page={"x-template": True, "type": ["string", "null"], "description": "`page` of an earlier fetch"},
    )

    def _values(self, config: Mapping[str, Json], resource: Resource, operation: Operation) -> Iterator[ConfigIssue]:  # noqa: ARG002
        where = config.get("where", {})
        if isinstance(where, dict):
            yield from _fitting("/where", where, operation.parameters, "parameter", "blueprint.unknown_parameter")

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:  # noqa: ARG002
        """The records as the resource declares them."""
        resource = self._resource(config, lookup)
        record: Json = dict(resource.record_schema()) if resource else {}
        return _object(
            records={"type": "array", "items": record},
            count={"type": "integer"},
            truncated={"type": "boolean"},
            page={"type": ["string", "null"]},
        )


class LookupVerb(_Verb):
    """LOOKUP {connector, resource, key, missing?} → {record, found}."""

    verb = "lookup"
    effect: Literal["none", "read", "write"] = "read"
    config_schema: Schema = _config(
        ["key"],
        key={"x-template": True, "type": ["string", "integer"], "description": "value of the resource's key field"},
        missing={"enum": ["fail", None], "description": "null: go on with `record` null and `found` false"},
    )

    def _values(self, config: Mapping[str, Json], resource: Resource, operation: Operation) -> Iterator[ConfigIssue]:  # noqa: ARG002
        key = config.get("key")
        if resource.key and not has_expressions(key) and (reason := complaint(resource.fields[resource.key], key)):
            yield ConfigIssue(
                pointer="/key",
                code="blueprint.wrong_type",
                message=f"The key {reason}.",
                unquoted=_unquoted(resource.fields[resource.key], key),
            )

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:  # noqa: ARG002
        """The record as the resource declares it; nullable under `missing: null`."""
        resource = self._resource(config, lookup)
        record = dict(resource.record_schema()) if resource else dict[str, Json]()
        if resource and "missing" in config and config["missing"] is None:
            record["type"] = ["object", "null"]
        return _object(record=record, found={"type": "boolean"})


class Push(_Verb):
    """PUSH {connector, resource, record} → {receipt: {applied, rows, idempotency_key, simulated}, applied}."""

    verb = "push"
    effect: Literal["none", "read", "write"] = "write"
    # It may suspend for a person to settle an unknown outcome, but as a rule does not: it may be an item of a for_each.
    config_schema: Schema = _config(
        ["record"],
        record={"x-template": True, "description": "the record to write, with the resource's fields"},
        simulate=SIMULATE,
    )

    def _values(self, config: Mapping[str, Json], resource: Resource, operation: Operation) -> Iterator[ConfigIssue]:  # noqa: ARG002
        record = config.get("record")
        if isinstance(record, dict):
            yield from _fitting("/record", record, resource.fields, "field", "blueprint.unknown_record_field")
        elif not isinstance(record, str) or not has_expressions(record):
            yield ConfigIssue(
                pointer="/record",
                code="blueprint.wrong_type",
                message="The record must be an object, or one expression that gives one.",
                hint=f"Its fields are: {', '.join(resource.fields)}.",
            )

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:  # noqa: ARG002
        """The receipt, with the fields of the answer that the connector declares."""
        resource = self._resource(config, lookup)
        operation = resource.operations.get("push") if resource else None
        said = {} if operation is None else operation.settings.get("receipt", {})
        fields: dict[str, Json] = {name: {} for name in said} if isinstance(said, dict) else {}
        more: dict[str, Json] = {"fields": _object(**fields)} if fields else {}
        return _object(receipt=_object(**_RECEIPT, **more), applied={"type": "boolean"})

    def written(self, config: Mapping[str, Json], lookup: Lookup) -> str | None:  # noqa: ARG002
        """Fills `blueprints.Writing`."""
        return "record"


_RECEIPT: dict[str, Json] = {
    "applied": {"type": "boolean"},
    "rows": {"type": "integer"},
    "idempotency_key": {"type": "string"},
    "simulated": {"type": "boolean"},
}


_EXECUTE: Schema = {
    "type": "object",
    "required": ["connector", "operation"],
    "additionalProperties": False,
    "properties": {
        "connector": _CONNECTOR,
        "operation": {**_NAME, "description": "an operation under the connector's `execute`"},
        "tool": TOOL,
        "simulate": SIMULATE,
        "arguments": {
            "type": "object",
            "x-label": "parameter",
            "additionalProperties": {"x-template": True},
            "description": "values for the parameters of the operation",
        },
    },
}


class Execute:
    """EXECUTE {connector, operation, arguments?} → {result}, and of an operation that writes {receipt, applied} too."""

    verb = "execute"
    effect: Literal["none", "read", "write"] = "write"
    suspends = False
    config_schema: Schema = _EXECUTE

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:
        """Complaints about an operation that the connector does not declare and about literal arguments that do not fit."""
        yield from use_issues(self.verb, config, lookup)
        connector, name = _connector(config, lookup), config.get("operation")
        if connector is None or not isinstance(name, str):
            return
        operation = _operation(connector, name)
        if operation is None:
            there = f"It has: {', '.join(connector.operations)}." if connector.operations else "It declares none."
            yield ConfigIssue(
                pointer="/operation",
                code="blueprint.unknown_operation",
                message=f"The connector {connector.name} has no operation {name} to execute.",
                hint=did_you_mean(name, connector.operations) or there,
            )
            return
        arguments = config.get("arguments", {})
        if isinstance(arguments, dict):
            code = "blueprint.unknown_parameter"
            yield from _fitting("/arguments", arguments, operation.parameters, "argument", code)

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:  # noqa: ARG002
        """The result as the connector declares it. A write's may be null: a probe or a person may have told its end."""
        connector = _connector(config, lookup)
        operation = _operation(connector, str(config.get("operation"))) if connector else None
        result: dict[str, Json] = dict(operation.result) if operation else {}
        if operation is not None and operation.effect == "read":
            return _object(result=result)
        kinds = types_of(result)
        if kinds and "null" not in kinds:
            result["type"] = [*kinds, "null"]
        return _object(result=result, receipt=_object(**_RECEIPT), applied={"type": "boolean"})

    def written(self, config: Mapping[str, Json], lookup: Lookup) -> str | None:
        """Fills `blueprints.Writing`: nothing, where the operation only reads."""
        connector = _connector(config, lookup)
        operation = _operation(connector, str(config.get("operation"))) if connector else None
        return None if operation is not None and operation.effect == "read" else "arguments"


def _operation(connector: Connector, name: str) -> Operation | None:
    found = connector.operations.get(name)
    return None if found is None else found.operations["execute"]


_DECLARE = {
    "parameter": "Or declare it in the connector's fetch.parameters (`files` filters by its fields).",
    "argument": "Or declare it in the `parameters` of the connector's operation.",
}
_MISSING = {
    "parameter": "blueprint.missing_parameter",
    "argument": "blueprint.missing_parameter",
    "field": "blueprint.missing_field",
}


def _fitting(
    pointer: str, values: Mapping[str, Json], declared: Mapping[str, Schema], what: str, code: str
) -> Iterator[ConfigIssue]:
    """Names that are not declared, declared ones that are missing, literals of the wrong type."""
    for name, value in values.items():
        place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
        if name not in declared:
            yield ConfigIssue(
                pointer=place,
                code=code,
                message=f"There is no {what} {name} here.",
                hint=f"{did_you_mean(name, declared)} {_DECLARE.get(what, '')}".strip(),
            )
        elif not has_expressions(value) and (reason := complaint(declared[name], value)):
            yield ConfigIssue(
                pointer=place,
                code="blueprint.wrong_type",
                message=f"The {what} {name} {reason}.",
                unquoted=_unquoted(declared[name], value),
            )
    for name, schema in declared.items():
        if name not in values and "null" not in types_of(schema):
            yield ConfigIssue(
                pointer=pointer,
                code=_MISSING[what],
                message=f"The {what} {name} is missing.",
                hint='Add it, or let the connector declare it as [..., "null"].',
            )


def _unquoted(schema: Schema, value: Json) -> bool:
    """Whether a text was wanted and something is there that quotes would make one: `1.50`, `007`, `true`, `null`."""
    return "string" in types_of(schema) and (value is None or isinstance(value, int | float))


FETCH, LOOKUP, PUSH, EXECUTE = Fetch(), LookupVerb(), Push(), Execute()
VERBS = (FETCH, LOOKUP, PUSH, EXECUTE)
