"""Which arm of a rollout a unit gets: a function of salt, unit and share, and of nothing else.

* Sticky: the same unit has the same bucket as long as the salt stays. A rollout that is stopped and resumed keeps its
  salt, so nobody changes sides by that.
* Deterministic, on every machine: integers only, by flagd's `fractional` version 2 over the text
  `salt/kind/tenant/value`. Any evaluator of flagd's targeting deals the same
  (`{"fractional": [{"cat": [...]}, ["candidate", share], ["stable", 10000 - share]]}`).
* Monotone: the candidate has the buckets below the share. A unit once in it stays in while its share grows.
* Independent: another rollout has another salt, so the units that try one candidate are not those that try the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stanchion.controls.flags import bucket
from stanchion.releases.rollouts.types import SHARE_MAX, Arm, Assignment, Exposure, Ring, Unit

_NO_ATTRIBUTES: Mapping[str, str] = {}


def key_of(salt: str, unit: Unit) -> str:
    """The text that is hashed. The tenant is part of it: principals of one name in two tenants are dealt apart."""
    return f"{salt}/{unit.kind}/{unit.tenant}/{unit.value}"


def bucket_of(salt: str, unit: Unit) -> int:
    """The unit's place among 10,000."""
    return bucket(key_of(salt, unit), SHARE_MAX)


def in_ring(ring: Ring, unit: Unit, attributes: Mapping[str, str] = _NO_ATTRIBUTES) -> bool:
    """Whether a unit of a tenant with these attributes belongs to a ring."""
    if unit.tenant in ring.tenants or unit.value in ring.units:
        return True
    wanted = ring.attributes
    return bool(wanted) and all(attributes.get(name) in values for name, values in wanted.items())


def share_of(
    exposure: Exposure, rings: Iterable[Ring], unit: Unit, attributes: Mapping[str, str] = _NO_ATTRIBUTES
) -> tuple[int, str]:
    """(the unit's share, the ring that gives it, or empty if it is everyone's).

    A ring that the exposure names and nobody defined has no members, so it exposes nobody (I11).
    """
    share, name = exposure.share, ""
    for ring in rings:
        offered = exposure.rings.get(ring.name, 0)
        if offered > share and in_ring(ring, unit, attributes):
            share, name = offered, ring.name
    return share, name


def assign(
    rollout: str,
    salt: str,
    unit: Unit,
    exposure: Exposure,
    *,
    rings: Iterable[Ring] = (),
    attributes: Mapping[str, str] = _NO_ATTRIBUTES,
) -> Assignment:
    """The arm that a unit gets.

    Args:
        rollout: the rollout's id.
        unit: who is dealt.
        salt: fixed for the rollout's life, and different from other rollouts'. It holds no `/`.
        exposure: how much is out now.
        rings: those that `exposure` names.
        attributes: of the unit's tenant, which rings may ask for.
    """
    share, ring = share_of(exposure, rings, unit, attributes)
    place = bucket_of(salt, unit)
    return Assignment(
        rollout=rollout, salt=salt, unit=unit, bucket=place, share=share, ring=ring, arm=_arm(place, share)
    )


def reproduces(record: Assignment) -> bool:
    """Whether a recorded assignment follows from its own facts: what an auditor recomputes offline."""
    return (
        record.bucket == bucket_of(record.salt, record.unit)
        and 0 <= record.share <= SHARE_MAX
        and record.arm is _arm(record.bucket, record.share)
    )


def grows(before: Exposure, after: Exposure) -> bool:
    """Whether nobody can lose the candidate by going from `before` to `after`, whatever rings a unit is in."""
    return after.share >= before.share and all(
        max(after.share, after.rings.get(name, 0)) >= share for name, share in before.rings.items()
    )


def _arm(place: int, share: int) -> Arm:
    return Arm.CANDIDATE if place < share else Arm.STABLE
