from __future__ import annotations

import itertools
import random

import pytest

from stanchion.base import Conflict, Invalid, dumps
from stanchion.releases.watching import (
    Arm,
    Better,
    Comparison,
    Guards,
    Kind,
    Verdict,
    begin,
    finding_json,
    judge,
    judge_all,
    judgement_json,
    observe,
)
from tests.releases.watching.support import NOON, after, canary, guard, pair, pairs, single


def seen(guarded, values, at=NOON) -> Comparison:
    return observe(guarded, begin(guarded, NOON), [pair(c, s, at) for c, s in values])


def mixed(count: int, candidate: float, stable: float, seed: int = 1) -> list[tuple[float, float]]:
    rng = random.Random(seed)
    return [(float(rng.random() < candidate), float(rng.random() < stable)) for _ in range(count)]


def test_a_regression_fails_with_figures_in_words():
    guarded = guard()
    finding = judge(guarded, seen(guarded, mixed(600, 0.3, 0.1)), NOON)
    assert finding.verdict is Verdict.FAIL
    evidence = finding.evidence
    assert evidence.candidate_count == evidence.stable_count == evidence.rounds == 600
    assert evidence.e_worse_peak >= evidence.threshold == 20
    assert evidence.crossed_after is not None
    assert evidence.crossed_after < 200
    assert evidence.difference == pytest.approx(evidence.candidate_mean - evidence.stable_mean)
    for words in (
        f"after {evidence.crossed_after} comparisons",
        "20 is proof at alpha = 0.05",
        f"Candidate {evidence.candidate_mean:.1%} of 600, stable {evidence.stable_mean:.1%} of 600.",
        "points worse",
    ):
        assert words in finding.reason


def test_a_regression_within_the_margin_does_not_fail_and_one_beyond_it_does():
    within, beyond = guard(margin=0.3, exclude=0.5), guard(margin=0.05, exclude=0.5)
    values = mixed(1500, 0.3, 0.1)
    assert judge(within, seen(within, values), NOON).verdict is Verdict.PASS
    finding = judge(beyond, seen(beyond, values), NOON)
    assert finding.verdict is Verdict.FAIL
    assert "by more than the tolerated 5 points" in finding.reason


def test_fail_needs_no_minimum_and_pass_does():
    guarded = guard(samples_min=1000)
    assert judge(guarded, seen(guarded, [(1, 0)] * 12), NOON).verdict is Verdict.FAIL
    few = judge(guarded, seen(guarded, [(0, 0)] * 999), NOON)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "999 of the candidate arm and 999 of the stable arm; 1,000 are needed" in few.reason
    assert judge(guarded, seen(guarded, [(0, 0)] * 1000), NOON).verdict is Verdict.PASS


def test_pass_says_what_is_ruled_out_and_what_would_have_been_found():
    guarded = guard()
    finding = judge(guarded, seen(guarded, mixed(800, 0.1, 0.1)), NOON)
    assert finding.verdict is Verdict.PASS
    assert "A worsening of 10 points or more is ruled out" in finding.reason
    assert "would have been found by now in at least 4 of 5 cases" in finding.reason
    assert 0.03 < finding.evidence.detectable < 0.1


def test_too_little_evidence_is_inconclusive():
    guarded = guard(samples_min=10)
    finding = judge(guarded, seen(guarded, mixed(30, 0.5, 0.5)), NOON)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "is not ruled out yet" in finding.reason


def test_pass_is_given_back_when_the_candidate_turns_bad():
    guarded = guard()
    good = seen(guarded, [(0, 0)] * 200)
    assert judge(guarded, good, NOON).verdict is Verdict.PASS
    verdicts = []
    for _ in range(60):
        good = observe(guarded, good, [pair(1, 0)])
        verdicts.append(judge(guarded, good, NOON).verdict)
    assert verdicts[-1] is Verdict.FAIL
    assert verdicts.index(Verdict.FAIL) < 60
    assert Verdict.MISSING not in verdicts


@pytest.mark.parametrize(
    ("observations", "at", "said"),
    [
        ([], 901, "No errors of the candidate arm has arrived in 901 s"),
        ([single(Arm.CANDIDATE, 0, after(800))], 901, "No errors of the stable arm has arrived in 901 s"),
        ([pair(0, 0)], 901, "The last errors of the candidate arm is 901 s old; 900 s are allowed"),
        (
            [pair(0, 0), single(Arm.CANDIDATE, 0, after(3600))],
            3600,
            "The last errors of the stable arm is 3,600 s old",
        ),
        ([pair(0, 0, after(5000))], 0, "of the candidate arm is stamped 5,000 s in the future"),
    ],
)
def test_absent_and_stale_data_is_missing(observations, at, said):
    guarded = guard(samples_min=1)
    finding = judge(guarded, observe(guarded, begin(guarded, NOON), observations), after(at))
    assert finding.verdict is Verdict.MISSING
    assert said in finding.reason


def test_missing_takes_precedence_over_pass_and_ends_when_data_comes():
    guarded = guard()
    good = seen(guarded, [(0, 0)] * 300)
    assert judge(guarded, good, after(900)).verdict is Verdict.PASS
    assert judge(guarded, good, after(901)).verdict is Verdict.MISSING
    again = observe(guarded, good, [pair(0, 0, after(1000))])
    assert judge(guarded, again, after(1001)).verdict is Verdict.PASS


def test_a_fail_stays_when_data_stops_or_heals():
    guarded = guard()
    failed = seen(guarded, [(1, 0)] * 20)
    assert judge(guarded, failed, after(10**6)).verdict is Verdict.FAIL
    healed = observe(guarded, failed, pairs([(0, 1)] * 5000))
    assert judge(guarded, healed, NOON).verdict is Verdict.FAIL


def test_before_the_first_observation_it_waits():
    finding = judge(guard(), begin(guard(), NOON), after(899))
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert finding.evidence.candidate_mean is finding.evidence.difference is finding.evidence.detectable is None


def test_arms_that_never_overlap_are_told_so_and_never_pass():
    guarded = guard(samples_min=10)
    comparison = observe(guarded, begin(guarded, NOON), canary("s" * 400 + "c" * 400, [0] * 800))
    finding = judge(guarded, comparison, NOON)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "report both arms in the order of arrival" in finding.reason


def test_a_better_candidate_is_said_to_be_better_and_nothing_more_happens():
    guarded = guard()
    finding = judge(guarded, seen(guarded, mixed(800, 0.05, 0.3)), NOON)
    assert finding.verdict is Verdict.PASS
    assert finding.evidence.e_better > 1e6
    assert finding.evidence.difference < 0
    assert "points better" in finding.reason


def test_words_of_the_other_kinds():
    score = guard(kind=Kind.SCORE, better=Better.HIGHER)
    finding = judge(score, seen(score, [(0.5, 0.75)] * 200), NOON)
    assert finding.verdict is Verdict.FAIL
    assert "Candidate 0.500 of 200, stable 0.750 of 200." in finding.reason
    assert "25 points worse" in finding.reason
    fixed = guard(metric="latency_ms", kind=Kind.EXCEEDANCE, limit=2000.0)
    finding = judge(fixed, seen(fixed, [(2500.0, 900.0)] * 50), NOON)
    assert "Candidate 100.0% of 50, stable 0.0% of 50 above the limit 2000." in finding.reason
    running = guard(metric="latency_ms", kind=Kind.EXCEEDANCE, quantile=0.9)
    rng = random.Random(2)
    values = [(3 * rng.lognormvariate(0, 0.5), rng.lognormvariate(0, 0.5)) for _ in range(300)]
    finding = judge(running, seen(running, values), NOON)
    assert finding.verdict is Verdict.FAIL
    assert "above the stable arm's running 90% quantile, now " in finding.reason


def all_of(**verdicts) -> tuple[Guards, dict[str, Comparison]]:
    """Guards by name that each give the wanted verdict 1000 s after noon."""
    values = {
        Verdict.PASS: [pair(0, 0, after(1000))] * 200,
        Verdict.FAIL: [pair(1, 0, after(1000))] * 20,
        Verdict.INCONCLUSIVE: [pair(0, 0, after(1000))],
        Verdict.MISSING: [],
    }
    guards = Guards(alpha=0.5, guards=tuple(guard(name=name, alpha=0.05) for name in verdicts))
    return guards, {
        g.name: observe(g, begin(g, NOON), values[verdict])
        for g, verdict in zip(guards.guards, verdicts.values(), strict=True)
    }


@pytest.mark.parametrize(("one", "two"), list(itertools.product(Verdict, repeat=2)))
def test_several_guards_say_what_the_worst_says(one, two):
    order = [Verdict.FAIL, Verdict.MISSING, Verdict.INCONCLUSIVE, Verdict.PASS]
    guards, comparisons = all_of(first=one, second=two)
    judgement = judge_all(guards, comparisons, after(1000))
    assert [finding.verdict for finding in judgement.findings] == [one, two]
    assert judgement.verdict is min(one, two, key=order.index)
    if judgement.verdict is Verdict.PASS:
        assert judgement.reason == "All 2 guards pass."
    else:
        assert ("first" if one is judgement.verdict else "second") in judgement.reason


def test_a_guard_without_a_comparison_is_refused():
    guards, comparisons = all_of(first=Verdict.PASS, second=Verdict.PASS)
    del comparisons["second"]
    with pytest.raises(Invalid, match="second") as caught:
        judge_all(guards, comparisons, NOON)
    assert caught.value.code == "guard.uncompared"
    with pytest.raises(Invalid):
        judge_all(Guards(alpha=0.05, guards=()), {}, NOON)


def test_judging_refuses_another_guard_and_a_time_without_zone():
    with pytest.raises(Conflict):
        judge(guard(alpha=0.01), begin(guard(), NOON), NOON)
    with pytest.raises(Invalid):
        judge(guard(), begin(guard(), NOON), NOON.replace(tzinfo=None))


def test_a_finding_as_json_has_every_figure():
    guarded = guard()
    finding = judge(guarded, seen(guarded, mixed(600, 0.3, 0.1)), NOON)
    found = finding_json(finding)
    assert dumps(found)
    assert (found["guard"], found["verdict"], found["reason"]) == ("errors", "fail", finding.reason)
    assert found["evidence"]["candidate_count"] == 600
    assert found["evidence"]["limit"] is None
    assert found["evidence"]["crossed_at"] == NOON.isoformat()
    assert found["evidence"]["e_worse"] == finding.evidence.e_worse


def test_a_judgement_as_json_has_every_guard():
    guards, comparisons = all_of(first=Verdict.PASS, second=Verdict.MISSING)
    judgement = judge_all(guards, comparisons, after(1000))
    found = judgement_json(judgement)
    assert dumps(found)
    assert (found["verdict"], found["reason"]) == ("missing", judgement.reason)
    assert found["guards"] == [finding_json(finding) for finding in judgement.findings]
