"""The breaker opens for a target that is not well and for nothing else, lets one call try, and closes by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Denied, Unavailable
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker import breaker_rules as rules
from stanchion.tools.broker.breaker_rules import Breaker

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def after(breaker: Breaker, *, calls: int = 1, at: datetime = AT, asked: float | None = None, trial: bool = False):
    return rules.failed(breaker, at, calls=calls, reason="adapter.timeout", asked_wait_s=asked, trial=trial)


def opened(times: int = 1) -> Breaker:
    breaker = rules.fresh(AT)
    for _ in range(rules.FAILURES_MIN):
        breaker = after(breaker)
    for _ in range(times - 1):
        breaker = after(replace(breaker, trial_until=AT), trial=True)
    return breaker


def test_it_opens_after_failures_that_are_half_of_all() -> None:
    breaker = rules.fresh(AT)
    for n in range(rules.FAILURES_MIN):
        assert breaker.state == "CLOSED", n
        breaker = after(breaker)
    assert breaker.state == "OPEN"
    assert breaker.until == AT + timedelta(seconds=rules.OPEN_S)


@given(st.integers(3, 1_000_000))
def test_a_target_that_fails_less_often_never_is_left_alone(calls: int) -> None:
    breaker = rules.fresh(AT)
    for n in range(200):
        breaker = after(breaker, calls=calls, at=AT + timedelta(seconds=n / 10))
        assert breaker.state == "CLOSED"


@given(st.integers(1, 10**9))
def test_however_many_calls_went_well_before_it_opens_within_a_dozen_failures(before: int) -> None:
    breaker = after(rules.fresh(AT), calls=before)
    for n in range(12):
        breaker = after(breaker, at=AT + timedelta(seconds=n))
    assert breaker.state == "OPEN"


def test_failures_of_another_window_do_not_count() -> None:
    breaker = rules.fresh(AT)
    for n in range(50):
        breaker = after(breaker, at=AT + timedelta(seconds=n * (rules.WINDOW_S + 1)))
        assert breaker.state == "CLOSED"


def test_one_call_tries_and_its_end_decides() -> None:
    breaker = opened()
    assert rules.trial(breaker, AT, timeout_s=5) is None
    later = breaker.until
    trying = rules.trial(breaker, later, timeout_s=5)
    assert trying is not None
    assert trying.state == "OPEN"
    assert rules.trial(trying, later, timeout_s=5) is None  # another call waits
    assert (
        rules.trial(trying, later + timedelta(seconds=6), timeout_s=5) is not None
    )  # nobody heard the end of that one
    assert rules.succeeded(later).state == "CLOSED"
    again = after(trying, at=later, trial=True)
    assert again.until == later + timedelta(seconds=2 * rules.OPEN_S)
    assert after(trying, at=later) == trying  # a call that began before it opened says nothing new
    assert rules.wait_s(breaker, AT) == rules.OPEN_S
    assert rules.wait_s(trying, later) == 1.0


@given(st.integers(1, 40))
def test_it_stays_open_longer_each_time_up_to_a_bound(times: int) -> None:
    wait_s = (opened(times).until - AT).total_seconds()
    assert wait_s == min(rules.OPEN_S * 2 ** (min(times, 32) - 1), rules.OPEN_S_MAX)


@given(st.floats(1, 3600), st.floats(1, 3600))
def test_the_longest_that_a_target_asked_for_is_honoured(first: float, second: float) -> None:
    breaker = after(after(rules.fresh(AT), asked=first), asked=second)
    assert breaker.state == "OPEN"
    assert breaker.asked
    assert breaker.until == AT + timedelta(seconds=max(first, second))
    over = rules.trial(breaker, breaker.until, timeout_s=5)
    assert over is not None
    assert over.state == "CLOSED"  # no trial: the target said when


@pytest.mark.parametrize(
    ("problem", "counts"),
    [
        (AdapterProblem("adapter.timeout", "x", retryable=True), True),
        (AdapterProblem("adapter.unreachable", "x", retryable=True), True),
        (AdapterProblem("adapter.unreachable", "a bad certificate", retryable=False), False),
        (AdapterProblem("adapter.status", "x", status=500), True),
        (AdapterProblem("adapter.status", "x", status=503), True),
        (AdapterProblem("adapter.status", "x", status=429), True),
        (AdapterProblem("adapter.status", "x", status=404), False),
        (AdapterProblem("adapter.status", "x", status=422), False),
        (AdapterProblem("adapter.wrong_type", "x"), False),
        (AdapterProblem("adapter.recipient_refused", "of another protocol", status=550), False),
        (AdapterProblem("mcp.failed", "x", retryable=True), True),
        (Denied("secret.wrong_environment", "x"), False),
        (Unavailable("db.unavailable", "x"), False),
    ],
)
def test_what_says_that_the_target_is_not_well(problem, counts: bool) -> None:
    assert rules.is_failure(problem) is counts


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"status": 429, "retry_after_s": 7.0}, 7.0),
        ({"status": 503, "retry_after_s": 7}, 7.0),
        ({"status": 503, "retry_after_s": 86_400.0}, 3600.0),
        ({"status": 500, "retry_after_s": 7.0}, None),
        ({"status": 429, "retry_after_s": 0.0}, None),
        ({"status": 429}, None),
        ({"status": 429, "retry_after_s": "7"}, None),
    ],
)
def test_how_long_a_target_asks_to_be_left_alone(fields, seconds) -> None:
    assert rules.asked_s(AdapterProblem("adapter.status", "x", **fields)) == seconds
