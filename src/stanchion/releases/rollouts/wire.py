"""What rollouts look like over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from stanchion.artifacts import Document
from stanchion.base import Json
from stanchion.http import Model, Reply, example
from stanchion.releases.gates.answers import RULING, RulingReply
from stanchion.releases.rollouts.service import Begun
from stanchion.releases.rollouts.states import (
    HOLD_S_MAX,
    MEMBERS_MAX,
    RING_UNITS_MAX,
    STEPS_MAX,
    Judgement,
    Plan,
    RolledBack,
    Rollout,
    State,
    Step,
    Strategy,
    Target,
)

_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_DIGEST_2 = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
_ID = "019a9f3e-2f60-7c1c-9e0e-3a1f5d1b7c10"
_STEPS: list[dict[str, Any]] = [
    {"share": 10, "rings": [], "hold_s": 3600},
    {"share": 50, "rings": [], "hold_s": 3600},
    {"share": 100, "rings": [], "hold_s": None},
]
_TARGET: dict[str, Any] = {"kind": "policy", "name": "supervisor-approval", "version": 2}
_BEGIN: dict[str, Any] = {
    "strategy": "canary",
    "steps": _STEPS,
    "unit": "run",
    "guards": {"guards": [{"metric": "error_rate"}, {"metric": "latency_ms", "quantile": 0.9}]},
    "members": [_TARGET],
    "reason": "Ask from 50,000 euros on.",
}
ROLLOUT: dict[str, Any] = {
    "id": _ID,
    "environment": "local",
    "strategy": "canary",
    "state": "ACTIVE",
    "unit": "run",
    "salt": "5f0d2c9a1b7e4c6d8f",
    "rings": {},
    "steps": _STEPS,
    "step": 1,
    "share": 10,
    "rev": 1,
    "due_at": "2026-11-18T10:00:00Z",
    "members": [
        {
            "kind": "policy",
            "name": "supervisor-approval",
            "stable_version": 1,
            "stable_digest": _DIGEST,
            "candidate_version": 2,
            "candidate_digest": _DIGEST_2,
        }
    ],
    "author": "ada",
    "reason": "Ask from 50,000 euros on.",
    "created_at": "2026-11-18T09:00:00Z",
    "changed_by": "ada",
    "changed_at": "2026-11-18T09:00:00Z",
    "ended_at": None,
    "guards": {
        "alpha": 0.05,
        "guards": [
            {
                "name": "error_rate",
                "metric": "error_rate",
                "kind": "rate",
                "better": "lower",
                "margin": 0.0,
                "exclude": 0.1,
                "alpha": 0.05,
                "samples_min": 100,
                "staleness_s_max": 900,
                "window": 1000,
            }
        ],
    },
}
_JUDGEMENT: dict[str, Any] = {
    "verdict": "inconclusive",
    "why": "Not enough is known yet: error_rate. There are 12 of the candidate arm; 100 are needed.",
    "guards": [
        {
            "guard": "error_rate",
            "metric": "error_rate",
            "verdict": "inconclusive",
            "reason": "There are 12 of the candidate arm; 100 are needed.",
            "evidence": {"candidate_count": 12, "candidate_mean": 0.0, "stable_count": 108, "stable_mean": 0.01},
        }
    ],
}

# No NUL: PostgreSQL's text has none. What is said here is kept, so it is a sentence and not a file.
_BREAK_GLASS = "Move although the gates say no: with a permission of its own, a reason, and a review afterwards."
_Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[^\x00]*$")]
_Text = Annotated[str, StringConstraints(max_length=1_048_576, pattern=r"^[^\x00]*$")]
_FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]
_Kind = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
_Version = Annotated[int, Field(ge=1, le=2**31 - 1)]
_Rev = Annotated[int, Field(ge=1, le=2**31 - 1, description="`rev` as you saw it; refused if it moved since.")]
_RingUnit = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


class StepBody(Model):
    """One step: percent of the units, or rings; and for how many seconds at least, or until a person goes on."""

    share: int = Field(default=0, ge=0, le=100)
    rings: list[_Name] = Field(default_factory=list[str], max_length=50)
    hold_s: int | None = Field(default=None, ge=0, le=HOLD_S_MAX)


class TargetBody(Model):
    """An artifact, and a version of it; without one, the verb's own choice."""

    kind: _Kind
    name: _Name
    version: _Version | None = None

    def read(self) -> Target:
        """As the verbs take it."""
        return Target(kind=self.kind, name=self.name, version=self.version)


class RolloutDocument(Model):
    """A file: its path as the author knows it, and its text."""

    path: _FilePath
    source: _Text


class BeginRequest(Model):
    """A rollout to begin: of published versions (`members`), or of `documents`, whose changed ones are published."""

    model_config = example(_BEGIN)

    strategy: Strategy
    steps: list[StepBody] = Field(default_factory=list[StepBody], max_length=STEPS_MAX)
    unit: str = Field(default="run", max_length=600)
    rings: dict[_Name, Annotated[list[_RingUnit], Field(max_length=RING_UNITS_MAX)]] = Field(
        default_factory=dict[str, list[str]], max_length=50
    )
    salt: str | None = Field(default=None, max_length=64)
    guards: dict[str, Any] | None = Field(
        default=None,
        description="What is compared while it is out: `{alpha, guards: [{metric, …}]}`; see how a rollout watches itself.",
    )
    members: list[TargetBody] = Field(default_factory=list[TargetBody], max_length=MEMBERS_MAX)
    documents: list[RolloutDocument] = Field(default_factory=list[RolloutDocument], max_length=500)
    reason: _Reason
    break_glass: bool = Field(default=False, description=_BREAK_GLASS)

    def plan(self) -> Plan:
        """The plan, as the verb takes it."""
        return Plan(
            strategy=self.strategy,
            steps=tuple(Step(share=s.share, rings=tuple(s.rings), hold_s=s.hold_s) for s in self.steps),
            unit=self.unit,
            rings={name: tuple(units) for name, units in self.rings.items()},
            salt=self.salt,
            guards=self.guards,
        )

    def read(self) -> list[Document]:
        """The documents, as the verb takes them."""
        return [Document(path=d.path, source=d.source) for d in self.documents]


class ChangeRequest(Model):
    """A change of an open rollout, and why."""

    model_config = example({"reason": "Looks good.", "rev": 1})

    reason: _Reason
    rev: _Rev | None = None


class PromoteRequest(ChangeRequest):
    """Go on to the next step, or to step `to`, counted from 1; one past the last makes the candidate live."""

    model_config = example({"reason": "Looks good.", "rev": 1, "to": 2})

    to: int | None = Field(default=None, ge=1, le=STEPS_MAX + 1)
    break_glass: bool = Field(default=False, description=_BREAK_GLASS)


class RollbackRequest(Model):
    """What else goes back with it, and the version you want to leave: refused if it is not there any more."""

    model_config = example({"reason": "Too many errors.", "leaving": 2})

    reason: _Reason
    leaving: _Version | None = None
    to: _Version | None = None
    also: list[TargetBody] = Field(default_factory=list[TargetBody], max_length=MEMBERS_MAX)


class StepReply(Reply):
    """One step of a rollout."""

    share: int
    rings: list[str]
    hold_s: int | None


class MemberReply(Reply):
    """One artifact that a rollout moves."""

    kind: str
    name: str
    stable_version: int
    stable_digest: str
    candidate_version: int
    candidate_digest: str


class RolloutReply(Reply):
    """A rollout: where it stands. `step` counts from 1, `share` is what is out now in percent; send `rev` back with a change."""

    model_config = example(ROLLOUT)

    id: UUID
    environment: str
    strategy: Strategy
    state: State
    unit: str
    salt: str
    rings: dict[str, list[str]]
    steps: list[StepReply]
    step: int
    share: int
    rev: int
    due_at: datetime | None
    members: list[MemberReply]
    author: str
    reason: str
    created_at: datetime
    changed_by: str
    changed_at: datetime
    ended_at: datetime | None
    guards: dict[str, Any] | None

    @classmethod
    def of(cls, rollout: Rollout) -> Self:
        """A rollout on the wire."""
        made = cls.model_validate(rollout)
        return made.model_copy(update={"step": rollout.step + 1})


class JudgementReply(Reply):
    """What the guards of a rollout say now: together, and each with its reason and the figures behind it."""

    model_config = example(_JUDGEMENT)

    verdict: Literal["pass", "fail", "inconclusive", "missing"]
    why: str
    guards: list[dict[str, Any]]

    @classmethod
    def of(cls, judged: Judgement) -> JudgementReply | None:
        """A judgement on the wire; None where there are no guards."""
        if judged.verdict == "none":
            return None
        findings: Json = judged.evidence.get("guards")
        return cls.model_validate({"verdict": judged.verdict, "why": judged.why, "guards": findings or []})


class RolloutShownReply(RolloutReply):
    """A rollout, and what its guards say now; of one that has ended, what they said of all that was counted."""

    model_config = example({**ROLLOUT, "judgement": _JUDGEMENT})

    judgement: JudgementReply | None = None


class BegunReply(Reply):
    """A rollout that began, or would, the live Blueprints whose runs it can reach, and what its gates say."""

    model_config = example({"rollout": ROLLOUT, "blueprints": ["case-triage"], "gates": RULING})

    rollout: RolloutReply
    blueprints: list[str]
    gates: RulingReply

    @classmethod
    def of(cls, begun: Begun) -> BegunReply:
        """What began, on the wire."""
        return cls(
            rollout=RolloutReply.of(begun.rollout),
            blueprints=list(begun.blueprints),
            gates=RulingReply.model_validate(begun.ruling),
        )


class MovedReply(Reply):
    """One artifact of a rollback: what runs got, and what they get now."""

    kind: str
    name: str
    version_before: int
    version: int


class RolledBackReply(Reply):
    """What went back, and the rollouts that ended with it."""

    model_config = example(
        {
            "moved": [{"kind": "policy", "name": "supervisor-approval", "version_before": 2, "version": 1}],
            "rollouts": [
                {**ROLLOUT, "state": "ROLLED_BACK", "rev": 2, "due_at": None, "ended_at": "2026-11-18T09:20:00Z"}
            ],
        }
    )

    moved: list[MovedReply]
    rollouts: list[RolloutReply]

    @classmethod
    def of(cls, back: RolledBack) -> RolledBackReply:
        """A rollback, on the wire."""
        moved = [
            MovedReply(kind=kind, name=name, version_before=before, version=version)
            for kind, name, before, version in back.moved
        ]
        return cls(moved=moved, rollouts=[RolloutReply.of(rollout) for rollout in back.rollouts])


class ReleaseShownReply(Reply):
    """What is live of an artifact, its open rollout, and what the guards of that say. `leaving` is the version that a
    rollback would leave."""

    model_config = example(
        {
            "environment": "local",
            "kind": "policy",
            "name": "supervisor-approval",
            "version": 1,
            "digest": _DIGEST,
            "released_at": "2026-11-10T09:00:00Z",
            "released_by": "ada",
            "leaving": 2,
            "rollout": ROLLOUT,
            "judgement": _JUDGEMENT,
        }
    )

    environment: str
    kind: str
    name: str
    version: int
    digest: str
    released_at: datetime
    released_by: str
    leaving: int
    rollout: RolloutReply | None
    judgement: JudgementReply | None


class HistoryReply(Reply):
    """Something that happened to an artifact: a version became live, or a rollout of it changed."""

    model_config = example(
        {
            "no": 7,
            "kind": "policy",
            "name": "supervisor-approval",
            "event": "rollout.advanced",
            "version_before": 1,
            "version": 2,
            "rollout_id": _ID,
            "before": {"state": "ACTIVE", "step": 1, "share": 10, "rings": []},
            "after": {"state": "ACTIVE", "step": 2, "share": 50, "rings": []},
            "evidence": None,
            "reason": "Looks good.",
            "by": "ada",
            "at": "2026-11-18T10:00:00Z",
        }
    )

    no: int
    kind: str
    name: str
    event: str
    version_before: int | None
    version: int | None
    rollout_id: UUID | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    evidence: dict[str, Any] | None
    reason: str
    by: str
    at: datetime
