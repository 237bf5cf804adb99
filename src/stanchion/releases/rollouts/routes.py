"""HTTP: /api/rollouts, and of one artifact /api/releases/{kind}/{name} with its rollback and history."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute

from stanchion.artifacts import KindSpec
from stanchion.artifacts.routes import KindPath, NamePath
from stanchion.http import CtxDep, Page, PageDep, asks, shows
from stanchion.releases.rollouts import service
from stanchion.releases.rollouts.returning import left, rollback
from stanchion.releases.rollouts.states import NoGuards, Target, Verdicts
from stanchion.releases.rollouts.wire import (
    ROLLOUT,
    BeginRequest,
    BegunReply,
    ChangeRequest,
    HistoryReply,
    JudgementReply,
    PromoteRequest,
    ReleaseShownReply,
    RollbackRequest,
    RolledBackReply,
    RolloutReply,
    RolloutShownReply,
)

_STATE = Query(max_length=32, description="ACTIVE, PAUSED, DONE, ROLLED_BACK, ABANDONED, or `open`.")
_KIND = Query(pattern=r"^[a-z_]{1,32}$", description="Only rollouts that move an artifact of this kind.")
_NAME = Query(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="With `kind`: only those that move this artifact.")


def _then(**changes: object) -> dict[int | str, dict[str, Any]]:
    return shows({**ROLLOUT, "rev": 2, **changes})


def build_router(
    kinds: Mapping[str, KindSpec], verdicts: Verdicts | None = None, route: type[APIRoute] = APIRoute
) -> APIRouter:
    """The routes of rollouts. `kinds`: how each kind is read; `verdicts`: where guards are asked, if there are any; `route`:
    the class of its routes (`http.telling`)."""
    router = APIRouter(prefix="/api", tags=["releases"], route_class=route)
    guards = verdicts or NoGuards()
    _add_rollouts(router, kinds, guards)
    _add_changes(router, kinds, guards)
    _add_releases(router, kinds, guards)
    return router


def _add_rollouts(router: APIRouter, kinds: Mapping[str, KindSpec], guards: Verdicts) -> None:
    async def begun(ctx: CtxDep, body: BeginRequest, *, dry_run: bool) -> BegunReply:
        targets = [member.read() for member in body.members]
        made = await service.begin(
            ctx, body.plan(), targets=targets, documents=body.read(), kinds=kinds, reason=body.reason, dry_run=dry_run,
            break_glass=body.break_glass,
        )  # fmt: skip
        return BegunReply.of(made)

    @router.get("/rollouts", summary="List rollouts", operation_id="list_rollouts")
    async def get_rollouts(
        ctx: CtxDep,
        page: PageDep,
        state: Annotated[str | None, _STATE] = None,
        kind: Annotated[str | None, _KIND] = None,
        name: Annotated[str | None, _NAME] = None,
    ) -> Page[RolloutReply]:
        """Rollouts of this environment, newest first."""
        found = await service.list_rollouts(ctx, page, state=state, kind=kind, name=name)
        return Page(items=[RolloutReply.of(row) for row in found.items], next=found.next)

    @router.post("/rollouts", summary="Begin a rollout", operation_id="begin_rollout", status_code=201)
    async def post_rollout(ctx: CtxDep, body: BeginRequest) -> BegunReply:
        """Begin a rollout; 409 if one of its artifacts has one under way, or if versions would meet that do not fit."""
        return await begun(ctx, body, dry_run=False)

    @router.post("/rollouts/plan", summary="Plan a rollout", operation_id="plan_rollout")
    async def post_plan(ctx: CtxDep, body: BeginRequest) -> BegunReply:
        """What beginning would do and every check that it would make; nothing is kept."""
        return await begun(ctx, body, dry_run=True)

    @router.get("/rollouts/{rollout_id}", summary="Show a rollout", operation_id="show_rollout")
    async def get_rollout(ctx: CtxDep, rollout_id: UUID) -> RolloutShownReply:
        """One rollout, where it stands, and what its guards say."""
        found = await service.show_rollout(ctx, rollout_id)
        judged = JudgementReply.of(await guards.judge(ctx, found))
        return RolloutShownReply.of(found).model_copy(update={"judgement": judged})


def _add_changes(router: APIRouter, kinds: Mapping[str, KindSpec], guards: Verdicts) -> None:
    @router.post(
        "/rollouts/{rollout_id}/promote",
        summary="Promote a rollout",
        operation_id="promote_rollout",
        responses=_then(step=2, share=50),
    )
    async def post_promote(ctx: CtxDep, rollout_id: UUID, body: PromoteRequest) -> RolloutReply:
        """Go on to the next step, or to step `to`; past the last the candidate is live."""
        return RolloutReply.of(
            await service.advance(
                ctx, rollout_id, kinds=kinds, reason=body.reason, to=body.to, rev=body.rev, verdicts=guards,
                break_glass=body.break_glass,
            )
        )  # fmt: skip

    @router.post(
        "/rollouts/{rollout_id}/pause",
        summary="Pause a rollout",
        operation_id="pause_rollout",
        responses=_then(state="PAUSED", due_at=None),
    )
    async def post_pause(ctx: CtxDep, rollout_id: UUID, body: ChangeRequest) -> RolloutReply:
        """Keep it where it is: units keep their versions, nobody goes on."""
        return RolloutReply.of(await service.pause(ctx, rollout_id, reason=body.reason, rev=body.rev))

    @router.post(
        "/rollouts/{rollout_id}/resume",
        summary="Resume a rollout",
        operation_id="resume_rollout",
        responses=_then(rev=3),
        openapi_extra=asks({"reason": "Go on.", "rev": 2}),
    )
    async def post_resume(ctx: CtxDep, rollout_id: UUID, body: ChangeRequest) -> RolloutReply:
        """Let a paused rollout go on; the hold of its step begins anew."""
        return RolloutReply.of(await service.resume(ctx, rollout_id, reason=body.reason, rev=body.rev))


def _add_releases(router: APIRouter, kinds: Mapping[str, KindSpec], guards: Verdicts) -> None:
    @router.get("/releases/{kind}/{name}", summary="Show a release", operation_id="show_release")
    async def get_release(ctx: CtxDep, kind: KindPath, name: NamePath) -> ReleaseShownReply:
        """What is live of an artifact, its open rollout, and what the guards of that say."""
        live, opened = await service.show_release(ctx, kind, name)
        return ReleaseShownReply(
            environment=live.environment,
            kind=kind,
            name=name,
            version=live.version,
            digest=live.digest,
            released_at=live.released_at,
            released_by=live.released_by,
            leaving=left(live.version, opened, (kind, name)),
            rollout=None if opened is None else RolloutReply.of(opened),
            judgement=None if opened is None else JudgementReply.of(await guards.judge(ctx, opened)),
        )

    @router.post("/releases/{kind}/{name}/rollback", summary="Roll back", operation_id="roll_back")
    async def post_rollback(ctx: CtxDep, kind: KindPath, name: NamePath, body: RollbackRequest) -> RolledBackReply:
        """Take back an open rollout, or go to the version before the live one; 409 with the nearest set if it would not fit."""
        target = Target(kind=kind, name=name, version=body.to)
        also = [one.read() for one in body.also]
        back = await rollback(ctx, target, kinds=kinds, reason=body.reason, also=also, leaving=body.leaving)
        return RolledBackReply.of(back)

    @router.get("/releases/{kind}/{name}/history", summary="Show a release's history", operation_id="release_history")
    async def get_history(ctx: CtxDep, kind: KindPath, name: NamePath, page: PageDep) -> Page[HistoryReply]:
        """What happened to an artifact in this environment, newest first."""
        found = await service.history(ctx, kind, name, page)
        return Page(items=[HistoryReply.model_validate(row) for row in found.items], next=found.next)
