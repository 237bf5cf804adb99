"""The promise of the bets, by exact enumeration: under the null no wealth is expected to grow."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.releases.watching import Comparison, begin, betting, observe
from tests.releases.watching.support import NOON, canary, guard, pairs, settled

ALPHAS_ALL = 2.0  # a threshold of 1 / 0.5, low enough to be crossed by six rounds


def chance(values: tuple[int, ...], rate: float) -> float:
    return math.prod(rate if value else 1.0 - rate for value in values)


def after_pairs(guarded, candidate: tuple[int, ...], stable: tuple[int, ...]) -> Comparison:
    return observe(guarded, begin(guarded, NOON), pairs(zip(candidate, stable, strict=True)))


@settings(max_examples=12, deadline=None)
@given(
    stable=st.floats(0.01, 0.99),
    better_by=st.floats(0, 1),
    margin=st.sampled_from([0.0, 0.02, 0.2]),
    window=st.sampled_from([10, 1000]),
)
def test_wealth_of_pairs_is_a_supermartingale_and_rarely_reaches_its_threshold(stable, better_by, margin, window):
    """Every sequence of 4 pairs with its probability; a candidate worse by up to the margin."""
    candidate = max(0.0, min(1.0, stable + margin) * (1 - better_by) if better_by else min(1.0, stable + margin))
    guarded = guard(margin=margin, exclude=0.5, alpha=1 / ALPHAS_ALL, window=window)
    expected = ever = 0.0
    for bad in itertools.product((0, 1), repeat=4):
        for usual in itertools.product((0, 1), repeat=4):
            weight = chance(bad, candidate) * chance(usual, stable)
            seen = after_pairs(guarded, bad, usual)
            expected += weight * seen.worse.total
            ever += weight * (seen.crossing is not None)
    assert expected <= 1 + 1e-9
    assert ever <= 1 / ALPHAS_ALL
    if candidate == stable + margin:
        assert expected == pytest.approx(1)  # at the border nothing is given away


@settings(max_examples=8, deadline=None)
@given(rate=st.floats(0.05, 0.95), share=st.floats(0.05, 0.95), margin=st.sampled_from([0.0, 0.1]))
def test_wealth_of_blocks_is_a_supermartingale_with_arms_at_their_own_pace(rate, share, margin):
    """Every sequence of 5 arrivals with its arms and values: one block of 4, and one arrival of the next."""
    worse = min(1.0, rate + margin)
    guarded = guard(margin=margin, exclude=0.5)
    expected = 0.0
    for arms in itertools.product("cs", repeat=5):
        for values in itertools.product((0, 1), repeat=5):
            weight = 1.0
            for arm, value in zip(arms, values, strict=True):
                here = worse if arm == "c" else rate
                weight *= (share if arm == "c" else 1 - share) * (here if value else 1 - here)
            expected += weight * observe(guarded, begin(guarded, NOON), canary("".join(arms), values)).worse.total
    assert expected <= 1 + 1e-9


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.sampled_from([0, 1]), min_size=10, max_size=10), share=st.floats(0.05, 0.95))
def test_chance_alone_decides_the_arm_then_any_values_are_fair(values, share):
    """The values are fixed, however odd (waves, trends); only the arm of each arrival is drawn. No drift can favour
    the arm that comes last, because a block's end does not depend on the arms."""
    guarded = guard()
    expected = 0.0
    for arms in itertools.product("cs", repeat=10):
        weight = math.prod(share if arm == "c" else 1 - share for arm in arms)
        expected += weight * observe(guarded, begin(guarded, NOON), canary("".join(arms), values)).worse.total
    assert expected <= 1 + 1e-9


def test_that_a_block_ending_with_the_missing_arm_would_be_unfair():
    """Why blocks are counted: with "until both arms were there" a rising trend is evidence against the rarer arm.

    The same enumeration with such blocks, so that the test above is known to see the difference.
    """
    values, share, expected = (0, 0, 0, 0, 0, 1, 1, 1, 1, 1), 0.2, 0.0
    for arms in itertools.product("cs", repeat=10):
        wealth, sums, counts = betting.begin(), {"c": 0, "s": 0}, {"c": 0, "s": 0}
        rounds = 0
        for arm, value in zip(arms, values, strict=True):
            sums[arm] += value
            counts[arm] += 1
            if all(counts.values()):
                rounds += 1
                gain = sums["c"] / counts["c"] - sums["s"] / counts["s"]
                wealth = settled(wealth, gain, rounds)
                sums, counts = {"c": 0, "s": 0}, {"c": 0, "s": 0}
        expected += math.prod(share if arm == "c" else 1 - share for arm in arms) * wealth.total
    assert expected > 1.05


@settings(max_examples=10, deadline=None)
@given(stable=st.floats(0.05, 0.85), exclude=st.sampled_from([0.05, 0.15]))
def test_bets_on_harmless_and_better_are_fair_at_their_borders(stable, exclude):
    guarded = guard(exclude=exclude)
    harmless = better = 0.0
    for bad in itertools.product((0, 1), repeat=4):
        for usual in itertools.product((0, 1), repeat=4):
            seen = after_pairs(guarded, bad, usual)
            harmless += chance(bad, stable + exclude) * chance(usual, stable) * seen.harmless.total
            better += chance(bad, stable) * chance(usual, stable) * seen.better.total
    assert harmless == pytest.approx(1)
    assert better == pytest.approx(1)


@given(gains=st.lists(st.floats(-1, 1), max_size=300), window=st.integers(10, 2000))
def test_wealth_stays_positive_and_finite_and_the_reserve_is_spent_slowly(gains, window):
    wealth = betting.begin()
    assert wealth.total == pytest.approx(1)
    for rounds, gain in enumerate(gains, 1):
        before = wealth
        wealth = settled(wealth, gain, rounds, window)
        assert 0 < wealth.total < math.inf
        assert wealth.reserve < before.reserve
    assert wealth.reserve == pytest.approx(betting.RESERVE / (1 + len(gains) / window))


def test_endless_gain_is_capped_and_not_infinite():
    wealth = betting.begin()
    for rounds in range(1, 3000):
        wealth = settled(wealth, 1.0, rounds)
    assert wealth.total <= len(betting.FRACTIONS) * betting.STAKE_MAX * 1.01
    assert wealth.total > 1e11


def sample(**changes) -> betting.Sample:
    return betting.Sample(
        **{"rounds": 400, "difference": 0.0, "squares": 72.0, "badness": 0.1, "weight": 0.5, **changes}
    )


def test_the_detectable_worsening_shrinks_with_rounds_and_is_none_without():
    drops = [
        betting.detectable(sample(rounds=n, squares=0.18 * n), margin=0.0, threshold=20.0) for n in (50, 200, 800, 3200)
    ]
    assert drops == sorted(drops, reverse=True)
    assert 0.02 < drops[-1] < 0.05 < drops[0] < 0.6
    for few in (0, 1, 3):
        assert betting.detectable(sample(rounds=few, squares=0.0), margin=0.0, threshold=20.0) is None


def test_the_detectable_worsening_grows_with_margin_proof_and_noise():
    usual = betting.detectable(sample(), margin=0.0, threshold=20.0)
    assert betting.detectable(sample(), margin=0.05, threshold=20.0) > usual + 0.04
    assert betting.detectable(sample(), margin=0.0, threshold=1000.0) > usual
    assert betting.detectable(sample(squares=150.0, badness=0.3), margin=0.0, threshold=20.0) > usual
