"""HTTP: /api/tools."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Response

from stanchion import runs
from stanchion.artifacts.routes import NamePath
from stanchion.context import Ctx
from stanchion.http import CtxDep, Page, PageDep
from stanchion.runs import ended_within
from stanchion.tools.catalogue import calling, gate, service, wire
from stanchion.tools.catalogue.types import ToolVersion

WAIT_S_MAX: Final = 30
_VersionQuery = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The live version if left out.")]
_Key = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=255, description="The same key gives the same call."),
]
_Prefer = Annotated[
    str | None,
    Header(alias="Prefer", max_length=200, description="`wait=N`: wait up to N seconds, at most 30."),
]


def build_router(means: calling.Means) -> APIRouter:
    """The routes of tools."""
    router = APIRouter(prefix="/api/tools", tags=["tools"])
    _add_reads(router, means)
    _add_changes(router, means)
    _add_calls(router, means)
    return router


def _add_reads(router: APIRouter, means: calling.Means) -> None:
    @router.get("", summary="List tools", operation_id="list_tools")
    async def get_tools(ctx: CtxDep, page: PageDep) -> Page[wire.ToolReply]:
        """The live tools, by name, and whether each may be used here."""
        found = await service.list_tools(ctx, page)
        killed = _killed(ctx, means)
        items = [wire.ToolReply.of(one, ctx.env.environment, killed) for one in found.items]
        return Page(items=items, next=found.next)

    @router.get("/{name}", summary="Show a tool", operation_id="show_tool")
    async def get_tool(ctx: CtxDep, name: NamePath, version: _VersionQuery = None) -> wire.ToolDetailReply:
        """A version of a tool, with exactly what models are told of it, and every version."""
        found, every = await service.show_tool(ctx, name, version)
        return wire.ToolDetailReply.shown(found, every, ctx.env.environment, _killed(ctx, means))

    @router.get("/{name}/check", summary="Check a tool", operation_id="check_tool")
    async def get_check(ctx: CtxDep, name: NamePath, version: _VersionQuery = None) -> wire.GateReply:
        """The eight points of the tool gate, each with its evidence. Changes nothing."""
        found, points = await gate.check(ctx, means, name, version)
        return wire.GateReply.of(found.version, points, ctx.env.environment)


def _add_changes(router: APIRouter, means: calling.Means) -> None:
    @router.post("/{name}/try", summary="Try a tool", operation_id="try_tool")
    async def post_try(ctx: CtxDep, name: NamePath, body: wire.TryBody) -> wire.GateReply:
        """Try what the gate wants tried (a dry run of the first example, its repetition, the disable path), then check."""
        found, points = await gate.attempt(ctx, means, name, body.version)
        return wire.GateReply.of(found.version, points, ctx.env.environment)

    @router.post("/{name}/approve", summary="Approve what models are told", operation_id="approve_tool")
    async def post_approve(ctx: CtxDep, name: NamePath, body: wire.ApproveBody) -> wire.ApprovedReply:
        """Say that what models are told of a version is right. Bound to exactly that; its author may not."""
        made = await service.approve(ctx, name, body.version, told=body.told, reason=body.reason)
        return wire.ApprovedReply.of(made)

    @router.post("/{name}/enable", summary="Enable a tool", operation_id="enable_tool")
    async def post_enable(ctx: CtxDep, name: NamePath, body: wire.ChangeBody) -> wire.GateReply:
        """Enable a version here, on every process within a second, if all eight points hold now."""
        found, points = await service.enable(ctx, means, name, body.version, reason=body.reason)
        return wire.GateReply.of(found, points, ctx.env.environment)

    @router.post("/{name}/disable", summary="Disable a tool", operation_id="disable_tool")
    async def post_disable(ctx: CtxDep, name: NamePath, body: wire.ChangeBody) -> wire.ToolReply:
        """Disable a version here, on every process within a second."""
        found = await service.disable(ctx, means, name, body.version, reason=body.reason)
        return wire.ToolReply.of(found, ctx.env.environment, _killed(ctx, means))


def _add_calls(router: APIRouter, means: calling.Means) -> None:
    @router.post(
        "/{name}/calls",
        status_code=202,
        summary="Call a tool",
        operation_id="call_tool",
        responses={200: {"model": wire.CallReply, "description": "`Prefer: wait` was given and the call has ended."}},
    )
    async def post_call(
        ctx: CtxDep,
        name: NamePath,
        body: wire.CallBody,
        response: Response,
        idempotency_key: _Key = None,
        prefer: _Prefer = None,
    ) -> wire.CallReply:
        """Call the live version: a run of its own, with its ledger, approvals and records. A dry run sends nothing."""
        called = await calling.call(
            ctx,
            means,
            name,
            body.arguments,
            version=body.version,
            dry_run=body.dry_run,
            idempotency_key=idempotency_key,
        )
        response.headers["Location"] = f"/api/runs/{called.run_id}"
        seconds = _wanted_wait(prefer)
        if seconds is not None:
            response.headers["Preference-Applied"] = f"wait={seconds:g}"
            if await ended_within(ctx, means.watcher, called.run_id, seconds):
                response.status_code = 200
                found, steps = await runs.show(ctx, called.run_id), await runs.list_steps(ctx, called.run_id)
                return wire.CallReply.ended(called, found, list(steps))
        return wire.CallReply.accepted(called)


def _killed(ctx: Ctx, means: calling.Means) -> wire.Killed:
    def killed(version: ToolVersion) -> bool:
        return means.kills.blocked(ctx.tenant, "tool", version.tool.name, version.tool.digest) is not None

    return killed


def _wanted_wait(prefer: str | None) -> float | None:
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*(\d{1,5})\b", prefer or "")
    return None if found is None else min(float(found[1]), float(WAIT_S_MAX))
