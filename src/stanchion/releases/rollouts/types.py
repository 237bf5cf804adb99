"""The nouns of rollouts' assignment: who is dealt, how much is out, and what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from stanchion.base import Invalid

# Shares are counted in parts of 10,000: hundredths of a percent.
SHARE_MAX: Final = 10_000
_TEXT_MAX: Final = 512


class UnitKind(StrEnum):
    """What stays with its arm: everything with the same unit gets the same version.

    Beside these a unit may be `input:<path>`, a value of the run's input, where a conversation's id usually comes from.
    """

    RUN = "run"
    CONVERSATION = "conversation"
    TENANT = "tenant"
    PRINCIPAL = "principal"
    INPUT = "input"


class Arm(StrEnum):
    """The two sides of a rollout."""

    STABLE = "stable"
    CANDIDATE = "candidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """Who is dealt: a run's or conversation's id, a principal's name, a value of the run's input (a customer's number),
    or the tenant itself (`value` is its name then).

    `kind` is a UnitKind or `input:<path>`. Raises Invalid `rollout.bad_unit` if a part is empty or longer than 512
    characters.
    """

    kind: str
    tenant: str
    value: str

    def __post_init__(self) -> None:
        if not all(0 < len(part) <= _TEXT_MAX for part in (self.kind, self.tenant, self.value)):
            raise Invalid(
                "rollout.bad_unit",
                f"A rollout deals by {self.kind}, and this one has no {self.kind} (or one of over {_TEXT_MAX} characters).",
                hint="Deal by a unit that every run has: run or tenant.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """A named group: the tenants listed, those whose attributes all match, and the units listed.

    Attributes:
        tenants: names.
        units: values of the rollout's own units (principals, conversations, ...).
        attributes: attribute -> the values that match (`{"region": {"eu"}}`). Empty: nobody by attributes.
    """

    name: str
    tenants: frozenset[str] = frozenset()
    units: frozenset[str] = frozenset()
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How much of a candidate is out at one time, in parts of 10,000.

    A unit's share is the greatest of `share` and the shares of the rings it is in. So `share=0,
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

    @classmethod
    def percent(cls, share: float, open_rings: Iterable[str] = ()) -> Exposure:
        """Everyone at `share` percent (to a hundredth), and the open rings whole."""
        return cls(share=round(share * SHARE_MAX / 100), rings=dict.fromkeys(open_rings, SHARE_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What was decided for one unit, with all it takes to decide it again elsewhere: recorded with the run.

    Attributes:
        rollout: its id. `salt`: what its buckets are drawn with.
        bucket: the unit's place, 0 to 9,999: it is in the candidate if this is below `share`.
        share: the share that applied to this unit at the time. `ring`: the ring that gave it, or empty.
    """

    rollout: str
    salt: str
    unit: Unit
    bucket: int
    share: int
    ring: str
    arm: Arm
