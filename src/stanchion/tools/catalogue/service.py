"""Verbs of tools: list, show, approve, enable, disable. Every change is authorised, decided and audited in one transaction."""

from __future__ import annotations

from dataclasses import replace

from stanchion import audit
from stanchion.base import Conflict
from stanchion.base.paging import PageParams, Slice, decode_cursor, slice_of
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.tools.catalogue import rules, store
from stanchion.tools.catalogue.calling import Means
from stanchion.tools.catalogue.gate import evidence_of
from stanchion.tools.catalogue.loading import Loaded, load, loaded, unknown
from stanchion.tools.catalogue.snapshot import flag_of
from stanchion.tools.catalogue.types import Point, ToldApproval, ToolState, ToolVersion

# Versions of one tool that are listed, newest first.
VERSIONS_MAX = 50


async def list_tools(ctx: Ctx, page: PageParams) -> Slice[ToolVersion]:
    """The live tools, by name."""
    ctx.require("tools.read")
    after = None if page.after is None else decode_cursor(page.after, 1)[0]
    async with ctx.tx() as tx:
        rows = await store.versions(
            tx, ctx.tenant, ctx.env.environment.name, name=None, after=after, live_only=True, limit=page.limit + 1
        )
        found = [one.version for one in await loaded(tx, ctx, rows)]
    return slice_of(found, page.limit, lambda one: (one.tool.name,))


async def show_tool(ctx: Ctx, name: str, version: int | None) -> tuple[Loaded, list[ToolVersion]]:
    """A version (the live one if none is said, the newest if none is live), and every version of the tool, newest first.

    Raises NotFound `tool.unknown`.
    """
    ctx.require("tools.read", name=name)
    async with ctx.tx() as tx:
        rows = await store.versions(
            tx, ctx.tenant, ctx.env.environment.name, name=name, after=None, live_only=False, limit=VERSIONS_MAX
        )
        if not rows:
            raise unknown(name, version)
        wanted = version or next((row.version for row in rows if row.live), rows[0].version)
        every = await loaded(tx, ctx, rows)
        found = next((one for one in every if one.version.version == wanted), None)
        if found is None:
            found = await load(tx, ctx, name, wanted)
    return found, [one.version for one in every]


async def approve(ctx: Ctx, name: str, version: int | None, *, told: str, reason: str) -> ToldApproval:
    """Say that what models are told of a version is right. It is bound to exactly that: another word needs another approval.

    Args:
        ctx: who approves; the author of the version may not.
        name: of the tool.
        version: of the tool; the live one if None.
        told: the digest of what the approver was shown.
        reason: why; kept in the audit log.

    Raises Denied, NotFound `tool.unknown`, Invalid `tool.no_reason`; Conflict `tool.told_changed` if it is something else than
    was shown, `tool.own_description` for the author, `tool.approved` if this person did before.
    """
    ctx.require("tools.approve", name=name)
    why = rules.check_reason(reason)
    async with ctx.tx() as tx:
        found = await load(tx, ctx, name, version)
        _check_told(ctx, found.version, told)
        made = ToldApproval(name=name, told=told, by=ctx.actor.principal, reason=why, at=ctx.now)
        if not await store.approve(tx, ctx.tenant, made):
            raise Conflict(
                "tool.approved", f"{ctx.actor.principal} approved this already.", hint="Nothing was changed."
            )
        await audit.record(
            tx,
            ctx,
            "tool.description_approved",
            target=("artifact", f"tool/{name}"),
            after=told,
            reason=why,
            extra={"name": name, "version": found.version.version, "digest": found.version.tool.digest, "told": told},
        )
    return made


def _check_told(ctx: Ctx, version: ToolVersion, told: str) -> None:
    name = version.tool.name
    if not version.told or version.told != told:
        raise Conflict(
            "tool.told_changed",
            f"What models are told of tool {name} v{version.version} is not what was shown.",
            hint=f"Read it again: stanchion tool show {name}@{version.version}.",
            told=version.told,
        )
    if version.author == ctx.actor.principal:
        raise Conflict(
            "tool.own_description",
            f"{ctx.actor.principal} is the author of tool {name} v{version.version}.",
            hint="Let somebody else read what models are told.",
        )


async def enable(
    ctx: Ctx, means: Means, name: str, version: int | None, *, reason: str
) -> tuple[ToolVersion, tuple[Point, ...]]:
    """Enable a version here, on every process within a second, if all eight points of the gate hold now.

    Raises Denied; NotFound `tool.unknown`; Invalid `tool.no_reason`; Conflict `tool.gated` with each point that does not hold,
    `tool.retired`, `release.revoked`, `tool.enabled`.
    """
    ctx.require("tools.enable", name=name)
    why = rules.check_reason(reason)
    async with ctx.tx() as tx:
        await store.hold(tx, ctx.tenant, ctx.env.environment.name, name)
        found = await load(tx, ctx, name, version)
        _check_enabling(ctx, means, found.version)
        points = rules.judge(await evidence_of(tx, ctx, means, found))
        if not all(point.holds for point in points):
            raise rules.gated(found.version, points)
        after = _state(ctx, found.version, enabled=True, reason=why, points=points)
        await _set(tx, ctx, found.version, after, "tool.enabled")
    await means.states.look()
    return replace(found.version, state=after), points


def _check_enabling(ctx: Ctx, means: Means, version: ToolVersion) -> None:
    tool = version.tool
    if version.retired:
        raise Conflict(
            "tool.retired",
            f"Version {version.version} of tool {tool.name} is retired.",
            hint="Publish its content again to take it back.",
        )
    stopped = means.withdrawn.stopped(ctx.tenant, (tool.digest,), strict=True)
    if stopped is not None:
        raise Conflict("release.revoked", stopped.text, hint="Enable another version.", ref=stopped.ref)
    if version.state is not None and rules.stays_usable(version, ctx.env.environment):
        raise Conflict(
            "tool.enabled",
            f"Tool {tool.name} v{version.version} is enabled here already.",
            hint="Nothing was changed.",
        )


async def disable(ctx: Ctx, means: Means, name: str, version: int | None, *, reason: str) -> ToolVersion:
    """Disable a version here, on every process within a second: no call begins, a step that comes to it fails.

    Raises Denied; NotFound `tool.unknown`; Invalid `tool.no_reason`; Conflict `tool.disabled_already`.
    """
    ctx.require("tools.disable", name=name)
    why = rules.check_reason(reason)
    async with ctx.tx() as tx:
        await store.hold(tx, ctx.tenant, ctx.env.environment.name, name)
        found = await load(tx, ctx, name, version)
        state = found.version.state
        if state is not None and not state.enabled:
            raise Conflict(
                "tool.disabled_already",
                f"Tool {name} v{found.version.version} is disabled here: {state.reason}",
                hint="Nothing was changed.",
            )
        after = _state(ctx, found.version, enabled=False, reason=why)
        await _set(tx, ctx, found.version, after, "tool.disabled")
    await means.states.look()
    return replace(found.version, state=after)


def _state(ctx: Ctx, version: ToolVersion, *, enabled: bool, reason: str, points: tuple[Point, ...] = ()) -> ToolState:
    return ToolState(
        name=version.tool.name,
        version=version.version,
        digest=version.tool.digest,
        connector_digest=version.connector_digest or "",
        enabled=enabled,
        reason=reason,
        by=ctx.actor.principal,
        at=ctx.now,
        evidence=rules.points_json(points),
    )


async def _set(tx: Tx, ctx: Ctx, version: ToolVersion, after: ToolState, event: str) -> None:
    before = version.state
    await store.set_state(tx, ctx.tenant, ctx.env.environment.name, after)
    await audit.record(
        tx,
        ctx,
        event,
        target=("artifact", f"tool/{after.name}"),
        before={
            "enabled": rules.stays_usable(version, ctx.env.environment),
            "by": None if before is None else before.by,
        },
        after={"enabled": after.enabled, "by": after.by},
        reason=after.reason,
        extra={
            "name": after.name,
            "version": after.version,
            "digest": after.digest,
            "connector_digest": after.connector_digest,
            "flag": flag_of(after.name, after.version),
            "points": rules.points_audited(after.evidence),
        },
    )
