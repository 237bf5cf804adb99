"""What gates look like over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from stanchion.artifacts import Document
from stanchion.http import Model, Reply, example
from stanchion.releases.gates.answers import FINDING, RULING, FindingReply, RulingReply
from stanchion.releases.gates.preparing import Examined
from stanchion.releases.gates.service import Which
from stanchion.releases.gates.types import MEMBERS_MAX, EvalReport, Move, Review, Verdict
from stanchion.releases.rollouts.states import Target

_DIGEST = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
_SUITE = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_SUBJECT = "sha256:4e07408562bedb8b60ce05c1decfe3ad16b72230967de01f640b7e4729b49fce"
_ID = "019a9f3e-2f60-7c1c-9e0e-3a1f5d1b7c10"
_MEMBER: dict[str, Any] = {"kind": "policy", "name": "supervisor-approval", "version": 2}
_EXACT: dict[str, Any] = {**_MEMBER, "digest": _DIGEST}
PREPARED: dict[str, Any] = {
    "id": _ID,
    "environment": "production",
    "subject": _SUBJECT,
    "members": [_EXACT],
    "author": "ada",
    "reason": "Ask from 50,000 euros on.",
    "created_at": "2026-11-18T09:00:00Z",
    "moved_by": None,
    "moved_at": None,
}
EVIDENCE: dict[str, Any] = {
    "id": _ID,
    "environment": "production",
    "gate": "approval",
    "subject": _SUBJECT,
    "members": [{"kind": "policy", "name": "supervisor-approval", "digest": _DIGEST}],
    "verdict": "PASS",
    "why": "The limit is what the board decided on.",
    "details": {},
    "details_digest": _SUITE,
    "by": "olga",
    "by_kind": "user",
    "made_at": "2026-11-18T10:00:00Z",
    "expires_at": "2026-11-25T10:00:00Z",
    "withdrawn_by": None,
    "withdrawn_at": None,
    "withdraw_reason": None,
}
_EVAL: dict[str, Any] = {
    "report_id": "nightly-2026-11-18",
    "members": [{"kind": "policy", "name": "supervisor-approval", "digest": _DIGEST}],
    "suite": "fines",
    "suite_digest": _SUITE,
    "cases": 200,
    "passed": 194,
    "failed": 6,
    "errored": 0,
    "thresholds": {"passed_percent_min": 95},
    "drop_percent": 8,
    "verdict": "PASS",
    "why": "97 % of the cases passed; a drop of 8 points would have shown.",
}
_DETAILS = ("report_id", "suite", "suite_digest", "cases", "passed", "failed", "errored", "thresholds", "drop_percent")
EVAL_EVIDENCE: dict[str, Any] = {
    **EVIDENCE,
    "gate": "eval",
    "why": _EVAL["why"],
    "details": {name: _EVAL[name] for name in _DETAILS} | {"link": ""},
    "by": "evaluator",
    "by_kind": "service",
    "expires_at": "2026-12-18T10:00:00Z",
}
BROKEN: dict[str, Any] = {
    "id": _ID,
    "environment": "production",
    "move": "apply",
    "subject": _SUBJECT,
    "members": [_EXACT],
    "rollout_id": None,
    "policy_digest": _SUITE,
    "findings": [FINDING],
    "reason": "The old limit stops every case since this morning.",
    "by": "admin",
    "at": "2026-11-18T09:05:00Z",
    "review_due_at": "2026-11-20T09:05:00Z",
    "overdue": False,
    "review": None,
    "reviewed_by": None,
    "reviewed_at": None,
    "review_reason": None,
}
REVIEWED: dict[str, Any] = {
    **BROKEN,
    "review": "JUSTIFIED",
    "reviewed_by": "olga",
    "reviewed_at": "2026-11-18T14:00:00Z",
    "review_reason": "No case could be closed; the limit is as decided.",
}

_Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
_Text = Annotated[str, StringConstraints(max_length=1_048_576, pattern=r"^[^\x00]*$")]
_FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
_Kind = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
_Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Word = Annotated[str, StringConstraints(min_length=1, max_length=127, pattern=r"^[^\x00]*$")]
_Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
_Strategy = Literal["all_at_once", "canary", "rings", "blue_green"]


class VersionBody(Model):
    """One published version."""

    kind: _Kind
    name: _Name
    version: _Version


class LatestBody(Model):
    """A published version; the latest if none is named."""

    kind: _Kind
    name: _Name
    version: _Version | None = None


class ExactBody(Model):
    """One version, by its digest or by its number."""

    kind: _Kind
    name: _Name
    digest: _Digest | None = None
    version: _Version | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ExactBody:
        if (self.digest is None) == (self.version is None):
            raise ValueError("name either the digest or the version")
        return self

    def exact(self) -> tuple[str, str, str | int]:
        """As the verb takes it."""
        return (self.kind, self.name, self.digest if self.digest is not None else self.version or 0)


class GateDocument(Model):
    """A file: its path as the author knows it, and its text."""

    path: _FilePath
    source: _Text


class WhichBody(Model):
    """A set: a prepared release or an open rollout by its `id`, else the versions of `members`."""

    id: UUID | None = None
    members: list[VersionBody] = Field(default_factory=list[VersionBody], max_length=MEMBERS_MAX)

    def which(self) -> Which:
        """As the verbs take it."""
        return Which(id=self.id, versions=tuple((m.kind, m.name, m.version) for m in self.members))


class PrepareRequest(Model):
    """A set to publish without making it live: of documents, of published versions, or of both."""

    model_config = example({"members": [_MEMBER], "reason": PREPARED["reason"]})

    documents: list[GateDocument] = Field(default_factory=list[GateDocument], max_length=500)
    members: list[LatestBody] = Field(default_factory=list[LatestBody], max_length=MEMBERS_MAX)
    strategy: _Strategy = "all_at_once"
    reason: _Reason

    def read(self) -> list[Document]:
        """The documents, as the verb takes them."""
        return [Document(path=d.path, source=d.source) for d in self.documents]

    def targets(self) -> list[Target]:
        """The versions, as the verb takes them."""
        return [Target(kind=m.kind, name=m.name, version=m.version) for m in self.members]


class JudgeRequest(WhichBody):
    """A set, and the move that is asked about; an open rollout is asked about its next step."""

    model_config = example({"members": [_MEMBER], "strategy": "canary", "share": 10})

    strategy: _Strategy = "all_at_once"
    share: int = Field(default=100, ge=0, le=100)


class ApprovalRequest(WhichBody):
    """Yes (PASS) or no (FAIL) to exactly this set. `subject`: its digest as you saw it; refused if it is another one."""

    model_config = example({"members": [_MEMBER], "verdict": "PASS", "reason": EVIDENCE["why"], "subject": _SUBJECT})

    verdict: Literal["PASS", "FAIL"] = "PASS"
    reason: _Reason
    subject: _Digest | None = None


class EvalRequest(Model):
    """What an eval of exactly these digests measured. The same `report_id` with the same content is one report."""

    model_config = example(_EVAL)

    report_id: _Word
    members: list[ExactBody] = Field(min_length=1, max_length=MEMBERS_MAX)
    suite: _Word
    suite_digest: _Digest
    cases: _Count
    passed: _Count
    failed: _Count
    errored: _Count
    thresholds: dict[_Word, _Count] = Field(default_factory=dict[str, int], max_length=50)
    drop_percent: Annotated[int | None, Field(ge=0, le=100)] = None
    link: str = Field(default="", max_length=2000, pattern=r"^[^\x00]*$")
    verdict: Verdict
    why: _Reason
    expires_at: datetime | None = None

    def report(self) -> EvalReport:
        """As the verb takes it."""
        return EvalReport(
            suite=self.suite,
            suite_digest=self.suite_digest,
            cases=self.cases,
            passed=self.passed,
            failed=self.failed,
            errored=self.errored,
            thresholds=self.thresholds,
            drop_percent=self.drop_percent,
            link=self.link,
        )


class WithdrawRequest(Model):
    """Why it counts no more."""

    model_config = example({"reason": "I looked at the wrong version."})

    reason: _Reason


class ReviewRequest(Model):
    """What the review finds, and why."""

    model_config = example({"finding": "JUSTIFIED", "reason": REVIEWED["review_reason"]})

    finding: Review
    reason: _Reason


class ExactReply(Reply):
    """One version of a set."""

    kind: str
    name: str
    version: int
    digest: str


class SubjectReply(Reply):
    """One artifact's exact content."""

    kind: str
    name: str
    digest: str


class PreparedReply(Reply):
    """A set that waits for its evidence; it does not wait any more once it `moved_at`."""

    model_config = example(PREPARED)

    id: UUID
    environment: str
    subject: str
    members: list[ExactReply]
    author: str
    reason: str
    created_at: datetime
    moved_by: str | None
    moved_at: datetime | None


class ExaminedReply(Reply):
    """A set, what its gates say, and as what it waits."""

    model_config = example({"members": [_EXACT], "gates": RULING, "prepared": PREPARED})

    members: list[ExactReply]
    gates: RulingReply
    prepared: PreparedReply | None

    @classmethod
    def of(cls, found: Examined) -> ExaminedReply:
        """What was found, on the wire."""
        return cls(
            members=[ExactReply.model_validate(m) for m in found.members],
            gates=RulingReply.model_validate(found.ruling),
            prepared=None if found.prepared is None else PreparedReply.model_validate(found.prepared),
        )


class EvidenceReply(Reply):
    """Something said about an exact set; it counts no more once it is withdrawn or expired."""

    model_config = example(EVIDENCE)

    id: UUID
    environment: str
    gate: str
    subject: str
    members: list[SubjectReply]
    verdict: Verdict
    why: str
    details: dict[str, Any]
    details_digest: str
    by: str
    by_kind: str
    made_at: datetime
    expires_at: datetime
    withdrawn_by: str | None
    withdrawn_at: datetime | None
    withdraw_reason: str | None


class BrokenGlassReply(Reply):
    """A move that was made although its gates said no; open until it has a `review`."""

    model_config = example(BROKEN)

    id: UUID
    environment: str
    move: Move
    subject: str
    members: list[ExactReply]
    rollout_id: UUID | None
    policy_digest: str
    findings: list[FindingReply]
    reason: str
    by: str
    at: datetime
    review_due_at: datetime
    overdue: bool = False
    review: Review | None
    reviewed_by: str | None
    reviewed_at: datetime | None
    review_reason: str | None
