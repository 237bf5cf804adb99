"""Nouns of withdrawn versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

# What a run waits on while nobody knows what is withdrawn: no version's digest.
UNREAD: Final = "unread"


class Mode(StrEnum):
    """How far a version is withdrawn: `drain` begins no new run on it, `revoke` also stops the runs pinned to it."""

    DRAIN = "drain"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """One withdrawal of one version: a row of `withdrawals`. Times are UTC.

    Attributes:
        mode: how far. `digest`: by which points of use know the version. `kind`, `name`, `version`: as people name it.
        reason, set_by, set_at: why, who, when. `lifted_by` and so on: the same of its end, None while it holds.
        emptied_at: of a drained version, when its last run was seen to have ended; None before.
    """

    tenant: str
    id: UUID
    mode: Mode
    kind: str
    name: str
    version: int
    digest: str
    reason: str
    set_by: str
    set_at: datetime
    emptied_at: datetime | None
    lifted_by: str | None
    lifted_at: datetime | None
    lift_reason: str | None

    def __post_init__(self) -> None:
        # Rows come back with plain text; everything above the store compares modes.
        object.__setattr__(self, "mode", Mode(self.mode))

    @property
    def target(self) -> str:
        """The version, as people write it: `connector/casebook@3`."""
        return f"{self.kind}/{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """Why a point of use must not go on. `ref` is what a run waits on: the revoked digest, or UNREAD. `again_s`: after so many
    seconds it looks again by itself; None where somebody's change wakes it."""

    ref: str
    text: str
    again_s: float | None = None


class PinLike(Protocol):
    """A version that a run would be bound to."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def digest(self) -> str: ...  # noqa: D102


class Withdrawals(Protocol):
    """The withdrawn versions as points of use ask for them: from memory, without a query."""

    @property
    def any(self) -> bool:
        """False if nothing anywhere is withdrawn: then no step need ask further. True before the first read."""
        ...

    def stopped(self, tenant: str, uses: Iterable[str], *, strict: bool = False) -> Stopped | None:
        """The first of the digests `uses` that is revoked, or None. `strict`: also that nobody could read what is
        withdrawn for longer than `rules.AGE_S_MAX` (I11), for what changes the outside world."""
        ...

    def admit(self, tenant: str, pins: Sequence[PinLike]) -> None:
        """Return if a new run may begin on these. Raises Conflict `release.revoked` or `release.drained`, naming who,
        when, why and the way out; Unavailable `release.unread`."""
        ...


class NoWithdrawals:
    """Nothing is ever withdrawn: for parts that are built without (the simulation, tests of other things)."""

    any = False

    def stopped(self, tenant: str, uses: Iterable[str], *, strict: bool = False) -> None:
        """Nothing stops it."""
        del tenant, uses, strict

    def admit(self, tenant: str, pins: Sequence[PinLike]) -> None:
        """It may begin."""
        del tenant, pins


NO_WITHDRAWALS: Final[Withdrawals] = NoWithdrawals()
