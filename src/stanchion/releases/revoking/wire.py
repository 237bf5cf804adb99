"""What revocations and drains look like on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from stanchion.controls.withdrawals import Withdrawal
from stanchion.http import Model, Reply, example
from stanchion.releases.revoking.types import Fate, Impact, Outcomes, Shown

DIGEST_FORM = r"^sha256:[0-9a-f]{8,64}$"
REASON_CHARS_MAX = 700

_DIGEST = "sha256:5d0d0cbb2bfb4c8ef4b0e0c1a7a6a4e2ac3d3d4c3f5b3c1e9f0a1b2c3d4e5f60"
_OTHER = "sha256:91b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90"
_REASON = "Version 3 writes to the wrong table."
WITHDRAWAL: dict[str, Any] = {
    "id": "01a20198-dc40-7064-8f83-97419a579307",
    "kind": "connector",
    "name": "casebook",
    "version": 3,
    "digest": _DIGEST,
    "reason": _REASON,
    "set_by": "olga",
    "set_at": "2026-11-22T08:52:04.800823Z",
    "lifted_by": None,
    "lifted_at": None,
    "lift_reason": None,
}
LIFTED: dict[str, Any] = {
    **WITHDRAWAL,
    "lifted_by": "admin",
    "lifted_at": "2026-11-22T09:31:40.112001Z",
    "lift_reason": "It was another one.",
}
_RUN: dict[str, Any] = {
    "run_id": "0199c1f0-0000-7000-8000-000000000001",
    "blueprint": "case-triage",
    "version": 1,
    "status": "SUSPENDED",
    "waiting_on": "revoked",
    "path": "outcome",
    "created_at": "2026-11-22T08:51:58.300104Z",
    "stopped": True,
}
IMPACT: dict[str, Any] = {
    "kind": "connector",
    "name": "casebook",
    "version": 3,
    "digest": _DIGEST,
    "standing": [{"environment": "local", "version": 3, "standing": "live"}],
    "stopped": 1,
    "running": 2,
    "waiting": 1,
    "queued": 0,
    "newest": [_RUN],
}
_VERSION: dict[str, Any] = {"kind": "connector", "name": "casebook", "version": 3, "digest": _DIGEST}
OUTCOMES: dict[str, Any] = {
    "version": _VERSION,
    "to": {**_VERSION, "version": 2, "digest": _OTHER},
    "repinned": 11,
    "cancelled": 0,
    "running": 1,
    "refused": 1,
    "left": [
        {
            "run_id": _RUN["run_id"],
            "fate": "refused",
            "reason": "step 'asked' was decided by the revoked version; cancel the run and start it again",
        }
    ],
    "next": None,
}
CANCELLED: dict[str, Any] = {
    **OUTCOMES, "to": None, "repinned": 0, "cancelled": 1, "running": 0, "refused": 0, "left": [],
}  # fmt: skip
REPIN: dict[str, Any] = {
    "id": "01a20199-0000-7000-8000-000000000002",
    "kind": "connector",
    "name": "casebook",
    "version_before": 3,
    "version": 2,
    "digest_before": _DIGEST,
    "digest": _OTHER,
    "pins_before": "sha256:0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
    "pins": "sha256:1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90a",
    "reason": "Back to the table of before.",
    "by": "olga",
    "at": "2026-11-22T08:55:11.320019Z",
}


class RevocationReply(Reply):
    """A revoked version; in force while `lifted_at` is null."""

    model_config = example(WITHDRAWAL)

    id: UUID
    kind: str
    name: str
    version: int
    digest: str
    reason: str
    set_by: str
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None
    lift_reason: str | None

    @classmethod
    def of(cls, one: Withdrawal) -> RevocationReply:
        """A withdrawal as it is sent."""
        return cls.model_validate(one)


class BoundRunReply(Reply):
    """A run that has not ended and is pinned to the version. `stopped`: it, or an item of it, waits before its next use."""

    model_config = example(_RUN)

    run_id: UUID
    blueprint: str
    version: int
    status: str
    waiting_on: str | None
    path: str
    created_at: datetime
    stopped: bool


class StandingReply(Reply):
    """Where new runs get the version, or go back to it."""

    environment: str
    version: int
    standing: Literal["live", "candidate", "stable"]


class WithdrawalImpactReply(Reply):
    """Where a version stands, and the runs that are pinned to it and have not ended: how many stopped before their next use
    of it, and of the others how many run, wait for something else, are queued; the newest ten."""

    model_config = example(IMPACT)

    kind: str
    name: str
    version: int
    digest: str
    standing: list[StandingReply]
    stopped: int
    running: int
    waiting: int
    queued: int
    newest: list[BoundRunReply]

    @classmethod
    def of(cls, found: Impact) -> WithdrawalImpactReply:
        """An impact as it is sent."""
        return cls(
            kind=found.version.kind,
            name=found.version.name,
            version=found.version.version,
            digest=found.version.digest,
            standing=[StandingReply.model_validate(one) for one in found.standing],
            stopped=found.counts.stopped,
            running=found.counts.running,
            waiting=found.counts.waiting,
            queued=found.counts.queued,
            newest=[BoundRunReply.model_validate(run) for run in found.newest],
        )


class RevocationDetailReply(RevocationReply):
    """A revoked version, and what its revocation does now."""

    model_config = example({**WITHDRAWAL, "impact": IMPACT})

    impact: WithdrawalImpactReply

    @classmethod
    def shown(cls, found: Shown) -> RevocationDetailReply:
        """A revocation with its impact, as it is sent."""
        said = RevocationReply.of(found.withdrawal).model_dump()
        return cls(**said, impact=WithdrawalImpactReply.of(found.impact))


class RevokeRequest(Model):
    """Which version, and why. `digest`: all of it, or a beginning that no other version's digest has."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"digest": _DIGEST, "reason": _REASON}]})

    digest: str = Field(pattern=DIGEST_FORM)
    reason: str = Field(max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")


class ReasonRequest(Model):
    """Why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": LIFTED["lift_reason"]}]})

    reason: str = Field(max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")


class RepinRequest(Model):
    """Which version the runs get instead (null: the live one), and why. `after`: `next` of the answer before."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"to": 2, "reason": REPIN["reason"], "after": None}]}
    )

    to: int | None = Field(default=None, ge=1, le=2**31 - 1)
    reason: str = Field(max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")
    after: UUID | None = None


class CancelRequest(Model):
    """Why; and whether also the runs are cancelled that have not stopped yet. `after`: `next` of the answer before."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"reason": "They are started again.", "everything": False, "after": None}]},
    )

    reason: str = Field(max_length=REASON_CHARS_MAX, pattern=r"^[^\x00]*$")
    everything: bool = False
    after: UUID | None = None


class VersionReply(Reply):
    """A version."""

    kind: str
    name: str
    version: int
    digest: str


class OutcomeReply(Reply):
    """A run that the action left as it is, and why."""

    run_id: UUID
    fate: Fate
    reason: str


class OutcomesReply(Reply):
    """What became of the runs of one page (500): counts, and those that were left. `next`: send it as `after` for the next
    page; null: there is none."""

    model_config = example(OUTCOMES)

    version: VersionReply
    to: VersionReply | None
    repinned: int
    cancelled: int
    running: int
    refused: int
    left: list[OutcomeReply]
    next: UUID | None

    @classmethod
    def of(cls, found: Outcomes) -> OutcomesReply:
        """Outcomes as they are sent."""
        return cls(
            version=VersionReply.model_validate(found.version),
            to=None if found.to is None else VersionReply.model_validate(found.to),
            repinned=found.count(Fate.REPINNED),
            cancelled=found.count(Fate.CANCELLED),
            running=found.count(Fate.RUNNING),
            refused=found.count(Fate.REFUSED),
            left=[OutcomeReply.model_validate(run) for run in found.runs if run.fate in (Fate.RUNNING, Fate.REFUSED)],
            next=found.next,
        )


class RepinReply(Reply):
    """That a run was given another version in place of a revoked one: before and after."""

    model_config = example(REPIN)

    id: UUID
    kind: str
    name: str
    version_before: int
    version: int
    digest_before: str
    digest: str
    pins_before: str
    pins: str
    reason: str
    by: str
    at: datetime


class RepinsReply(Reply):
    """What a run was given in place of revoked versions, the oldest first."""

    model_config = example({"items": [REPIN]})

    items: list[RepinReply]
