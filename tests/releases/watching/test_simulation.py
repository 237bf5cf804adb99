"""What is promised to operators, over simulated rollouts; `simulation.py` prints the same with 2,000."""

from __future__ import annotations

import math

import pytest

from tests.releases.watching import simulation
from tests.releases.watching.simulation import (
    ERRORS,
    LATENCY,
    SCORES,
    canary,
    latencies,
    outcome,
    paired,
    scores,
    waves,
)
from tests.releases.watching.support import guard

ALPHA = 0.05


def most(rollouts: int) -> float:
    """The share of false rollbacks that a true chance of 5 % exceeds once in a thousand times."""
    return ALPHA + 3.1 * math.sqrt(ALPHA * (1 - ALPHA) / rollouts)


def test_identical_pairs_are_rarely_rolled_back_and_a_peeking_z_test_often_does():
    found = outcome(ERRORS, paired(0.1, 0.1), rollouts=120, length=1000)
    peeking = simulation.z_test(paired(0.1, 0.1), rollouts=120, length=1000, every=1)
    assert found.share <= most(120)
    assert peeking.share > 0.2


def test_ten_points_are_found_within_a_median_of_200_pairs():
    found = outcome(ERRORS, paired(0.1, 0.2), rollouts=250, length=1500)
    assert found.share > 0.98
    assert found.rounds <= 200


@pytest.mark.parametrize(
    ("guarded", "rollout"),
    [(ERRORS, canary(0.1, 0.1, 0.1)), (ERRORS, waves(0.1)), (SCORES, scores(0.1, 0)), (LATENCY, latencies(0.1, 1))],
    ids=["errors", "waves", "scores", "latencies"],
)
def test_identical_arms_at_their_own_pace_are_rarely_rolled_back(guarded, rollout):
    assert outcome(guarded, rollout, rollouts=60, length=1500).share <= most(60)


@pytest.mark.parametrize(
    ("guarded", "rollout"),
    [(ERRORS, canary(0.1, 0.1, 0.25)), (SCORES, scores(0.1, 0.15)), (LATENCY, latencies(0.1, 1.8))],
    ids=["errors", "scores", "latencies"],
)
def test_a_worse_candidate_at_ten_percent_is_found(guarded, rollout):
    found = outcome(guarded, rollout, rollouts=25, length=5000)
    assert found.failed >= 24
    assert found.candidates < 200


def test_what_is_said_to_be_found_in_four_of_five_cases_is():
    for pairs, margin in ((100, 0.0), (400, 0.0), (400, 0.05)):
        drop, power = simulation.power_at_detectable(rollouts=100, pairs=pairs, stable=0.1, margin=margin)
        assert margin < drop < 0.35
        assert power >= 0.75


def test_the_reserve_finds_a_late_regression_sooner():
    late = paired(0.1, 0.2, late=1000)
    kept = outcome(guard(window=1000), late, rollouts=60, length=2500)
    unused = outcome(guard(window=10**6), late, rollouts=60, length=2500)
    assert kept.rounds < unused.rounds - 50


def test_identical_arms_pass_and_a_candidate_worse_by_exclude_rarely_does():
    passed = simulation.passing(ERRORS, paired(0.1, 0.1), rollouts=60, length=1500)
    assert passed.share > 0.9
    assert passed.rounds < 400
    assert simulation.passing(ERRORS, paired(0.1, 0.2), rollouts=60, length=1000).share <= most(60)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_thousand_rollouts_checked_at_every_request():
    rollouts = simulation.ROLLOUTS
    same = outcome(ERRORS, paired(0.1, 0.1), rollouts=rollouts, length=2000)
    canaries = outcome(ERRORS, canary(0.1, 0.1, 0.1), rollouts=rollouts, length=5000)
    peeking = simulation.z_test(paired(0.1, 0.1), rollouts=rollouts, length=2000, every=1)
    worse = outcome(ERRORS, paired(0.1, 0.2), rollouts=rollouts, length=2000)
    print(
        f"\n{rollouts} rollouts of identical arms: {same.share:.1%} rolled back in pairs, {canaries.share:.1%} at a canary of"
        f" 10 %; a z-test that looks as often {peeking.share:.1%}. 10 points worse: {worse.share:.1%} within a median of"
        f" {worse.rounds:.0f} pairs."
    )
    assert same.share <= ALPHA
    assert canaries.share <= ALPHA
    assert peeking.share > 0.2
    assert worse.share > 0.99
    assert worse.rounds <= 200
    for guarded, rollout in ((ERRORS, waves(0.1)), (SCORES, scores(0.1, 0)), (LATENCY, latencies(0.1, 1))):
        assert outcome(guarded, rollout, rollouts=rollouts // 4, length=5000).share <= most(rollouts // 4)
