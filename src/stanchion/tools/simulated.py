"""Effects that are not performed: what a write answers where this deployment may not make it (I10).

Outside production, a write through a connector that is bound to another environment is simulated: nothing is called, no
credential is resolved, and the answer has the form of a real one. It says `simulated: true` wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from stanchion.base import Denied, Json
from stanchion.blueprints import Schema
from stanchion.context import Environment
from stanchion.telemetry import current_traceparent
from stanchion.tools.adapter import Target
from stanchion.tools.records import types_of
from stanchion.tools.types import Connector, Envelope, Record

# How deep an invented result goes; a schema that refers to itself ends there.
_DEPTH_MAX: Final = 8
_FORMATS: Final[Mapping[str, str]] = {
    "decimal": "0",
    "date": "1970-01-01",
    "date-time": "1970-01-01T00:00:00Z",
    "uuid": "00000000-0000-0000-0000-000000000000",
}


def is_simulated(connector: Connector, environment: Environment) -> bool:
    """The first lock of I10: whether a write through this connector is simulated here; False: it is performed.

    Raises Denied `effect.wrong_environment` in production, where nothing is simulated.
    """
    if connector.environment == environment.name:
        return False
    if environment.production:
        raise Denied(
            "effect.wrong_environment",
            f"The connector {connector.name!r} is bound to the environment {connector.environment!r};"
            f" this deployment is {environment.name!r}, so nothing is written.",
            hint=f"Publish a connector with `environment: {environment.name}` here, or run this where it belongs.",
        )
    return True


def was_real(target: Target) -> Denied:
    """That an effect which was attempted for real is not simulated now: something of it may be at the target."""
    return Denied(
        "effect.was_real",
        f"The write to {target.name} was attempted before this deployment or its connector got another environment;"
        " it is not simulated now, and nothing was sent.",
        hint="Look at the target whether it happened and say so with `stanchion effect resolve`, or give the deployment"
        " back the environment that the run was begun in.",
    )


def envelope_of(target: Target, record: Record, key: str, *, environment: Environment) -> Envelope:
    """What the write would have answered: the record of a push in its metadata, a result that fits the schema of an
    EXECUTE, `applied`, and `simulated`."""
    verb = target.operation.verb
    metadata: dict[str, Json] = {
        "adapter": target.connector.adapter,
        "connector": target.connector.name,
        "resource": target.resource.name,
        "operation": verb,
        "simulated": True,
        "applied": True,
        "rows": 1,
        "idempotency_key": key,
    }
    if fields := target.operation.settings.get("receipt"):
        metadata["fields"] = {name: record.get(name) for name in cast("Mapping[str, Json]", fields)}
    if verb == "push":
        metadata["record"] = dict(record)
    traceparent = target.traceparent or current_traceparent()
    return Envelope(
        records=[{"result": example_of(target.operation.result)}] if verb == "execute" else [],
        metrics={"duration_ms": 0, "calls": 0},
        trace={"traceparent": traceparent} if traceparent else {},
        narrative=_said(target, environment),
        metadata=metadata,
    )


def _said(target: Target, environment: Environment) -> str:
    bound = target.connector.environment
    if bound == environment.name:
        return f"Simulated: nothing was sent to {target.name}, because the step only simulates."
    return (
        f"Simulated: {target.name} belongs to the environment {bound!r} and this is {environment.name!r},"
        " so nothing was sent."
    )


def example_of(schema: Schema, depth: int = 0) -> Json:
    """A value that fits the schema, the smallest there is; null where the schema says nothing."""
    given = _given(schema)
    if given:
        return given[0]
    types = types_of(schema)
    if not types or "null" in types or depth > _DEPTH_MAX:
        return None
    of_type: Mapping[str, Callable[[], Json]] = {
        "object": lambda: _object(schema, depth),
        "array": lambda: _array(schema, depth),
        "string": lambda: _text(schema),
        "boolean": lambda: False,
    }
    return next((of_type[name]() for name in of_type if name in types), _number(schema))


def _given(schema: Schema) -> list[Json]:
    """Values that the schema itself names."""
    named = [schema[name] for name in ("const", "default") if name in schema]
    listed = [choices for name in ("enum", "examples") if isinstance(choices := schema.get(name), list)]
    return [*named, *(choice for choices in listed for choice in choices)]


def _array(schema: Schema, depth: int) -> Json:
    item = cast("Schema", schema.get("items") or {})
    return [example_of(item, depth + 1) for _ in range(int(cast("int", schema.get("minItems", 0))))]


def _object(schema: Schema, depth: int) -> Json:
    properties = cast("Mapping[str, Schema]", schema.get("properties") or {})
    required = cast("list[str]", schema.get("required") or [])
    return {name: example_of(properties.get(name, {}), depth + 1) for name in required}


def _text(schema: Schema) -> str:
    known = _FORMATS.get(str(schema.get("format", "")))
    if known is not None:
        return known
    least, most = int(cast("int", schema.get("minLength", 0))), int(cast("int", schema.get("maxLength", 100)))
    return "simulated"[:most].ljust(least, "-")


def _number(schema: Schema) -> int | float:
    least, most = schema.get("minimum"), schema.get("maximum")
    if isinstance(least, int | float) and least > 0:
        return least
    return most if isinstance(most, int | float) and most < 0 else 0
