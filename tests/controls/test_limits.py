"""Token buckets: exact, bounded, by injected time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid, LimitExceeded
from stanchion.controls import RateLimit, RateLimiter, address_key


class Clock:
    at = 0.0

    def monotonic(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


def takes(limiter, key, n):
    taken = 0
    for _ in range(n):
        try:
            limiter.take(key)
            taken += 1
        except LimitExceeded:
            pass
    return taken


def test_a_burst_then_the_rate(clock):
    limiter = RateLimiter(clock, RateLimit(per_s=10, burst=5), scope="principal")
    assert takes(limiter, "a", 8) == 5
    clock.at += 0.3
    assert takes(limiter, "a", 8) == 3
    clock.at += 100
    assert takes(limiter, "a", 8) == 5


def test_the_problem_says_how_long(clock):
    limiter = RateLimiter(clock, RateLimit(per_s=2, burst=1), scope="address")
    limiter.take("a")
    with pytest.raises(LimitExceeded) as refused:
        limiter.take("a")
    assert refused.value.code == "limit.rate"
    assert refused.value.retryable
    assert refused.value.fields == {"retry_after_s": 0.5, "scope": "address"}
    clock.at += 0.5
    limiter.take("a")


def test_keys_do_not_share_and_are_bounded(clock):
    limiter = RateLimiter(clock, RateLimit(per_s=1, burst=1), scope="address", keys_max=3)
    for key in "abcde":
        limiter.take(key)
    assert len(limiter) == 3
    with pytest.raises(LimitExceeded):
        limiter.take("e")


@given(st.lists(st.floats(min_value=0, max_value=5), max_size=60), st.integers(1, 5), st.integers(1, 10))
def test_never_more_than_burst_plus_rate(gaps, per_s, burst):
    clock = Clock()
    limiter = RateLimiter(clock, RateLimit(per_s=per_s, burst=burst), scope="x")
    taken = 0
    for gap in gaps:
        clock.at += gap
        taken += takes(limiter, "k", 3)
        assert taken <= burst + clock.at * per_s + 1e-6


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_limit_that_permits_nothing_is_refused(per_s, burst):
    with pytest.raises(Invalid):
        RateLimit(per_s=per_s, burst=burst)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("2001:db8::ffff:1:2:3", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
    ],
)
def test_an_address_is_what_one_customer_holds(host, key):
    assert address_key(host) == key
