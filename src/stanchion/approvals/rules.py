"""Decisions about approvals, pure: what is bound, who may decide, when it is too late. Time is passed in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from stanchion.approvals.types import Approval, ApprovalStatus, Dominating, Verdict
from stanchion.base import Conflict, Denied, Invalid, Json, digest
from stanchion.context import Actor

# A reason shorter than this explains nothing to whoever audits it; a longer one is a document.
REASON_CHARS_MIN: Final = 8
REASON_CHARS_MAX: Final = 2000

# Elements of a shown list that are bound one by one: the digests stand in the approval's row.
ELEMENTS_MAX: Final = 1000
# Digests that an audit record lists; of more it holds the digest of their list.
_LISTED_MAX: Final = 50

# From here on orjson writes a float with an exponent, which jsonb expands to an integer; up to 2^64 that integer is
# read back as one, beyond it as the float it was.
_EXPONENT_FROM: Final = 1e16
_UINT64_MAX: Final = 2**64 - 1


def as_stored(value: Json) -> Json:
    """`value` as it reads back from a jsonb column: -0.0 is 0.0, and a float in [1e16, 2^64) is an integer.

    A step's config is rendered from values in memory before a suspension and from stored ones after it; what an
    approval binds must be equal in both.
    """
    if isinstance(value, dict):
        return {key: as_stored(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_stored(item) for item in value]
    if isinstance(value, float) and math.isfinite(value):
        if value == 0.0:
            return 0.0
        whole = _expanded(value)
        if whole is not None and -(2**63) <= whole <= _UINT64_MAX:
            return whole
    return value


def _expanded(value: float) -> int | None:
    """The integer that the shortest decimal form of a large float stands for, or None for a smaller one."""
    if abs(value) < _EXPONENT_FROM:
        return None
    mantissa, _, exponent = repr(value).partition("e")
    whole, _, fraction = mantissa.partition(".")
    return int(whole + fraction.rstrip("0")) * 10 ** (int(exponent) - len(fraction.rstrip("0")))


def args_digest(*, run_id: UUID, path: str, attempt: int, policy_digest: str, shown: Sequence[Json]) -> str:
    """What a decision is about, as one digest: this step of this run, under this policy, with these values shown."""
    return digest(
        {
            "run": str(run_id),
            "path": path,
            "attempt": attempt,
            "policy": policy_digest,
            "shown": [as_stored(value) for value in shown],
        }
    )


def bound(shown: Sequence[Json]) -> list[str]:
    """What an approval of these values covers: their digests, sorted and distinct.

    A list covers its elements too, since each was shown, up to 1,000 of them; each value counts as it is in memory and
    as it reads back from the store.
    """
    values: list[Json] = []
    for value in shown:
        values.append(value)
        if isinstance(value, list) and len(value) <= ELEMENTS_MAX:
            values += value
    return sorted({digest(value) for value in values} | {digest(as_stored(value)) for value in values})


def decide(approval: Approval, verdict: Verdict, *, by: Actor, at: datetime, reason: str, args_digest: str) -> Approval:
    """The approval after a person's verdict.

    Args:
        approval: as it is now.
        verdict: approve or reject.
        by: who decides.
        at: the time of the decision, UTC.
        reason: why, 8 to 2000 characters without surrounding blanks.
        args_digest: what the person was shown, as they quote it.

    Raises:
        Invalid `approval.reason`; Denied `approval.not_allowed` (not among those asked) or `approval.self`;
        Conflict `approval.cancelled`, `approval.expired`, `approval.decided`, or `approval.changed` (what is asked now
        is not what the person was shown).
    """
    words = reason.strip()
    if not REASON_CHARS_MIN <= len(words) <= REASON_CHARS_MAX:
        raise Invalid(
            "approval.reason",
            f"A decision needs a reason of {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters; this has {len(words)}.",
            hint="Say why, in a sentence that an auditor understands.",
        )
    _check_person(approval, by)
    _check_open(approval, at)
    if args_digest != approval.args_digest:
        raise Conflict(
            "approval.changed",
            f"Approval {approval.id} asks about {approval.args_digest}, and this decision is about {args_digest}.",
            hint="Look at what is asked now, and decide on that.",
            args_digest=approval.args_digest,
        )
    status = ApprovalStatus.APPROVED if verdict is Verdict.APPROVE else ApprovalStatus.REJECTED
    return replace(approval, status=status, decided_by=by.principal, decided_at=at, reason=words)


def _check_person(approval: Approval, by: Actor) -> None:
    roles = approval.may_decide.get("roles", [])
    principals = approval.may_decide.get("principals", [])
    if by.principal not in principals and by.roles.isdisjoint(roles):
        asked = [f"role {role}" for role in roles] + [f"principal {name}" for name in principals]
        raise Denied(
            "approval.not_allowed",
            f"{by.principal} is not among those whom approval {approval.id} asks: {', '.join(asked)}.",
            hint="Ask one of them to decide, or have the role granted.",
        )
    if approval.forbid_self and by.principal == approval.requested_by:
        raise Denied(
            "approval.self",
            f"{by.principal} started the run that approval {approval.id} is about; policy {approval.policy} wants"
            " another person.",
            hint="Ask another approver to decide.",
        )


def _check_open(approval: Approval, at: datetime) -> None:
    if approval.status is ApprovalStatus.CANCELLED:
        raise Conflict(
            "approval.cancelled",
            f"Approval {approval.id} was cancelled with its run {approval.run_id}.",
            hint="There is nothing left to decide.",
        )
    if approval.status in (ApprovalStatus.APPROVED, ApprovalStatus.REJECTED):
        raise Conflict(
            "approval.decided",
            f"Approval {approval.id} was {approval.status.value.lower()} by {approval.decided_by} at"
            f" {_when(approval.decided_at)}.",
            hint="A decision stands. A run that FAILED by it asks again when it is retried; otherwise start a new run.",
            decided_by=approval.decided_by,
            status=approval.status.value,
        )
    if is_over(approval, at):
        raise Conflict(
            "approval.expired",
            f"Approval {approval.id} expired at {_when(approval.expires_at)}.",
            hint="Retry the run to ask again.",
            expires_at=_when(approval.expires_at),
        )


def is_over(approval: Approval, at: datetime) -> bool:
    """Whether nobody can decide any more for lack of time: marked expired, or past its time and not yet marked."""
    late = approval.status is ApprovalStatus.PENDING and at >= approval.expires_at
    return late or approval.status is ApprovalStatus.EXPIRED


def _when(at: datetime | None) -> str:
    return "" if at is None else at.isoformat(timespec="seconds").replace("+00:00", "Z")


def output_of(approval: Approval) -> dict[str, Json]:
    """What the GOVERN step hands to later steps once the approval has ended."""
    return {
        "decision": approval.status.value.lower(),
        "approval_id": str(approval.id),
        "decided_by": approval.decided_by,
        "decided_at": _when(approval.decided_at) or None,
        "reason": approval.reason,
        "policy": approval.policy,
    }


def not_required(policy: str) -> dict[str, Json]:
    """The output of a GOVERN step whose policy asks nobody; same keys as after an approval."""
    return {
        "decision": "not_required",
        "approval_id": None,
        "decided_by": None,
        "decided_at": None,
        "reason": None,
        "policy": policy,
    }


def facts_of(approval: Approval) -> dict[str, object]:
    """What an auditor must be able to join without reading the row: what was bound, under which policy, by when."""
    listed = approval.bound if len(approval.bound) <= _LISTED_MAX else [digest(cast("Json", approval.bound))]
    return {
        "status": approval.status.value,
        "path": approval.path,
        "attempt": approval.attempt,
        "policy": approval.policy,
        "policy_digest": approval.policy_digest,
        "args_digest": approval.args_digest,
        "bound": listed,
        "bound_count": len(approval.bound),
        "nonce": approval.nonce,
        "expires_at": approval.expires_at,
    }


def check_covered(found: Sequence[Dominating], *, path: str, paths: Sequence[str], record_digest: str) -> None:
    """Return if every approval that dominates the effect at `path` allows this record (I8).

    Args:
        found: what is stored of the dominating GOVERN steps: at most one per path.
        path: the step that is about to write.
        paths: the GOVERN steps that dominate it.
        record_digest: digest of what it writes.

    Raises:
        Denied `approval.missing` if a GOVERN step neither asked nobody nor was approved; `approval.arguments_changed` if
        what was approved is not this record.
    """
    by_path = {row.path: row for row in found}
    for wanted in paths:
        row = by_path.get(wanted)
        if row is not None and row.step_status == "SUCCEEDED" and row.decision == "not_required":
            continue
        if row is None or row.approval_status != ApprovalStatus.APPROVED or row.decision != "approved":
            raise Denied(
                "approval.missing",
                f"Step {path} writes under the approval of step {wanted}, and there is none.",
                hint="The approval must be given in this run; retry the run to ask again.",
                step=wanted,
            )
        if record_digest not in (row.bound or ()):
            raise Denied(
                "approval.arguments_changed",
                f"Step {path} would write a record that approval {row.approval_id} did not show.",
                hint=f"Let `show` of step {wanted} hold exactly what step {path} writes.",
                step=wanted,
                approval_id=str(row.approval_id),
            )
