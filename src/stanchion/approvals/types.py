"""The nouns of approvals: one request to a person, its states, and a person's verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from stanchion.base import Json


class ApprovalStatus(StrEnum):
    """States of an approval. Only PENDING can change, once."""

    PENDING = "PENDING"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


TRANSITIONS: Final[Mapping[ApprovalStatus, frozenset[ApprovalStatus]]] = {
    ApprovalStatus.PENDING: frozenset(
        {ApprovalStatus.APPROVED, ApprovalStatus.REJECTED, ApprovalStatus.EXPIRED, ApprovalStatus.CANCELLED}
    ),
    ApprovalStatus.APPROVED: frozenset(),
    ApprovalStatus.REJECTED: frozenset(),
    ApprovalStatus.EXPIRED: frozenset(),
    ApprovalStatus.CANCELLED: frozenset(),
}


class Verdict(StrEnum):
    """What a person says."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One request to a person: a row of `approvals`. Times are UTC.

    Attributes:
        run_id, path, attempt: the GOVERN step that asks; a redriven step asks anew.
        root_id: the run that somebody started, of which `run_id` may be an item.
        policy, policy_digest: the approval policy and the exact version that asked.
        requested_by: the principal that started the root run.
        title: one line over the facts. `facts`: what the policy judged.
        shown: exactly what the person sees, untruncated, one value per entry of the step's `show`.
        args_digest: over run, path, attempt, policy digest and `shown`; a decision must quote it.
        bound: digests of the values shown; an effect is covered if its record's digest is among them (I8).
        nonce: 32 hex digits; makes two requests with equal arguments two requests.
        may_decide: `{"roles": [...], "principals": [...]}`; one match suffices.
        forbid_self: whether `requested_by` may not decide.
        on_reject, on_expire: what then happens: `fail`, `skip` or `block`.
        decided_by, decided_at, reason: who ended it; for an expiry, when it was noticed.
    """

    tenant: str
    id: UUID
    run_id: UUID
    root_id: UUID
    path: str
    attempt: int
    blueprint: str
    policy: str
    policy_digest: str
    requested_by: str
    title: str
    facts: Json
    shown: list[Json]
    args_digest: str
    bound: list[str]
    nonce: str
    may_decide: Mapping[str, list[str]]
    forbid_self: bool
    on_reject: str
    on_expire: str
    status: ApprovalStatus
    decided_by: str | None
    decided_at: datetime | None
    reason: str | None
    created_at: datetime
    expires_at: datetime

    def __post_init__(self) -> None:
        # Rows come back with plain text; everything above the store compares states.
        object.__setattr__(self, "status", ApprovalStatus(self.status))


@dataclass(frozen=True, slots=True, kw_only=True)
class Dominating:
    """What is stored of a GOVERN step that an effect stands under, and of the approval of its current attempt."""

    path: str
    step_status: str
    decision: str | None
    approval_id: UUID | None
    approval_status: str | None
    bound: list[str] | None
