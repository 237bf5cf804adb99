"""Rate limits: one token bucket per key, in this process's memory.

Each process limits for itself: behind N web processes a caller gets up to N times the rate. That is enough for what
the limit is for (one caller must not starve the others of this process) and costs no round trip.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from stanchion.base import Clock, Invalid, LimitExceeded

# About 100 bytes each: 10,000 callers are 1 MB.
KEYS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`per_s` requests a second on average, `burst` at once."""

    per_s: float
    burst: int

    def __post_init__(self) -> None:
        if self.per_s <= 0 or self.burst < 1:
            raise Invalid(
                "limit.bad_rate",
                f"A rate limit of {self.per_s:g} per second with a burst of {self.burst} permits nothing.",
                hint="Use a rate above 0 and a burst of at least 1.",
            )


class RateLimiter:
    """Token buckets by key. The least recently used key is forgotten first, so memory stays bounded."""

    def __init__(self, clock: Clock, limit: RateLimit, *, scope: str, keys_max: int = KEYS_MAX) -> None:
        """`scope` names what a key is (`principal`, `address`), for the problem and the metric."""
        self.scope = scope
        self._clock = clock
        self._limit = limit
        self._keys_max = keys_max
        # key → (tokens left, when that was true, monotonic seconds)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str) -> None:
        """Take one token of `key`. Raises LimitExceeded `limit.rate` with `retry_after_s`, and takes nothing then."""
        now = self._clock.monotonic()
        tokens, at = self._buckets.get(key, (float(self._limit.burst), now))
        tokens = min(float(self._limit.burst), tokens + (now - at) * self._limit.per_s)
        if tokens < 1:
            wait_s = (1 - tokens) / self._limit.per_s
            self._keep(key, tokens, now)
            raise LimitExceeded(
                "limit.rate",
                f"More than {self._limit.per_s:g} requests a second by this {self.scope}.",
                hint=f"Try again in {wait_s:.1f} s.",
                retry_after_s=round(wait_s, 3),
                scope=self.scope,
            )
        self._keep(key, tokens - 1, now)

    def _keep(self, key: str, tokens: float, now: float) -> None:
        self._buckets[key] = (tokens, now)
        self._buckets.move_to_end(key)
        while len(self._buckets) > self._keys_max:
            self._buckets.popitem(last=False)


def address_key(host: str) -> str:
    """The key of a client address: the address, but for IPv6 its /64, which one customer holds whole (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
