"""HTTP: GET and POST /api/kills, GET /api/kills/{id}, GET /api/kills/{kind}/{name}/impact, POST /api/kills/{id}/lift."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from stanchion.controls.kills.rules import REASON_CHARS_MAX
from stanchion.controls.kills.service import Killable, impact, lift_kill, list_kills, set_kill, show_kill
from stanchion.controls.kills.types import InFlight, Kill
from stanchion.http import CtxDep, Model, Page, PageDep, Reply, asks, example, shows

_KILL: dict[str, Any] = {
    "id": "01a20198-dc40-7064-8f83-97419a579307",
    "kind": "connector",
    "name": "casebook",
    "version": None,
    "digest": None,
    "reason": "The casebook answers with other tenants' cases.",
    "set_by": "olga",
    "set_at": "2026-11-22T04:52:04.800823Z",
    "lifted_by": None,
    "lifted_at": None,
    "lift_reason": None,
}
_LIFTED: dict[str, Any] = {
    **_KILL,
    "lifted_by": "admin",
    "lifted_at": "2026-11-22T05:31:40.112001Z",
    "lift_reason": "The casebook is mended.",
}
_IN_FLIGHT: dict[str, Any] = {
    "running": 1,
    "waiting": 1,
    "queued": 0,
    "newest": [
        {
            "run_id": "0199c1f0-0000-7000-8000-000000000001",
            "blueprint": "case-triage",
            "version": 1,
            "status": "SUSPENDED",
            "waiting_on": "approval",
            "created_at": "2026-11-22T04:51:58.300104Z",
        }
    ],
}
_NAME = r"^[a-z][a-z0-9-]{0,62}$"
_KIND = r"^[a-z][a-z_]{0,31}$"


class KillReply(Reply):
    """One kill switch; in force while `lifted_at` is null. `version` null: every version."""

    model_config = example(_KILL)

    id: UUID
    kind: str
    name: str
    version: int | None
    digest: str | None
    reason: str
    set_by: str
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None
    lift_reason: str | None


class AffectedReply(Reply):
    """A run that the kill concerns."""

    run_id: UUID
    blueprint: str
    version: int
    status: str
    waiting_on: str | None
    created_at: datetime


class ImpactReply(Reply):
    """Runs that have begun and not ended and that the kill concerns; the newest ten of them."""

    model_config = example(_IN_FLIGHT)

    running: int
    waiting: int
    queued: int
    newest: list[AffectedReply]


class KillDetailReply(KillReply):
    """A kill switch, and what it concerns now."""

    model_config = example({**_KILL, "in_flight": _IN_FLIGHT})

    in_flight: ImpactReply


class KillRequest(Model):
    """What to stop, and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"kind": "connector", "name": "casebook", "reason": _KILL["reason"]}]},
    )

    kind: str = Field(pattern=_KIND)
    name: str = Field(pattern=_NAME)
    version: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Only this version; null: all.")
    reason: str = Field(max_length=REASON_CHARS_MAX + 200, pattern=r"^[^\x00]*$")


class LiftRequest(Model):
    """Why it is lifted."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": _LIFTED["lift_reason"]}]})

    reason: str = Field(max_length=REASON_CHARS_MAX + 200, pattern=r"^[^\x00]*$")


def _impact(found: InFlight) -> ImpactReply:
    return ImpactReply.model_validate(found)


def _detail(kill: Kill, found: InFlight) -> KillDetailReply:
    return KillDetailReply(**KillReply.model_validate(kill).model_dump(), in_flight=_impact(found))


def build_router(kinds: Killable) -> APIRouter:
    """The routes of kill switches. `kinds`: what can be killed here, by kind."""
    router = APIRouter(prefix="/api/kills", tags=["kills"])

    @router.get("", summary="List kills", operation_id="list_kills")
    async def get_kills(
        ctx: CtxDep,
        page: PageDep,
        lifted: Annotated[bool, Query(description="Also those that were lifted.")] = False,
    ) -> Page[KillReply]:
        """The kill switches in force, newest first."""
        found = await list_kills(ctx, page, lifted=lifted)
        return Page(items=[KillReply.model_validate(kill) for kill in found.items], next=found.next)

    @router.post("", status_code=201, summary="Kill", operation_id="set_kill", responses=shows(_KILL, 201))
    async def post_kill(ctx: CtxDep, body: KillRequest) -> KillReply:
        """Stop every use of a thing, on every process within a second, until an admin lifts it."""
        made = await set_kill(ctx, kinds, body.kind, body.name, version=body.version, reason=body.reason)
        return KillReply.model_validate(made)

    @router.get("/{kill_id}", summary="Show a kill", operation_id="show_kill")
    async def get_kill(ctx: CtxDep, kill_id: UUID) -> KillDetailReply:
        """One kill switch, with the runs in flight that it concerns now."""
        return _detail(*await show_kill(ctx, kinds, kill_id))

    @router.get("/{kind}/{name}/impact", summary="What a kill would stop", operation_id="kill_impact")
    async def get_impact(
        ctx: CtxDep,
        kind: Annotated[str, Path(pattern=_KIND)],
        name: Annotated[str, Path(pattern=_NAME)],
        version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
    ) -> ImpactReply:
        """The runs in flight that a kill of this would hold back. Changes nothing."""
        return _impact(await impact(ctx, kinds, kind, name, version=version))

    @router.post(
        "/{kill_id}/lift",
        summary="Lift a kill",
        operation_id="lift_kill",
        responses=shows(_LIFTED),
        openapi_extra=asks({"reason": _LIFTED["lift_reason"]}),
    )
    async def post_lift(ctx: CtxDep, kill_id: UUID, body: LiftRequest) -> KillReply:
        """End a kill; the runs that wait for it go on by themselves."""
        return KillReply.model_validate(await lift_kill(ctx, kill_id, reason=body.reason))

    return router
