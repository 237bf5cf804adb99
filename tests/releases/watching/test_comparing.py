from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stanchion.base import Conflict, Invalid, dumps, loads
from stanchion.releases.watching import (
    Arm,
    Better,
    Kind,
    Observation,
    Pair,
    begin,
    comparison_json,
    observe,
    read_comparison,
)
from stanchion.releases.watching.comparing import LEARN_MIN, running_limit
from tests.releases.watching.support import NOON, after, canary, guard, pair, pairs, single

GUARDS = {
    Kind.RATE: guard(alpha=0.2),
    Kind.SCORE: guard(kind=Kind.SCORE, better=Better.HIGHER, alpha=0.2),
    Kind.EXCEEDANCE: guard(kind=Kind.EXCEEDANCE, quantile=0.8, alpha=0.2),
}
VALUES = {
    Kind.RATE: st.integers(0, 1).map(float),
    Kind.SCORE: st.floats(0, 1),
    Kind.EXCEEDANCE: st.floats(0, 1e6),
}


@st.composite
def streams(draw) -> tuple[Kind, list[Observation | Pair]]:
    """A kind and up to 150 observations of it: singles of both arms and pairs, the stable ones first often enough."""
    kind = draw(st.sampled_from(Kind))
    rng = random.Random(draw(st.integers(0, 10**6)))
    value = draw(VALUES[kind])
    found: list[Observation | Pair] = []
    for second in range(draw(st.integers(0, 150))):
        number = value if rng.random() < 0.3 else float(rng.random() < 0.5)
        if rng.random() < 0.2:
            found.append(pair(number, float(rng.random() < 0.3), after(second)))
        else:
            found.append(single(rng.choice(list(Arm)), number, after(second)))
    return kind, found


@settings(deadline=None)
@given(stream=streams(), cuts=st.lists(st.integers(0, 150), max_size=6))
def test_batches_stored_in_between_give_what_one_batch_gives(stream, cuts):
    """Through JSON bytes each time, as the store does it: equal to the last bit."""
    kind, seen = stream
    guarded = GUARDS[kind]
    whole = observe(guarded, begin(guarded, NOON), seen)
    parts, edges = begin(guarded, NOON), [0, *sorted(cuts), len(seen)]
    for start, end in itertools.pairwise(edges):
        parts = read_comparison(loads(dumps(comparison_json(observe(guarded, parts, seen[start:end])))))
    assert parts == whole


@settings(deadline=None)
@given(stream=streams())
def test_a_comparison_survives_json_and_does_not_grow(stream):
    kind, seen = stream
    comparison = observe(GUARDS[kind], begin(GUARDS[kind], NOON), seen)
    stored = dumps(comparison_json(comparison))
    assert read_comparison(loads(stored)) == comparison
    assert len(stored) < 2500


@settings(deadline=None)
@given(values=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=60), seed=st.integers(0, 999))
def test_the_order_of_pairs_changes_neither_counts_nor_sums(values, seed):
    """Batches of two processes may arrive in either order: what is counted is the same, only the path differs."""
    mixed = list(values)
    random.Random(seed).shuffle(mixed)
    one, two = (observe(guard(), begin(guard(), NOON), pairs(each)) for each in (values, mixed))
    assert (one.candidate, one.stable, one.rounds, one.difference) == (
        two.candidate,
        two.stable,
        two.rounds,
        two.difference,
    )
    assert 0 < two.worse.total < math.inf


def test_a_check_after_each_request_finds_what_the_kept_crossing_says():
    """`observe` keeps the first crossing, so a batch hides nothing that a look in between would have seen."""
    rng = random.Random(4)
    seen = [pair(rng.random() < 0.3, rng.random() < 0.1) for _ in range(400)]
    guarded = guard()
    by_one, first = begin(guarded, NOON), None
    for count, each in enumerate(seen, 1):
        by_one = observe(guarded, by_one, [each])
        if first is None and by_one.worse.total >= 20:
            first = count
    whole = observe(guarded, begin(guarded, NOON), seen)
    assert first is not None
    assert whole.crossing is not None
    assert whole.crossing.rounds == first
    assert whole.crossing.wealth >= 20
    assert whole.crossing.candidate.count == first


def test_a_crossing_stays_when_the_wealth_falls_again():
    guarded = guard()
    failed = observe(guarded, begin(guarded, NOON), pairs([(1, 0)] * 20))
    healed = observe(guarded, failed, pairs([(0, 1)] * 500))
    assert failed.crossing is not None
    assert healed.crossing == failed.crossing
    assert healed.worse.total < 1 < healed.peak
    assert healed.peak == failed.peak


@pytest.mark.parametrize(("margin", "exclude"), [(0.0, 0.02), (0.3, 0.5), (0.8, 0.95)])
@pytest.mark.parametrize("outcome", [(1, 0), (0, 1)])
def test_no_bet_can_ruin(margin, exclude, outcome):
    guarded = guard(margin=margin, exclude=exclude)
    comparison = observe(guarded, begin(guarded, NOON), pairs([outcome] * 9))
    for wealth in (comparison.worse, comparison.harmless, comparison.better):
        assert min(wealth.stakes) > 0


def test_a_block_is_the_first_arrivals_and_its_means_are_compared():
    guarded = guard()
    open_block = observe(guarded, begin(guarded, NOON), canary("csc", [1, 0, 0]))
    assert (open_block.rounds, open_block.block.candidates, open_block.block.stables) == (0, 2, 1)
    closed = observe(guarded, open_block, canary("s", [0]))
    assert (closed.rounds, closed.difference, closed.squares) == (1, 0.5, 0.25)
    assert (closed.block.candidates, closed.block.stables, closed.unmatched) == (0, 0, 0)
    assert closed.worse.total > 1 > closed.better.total


def test_a_block_with_one_arm_is_set_aside_and_the_next_is_larger():
    guarded = guard()
    comparison = observe(guarded, begin(guarded, NOON), canary("s" * 40, [0] * 40))
    assert comparison.rounds == 0
    assert comparison.worse.total == 1
    assert comparison.unmatched + comparison.block.stables == 40
    assert comparison.block.size > 4
    assert comparison.stable.count == 40


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_the_block_follows_the_share_of_the_rarer_arm(share):
    rng = random.Random(9)
    arms = "".join("c" if rng.random() < share else "s" for _ in range(6000))
    comparison = observe(guard(), begin(guard(), NOON), canary(arms, [0] * 6000))
    assert max(4, 0.5 * 1.5 / share) <= comparison.block.size <= max(4, 2.5 * 1.5 / share)
    swapped = arms.translate(str.maketrans("cs", "sc"))
    assert observe(guard(), begin(guard(), NOON), canary(swapped, [0] * 6000)).block.size == comparison.block.size


def test_a_pair_is_a_round_of_its_own_and_leaves_the_block_alone():
    guarded = guard()
    comparison = observe(guarded, begin(guarded, NOON), [*canary("cs", [0, 0]), pair(1, 0), *canary("cs", [0, 0])])
    assert (comparison.rounds, comparison.difference) == (2, 1.0)


@pytest.mark.parametrize("better", Better)
def test_a_score_counts_in_its_own_direction(better):
    guarded = guard(kind=Kind.SCORE, better=better)
    comparison = observe(guarded, begin(guarded, NOON), pairs([(0.4, 0.9)] * 60))
    assert comparison.difference == pytest.approx(30 if better is Better.HIGHER else -30)
    assert (comparison.crossing is not None) is (better is Better.HIGHER)


@pytest.mark.parametrize(("better", "bad"), [(Better.LOWER, 2001.0), (Better.HIGHER, 1999.0)])
def test_a_declared_limit_is_bad_to_pass_and_fine_to_meet(better, bad):
    guarded = guard(kind=Kind.EXCEEDANCE, limit=2000.0, better=better)
    comparison = observe(guarded, begin(guarded, NOON), pairs([(bad, 2000.0)] * 3))
    assert (comparison.candidate.badness, comparison.stable.badness, comparison.unmatched) == (3, 0, 0)


@pytest.mark.parametrize(("better", "quantile"), [(Better.LOWER, 0.9), (Better.LOWER, 0.5), (Better.HIGHER, 0.9)])
def test_the_running_limit_finds_the_quantile_and_follows_a_drift(better, quantile):
    """Stable alone passes it as often as declared, at three scales and after a jump to ten times as slow."""
    for scale in (1e-4, 1.0, 1e5):
        rng = random.Random(5)
        guarded = guard(kind=Kind.EXCEEDANCE, quantile=quantile, better=better)
        comparison = begin(guarded, NOON)
        values = [rng.lognormvariate(0, 0.7) * scale * (10 if n > 3000 else 1) for n in range(9000)]
        comparison = observe(guarded, comparison, [pair(value, value) for value in values[:3000]])
        assert comparison.stable.badness / comparison.stable.count == pytest.approx(1 - quantile, abs=0.03)
        comparison = observe(guarded, comparison, [pair(value, value) for value in values[3000:6000]])
        before = comparison.stable
        comparison = observe(guarded, comparison, [pair(value, value) for value in values[6000:]])
        passed = (comparison.stable.badness - before.badness) / (comparison.stable.count - before.count)
        assert passed == pytest.approx(1 - quantile, abs=0.04)


def test_a_running_limit_judges_nothing_until_it_is_learnt_and_never_by_itself():
    guarded = guard(kind=Kind.EXCEEDANCE, quantile=0.9)
    comparison = observe(guarded, begin(guarded, NOON), pairs([(9.0, 5.0)] * LEARN_MIN))
    assert (comparison.candidate.count, comparison.rounds, comparison.unmatched) == (0, 0, 2 * LEARN_MIN)
    assert comparison.candidate.last_at == NOON
    limit = running_limit(guarded, comparison)
    assert limit is not None
    # The first judged value would raise the limit beyond itself if it were learnt before it is judged.
    judged = observe(guarded, comparison, [pair(limit * 1.001, limit * 1.001)])
    assert (judged.candidate.badness, judged.stable.badness) == (1, 1)
    assert running_limit(guarded, judged) != limit


def test_the_limit_of_a_block_is_fixed_when_it_opens():
    guarded = guard(kind=Kind.EXCEEDANCE, quantile=0.9)
    comparison = observe(guarded, begin(guarded, NOON), pairs([(5.0, 5.0)] * LEARN_MIN))
    limit = running_limit(guarded, comparison)
    comparison = observe(guarded, comparison, canary("sss", [1e6, 1e6, 1e6]))
    assert comparison.block.limit == limit
    between = (limit + running_limit(guarded, comparison)) / 2
    assert between > limit
    assert observe(guarded, comparison, canary("c", [between])).candidate.badness == 1


def test_zero_latency_and_cost_are_values_like_others():
    guarded = guard(kind=Kind.EXCEEDANCE, quantile=0.9)
    comparison = observe(guarded, begin(guarded, NOON), pairs([(0.0, 0.0)] * 200))
    assert comparison.difference == 0
    assert math.isfinite(comparison.log_limit)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Kind.RATE, 0.5),
        (Kind.RATE, math.nan),
        (Kind.SCORE, 1.01),
        (Kind.SCORE, -0.01),
        (Kind.SCORE, math.nan),
        (Kind.EXCEEDANCE, -1.0),
        (Kind.EXCEEDANCE, math.inf),
        (Kind.EXCEEDANCE, math.nan),
    ],
)
def test_a_value_that_is_none_is_refused_with_its_place_and_nothing_is_counted(kind, value):
    guarded = GUARDS[kind]
    before = begin(guarded, NOON)
    for last in (single(Arm.STABLE, value), pair(0.0, value), pair(value, 0.0)):
        with pytest.raises(Invalid, match="Observation 2 of guard errors") as caught:
            observe(guarded, before, [*canary("cs", [0, 0]), last])
        assert caught.value.code == "guard.observation"
        assert caught.value.fields == {"guard": "errors", "place": 2}
        assert caught.value.hint
    assert before == begin(guarded, NOON)


def test_times_need_a_zone():
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(Invalid, match="no time zone"):
        begin(guard(), naive)
    with pytest.raises(Invalid, match="no time zone"):
        observe(guard(), begin(guard(), NOON), [single(Arm.STABLE, 0, naive)])


def test_evidence_does_not_move_to_another_guard():
    comparison = begin(guard(), NOON)
    for change in ({"margin": 0.01}, {"alpha": 0.04}, {"better": Better.HIGHER}, {"metric": "denials"}):
        with pytest.raises(Conflict) as caught:
            observe(guard(**change), comparison, [])
        assert caught.value.code == "guard.changed"


def test_an_older_time_does_not_take_back_a_newer_one():
    comparison = observe(
        guard(), begin(guard(), NOON), [single(Arm.STABLE, 0, after(50)), single(Arm.STABLE, 0, after(20))]
    )
    assert comparison.stable.last_at == after(50)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("v",), 2, "version 1 at /v"),
        (("guard",), None, "text at /guard"),
        (("began_at",), "noon", "time at /began_at"),
        (("began_at",), "2026-03-02T12:00:00", "time with a time zone at /began_at"),
        (("rounds",), -1, "whole number of at least 0 at /rounds"),
        (("rounds",), True, "whole number of at least 0 at /rounds"),
        (("peak",), "1", "finite number of at least 0 at /peak"),
        (("difference",), math.inf, "finite number at /difference"),
        (("candidate",), None, "object at /candidate"),
        (("worse", "stakes"), [1.0], "list of 6 numbers at /worse/stakes"),
        (("worse", "stakes"), [0.1, 0.1, -0.1, 0.1, 0.1, 0.1], "at /worse/stakes/2"),
        (("block", "size"), 1.5, "whole number of at least 0 at /block/size"),
    ],
)
def test_a_stored_value_that_is_none_is_refused_with_its_place(path, value, said):
    stored = comparison_json(begin(guard(), NOON))
    inner = stored
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(Invalid, match=said) as caught:
        read_comparison(stored)
    assert caught.value.code == "guard.state"
