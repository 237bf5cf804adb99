"""Assignment: sticky, deterministic, reproducible from its record, monotone while the share grows, fair over units."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid, Json
from stanchion.controls.flags import compile_flag, distribute, evaluate
from stanchion.releases.rollouts import (
    SHARE_MAX,
    Arm,
    Assignment,
    Exposure,
    Ring,
    Unit,
    UnitKind,
    assign,
    bucket_of,
    grows,
    in_ring,
    key_of,
    reproduces,
    share_of,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TEXT = st.text(min_size=1, max_size=20)
UNITS = st.builds(Unit, kind=st.sampled_from([*UnitKind, "input:customer.id"]), tenant=TEXT, value=TEXT)
SHARES = st.integers(0, SHARE_MAX)
RING_NAMES = ["internal", "early", "late"]
TENANTS = ["acme", "globex", "initech", "umbrella"]
RINGS = st.lists(
    st.builds(
        Ring,
        name=st.sampled_from(RING_NAMES),
        tenants=st.frozensets(st.sampled_from(TENANTS)),
        attributes=st.dictionaries(st.sampled_from(["region", "tier"]), st.frozensets(st.sampled_from("ab"))),
    ),
    max_size=3,
    unique_by=lambda ring: ring.name,
)
EXPOSURES = st.builds(Exposure, share=SHARES, rings=st.dictionaries(st.sampled_from(RING_NAMES), SHARES))
ATTRIBUTES = st.dictionaries(st.sampled_from(["region", "tier"]), st.sampled_from("abc"))


def run_unit(n: int, tenant: str = "acme") -> Unit:
    return Unit(kind=UnitKind.RUN, tenant=tenant, value=f"run-{n}")


def arm(unit: Unit, share: int, salt: str = "s1") -> Arm:
    return assign("r1", salt, unit, Exposure(share=share)).arm


def test_the_assignment_of_known_units_never_changes() -> None:
    """Recorded assignments must stay reproducible by later versions: these buckets are for ever."""
    known = {
        Unit(kind=UnitKind.RUN, tenant="acme", value="0192f0c1-6d5c-7c3e-9b1a-5f0e6a1b2c3d"): 4560,
        Unit(kind=UnitKind.CONVERSATION, tenant="acme", value="c-1"): 6175,
        Unit(kind=UnitKind.TENANT, tenant="acme", value="acme"): 1134,
        Unit(kind=UnitKind.PRINCIPAL, tenant="acme", value="ada"): 7880,
    }
    assert {unit: bucket_of("s", unit) for unit in known} == known
    for unit, place in known.items():
        assert assign("r1", "s", unit, Exposure(share=place)).arm is Arm.STABLE
        assert assign("r1", "s", unit, Exposure(share=place + 1)).arm is Arm.CANDIDATE


@given(unit=UNITS, exposure=EXPOSURES, rings=RINGS, attributes=ATTRIBUTES, salt=TEXT)
def test_an_assignment_follows_from_its_own_record(
    unit: Unit, exposure: Exposure, rings: list[Ring], attributes: dict[str, str], salt: str
) -> None:
    made = assign("r1", salt, unit, exposure, rings=rings, attributes=attributes)
    assert made == assign("r1", salt, unit, exposure, rings=rings, attributes=attributes)
    assert reproduces(made)
    # What a record can be forged in: each is noticed.
    other = Arm.STABLE if made.arm is Arm.CANDIDATE else Arm.CANDIDATE
    assert not reproduces(replace(made, arm=other))
    assert not reproduces(replace(made, bucket=(made.bucket + 1) % SHARE_MAX))
    assert not reproduces(replace(made, share=SHARE_MAX + 1, arm=Arm.CANDIDATE))


@given(unit=UNITS, share=SHARES, more=SHARES, salt=TEXT)
def test_who_has_the_candidate_keeps_it_while_the_share_grows(unit: Unit, share: int, more: int, salt: str) -> None:
    low, high = sorted((share, more))
    if arm(unit, low, salt) is Arm.CANDIDATE:
        assert arm(unit, high, salt) is Arm.CANDIDATE


@given(
    before=EXPOSURES, after=EXPOSURES, rings=RINGS, attributes=ATTRIBUTES, tenant=st.sampled_from(TENANTS), value=TEXT
)  # fmt: skip
def test_nobody_loses_the_candidate_between_exposures_that_grow(
    before: Exposure, after: Exposure, rings: list[Ring], attributes: dict[str, str], tenant: str, value: str
) -> None:
    unit = Unit(kind=UnitKind.RUN, tenant=tenant, value=value)
    first = assign("r1", "s1", unit, before, rings=rings, attributes=attributes)
    then = assign("r1", "s1", unit, after, rings=rings, attributes=attributes)
    if grows(before, after):
        assert then.share >= first.share
        assert first.arm is Arm.STABLE or then.arm is Arm.CANDIDATE


@given(unit=UNITS)
def test_nobody_has_the_candidate_at_0_and_everybody_at_100_percent(unit: Unit) -> None:
    assert arm(unit, 0) is Arm.STABLE
    assert arm(unit, SHARE_MAX) is Arm.CANDIDATE


@given(unit=UNITS, percent=st.integers(0, 100), salt=TEXT)
def test_flagds_fractional_deals_the_same(unit: Unit, percent: int, salt: str) -> None:
    """Offline, with any evaluator of flagd: by percent or by parts of 10,000, the arm is the same."""
    got = assign("r1", salt, unit, Exposure.percent(percent)).arm
    key = key_of(salt, unit)
    assert distribute(key, [percent, 100 - percent]) == (0 if got is Arm.CANDIDATE else 1)
    parts = percent * 100
    rule: Json = {"fractional": [{"var": "key"}, ["candidate", parts], ["stable", SHARE_MAX - parts]]}
    flag = compile_flag(
        {
            "flag": "rollout",
            "owner": "o",
            "type": "string",
            "variants": {"candidate": "candidate", "stable": "stable"},
            "targeting": rule,
        }
    )
    assert evaluate(flag, None, {"key": key}, now=NOW).value == got.value


@pytest.mark.parametrize("share", [10, 100, 1000, 2500, 5000, 9900])
def test_shares_hold_over_100_000_units(share: int) -> None:
    """Within 4.4 standard deviations of the binomial; the units are fixed, so the test always gives the same."""
    units, p = 100_000, share / SHARE_MAX
    count = sum(bucket_of(f"rollout-{share}", run_unit(n)) < share for n in range(units))
    assert abs(count - units * p) < 4.4 * (units * p * (1 - p)) ** 0.5, count


def test_rollouts_with_other_salts_choose_other_units() -> None:
    """Of 10,000 units, half in each of two rollouts: a quarter in both, within 4.4 standard deviations."""
    both = sum(arm(run_unit(n), 5000, "s1") is arm(run_unit(n), 5000, "s2") is Arm.CANDIDATE for n in range(10_000))
    assert abs(both - 2500) < 4.4 * (10_000 * 0.25 * 0.75) ** 0.5


def test_principals_of_one_name_are_dealt_apart_by_tenant() -> None:
    arms = {arm(Unit(kind=UnitKind.PRINCIPAL, tenant=f"tenant-{n}", value="admin"), 5000) for n in range(50)}
    assert arms == {Arm.STABLE, Arm.CANDIDATE}


def test_rings_are_lists_of_tenants_of_units_and_of_attributes() -> None:
    ring = Ring(
        name="early",
        tenants=frozenset({"acme"}),
        units=frozenset({"ada"}),
        attributes={"region": frozenset({"eu"}), "tier": frozenset({"gold", "silver"})},
    )
    ada = Unit(kind=UnitKind.PRINCIPAL, tenant="globex", value="ada")
    bob = Unit(kind=UnitKind.PRINCIPAL, tenant="globex", value="bob")
    assert in_ring(ring, Unit(kind=UnitKind.PRINCIPAL, tenant="acme", value="bob"))
    assert in_ring(ring, ada)
    assert not in_ring(ring, bob)
    assert in_ring(ring, bob, {"region": "eu", "tier": "silver", "other": "x"})
    assert not in_ring(ring, bob, {"region": "eu", "tier": "tin"})
    assert not in_ring(ring, bob, {"region": "eu"})
    assert not in_ring(Ring(name="nobody"), bob, {"region": "eu"})


def test_the_greatest_share_that_a_unit_has_applies() -> None:
    rings = [
        Ring(name="internal", tenants=frozenset({"acme"})),
        Ring(name="early", tenants=frozenset({"acme", "globex"})),
    ]
    exposure = Exposure(share=500, rings={"internal": SHARE_MAX, "early": 2000, "undefined": SHARE_MAX})
    assert share_of(exposure, rings, run_unit(1, "acme")) == (SHARE_MAX, "internal")
    assert share_of(exposure, rings, run_unit(1, "globex")) == (2000, "early")
    assert share_of(exposure, rings, run_unit(1, "initech")) == (500, "")
    assert share_of(Exposure(share=3000, rings={"early": 2000}), rings, run_unit(1, "globex")) == (3000, "")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Exposure(share=10), Exposure(share=10), True),
        (Exposure(share=10), Exposure(share=9), False),
        (Exposure(share=0, rings={"a": SHARE_MAX}), Exposure(share=100, rings={"a": SHARE_MAX}), True),
        (Exposure(share=0, rings={"a": SHARE_MAX}), Exposure(share=100), False),
        (Exposure(share=0, rings={"a": 100}), Exposure(share=100), True),
        (Exposure(share=0, rings={"a": 100}), Exposure(share=0, rings={"b": 100}), False),
    ],
)
def test_which_exposures_grow(before: Exposure, after: Exposure, expected: bool) -> None:
    assert grows(before, after) is expected


def test_percents_are_parts_of_10_000() -> None:
    assert Exposure.percent(12.34, ["internal"]) == Exposure(share=1234, rings={"internal": SHARE_MAX})
    assert Exposure.percent(100).share == SHARE_MAX


@pytest.mark.parametrize("share", [-1, SHARE_MAX + 1, True])
def test_a_share_outside_its_bounds_is_refused(share: int) -> None:
    with pytest.raises(Invalid, match="0 to 10000") as caught:
        Exposure(share=share)
    assert caught.value.code == "rollout.bad_share"
    with pytest.raises(Invalid, match="ring early"):
        Exposure(share=0, rings={"early": share})


@pytest.mark.parametrize(("tenant", "value"), [("", "run-1"), ("acme", ""), ("acme", "x" * 513), ("t" * 513, "run-1")])
def test_a_unit_that_is_none_is_refused(tenant: str, value: str) -> None:
    with pytest.raises(Invalid, match="deals by conversation") as caught:
        Unit(kind=UnitKind.CONVERSATION, tenant=tenant, value=value)
    assert caught.value.code == "rollout.bad_unit"


def test_a_record_names_everything_that_decided() -> None:
    unit = run_unit(7)
    made = assign(
        "r1",
        "s1",
        unit,
        Exposure(share=100, rings={"internal": SHARE_MAX}),
        rings=[Ring(name="internal", tenants=frozenset({"acme"}))],
    )
    assert made == Assignment(
        rollout="r1",
        salt="s1",
        unit=unit,
        bucket=bucket_of("s1", unit),
        share=SHARE_MAX,
        ring="internal",
        arm=Arm.CANDIDATE,
    )
