"""Nouns of revocation: the version that is named, what a revocation would stop, what became of the runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from stanchion.artifacts import LiveIn
from stanchion.controls.withdrawals import Withdrawal
from stanchion.runs.revoking import BoundRun, Counts

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """The version that a person named by its digest (or the beginning of it)."""

    kind: str
    name: str
    version: int
    digest: str

    @property
    def target(self) -> str:
        """The version, as people write it."""
        return f"{self.kind}/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """What withdrawing a version would do now: where new runs get it, how many runs are bound to it, the newest of them."""

    version: Named
    standing: tuple[LiveIn, ...]
    counts: Counts
    newest: tuple[BoundRun, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A revocation (or drain), and what it does now."""

    withdrawal: Withdrawal
    impact: Impact


class Fate(StrEnum):
    """What became of one run in an action on all of them."""

    REPINNED = "repinned"
    CANCELLED = "cancelled"
    RUNNING = "running"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one run, and why nothing did if so."""

    run_id: UUID
    fate: Fate
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of the runs of one page: each, and past which id the next page begins (None: there is none)."""

    version: Named
    to: Named | None
    runs: tuple[Outcome, ...]
    next: UUID | None

    def count(self, fate: Fate) -> int:
        """How many had this fate."""
        return sum(run.fate is fate for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Repin:
    """That a run was given another version in place of a revoked one: a row of `repins`. Times are UTC."""

    id: UUID
    run_id: UUID
    withdrawal_id: UUID
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
