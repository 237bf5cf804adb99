"""Adapters that a team brings: the Python entry point group `stanchion.adapters` (adr/0025).

An entry names what makes the adapter: a callable that takes `Means` and returns one, most simply its class. It is loaded
only where adapters run and where documents are checked. One that cannot be used is left out, and whoever names it in a
connector is told why; the others are not touched by it.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from stanchion.base import Clock
from stanchion.tools.adapter import Adapter
from stanchion.tools.adapters.own_guard import GuardedAdapter
from stanchion.tools.egress import Network

GROUP: Final = "stanchion.adapters"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}\Z")
_REASON_MAX: Final = 300
_ATTRIBUTES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "name": str,
    "settings_schema": Mapping,
    "settings_required": (tuple, list),
    "resource_schema": Mapping,
    "resource_required": (tuple, list),
    "operation_schemas": Mapping,
    "refused": Mapping,
}
_METHODS: Final = ("fetch", "lookup", "push", "probe", "execute", "test", "discover", "close")
_VERBS: Final = ("fetch", "lookup", "push", "execute")
_IDEMPOTENCY: Final = frozenset({"key", "natural", "probe", "none"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an adapter is made with.

    Attributes:
        root: the tenant's connectors' folder: paths in a connector are relative to it and stay below it (`inside`). An
            adapter is made for each tenant.
        clock: time, and the way to wait.
        network: the way out; `Egress.of(connector, network)` says which hosts and addresses a connector may call.
    """

    root: Path
    clock: Clock
    network: Network = field(default_factory=Network)


MakeAdapter = Callable[[Means], Adapter]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnAdapters:
    """What was found: how each adapter is made, by name, and why others cannot be used."""

    makers: Mapping[str, MakeAdapter] = field(default_factory=dict[str, MakeAdapter])
    broken: Mapping[str, str] = field(default_factory=dict[str, str])


NO_OWN = OwnAdapters()


def find_own(entries: Iterable[metadata.EntryPoint] | None = None) -> OwnAdapters:
    """Load the entry points of the installed packages (or `entries`). Never raises for what they do."""
    makers: dict[str, MakeAdapter] = {}
    broken: dict[str, str] = {}
    for entry in metadata.entry_points(group=GROUP) if entries is None else entries:
        if entry.name in makers or entry.name in broken:
            makers.pop(entry.name, None)
            broken[entry.name] = f"Several installed packages bring an adapter {entry.name!r}; one of them must go."
            continue
        try:
            if not _NAME.match(entry.name):
                raise TypeError("its name is not lower case letters, digits and dashes")  # noqa: TRY301
            made = entry.load()
            if not callable(made):
                raise TypeError(f"{entry.value} is not a callable that makes an adapter")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - the code of others may raise anything; it must not stop the rest
            broken[entry.name] = _said(entry, error)
        else:
            makers[entry.name] = cast("MakeAdapter", made)
    return OwnAdapters(makers=makers, broken=broken)


def made(own: OwnAdapters, means: Means, taken: Iterable[str]) -> tuple[Sequence[Adapter], Mapping[str, str]]:
    """The adapters, and why others cannot be used: name -> reason. One that ships (`taken`) is never replaced."""
    adapters: list[Adapter] = []
    broken = dict(own.broken)
    for name, make in own.makers.items():
        if name in taken:
            broken[name] = f"The adapter {name!r} ships with Stanchion; an own one needs another name."
            continue
        try:
            adapter = make(means)
            faults = adapter_faults(adapter, name)
        except Exception as error:  # noqa: BLE001 - as above
            faults = [f"it cannot be made: {type(error).__name__}: {error}"]
        else:
            if not faults:
                adapters.append(GuardedAdapter(adapter))
        if faults:
            broken[name] = f"The adapter {name!r} cannot be used: {'; '.join(faults)[:_REASON_MAX]}."
    return adapters, broken


def adapter_faults(adapter: object, name: str) -> list[str]:
    """What of the contract `Adapter` an object does not fill, as far as that can be seen without calling it."""
    attributes = [n for n, kind in _ATTRIBUTES.items() if not isinstance(getattr(adapter, n, None), kind)]
    methods = [n for n in _METHODS if not inspect.iscoroutinefunction(getattr(adapter, n, None))]
    methods += [] if callable(getattr(adapter, "check", None)) else ["check"]
    faults = [f"missing, or no coroutine methods: {', '.join(methods)}"] if methods else []
    faults += [f"missing, or of another type: {', '.join(attributes)}"] if attributes else []
    if faults:
        return faults
    held = cast("Adapter", adapter)
    if held.name != name:
        faults.append(f"it calls itself {held.name!r}")
    schemas = {f"operation_schemas.{verb}": schema for verb, schema in held.operation_schemas.items()}
    if strange := set(held.operation_schemas) - set(_VERBS):
        faults.append(f"there is no operation {min(strange)!r}")
    if not held.operation_schemas:
        faults.append("it offers no operation")
    for place, schema in {**_properties(held), **schemas}.items():
        faults += _schema_faults(place, schema)
    return faults + _push_faults(held.operation_schemas)


def _properties(adapter: Adapter) -> dict[str, Mapping[str, Any]]:
    return {
        **{f"settings_schema.{name}": schema for name, schema in adapter.settings_schema.items()},
        **{f"resource_schema.{name}": schema for name, schema in adapter.resource_schema.items()},
    }


def _schema_faults(place: str, schema: object) -> list[str]:
    if not isinstance(schema, Mapping):
        return [f"`{place}` is no JSON Schema"]
    try:
        Draft202012Validator.check_schema(dict(cast("Mapping[str, Any]", schema)))
    except SchemaError as error:
        return [f"`{place}` is no JSON Schema: {error.message[:100]}"]
    if place.startswith("operation_schemas.") and not isinstance(schema.get("properties"), Mapping):  # pyright: ignore[reportUnknownMemberType]
        return [f"`{place}` has no `properties`"]
    return []


def _push_faults(schemas: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A write that does not say how a repetition is recognised could be done twice (I5)."""
    push = schemas.get("push")
    if push is None or not isinstance(push.get("properties"), Mapping):
        return []
    said = push["properties"].get("idempotency", {})
    enum = cast("Mapping[str, Any]", said).get("enum") if isinstance(said, Mapping) else None
    values = cast("list[Any]", enum) if isinstance(enum, list) else []
    fine = bool(values) and _IDEMPOTENCY.issuperset(values)
    if fine and "idempotency" in cast("list[str]", push.get("required", [])):
        return []
    return ["`operation_schemas.push` does not require `idempotency` with an enum of key, natural, probe, none"]


def _said(entry: metadata.EntryPoint, error: Exception) -> str:
    package = f" of the package {entry.dist.name} {entry.dist.version}" if entry.dist is not None else ""
    reason = f"{type(error).__name__}: {error}".replace("\n", " ")[:_REASON_MAX]
    return f"The adapter {entry.name!r} ({entry.value}){package} cannot be loaded: {reason}"
