"""The nouns of a rollout: its states and steps, what it moves, what happened to it, and the port its guards fill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, Protocol
from uuid import UUID

from stanchion.base import Json
from stanchion.context import Ctx

Key = tuple[str, str]

# Bounds of one rollout. Every pair of versions that runs could get together is checked at every change.
STEPS_MAX: Final = 20
MEMBERS_MAX: Final = 50
RING_UNITS_MAX: Final = 10_000
HOLD_S_MAX: Final = 90 * 86_400


class Strategy(StrEnum):
    """How a candidate comes to everybody."""

    ALL_AT_ONCE = "all_at_once"
    CANARY = "canary"
    RINGS = "rings"
    BLUE_GREEN = "blue_green"


class State(StrEnum):
    """States of a rollout: ACTIVE ⇄ PAUSED; both → DONE (the candidate is live), ROLLED_BACK, ABANDONED (taken back
    before any unit got the candidate)."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"
    DONE = "DONE"
    ROLLED_BACK = "ROLLED_BACK"
    ABANDONED = "ABANDONED"


OPEN: Final = frozenset({State.ACTIVE, State.PAUSED})
TRANSITIONS: Final[Mapping[State, frozenset[State]]] = {
    State.ACTIVE: frozenset({State.PAUSED, State.DONE, State.ROLLED_BACK, State.ABANDONED}),
    State.PAUSED: frozenset({State.ACTIVE, State.ROLLED_BACK, State.ABANDONED}),
    State.DONE: frozenset(),
    State.ROLLED_BACK: frozenset(),
    State.ABANDONED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a rollout: who gets the candidate, and for how long at least.

    Attributes:
        share: percent of the units, 0 to 100; 0 where the step is of rings.
        rings: names of rings whose units get it. Rings of earlier steps keep it.
        hold_s: seconds after which the scheduler goes on by itself; None waits for a person.
    """

    share: int = 0
    rings: tuple[str, ...] = ()
    hold_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One artifact that a rollout moves: what it returns to, and the candidate."""

    kind: str
    name: str
    stable_version: int
    stable_digest: str
    candidate_version: int
    candidate_digest: str

    @property
    def key(self) -> Key:
        """Which artifact it is."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A candidate on its way: a row of `rollouts` with its members, which move together.

    Attributes:
        unit: what is assigned: `run`, `principal`, `tenant`, or `input:<path>` (a dotted path into a run's input).
        salt: what makes the assignment this rollout's own.
        rings: named lists of units.
        step: index of the present step. `rev`: rises with every change. `due_at`: when its hold is over, or None.
        changed_by: who made the latest change.
        guards: what is watched while it is open, with every default written out (`watching.guards_json`), or None.
    """

    tenant: str
    id: UUID
    environment: str
    strategy: Strategy
    state: State
    unit: str
    salt: str
    rings: Mapping[str, tuple[str, ...]]
    steps: tuple[Step, ...]
    step: int
    rev: int
    due_at: datetime | None
    members: tuple[Member, ...]
    author: str
    reason: str
    created_at: datetime
    changed_by: str
    changed_at: datetime
    ended_at: datetime | None
    guards: Mapping[str, Json] | None = None
    ring_sets: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ring_sets", {name: frozenset(units) for name, units in self.rings.items()})

    @property
    def present(self) -> Step:
        """The step it stands at."""
        return self.steps[self.step]

    @property
    def share(self) -> int:
        """Percent of the units that get the candidate now, those of rings not counted."""
        return max((step.share for step in self.steps[: self.step + 1]), default=0)

    @property
    def open_rings(self) -> tuple[str, ...]:
        """The rings whose units get the candidate now, in the order of their steps."""
        return tuple(dict.fromkeys(name for step in self.steps[: self.step + 1] for name in step.rings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An artifact named in a request; without a version, the one the verb finds by itself."""

    kind: str
    name: str
    version: int | None = None

    @property
    def key(self) -> Key:
        """Which artifact it is."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a person asks a rollout to be. `steps` of ALL_AT_ONCE and BLUE_GREEN: one, at 100 percent. `guards`: as
    `watching.read_guards` takes them."""

    strategy: Strategy
    steps: tuple[Step, ...]
    unit: str = "run"
    rings: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    salt: str | None = None
    guards: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One row of the history: a pointer's move, or a change of a rollout, in the words of who made it."""

    no: int
    kind: str
    name: str
    event: str
    version_before: int | None
    version: int | None
    rollout_id: UUID | None
    before: Mapping[str, Json] | None
    after: Mapping[str, Json] | None
    evidence: Mapping[str, Json] | None
    reason: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback did: the rollouts it ended, and each artifact with the versions runs get before and after."""

    rollouts: tuple[Rollout, ...]
    moved: tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the guards of a rollout say now. `none`: it has no guards. `evidence` goes into the history as it is."""

    verdict: Literal["none", "pass", "fail", "inconclusive", "missing"]
    why: str = ""
    evidence: Mapping[str, Json] = field(default_factory=dict[str, Json])


class Verdicts(Protocol):
    """Where a rollout's guards are asked. `fail` takes it back, `missing` pauses it, and only `none` and `pass` let
    the scheduler go on."""

    async def judge(self, ctx: Ctx, rollout: Rollout) -> Judgement:
        """What the guards of this rollout say of its present step. Reads only."""
        ...


class NoGuards:
    """Fills `Verdicts` where no guards are declared."""

    async def judge(self, ctx: Ctx, rollout: Rollout) -> Judgement:
        """Always `none`."""
        del ctx, rollout
        return Judgement(verdict="none")
