"""The nouns of dead letters beside `runs.DeadLetter` itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.base import Json
from stanchion.runs.types import DeadLetter, RunStatus, StepRun


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters: all that match every field given."""

    reason: str | None = None
    blueprint: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadDetail:
    """A dead letter with what it takes to decide about it: what the run was asked, with which versions, what it did.

    `digest` is its Blueprint's; `pins` as stored: {kind, name, version, digest}; `steps` in order.
    """

    letter: DeadLetter
    input: Json
    digest: str
    pins: list[Mapping[str, Json]]
    steps: list[StepRun]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """What a run is that is no dead letter."""

    id: UUID
    status: RunStatus
    discarded_at: datetime | None
    parent_id: UUID | None
    root_id: UUID
