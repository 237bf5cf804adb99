"""Nouns of revoked versions and runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundRun:
    """A run that has not ended and whose pins hold a version. `stopped`: it, or an item of it, waits before its next use."""

    run_id: UUID
    blueprint: str
    version: int
    status: str
    waiting_on: str | None
    path: str
    created_at: datetime
    stopped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Top-level runs bound to a version that have not ended: those that stopped before their next use, and of the others
    how many a worker executes, how many wait for something else, how many are in a queue."""

    stopped: int
    running: int
    waiting: int
    queued: int

    @property
    def left(self) -> int:
        """All of them."""
        return self.stopped + self.running + self.waiting + self.queued


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRun:
    """A run of a tree that has not ended, locked. `begun`: whether the step it stands at was begun."""

    id: UUID
    parent_id: UUID | None
    status: str
    waiting_kind: str | None
    waiting_ref: str | None
    cancelling: bool
    pins: str
    blueprint: str
    block: str
    cursor: int
    path: str
    queue: str
    begun: bool
