"""The nouns of guarding: a rollout that is watched, a run that ended, what somebody else measured of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.base import Json
from stanchion.releases.watching import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A rollout with guards: what is known by now, and how far its runs were looked at (a row of `rollout_watches`).

    Attributes:
        guards: as they were declared, with every default.
        comparisons: guard's name -> what is known of it; None before the first look.
        fresh_id, patrol_id, turn_id: where the three looks go on (see `collecting`); None: at the beginning.
        counted: runs and reported values that were counted.
        is_over: the rollout has ended; nothing is counted any more.
    """

    tenant: str
    rollout_id: UUID
    guards: Mapping[str, Json]
    comparisons: Mapping[str, Json] | None
    fresh_id: UUID | None
    patrol_id: UUID | None
    turn_id: UUID | None
    counted: int
    is_over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run of a rollout that has ended, as it counts.

    Attributes:
        arm: what its recorded assignment says.
        is_cancelled: somebody stopped it, which says nothing of either arm.
        failed: it became a dead letter; a run that a person's rejection ended did not.
        denied: one of its steps, or of its items' steps, was refused by policy.
        overridden: a person rejected what it, or an item of it, wanted to do.
        latency_ms: from its first claim to its end, waiting included; None if it was never claimed.
        at: when it ended, by the database's clock.
    """

    id: UUID
    arm: Arm
    is_cancelled: bool
    failed: bool
    denied: bool
    overridden: bool
    latency_ms: float | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A value that somebody reported of a run, for one rollout that dealt the run."""

    run_id: UUID
    metric: str
    arm: Arm
    value: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What one look for runs found: how many it passed, and the id of the last; None if there was none."""

    passed: int
    last_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """What somebody measured of a run; `rollouts`: how many open rollouts it counts for."""

    run_id: UUID
    metric: str
    value: float
    reported_by: str
    reported_at: datetime
    rollouts: int
