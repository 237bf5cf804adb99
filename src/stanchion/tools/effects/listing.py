"""Finding effects: lists for people who reconcile a target with the ledger, and the gauges of open outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from stanchion import artifacts
from stanchion.base import Json, NotFound
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx, Env
from stanchion.db import Tx
from stanchion.tools.effects import store
from stanchion.tools.effects.types import Effect, EffectState

# Connectors and operations that the gauge tells apart; those with the most open outcomes come first.
_SERIES_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """An artifact by name, and one version of it or every one."""

    name: str
    version: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectFilter:
    """Which effects: those that match everything given.

    Attributes:
        connector: performed through it. `tool`: performed for a step that uses it, by its operation.
        since: last attempted at or after this time.
        simulated: only those that were (not) performed for real.
    """

    state: EffectState | None = None
    run_id: UUID | None = None
    connector: Versioned | None = None
    tool: Versioned | None = None
    since: datetime | None = None
    simulated: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Called:
    """What a tool's versions call, and how a run is known to be pinned to one of them."""

    operations: list[str]
    pins: list[Mapping[str, Json]]


async def list_effects(ctx: Ctx, page: PageParams, where: EffectFilter = EffectFilter()) -> Slice[Effect]:
    """Effects of the tenant that match, newest first. Raises NotFound `effect.unknown_version`."""
    ctx.require("effects.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        called = None if where.tool is None else await _called(tx, ctx.tenant, where.tool)
        found = await store.select(
            tx,
            ctx.tenant,
            state=None if where.state is None else where.state.value,
            run_id=where.run_id,
            connector=None if where.connector is None else where.connector.name,
            digest=await _digest(tx, ctx.tenant, where.connector),
            operations=None if called is None else called.operations,
            pins=None if called is None else called.pins,
            since=where.since,
            simulated=where.simulated,
            before=before,
            limit=page.limit + 1,
        )
    return slice_of(found, page.limit, lambda effect: (str(effect.id),))


async def count_unknown(ctx: Ctx) -> int:
    """How many of the tenant's effects have an outcome that nobody knows: the target is asked, or a person must say."""
    ctx.require("effects.read")
    async with ctx.tx() as tx:
        return await store.count_unknown_of(tx, ctx.tenant)


async def _digest(tx: Tx, tenant: str, connector: Versioned | None) -> str | None:
    """The digest of a connector's version, or None where any will do. A name that is none is refused: an empty list would
    say that nothing was written."""
    if connector is None:
        return None
    found = await _digests(tx, tenant, "connector", connector)
    return None if connector.version is None else found[0]


async def _digests(tx: Tx, tenant: str, kind: str, wanted: Versioned) -> list[str]:
    known = dict(await artifacts.versions(tx, tenant, kind, wanted.name))
    if not known or (wanted.version is not None and wanted.version not in known):
        said = wanted.name if wanted.version is None else f"{wanted.name}@{wanted.version}"
        there = ", ".join(f"{wanted.name}@{number}" for number in sorted(known)[-5:])
        raise NotFound(
            "effect.unknown_version",
            f"There is no {kind} {said}.",
            hint=f"There are: {there}." if there else f"`stanchion artifact list --kind {kind}` shows what there is.",
        )
    return list(known.values()) if wanted.version is None else [known[wanted.version]]


async def _called(tx: Tx, tenant: str, tool: Versioned) -> _Called:
    operations, pins = set[str](), list[Mapping[str, Json]]()
    for digest in await _digests(tx, tenant, "tool", tool):
        body = (await artifacts.load(tx, tenant, "tool", digest)).body
        call = cast("Mapping[str, Any]", body["call"])
        place = "operation" if call["verb"] == "execute" else "resource"
        operations.add(f"{call['connector']}.{call[place]}.{call['verb']}")
        pins.append({"kind": "tool", "name": tool.name, "digest": digest})
    return _Called(operations=sorted(operations), pins=pins)


class EffectGauges:
    """The scheduler's duty: how many outcomes nobody knows, in all and by connector and operation."""

    def __init__(self) -> None:
        self._shown: set[tuple[str, str]] = set()

    async def measure(self, env: Env) -> None:
        """Set the gauges."""
        async with env.db.engine_tx() as tx:
            found = await store.count_unknown(tx)
        env.telemetry.emit("effects.unknown", float(sum(row.effects for row in found)))
        counts: dict[tuple[str, str], int] = {}
        for row in found:
            series = (row.connector, row.operation)
            if series not in self._shown and len(self._shown | counts.keys()) >= _SERIES_MAX:
                series = ("other", "other")
            counts[series] = counts.get(series, 0) + row.effects
        for series in self._shown - counts.keys():
            env.telemetry.emit("effects.open_unknown", 0.0, *series)
        for series, count in counts.items():
            env.telemetry.emit("effects.open_unknown", float(count), *series)
        self._shown |= counts.keys()
