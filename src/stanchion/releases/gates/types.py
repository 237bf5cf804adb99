"""The nouns of gates: what is about to move, what was said about it, what a gate answers, and the port gates fill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, Literal, Protocol, TypeVar, cast
from uuid import UUID

from stanchion.artifacts import KindSpec, Risk
from stanchion.base import Json
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases.types import Live

RowT = TypeVar("RowT")
Key = tuple[str, str]
Move = Literal["apply", "begin", "advance"]

# The one name under which an environment's gate policy is looked for.
POLICY_NAME: Final = "release-gates"
# How long what was said counts, if nothing else is said.
APPROVAL_TTL: Final = timedelta(days=7)
EVAL_TTL: Final = timedelta(days=30)
EVIDENCE_TTL_MAX: Final = timedelta(days=366)
# How long a move that was made against its gates may wait for its review: a working day and the night before it.
REVIEW_WITHIN: Final = timedelta(hours=48)
MEMBERS_MAX: Final = 500


def _each(row: type[RowT], given: Sequence[Any]) -> tuple[RowT, ...]:
    """Rows, of which the database gives objects."""
    return tuple(one if isinstance(one, row) else row(**one) for one in given)


class Verdict(StrEnum):
    """What a gate answers. Only PASS lets a release move."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"


class Review(StrEnum):
    """What a review finds of a move that was made against its gates."""

    JUSTIFIED = "JUSTIFIED"
    UNJUSTIFIED = "UNJUSTIFIED"


class Exact(Protocol):
    """Whatever names an artifact's exact content."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One artifact's exact content, as evidence names it."""

    kind: str
    name: str
    digest: str

    @property
    def key(self) -> Key:
        """Which artifact it is."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """One artifact of a set that is about to move.

    Attributes:
        author: who published the version here. `written_by`: who did where it was imported from.
        owner, changelog, labels: the version's own.
        risk: the greater of what the version says of itself and what the live one says: who lowers it is held by what it was.
        returns_to: the version that is live now, to which a rollback would go; None if nothing is live of the name.
        row: its content.
    """

    kind: str
    name: str
    version: int
    digest: str
    author: str
    owner: str
    changelog: str
    labels: Mapping[str, str]
    risk: Risk
    returns_to: int | None
    row: Live
    written_by: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """Which artifact it is."""
        return (self.kind, self.name)

    @property
    def authors(self) -> frozenset[str]:
        """Everybody who decides nothing about it, because it is theirs."""
        return frozenset((self.author, *self.written_by))

    @property
    def called(self) -> str:
        """`kind/name@version`."""
        return f"{self.kind}/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A move that is asked for.

    Attributes:
        environment, production: where.
        move: an apply, the begin of a rollout, or its going on.
        strategy: a rollout's, `all_at_once` for an apply, and for a canary whose first step is everybody.
        share: percent of the units that get the set after the move; 100 once it is live.
        members: what moves, by kind and name. `live`: everything that is live now.
        kinds: how each kind is read. `subject`: the digest of exactly this set in this environment.
        rollout_id: of an open rollout that goes on.
    """

    environment: str
    production: bool
    move: Move
    strategy: str
    share: int
    members: tuple[Moving, ...]
    live: Mapping[Key, Live]
    kinds: Mapping[str, KindSpec]
    subject: str
    rollout_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one gate says of one move.

    Attributes:
        gate: its kind. `rule`: the rule of the policy that asks for it.
        about: the artifacts that it is about, `kind/name@version`.
        why: one or two sentences. `way_out`: what to do; empty for PASS.
        evidence: ids of the records that it rests on.
    """

    gate: str
    verdict: Verdict
    why: str
    way_out: str = ""
    rule: str = ""
    about: tuple[str, ...] = ()
    evidence: tuple[UUID, ...] = ()

    def json(self) -> dict[str, Json]:
        """The finding as it is kept and sent."""
        return {
            "gate": self.gate,
            "verdict": self.verdict.value,
            "why": self.why,
            "way_out": self.way_out,
            "rule": self.rule,
            "about": list(self.about),
            "evidence": [str(one) for one in self.evidence],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What all gates together say of a move.

    Attributes:
        policy: `policy/release-gates@N`, or `built-in` where none is live.
        policy_digest: the digest of the policy that judged.
        subject: the digest of the set. `findings`: of every gate that the policy asks for; none if it asks for nothing.
        broken_glass: the record of the override with which the set moves although the findings say no.
    """

    policy: str
    policy_digest: str
    subject: str
    findings: tuple[Finding, ...]
    broken_glass: UUID | None = None

    @property
    def verdict(self) -> Verdict:
        """FAIL if a gate says so, else INCONCLUSIVE if one does, else PASS."""
        found = {finding.verdict for finding in self.findings}
        return next((one for one in (Verdict.FAIL, Verdict.INCONCLUSIVE) if one in found), Verdict.PASS)

    def json(self) -> dict[str, Json]:
        """The ruling as the history keeps it."""
        return {
            "policy": self.policy,
            "policy_digest": self.policy_digest,
            "subject": self.subject,
            "verdict": self.verdict.value,
            "findings": [cast("Json", finding.json()) for finding in self.findings],
            "broken_glass": None if self.broken_glass is None else str(self.broken_glass),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """Something said about an exact set of versions: a row of `release_evidence`.

    Attributes:
        gate: what kind of evidence it is: `approval`, `eval`, and what else registers.
        subject: the digest of the set in `environment`. `members`: the set.
        details: what the verdict rests on; `details_digest` is theirs. Of an eval: suite, suite_digest, counts, thresholds.
        by, by_kind: the principal that said it, and what sort it is.
    """

    tenant: str
    id: UUID
    environment: str
    gate: str
    subject: str
    members: tuple[Subject, ...]
    verdict: Verdict
    why: str
    details: Mapping[str, Json]
    details_digest: str
    by: str
    by_kind: str
    made_at: datetime
    expires_at: datetime
    withdrawn_by: str | None = None
    withdrawn_at: datetime | None = None
    withdraw_reason: str | None = None

    def __post_init__(self) -> None:
        # The database gives a list of objects and a text; a frozen value holds none of them.
        object.__setattr__(self, "members", _each(Subject, self.members))
        object.__setattr__(self, "verdict", Verdict(self.verdict))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A set of published versions that waits for its evidence: a row of `prepared_releases`."""

    tenant: str
    id: UUID
    environment: str
    subject: str
    members: tuple[PreparedMember, ...]
    author: str
    reason: str
    created_at: datetime
    moved_by: str | None = None
    moved_at: datetime | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", _each(PreparedMember, self.members))


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedMember:
    """One version of a prepared set."""

    kind: str
    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenGlass:
    """A move that was made although its gates said no: a row of `broken_glass`. Open until it has a `review`."""

    tenant: str
    id: UUID
    environment: str
    move: Move
    subject: str
    members: tuple[PreparedMember, ...]
    rollout_id: UUID | None
    policy_digest: str
    findings: list[dict[str, Json]]
    reason: str
    by: str
    at: datetime
    review_due_at: datetime
    review: Review | None = None
    reviewed_by: str | None = None
    reviewed_at: datetime | None = None
    review_reason: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", _each(PreparedMember, self.members))
        object.__setattr__(self, "review", None if self.review is None else Review(self.review))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A principal of the tenant, as the gates look at who said something: what they may do now, not when they said it."""

    name: str
    kind: Literal["user", "service", "schedule"]
    roles: tuple[str, ...]
    disabled_at: datetime | None
    id: UUID

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", tuple(self.roles))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """What a service measured of a set: the counts of one suite, what it was held to, and its verdict.

    Attributes:
        suite, suite_digest: which cases, exactly.
        cases: how many were run: `passed` + `failed` + `errored`.
        thresholds: what the verdict was held to, names to whole numbers (`passed_percent_min`).
        drop_percent: the smallest drop that so many cases would have shown, in points; None if it was not computed.
    """

    suite: str
    suite_digest: str
    cases: int
    passed: int
    failed: int
    errored: int
    thresholds: Mapping[str, int] = field(default_factory=dict[str, int])
    drop_percent: int | None = None
    link: str = ""


class Evidence(Protocol):
    """One kind of gate: where its evidence is looked for. A kind that comes later registers in `bootstrap`.

    Attributes:
        gate: its name in a policy's `needs`.
        properties: JSON Schema of the further members of such an entry; `required`: those it cannot do without.
    """

    @property
    def gate(self) -> str: ...  # noqa: D102 - see above
    @property
    def properties(self) -> Mapping[str, Json]: ...  # noqa: D102
    @property
    def required(self) -> tuple[str, ...]: ...  # noqa: D102

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """What this gate says, in the transaction and under the lock of the move. Reads only.

        Args:
            tx: of the move.
            ctx: who moves it.
            asked: the move.
            about: the members for which the policy asks for it.
            need: the entry of the policy's `needs`.
        """
        ...
