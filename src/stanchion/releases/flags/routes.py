"""HTTP: /api/flags, and of one flag evaluate, enable, disable, default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter

from stanchion.artifacts import KindSpec
from stanchion.artifacts.routes import NamePath
from stanchion.context import Ctx
from stanchion.http import CtxDep, Page, PageDep, asks, shows
from stanchion.releases.flags import service
from stanchion.releases.flags.snapshot import Snapshot
from stanchion.releases.flags.wire import (
    CHANGED,
    AnswerReply,
    DefaultRequest,
    EvaluateRequest,
    FlagChangedReply,
    FlagReply,
    FlagShownReply,
    HereReply,
    SwitchRequest,
)
from stanchion.releases.types import Change

_DISABLED: dict[str, Any] = {**CHANGED, "version": 4}


def build_router(kinds: Mapping[str, KindSpec], flags: Snapshot) -> APIRouter:
    """The routes of flags. `kinds`: how each kind is read; `flags`: what this process serves."""
    router = APIRouter(prefix="/api/flags", tags=["flags"])
    _add_reading(router, flags)
    _add_changing(router, kinds)
    return router


def _add_reading(router: APIRouter, flags: Snapshot) -> None:
    @router.get("", summary="List flags", operation_id="list_flags")
    async def get_flags(ctx: CtxDep, page: PageDep) -> Page[FlagReply]:
        """The flags that are live in this environment, by name."""
        found = await service.list_flags(ctx, page)
        return Page(items=[FlagReply.of(row) for row in found.items], next=found.next)

    @router.get("/{name}", summary="Show a flag", operation_id="show_flag")
    async def get_flag(ctx: CtxDep, name: NamePath) -> FlagShownReply:
        """What is live of a flag, its document, and which version the answering process serves."""
        return FlagShownReply.shown(await service.show_flag(ctx, name), _here(ctx, flags, name))

    @router.post("/{name}/evaluate", summary="Evaluate a flag", operation_id="evaluate_flag")
    async def post_evaluate(ctx: CtxDep, name: NamePath, body: EvaluateRequest) -> AnswerReply:
        """What the flag gives for these attributes, from this process's memory. Records nothing."""
        answer = service.evaluate(ctx, flags, name, body.fallback, body.context, expected=body.type)
        return AnswerReply.of(answer, flags.age_s)


def _here(ctx: Ctx, flags: Snapshot, name: str) -> HereReply:
    known = flags.of(ctx.tenant)
    entry = known.entries.get(name)
    age_s = flags.age_s
    return HereReply(
        process=ctx.env.telemetry.process,
        revision=known.revision,
        age_s=None if age_s is None else round(age_s, 3),
        version=None if entry is None else entry.live.version,
        candidate=None if entry is None or entry.candidate is None else entry.candidate.version,
    )


def _add_changing(router: APIRouter, kinds: Mapping[str, KindSpec]) -> None:
    @router.post("/{name}/enable", summary="Enable a flag", operation_id="enable_flag")
    async def post_enable(ctx: CtxDep, name: NamePath, body: SwitchRequest) -> FlagChangedReply:
        """Apply the live document with `enabled: true`: targeting decides again."""
        return _changed(await service.enable(ctx, name, kinds=kinds, reason=body.reason))

    @router.post(
        "/{name}/disable",
        summary="Disable a flag",
        operation_id="disable_flag",
        responses=shows(_DISABLED),
        openapi_extra=asks({"reason": "It loses citations."}),
    )
    async def post_disable(ctx: CtxDep, name: NamePath, body: SwitchRequest) -> FlagChangedReply:
        """Apply the live document with `enabled: false`: everybody gets the caller's own value."""
        return _changed(await service.disable(ctx, name, kinds=kinds, reason=body.reason))

    @router.post("/{name}/default", summary="Set a flag's default", operation_id="set_flag_default")
    async def post_default(ctx: CtxDep, name: NamePath, body: DefaultRequest) -> FlagChangedReply:
        """Apply the live document with another default variant."""
        return _changed(await service.set_default(ctx, name, body.variant, kinds=kinds, reason=body.reason))


def _changed(change: Change) -> FlagChangedReply:
    return FlagChangedReply(name=change.name, version=change.version, digest=change.digest, change=change.change.value)
