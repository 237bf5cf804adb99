"""HTTP: /api/release-gates: prepared sets, judgements, approvals, evals, evidence, and moves against the gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from stanchion.artifacts import KindSpec
from stanchion.context import Ctx
from stanchion.http import CtxDep, Page, PageDep, shows
from stanchion.releases.gates import service
from stanchion.releases.gates.judging import GATES, Gates
from stanchion.releases.gates.preparing import examine, prepare
from stanchion.releases.gates.service import Which
from stanchion.releases.gates.types import BrokenGlass, Verdict
from stanchion.releases.gates.wire import (
    EVAL_EVIDENCE,
    EVIDENCE,
    REVIEWED,
    ApprovalRequest,
    BrokenGlassReply,
    EvalRequest,
    EvidenceReply,
    ExaminedReply,
    JudgeRequest,
    PreparedReply,
    PrepareRequest,
    ReviewRequest,
    WithdrawRequest,
)

_WITHDRAWN = {
    **EVIDENCE,
    "withdrawn_by": "olga",
    "withdrawn_at": "2026-11-18T11:00:00Z",
    "withdraw_reason": "I looked at the wrong version.",
}
_KIND = Query(pattern=r"^[a-z_]{1,32}$", description="Only evidence about artifacts of this kind.")
_NAME = Query(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="With `kind`: only about this artifact.")
_DIGEST = Query(pattern=r"^sha256:[0-9a-f]{64}$", description="With `kind`: only about this content.")
_GATE = Query(pattern=r"^[a-z][a-z_]{0,31}$", description="Only of this gate: approval, eval.")


def build_router(kinds: Mapping[str, KindSpec], gates: Gates = GATES) -> APIRouter:
    """The routes of gates. `kinds`: how each kind is read; `gates`: those that there are."""
    router = APIRouter(prefix="/api/release-gates", tags=["releases"])
    _add_sets(router, kinds, gates)
    _add_evidence(router)
    _add_reviews(router)
    return router


def _add_sets(router: APIRouter, kinds: Mapping[str, KindSpec], gates: Gates) -> None:
    @router.post("/prepared", summary="Prepare a release", operation_id="prepare_release", status_code=201)
    async def post_prepared(ctx: CtxDep, body: PrepareRequest) -> ExaminedReply:
        """Publish what is new without making it live, so that others can look at the exact digests before they move."""
        found = await prepare(
            ctx, documents=body.read(), targets=body.targets(), kinds=kinds, reason=body.reason, strategy=body.strategy,
            gates=gates,
        )  # fmt: skip
        return ExaminedReply.of(found)

    @router.get("/prepared", summary="List prepared releases", operation_id="list_prepared")
    async def get_prepared(
        ctx: CtxDep, page: PageDep, moved: Annotated[bool, Query(description="Also those that moved.")] = False
    ) -> Page[PreparedReply]:
        """Sets that wait for their evidence, newest first."""
        found = await service.list_prepared(ctx, page, moved=moved)
        return Page(items=[PreparedReply.model_validate(row) for row in found.items], next=found.next)

    @router.get("/prepared/{set_id}", summary="Show a set and its gates", operation_id="show_prepared")
    async def get_one(ctx: CtxDep, set_id: UUID) -> ExaminedReply:
        """A prepared release, or the candidates of an open rollout, with what the gates say of its next move."""
        return ExaminedReply.of(await examine(ctx, Which(id=set_id), kinds=kinds, gates=gates))

    @router.post("/judgements", summary="Ask the gates", operation_id="judge_release")
    async def post_judgement(ctx: CtxDep, body: JudgeRequest) -> ExaminedReply:
        """What the gates say of a set now, each with why and what to do. Changes nothing."""
        found = await examine(
            ctx, body.which(), kinds=kinds, strategy=body.strategy, share=body.share, gates=gates
        )  # fmt: skip
        return ExaminedReply.of(found)


def _add_evidence(router: APIRouter) -> None:
    @router.post("/approvals", summary="Approve a release", operation_id="approve_release", status_code=201)
    async def post_approval(ctx: CtxDep, body: ApprovalRequest) -> EvidenceReply:
        """Say yes or no to exactly this set of digests; 403 to who wrote one of them."""
        made = await service.approve(
            ctx, body.which(), verdict=Verdict(body.verdict), reason=body.reason, subject=body.subject
        )
        return EvidenceReply.model_validate(made)

    @router.post(
        "/evals",
        summary="Report an eval",
        operation_id="report_eval",
        status_code=201,
        responses=shows(EVAL_EVIDENCE, 201),
    )
    async def post_eval(ctx: CtxDep, body: EvalRequest) -> EvidenceReply:
        """What a service measured of exactly these digests; the same report sent twice is one."""
        made = await service.report_eval(
            ctx,
            [member.exact() for member in body.members],
            body.report(),
            report_id=body.report_id,
            verdict=body.verdict,
            why=body.why,
            expires_at=body.expires_at,
        )
        return EvidenceReply.model_validate(made)

    @router.get("/evidence", summary="List evidence", operation_id="list_evidence")
    async def get_evidence(
        ctx: CtxDep,
        page: PageDep,
        kind: Annotated[str | None, _KIND] = None,
        name: Annotated[str | None, _NAME] = None,
        digest: Annotated[str | None, _DIGEST] = None,
        gate: Annotated[str | None, _GATE] = None,
    ) -> Page[EvidenceReply]:
        """What was said about releases, newest first, also what counts no more."""
        found = await service.list_evidence(ctx, page, kind=kind, name=name, content=digest, gate=gate)
        return Page(items=[EvidenceReply.model_validate(row) for row in found.items], next=found.next)

    @router.post(
        "/evidence/{evidence_id}/withdraw",
        summary="Withdraw evidence",
        operation_id="withdraw_evidence",
        responses=shows(_WITHDRAWN),
    )
    async def post_withdraw(ctx: CtxDep, evidence_id: UUID, body: WithdrawRequest) -> EvidenceReply:
        """Take back what you said yourself; a move that is made after this is judged without it."""
        return EvidenceReply.model_validate(await service.withdraw(ctx, evidence_id, reason=body.reason))


def _add_reviews(router: APIRouter) -> None:
    @router.get("/broken-glass", summary="List moves against the gates", operation_id="list_broken_glass")
    async def get_broken(
        ctx: CtxDep,
        page: PageDep,
        reviewed: Annotated[bool, Query(description="Also those that were reviewed.")] = False,
        rollout_id: Annotated[UUID | None, Query(description="Only those of this rollout.")] = None,
    ) -> Page[BrokenGlassReply]:
        """Moves that were made although their gates said no and that nobody has reviewed, newest first."""
        found = await service.list_broken_glass(ctx, page, reviewed=reviewed, rollout_id=rollout_id)
        return Page(items=[_broken(ctx, row) for row in found.items], next=found.next)

    @router.post(
        "/broken-glass/{broken_id}/review",
        summary="Review a move against the gates",
        operation_id="review_release",
        responses=shows(REVIEWED),
    )
    async def post_review(ctx: CtxDep, broken_id: UUID, body: ReviewRequest) -> BrokenGlassReply:
        """Say whether it was right; 403 to who made it or wrote what moved."""
        return _broken(ctx, await service.review(ctx, broken_id, finding=body.finding, reason=body.reason))


def _broken(ctx: Ctx, row: BrokenGlass) -> BrokenGlassReply:
    made = BrokenGlassReply.model_validate(row)
    return made.model_copy(update={"overdue": row.review is None and row.review_due_at <= ctx.now})
