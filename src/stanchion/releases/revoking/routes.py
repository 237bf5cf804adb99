"""HTTP: /api/revocations, and what a run was given in place of a revoked version."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.routing import APIRoute

from stanchion.http import CtxDep, Page, PageDep, asks, shows
from stanchion.releases.revoking import service
from stanchion.releases.revoking.repinning import Means, repin
from stanchion.releases.revoking.wire import (
    CANCELLED,
    DIGEST_FORM,
    IMPACT,
    LIFTED,
    OUTCOMES,
    WITHDRAWAL,
    BoundRunReply,
    CancelRequest,
    OutcomesReply,
    ReasonRequest,
    RepinReply,
    RepinRequest,
    RepinsReply,
    RevocationDetailReply,
    RevocationReply,
    RevokeRequest,
    WithdrawalImpactReply,
)

DigestPath = Annotated[
    str, Path(pattern=DIGEST_FORM, description="The version's digest, or a beginning that no other has.")
]


def build_router(means: Means, route: type[APIRoute] = APIRoute) -> APIRouter:
    """The routes of revocation. `means`: what re-pinning needs; `route`: the class of its routes (`http.telling`)."""
    router = APIRouter(prefix="/api", tags=["releases"], route_class=route)
    _add_revocations(router)
    _add_runs(router, means)
    return router


def _add_revocations(router: APIRouter) -> None:
    @router.get("/revocations", summary="List revocations", operation_id="list_revocations")
    async def get_revocations(
        ctx: CtxDep,
        page: PageDep,
        lifted: Annotated[bool, Query(description="Also those that were reinstated.")] = False,
    ) -> Page[RevocationReply]:
        """The revoked versions, newest first."""
        found = await service.list_revocations(ctx, page, lifted=lifted)
        return Page(items=[RevocationReply.of(row) for row in found.items], next=found.next)

    @router.post(
        "/revocations",
        status_code=201,
        summary="Revoke a version",
        operation_id="revoke",
        responses=shows({**WITHDRAWAL, "impact": IMPACT}, 201),
    )
    async def post_revocation(ctx: CtxDep, body: RevokeRequest) -> RevocationDetailReply:
        """No run begins on it, and runs pinned to it stop before their next use of it, on every process within a second."""
        return RevocationDetailReply.shown(await service.revoke(ctx, body.digest, reason=body.reason))

    @router.get("/revocations/{digest}", summary="Show a revocation", operation_id="show_revocation")
    async def get_revocation(ctx: CtxDep, digest: DigestPath) -> RevocationDetailReply:
        """The revocation of a version (the last one, if it was reinstated), with the runs that it concerns now."""
        return RevocationDetailReply.shown(await service.show_revocation(ctx, digest))

    @router.get(
        "/revocations/{digest}/impact", summary="What withdrawing a version would do", operation_id="withdrawal_impact"
    )
    async def get_impact(ctx: CtxDep, digest: DigestPath) -> WithdrawalImpactReply:
        """Where the version stands and which runs are pinned to it, before it is revoked or drained. Changes nothing."""
        return WithdrawalImpactReply.of(await service.foresee(ctx, digest))

    @router.post(
        "/revocations/{digest}/reinstate",
        summary="Take a revocation back",
        operation_id="reinstate",
        responses=shows(LIFTED),
    )
    async def post_reinstate(ctx: CtxDep, digest: DigestPath, body: ReasonRequest) -> RevocationReply:
        """The runs that stopped go on by themselves on the version they are pinned to."""
        return RevocationReply.of(await service.reinstate(ctx, digest, reason=body.reason))


def _add_runs(router: APIRouter, means: Means) -> None:
    @router.get("/revocations/{digest}/runs", summary="List runs of a version", operation_id="list_bound_runs")
    async def get_runs(
        ctx: CtxDep,
        digest: DigestPath,
        page: PageDep,
        stopped: Annotated[bool, Query(description="Only those that stopped before their next use of it.")] = False,
    ) -> Page[BoundRunReply]:
        """The runs that have not ended and are pinned to the version, newest first."""
        found = await service.list_bound(ctx, digest, page, stopped=stopped)
        return Page(items=[BoundRunReply.model_validate(row) for row in found.items], next=found.next)

    @router.post(
        "/revocations/{digest}/repin",
        summary="Give runs another version",
        operation_id="repin",
        responses=shows(OUTCOMES),
    )
    async def post_repin(ctx: CtxDep, digest: DigestPath, body: RepinRequest) -> OutcomesReply:
        """Give the runs pinned to a revoked version another one that fits; those that stopped go on."""
        done = await repin(ctx, digest, means=means, reason=body.reason, to=body.to, after=body.after)
        return OutcomesReply.of(done)

    @router.post(
        "/revocations/{digest}/cancel",
        summary="Cancel stopped runs",
        operation_id="cancel_revoked",
        responses=shows(CANCELLED),
        openapi_extra=asks({"reason": "They are started again."}),
    )
    async def post_cancel(ctx: CtxDep, digest: DigestPath, body: CancelRequest) -> OutcomesReply:
        """Cancel the runs that stopped before a revoked version."""
        done = await service.cancel_stopped(
            ctx,
            digest,
            reason=body.reason,
            notifier=means.notifier,
            hook=means.hook,
            everything=body.everything,
            after=body.after,
        )
        return OutcomesReply.of(done)

    @router.get("/runs/{run_id}/repins", summary="Show a run's repins", operation_id="list_repins")
    async def get_repins(ctx: CtxDep, run_id: UUID) -> RepinsReply:
        """What the run was given in place of revoked versions, with before and after; the oldest first."""
        return RepinsReply(items=[RepinReply.model_validate(row) for row in await service.list_repins(ctx, run_id)])
