"""HTTP: /api/drains."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from stanchion.artifacts.routes import KindPath, NamePath
from stanchion.http import CtxDep, Model, Page, PageDep, asks, example, shows
from stanchion.releases.draining import service
from stanchion.releases.draining.types import Drain
from stanchion.releases.revoking.wire import (
    IMPACT,
    REASON_CHARS_MAX,
    WITHDRAWAL,
    Impact,
    ReasonRequest,
    RevocationReply,
    WithdrawalImpactReply,
)

_VERSION = Path(ge=1, le=2**31 - 1)
_DRAINED: dict[str, Any] = {
    **WITHDRAWAL,
    "kind": "blueprint",
    "name": "case-triage",
    "version": 1,
    "reason": "Version 2 replaces it.",
    "left": 2,
    "running": 1,
    "waiting": 1,
    "queued": 0,
    "emptied_at": None,
    "live": False,
}
_UNDRAINED: dict[str, Any] = {
    **{name: _DRAINED[name] for name in WITHDRAWAL},
    "lifted_by": "olga",
    "lifted_at": "2026-11-22T09:31:40.112001Z",
    "lift_reason": "It is needed once more.",
}


class DrainReply(RevocationReply):
    """A drained version; in force while `lifted_at` is null. `left`: runs that began on it and have not ended, of which a
    worker executes `running`, `waiting` wait, `queued` are queued. `emptied_at`: when the last was seen to have ended (within a
    second of it). `live`: whether it is the live version, so that starts are refused."""

    model_config = example(_DRAINED)

    left: int
    running: int
    waiting: int
    queued: int
    emptied_at: datetime | None
    live: bool

    @classmethod
    def drained(cls, found: Drain) -> DrainReply:
        """A drain as it is sent."""
        counts = found.counts
        return cls(
            **RevocationReply.of(found.withdrawal).model_dump(),
            left=counts.left,
            running=counts.running,
            waiting=counts.waiting + counts.stopped,
            queued=counts.queued,
            emptied_at=found.withdrawal.emptied_at,
            live=found.live,
        )


class DrainDetailReply(DrainReply):
    """A drained version, and the runs that are left."""

    model_config = example({**_DRAINED, "impact": IMPACT})

    impact: WithdrawalImpactReply

    @classmethod
    def shown(cls, found: Drain, now: Impact) -> DrainDetailReply:
        """A drain with its runs, as it is sent."""
        return cls(**DrainReply.drained(found).model_dump(), impact=WithdrawalImpactReply.of(now))


class DrainRequest(Model):
    """Which version, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"kind": "blueprint", "name": "case-triage", "version": 1, "reason": _DRAINED["reason"]}]
        },
    )

    kind: str = Field(pattern=r"^[a-z_]{1,32}$")
    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    version: int = Field(ge=1, le=2**31 - 1)
    reason: str = Field(max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")


def build_router() -> APIRouter:
    """The routes of drains."""
    router = APIRouter(prefix="/api/drains", tags=["releases"])

    @router.get("", summary="List drains", operation_id="list_drains")
    async def get_drains(
        ctx: CtxDep,
        page: PageDep,
        lifted: Annotated[bool, Query(description="Also those that were undrained.")] = False,
    ) -> Page[DrainReply]:
        """The drained versions, newest first, each with what is left of it."""
        found = await service.list_drains(ctx, page, lifted=lifted)
        return Page(items=[DrainReply.drained(row) for row in found.items], next=found.next)

    @router.post("", status_code=201, summary="Drain a version", operation_id="drain", responses=shows(_DRAINED, 201))
    async def post_drain(ctx: CtxDep, body: DrainRequest) -> DrainReply:
        """No new run begins on it, on every process within a second; those that began on it finish."""
        return DrainReply.drained(await service.drain(ctx, body.kind, body.name, body.version, reason=body.reason))

    @router.get("/{kind}/{name}/{version}", summary="Show a drain", operation_id="show_drain")
    async def get_drain(
        ctx: CtxDep, kind: KindPath, name: NamePath, version: Annotated[int, _VERSION]
    ) -> DrainDetailReply:
        """The drain of a version (the last one, if it was undrained), with the runs that are left."""
        return DrainDetailReply.shown(*await service.show_drain(ctx, kind, name, version))

    @router.post(
        "/{kind}/{name}/{version}/undrain",
        summary="Undrain a version",
        operation_id="undrain",
        responses=shows(_UNDRAINED),
        openapi_extra=asks({"reason": _UNDRAINED["lift_reason"]}),
    )
    async def post_undrain(
        ctx: CtxDep, kind: KindPath, name: NamePath, version: Annotated[int, _VERSION], body: ReasonRequest
    ) -> RevocationReply:
        """Let new runs begin on it again."""
        return RevocationReply.of(await service.undrain(ctx, kind, name, version, reason=body.reason))

    return router
