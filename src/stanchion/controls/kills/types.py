"""Nouns of kill switches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from stanchion.db import Tx

# The kind that stops everything of a tenant; its name is the tenant's own.
TENANT: Final = "tenant"
# What a run waits on while the kill switches cannot be read: no kill's id.
UNREAD: Final = "unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill switch: a row of `kills`. Times are UTC.

    Attributes:
        kind, name: what it stops. `version` and `digest`: only that version of it, or None for every version.
        reason, set_by, set_at: why, who, when. `lifted_by` and so on: the same of its end, None while it holds.
    """

    tenant: str
    id: UUID
    kind: str
    name: str
    version: int | None
    digest: str | None
    reason: str
    set_by: str
    set_at: datetime
    lifted_by: str | None
    lifted_at: datetime | None
    lift_reason: str | None

    @property
    def target(self) -> str:
        """What it stops, as people write it: `blueprint/triage`, `blueprint/triage v3`, `tenant/acme`."""
        return f"{self.kind}/{self.name}" + ("" if self.version is None else f" v{self.version}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """A run that a kill concerns."""

    run_id: UUID
    blueprint: str
    version: int
    status: str
    waiting_on: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """Runs that have begun and not ended (items count with their run): how many a worker executes, how many wait, how
    many are in a queue, and the newest of them, newest first."""

    running: int
    waiting: int
    queued: int
    newest: tuple[Affected, ...]


class KillableKind(Protocol):
    """A kind of thing that can be killed. The domain that checks it at its point of use registers it."""

    @property
    def kind(self) -> str:
        """Its name, such as `connector`."""
        ...

    async def digest(self, tx: Tx, tenant: str, name: str, version: int | None) -> str | None:
        """The digest of that version, None if none is said. Raises NotFound `kill.unknown_target`: a kill that stops
        nothing because of a misspelt name is worse than none."""
        ...

    async def in_flight(self, tx: Tx, tenant: str, name: str, digest: str | None) -> InFlight:
        """The runs that a kill of it concerns now."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Why a point of use must not go on. `ref` is what a run waits on: the kill's id, or UNREAD. `again_s`: after so many
    seconds it looks again by itself; None where somebody's change wakes it."""

    ref: str
    text: str
    again_s: float | None = None


class Kills(Protocol):
    """The kill switches as points of use ask them: from memory, without a query."""

    @property
    def any(self) -> bool:
        """False if nothing anywhere is killed: then nobody need ask further. True before the first read."""
        ...

    def blocked(self, tenant: str, kind: str, name: str, digest: str | None, *, strict: bool = False) -> Blocked | None:
        """What stops this use of `name` (at that version), or None. `strict`: also that the switches could not be read
        for longer than `rules.AGE_S_MAX` (I11), for what changes the outside world."""
        ...

    def admit(self, tenant: str, kind: str, name: str, digest: str | None) -> None:
        """Return if new work may begin. Raises Denied `kill.active` naming who, when and why; Unavailable `kill.unread`."""
        ...


class NoKills:
    """Nothing is ever killed: for parts that are built without switches (the simulation, tests of other things)."""

    any = False

    def blocked(self, tenant: str, kind: str, name: str, digest: str | None, *, strict: bool = False) -> None:
        """Nothing stops it."""
        del tenant, kind, name, digest, strict

    def admit(self, tenant: str, kind: str, name: str, digest: str | None) -> None:
        """It may begin."""
        del tenant, kind, name, digest


NO_KILLS: Final[Kills] = NoKills()
