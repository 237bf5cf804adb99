"""The nouns of rollouts' assignment: who is dealt, how much is out, and what was decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from stanchion.base import Invalid

# Shares are counted in parts of 10,000: hundredths of a percent.
SHARE_MAX: Final = 10_000
# Longer names and values than these nothing in Stanchion has.
_TEXT_MAX: Final = 500


class UnitKind(StrEnum):
    """What stays with its arm: everything with the same unit gets the same version."""

    RUN = "run"
    CONVERSATION = "conversation"
    TENANT = "tenant"
    PRINCIPAL = "principal"


class Arm(StrEnum):
    """The two sides of a rollout."""

    STABLE = "stable"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Who is dealt: a run's or conversation's id, a principal's name, or the tenant itself (`value` is its name then).

    Raises Invalid `rollout.bad_unit` if a part is empty or longer than 500 characters.
    """

    kind: UnitKind
    tenant: str
    value: str

    def __post_init__(self) -> None:
        if not (0 < len(self.tenant) <= _TEXT_MAX and 0 < len(self.value) <= _TEXT_MAX):
            raise Invalid(
                "rollout.bad_unit",
                f"A rollout deals by {self.kind}, and this one has no {self.kind} (or one of over {_TEXT_MAX} characters).",
                hint="Deal by a unit that every run has: run or tenant.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A named group of tenants: those listed, and those whose attributes all match.

    Attributes:
        tenants: names.
        attributes: attribute -> the values that match (`{"region": {"eu"}}`). Empty: nobody by attributes.
    """

    name: str
    tenants: frozenset[str] = frozenset()
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How much of a candidate is out at one time, in parts of 10,000.

    A tenant's share is the greatest of `share` and the shares of the rings it is in. So `share=0,
    rings={"internal": 10_000}` is a ring, and `share=500, rings={"internal": 10_000}` a canary of 5 % beside it.

    Raises Invalid `rollout.bad_share` for a share outside 0 to 10,000.
    """

    share: int
    rings: Mapping[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        for name, share in (("", self.share), *self.rings.items()):
            if isinstance(share, bool) or not 0 <= share <= SHARE_MAX:
                where = f"ring {name}" if name else "everyone"
                raise Invalid(
                    "rollout.bad_share",
                    f"The share of {where} is {share}; a share is 0 to {SHARE_MAX} parts of {SHARE_MAX}.",
                    hint="10 % are 1000 parts.",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What was decided for one unit, with all it takes to decide it again elsewhere: recorded with the run.

    Attributes:
        rollout: its id. `salt`: what its buckets are drawn with.
        bucket: the unit's place, 0 to 9,999: it is in the candidate if this is below `share`.
        share: the share that applied to this unit's tenant at the time. `ring`: the ring that gave it, or empty.
    """

    rollout: str
    salt: str
    unit: Unit
    bucket: int
    share: int
    ring: str
    arm: Arm
