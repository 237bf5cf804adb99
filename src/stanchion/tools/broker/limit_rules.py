"""Decisions about rate limits, pure: a token bucket in the database, from which processes take chunks; places for calls at
the same time, of which each process holds some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from stanchion.tools.types import Limits

# What a process takes at once: at most a quarter of the burst, and no more than this many seconds of the rate. A busy
# connector then costs about two statements a second and process, whatever its rate; several processes share one bucket.
CHUNK_SHARE: Final = 0.25
CHUNK_S: Final = 0.5
# A chunk that was not used within this time is dropped: a process that fell silent hoards nothing. In any T seconds all
# processes together begin at most burst + rate x (T + LEASE_S) calls, and one chunk each on top (held by a property test).
LEASE_S: Final = 1.0
# Places are held this long without being renewed, so that those of a dead process come back.
PLACES_LEASE_S: Final = 10.0
# A process without work gives places back after this time.
PLACES_IDLE_S: Final = 1.0
# What the caller is told when every place is taken: nobody knows when one becomes free.
PLACE_RETRY_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a process got of a bucket: `left` is what stays in it; with no `tokens`, `wait_s` until there is one."""

    tokens: int
    left: float
    wait_s: float


def refilled(tokens: float, elapsed_s: float, limits: Limits) -> float:
    """What is in the bucket `elapsed_s` after it held `tokens`. A clock that stepped back adds nothing."""
    if limits.calls_per_s is None:
        return float(limits.burst_or_default)
    return min(float(limits.burst_or_default), tokens + max(0.0, elapsed_s) * limits.calls_per_s)


def chunk(limits: Limits) -> int:
    """How many tokens a process takes at once, at least one."""
    rate = limits.calls_per_s or 0.0
    return max(1, min(int(limits.burst_or_default * CHUNK_SHARE), int(rate * CHUNK_S)))


def take(tokens: float, elapsed_s: float, limits: Limits) -> Grant:
    """Take a chunk, or what there is of it, from a bucket that held `tokens` `elapsed_s` ago."""
    available = refilled(tokens, elapsed_s, limits)
    granted = min(chunk(limits), int(available))
    if granted >= 1 or limits.calls_per_s is None:
        return Grant(tokens=granted, left=available - granted, wait_s=0.0)
    return Grant(tokens=0, left=available, wait_s=(1.0 - available) / limits.calls_per_s)


def places(limits: Limits, *, others: int, mine: int, used: int) -> int:
    """How many places a process holds after asking for one more, `others` being what the other processes hold.

    It asks for an eighth of all at a time, and never gets more than are free; what it uses, it keeps.
    """
    most = limits.concurrent or 0
    wanted = max(mine, used + max(1, most // 8))
    return max(used, min(wanted, most - others))


def kept(*, mine: int, used: int, idle_s: float) -> int:
    """How many places a process goes on holding: all for a moment, then what it uses."""
    return mine if idle_s < PLACES_IDLE_S else min(mine, used)
