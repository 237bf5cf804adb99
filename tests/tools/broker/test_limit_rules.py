"""Rate limits never give out more than they say, whatever processes ask when; places never more than there are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stanchion.tools.broker import limit_rules as rules
from stanchion.tools.types import Limits

LIMITS = st.builds(Limits, calls_per_s=st.floats(0.01, 1000), burst=st.none() | st.integers(1, 500))


@given(LIMITS, st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_in_any_time_no_more_is_taken_than_burst_and_rate(limits: Limits, pauses: list[float]) -> None:
    tokens, taken, at = float(limits.burst_or_default), [], 0.0
    for pause in pauses:
        at += pause
        grant = rules.take(tokens, pause, limits)
        tokens = grant.left
        assert tokens >= -1e-9
        assert 0 <= grant.tokens <= rules.chunk(limits)
        taken.append((at, grant.tokens))
    assert limits.calls_per_s is not None
    for n, (start, _) in enumerate(taken):
        for end, _ in taken[n:]:
            inside = sum(count for when, count in taken if start <= when <= end)
            assert inside <= limits.burst_or_default + limits.calls_per_s * (end - start) + 1e-6


@given(LIMITS, st.floats(0, 1))
def test_who_gets_nothing_is_told_when_there_is_one(limits: Limits, tokens: float) -> None:
    grant = rules.take(tokens, 0.0, limits)
    if grant.tokens == 0:
        again = rules.take(grant.left, grant.wait_s * 1.0001 + 1e-6, limits)
        assert again.tokens >= 1
        assert grant.wait_s > 0


@given(LIMITS)
def test_a_full_bucket_gives_at_once_and_a_clock_that_steps_back_gives_nothing(limits: Limits) -> None:
    assert rules.take(float(limits.burst_or_default), 0.0, limits).tokens >= 1
    assert rules.refilled(0.5, -100.0, limits) == 0.5


def test_a_busy_connector_costs_a_few_statements_a_second() -> None:
    assert rules.chunk(Limits(calls_per_s=500)) == 125
    assert rules.chunk(Limits(calls_per_s=500, burst=20)) == 5
    assert rules.chunk(Limits(calls_per_s=0.5)) == 1


@given(st.integers(1, 50), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10)), max_size=40))
def test_processes_together_hold_no_more_places_than_there_are(most: int, steps: list[tuple[int, int]]) -> None:
    limits = Limits(concurrent=most)
    held, used = [0] * 4, [0] * 4
    for process, wanted in steps:
        if wanted == 0:
            used[process] = max(0, used[process] - 1)
            held[process] = rules.kept(mine=held[process], used=used[process], idle_s=10.0)
        elif used[process] < held[process]:
            used[process] += 1
        else:
            others = sum(held) - held[process]
            held[process] = rules.places(limits, others=others, mine=held[process], used=used[process])
        assert sum(held) <= most
        assert all(u <= h for u, h in zip(used, held, strict=True))


def test_places_are_kept_for_a_moment_and_those_in_use_for_good() -> None:
    assert rules.kept(mine=8, used=2, idle_s=0.5) == 8
    assert rules.kept(mine=8, used=2, idle_s=5) == 2
    assert rules.places(Limits(concurrent=16), others=0, mine=0, used=0) == 2
    assert rules.places(Limits(concurrent=16), others=16, mine=0, used=0) == 0
