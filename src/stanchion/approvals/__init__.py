"""Approvals: a policy judges the facts of a run, and where it says so a person decides on exactly what they were shown.

An approval is PENDING and then, once, APPROVED, REJECTED, EXPIRED or CANCELLED. It binds the digests of the values
shown, the step and its attempt, the policy's version, a nonce and an expiry (I8); whoever may not decide, decides late,
twice or on other values is refused. Its row commits in the transaction that suspends the run, the decision in the one
that wakes it, each with its audit record (I6). Right before a write, `ApprovalCheck` looks again.
"""

from stanchion.approvals.handlers import GovernHandler, GovernVerb
from stanchion.approvals.policies import ApprovalPolicy, PolicyKind, PolicyType, policy_of
from stanchion.approvals.service import (
    ApprovalCheck,
    PendingApprovals,
    count_pending,
    decide,
    expire_due,
    list_approvals,
    measure,
    show,
)
from stanchion.approvals.types import TRANSITIONS, Approval, ApprovalStatus, Verdict

__all__ = [
    "TRANSITIONS",
    "Approval",
    "ApprovalCheck",
    "ApprovalPolicy",
    "ApprovalStatus",
    "GovernHandler",
    "GovernVerb",
    "PendingApprovals",
    "PolicyKind",
    "PolicyType",
    "Verdict",
    "count_pending",
    "decide",
    "expire_due",
    "list_approvals",
    "measure",
    "policy_of",
    "show",
]
