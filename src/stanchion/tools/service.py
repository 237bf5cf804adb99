"""Verbs of connectors: list, show, and test that one reaches its target."""

from __future__ import annotations

from dataclasses import dataclass

from stanchion.base import NotFound, Problem
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.context import Ctx
from stanchion.controls.kills import Kills
from stanchion.tools import store
from stanchion.tools.adapter import AdapterRegistry
from stanchion.tools.connectors import connector_of
from stanchion.tools.store import LiveConnector
from stanchion.tools.types import Connector, Discovery

# A person waits for a test and for a discovery; a request of the API ends after 30 seconds.
TEST_TIMEOUT_S = 10.0
DISCOVER_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """How a test of a connector ended: what was found, or the problem's code and words."""

    ok: bool
    code: str
    detail: str
    hint: str
    duration_ms: int


async def list_connectors(ctx: Ctx, page: PageParams) -> Slice[tuple[LiveConnector, Connector]]:
    """The live connectors of this deployment's environment, by name."""
    ctx.require("connectors.read")
    after = decode_cursor(page.after, 1)[0] if page.after else None
    async with ctx.tx() as tx:
        found = await store.live(tx, ctx.tenant, ctx.env.environment.name, after=after, limit=page.limit + 1)
    rows = [(row, connector_of(row.body, row.digest)) for row in found]
    return slice_of(rows, page.limit, lambda row: (row[0].name,))


async def show_connector(ctx: Ctx, name: str) -> tuple[LiveConnector, Connector]:
    """The live version of a connector. Raises NotFound `connector.unknown`."""
    ctx.require("connectors.read", name=name)
    return await _live(ctx, name)


async def test_connector(ctx: Ctx, name: str, adapters: AdapterRegistry, kills: Kills) -> Tested:
    """Reach the target of a live connector without changing it. That it fails is an answer, not an error.

    Raises NotFound `connector.unknown`, Denied `kill.active`, Unavailable `kill.unread`.
    """
    ctx.require("connectors.test", name=name)
    _, connector = await _live(ctx, name)
    kills.admit(ctx.tenant, "connector", name, connector.digest)
    started = ctx.env.clock.monotonic()
    try:
        detail = await adapters.get(connector.adapter, tenant=ctx.tenant, principal=ctx.actor.principal).test(
            connector, min(connector.timeout_s, TEST_TIMEOUT_S)
        )
        ok, code, hint = True, "", ""
    except Problem as problem:
        ok, code, detail, hint = False, problem.code, problem.message, problem.hint
    seconds = ctx.env.clock.monotonic() - started
    ctx.env.telemetry.emit("adapter.called", seconds, connector.adapter, "test")
    return Tested(ok=ok, code=code, detail=detail, hint=hint, duration_ms=round(seconds * 1000))


async def discover_connector(
    ctx: Ctx, name: str, adapters: AdapterRegistry, kills: Kills
) -> tuple[Connector, Discovery]:
    """What the target of a live connector offers, as resources for its document; nothing is changed, here or there.

    Raises NotFound `connector.unknown`, Denied `kill.active`, Unavailable `kill.unread`, AdapterProblem.
    """
    ctx.require("connectors.test", name=name)
    _, connector = await _live(ctx, name)
    kills.admit(ctx.tenant, "connector", name, connector.digest)
    started = ctx.env.clock.monotonic()
    try:
        found = await adapters.get(connector.adapter, tenant=ctx.tenant, principal=ctx.actor.principal).discover(
            connector, min(connector.timeout_s, DISCOVER_TIMEOUT_S)
        )
    finally:
        seconds = ctx.env.clock.monotonic() - started
        ctx.env.telemetry.emit("adapter.called", seconds, connector.adapter, "discover")
    return connector, found


async def _live(ctx: Ctx, name: str) -> tuple[LiveConnector, Connector]:
    environment = ctx.env.environment.name
    async with ctx.tx() as tx:
        found = await store.live_one(tx, ctx.tenant, environment, name)
    if found is None:
        raise NotFound(
            "connector.unknown",
            f"There is no connector {name!r} live in {environment}.",
            hint="`GET /api/connectors` lists what there is; `stanchion apply` publishes one.",
        )
    return found, connector_of(found.body, found.digest)
