"""HTTP: GET /api/approvals, GET /api/approvals/{id}, POST /api/approvals/{id}/approve and /reject."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field

from stanchion.approvals.rules import REASON_CHARS_MAX, REASON_CHARS_MIN
from stanchion.approvals.service import decide, list_approvals, show
from stanchion.approvals.types import Approval, ApprovalStatus, Verdict
from stanchion.context import Ctx
from stanchion.http import CtxDep, Model, Page, PageDep, Reply, asks, shows
from stanchion.queue import Notifier

_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_EXAMPLE: dict[str, Any] = {
    "id": "0199c1f0-0000-7000-8000-000000000002",
    "status": "PENDING",
    "title": "Close GDPR-D048, fine €294000?",
    "facts": {"case_id": "GDPR-D048", "fine_eur": 294000},
    "shown": [{"case_id": "GDPR-D048", "fine_eur": 294000, "tier": "severe"}],
    "args_digest": _DIGEST,
    "run_id": "0199c1f0-0000-7000-8000-000000000001",
    "root_id": "0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11",
    "path": "triage/approval",
    "attempt": 1,
    "blueprint": "case-triage",
    "policy": "supervisor-approval",
    "policy_digest": _DIGEST,
    "requested_by": "ada",
    "may_decide": {"roles": ["approver"], "principals": []},
    "forbid_self": True,
    "on_reject": "skip",
    "on_expire": "skip",
    "decided_by": None,
    "decided_at": None,
    "reason": None,
    "created_at": "2026-11-18T09:00:00Z",
    "expires_at": "2026-11-21T09:00:00Z",
}
_APPROVED: dict[str, Any] = {
    **_EXAMPLE,
    "status": "APPROVED",
    "decided_by": "lea",
    "decided_at": "2026-11-18T10:12:00Z",
    "reason": "The fine matches the gravity.",
}
_REJECTED: dict[str, Any] = {
    **_APPROVED,
    "status": "REJECTED",
    "reason": "The appeal is still open.",
}


class MayDecide(Reply):
    """Whom the approval asks: anybody with one of the roles, and each of the principals."""

    roles: list[str]
    principals: list[str]


class ApprovalReply(Reply):
    """One request to a person. `shown` is complete and untruncated; a decision quotes `args_digest`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    status: ApprovalStatus
    title: str
    facts: Any
    shown: list[Any]
    args_digest: str
    run_id: UUID
    root_id: UUID
    path: str
    attempt: int
    blueprint: str
    policy: str
    policy_digest: str
    requested_by: str
    may_decide: MayDecide
    forbid_self: bool
    on_reject: str
    on_expire: str
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    created_at: datetime
    expires_at: datetime


class DecisionRequest(Model):
    """Why, and what exactly the person was shown."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "The fine matches the gravity.", "args_digest": _DIGEST}]}
    )

    reason: str = Field(
        max_length=REASON_CHARS_MAX + 200,
        pattern=r"^[^\x00]*$",
        description=f"Why, in {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters without the spaces around them.",
    )
    args_digest: str = Field(
        pattern=r"^sha256:[0-9a-f]{64}$", description="That of the approval as it was shown to who decides."
    )


def _reply(approval: Approval) -> ApprovalReply:
    return ApprovalReply.model_validate(approval)


def build_router(notifier: Notifier | None = None) -> APIRouter:
    """The routes of approvals. `notifier` tells workers of a decision at once."""
    router = APIRouter(prefix="/api/approvals", tags=["approvals"])

    @router.get("", summary="List approvals", operation_id="list_approvals")
    async def get_approvals(
        ctx: CtxDep,
        page: PageDep,
        status: ApprovalStatus | None = None,
        run: Annotated[UUID | None, Query(description="Of this run and its items.")] = None,
    ) -> Page[ApprovalReply]:
        """Approvals of this tenant, oldest first."""
        found = await list_approvals(ctx, page, status=status, run_id=run)
        return Page(items=[_reply(row) for row in found.items], next=found.next)

    @router.get("/{approval_id}", summary="Show an approval", operation_id="show_approval")
    async def get_approval(ctx: CtxDep, approval_id: UUID) -> ApprovalReply:
        """One approval, in full."""
        return _reply(await show(ctx, approval_id))

    @router.post("/{approval_id}/approve", summary="Approve", operation_id="approve", responses=shows(_APPROVED))
    async def approve(ctx: CtxDep, approval_id: UUID, body: DecisionRequest) -> ApprovalReply:
        """Let the run go on with exactly what was shown."""
        return await decided(ctx, approval_id, Verdict.APPROVE, body)

    @router.post(
        "/{approval_id}/reject",
        summary="Reject",
        operation_id="reject",
        responses=shows(_REJECTED),
        openapi_extra=asks({"reason": _REJECTED["reason"], "args_digest": _DIGEST}),
    )
    async def reject(ctx: CtxDep, approval_id: UUID, body: DecisionRequest) -> ApprovalReply:
        """Refuse what was shown; the Blueprint says what then happens."""
        return await decided(ctx, approval_id, Verdict.REJECT, body)

    async def decided(ctx: Ctx, approval_id: UUID, verdict: Verdict, body: DecisionRequest) -> ApprovalReply:
        approval = await decide(
            ctx, approval_id, verdict, reason=body.reason, args_digest=body.args_digest, notifier=notifier
        )
        return _reply(approval)

    return router
