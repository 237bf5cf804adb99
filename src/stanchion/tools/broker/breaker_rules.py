"""Decisions of the circuit breaker, pure. One per connector, shared by all broker processes.

    CLOSED → OPEN: enough calls failed of those counted within the window, or the target itself said how long to wait
    OPEN → CLOSED: its time is over and the one call that tried the target succeeded (after a Retry-After: its time is over)
    OPEN → OPEN: the trial failed; it stays open twice as long

Only what says that the target is not well counts as a failure: unreachable, timed out, its status 429 or 5xx. A record
that it refuses does not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from stanchion.base import Problem
from stanchion.tools.problems import AdapterProblem

# As in resilience4j and Polly: a share of the calls in a window, and enough of them that the share means something.
FAILURES_MIN: Final = 5
FAILURE_SHARE: Final = 0.5
WINDOW_S: Final = 30.0
# Of the calls between two failures no more are counted: a hundred thousand good ones of a minute ago do not outweigh what
# fails now. A target that fails all of a sudden is left alone after ten failures; one that fails one call in ten never is.
CALLS_BETWEEN_MAX: Final = 10
# How long it stays open: twice as long each time in a row, up to the most.
OPEN_S: Final = 5.0
OPEN_S_MAX: Final = 120.0
# What the others are told while one call tries: nobody knows when it ends.
TRYING_S: Final = 1.0
# A target may ask for more patience than that; never for more than an hour.
ASKED_S_MAX: Final = 3600.0

# Problems that say it by their code, where repeating may help: a certificate that is not valid does not become so.
_NOT_WELL: Final = frozenset(
    {
        "adapter.unreachable",
        "adapter.timeout",
        "adapter.truncated",
        "adapter.bad_answer",
        "mcp.failed",
        "egress.unresolved",
    }
)
# Problems of a call that never came to its target, or that a defect of ours ended: they say nothing of it.
_UNASKED: Final = frozenset(
    {
        "adapter.bad_credential",
        "adapter.bad_page",
        "adapter.bad_parameter",
        "adapter.missing_extra",
        "adapter.no_credentials",
        "adapter.no_key",
        "adapter.not_offered",
        "adapter.recipient_not_allowed",
        "broker.failed",
        "mcp.bad_arguments",
        "mcp.not_installed",
    }
)
# Problems whose `status` is one of HTTP.
_OF_HTTP: Final = frozenset({"adapter.status", "adapter.token_refused"})
_STATUS_TOO_MANY: Final = 429
_STATUS_UNAVAILABLE: Final = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The breaker of one connector: a row of `connector_breakers`. Times are the database's."""

    state: Literal["CLOSED", "OPEN"]
    calls: int
    failures: int
    counted_from: datetime
    until: datetime
    openings: int
    asked: bool
    reason: str
    trial_until: datetime | None


def fresh(at: datetime) -> Breaker:
    """A breaker of which nothing is known yet: closed."""
    return Breaker(
        state="CLOSED",
        calls=0,
        failures=0,
        counted_from=at,
        until=at,
        openings=0,
        asked=False,
        reason="",
        trial_until=None,
    )


def is_failure(problem: Problem) -> bool:
    """Whether a problem of a call says that the target is not well."""
    status = problem.fields.get("status")
    if problem.code in _OF_HTTP and isinstance(status, int):
        return status >= 500 or status == _STATUS_TOO_MANY
    return problem.retryable and problem.code in _NOT_WELL


def is_unasked(problem: Problem) -> bool:
    """Whether a call ended in this problem without its target having been asked."""
    refused_on_the_way = problem.code.startswith("egress.") or not isinstance(problem, AdapterProblem)
    return not is_failure(problem) and (refused_on_the_way or problem.code in _UNASKED)


def asked_s(problem: Problem) -> float | None:
    """How long the target itself asks to be left alone (Retry-After with 429 or 503), at most an hour; None if not."""
    wait = problem.fields.get("retry_after_s")
    if not isinstance(wait, int | float) or wait <= 0:
        return None
    if problem.fields.get("status") not in {_STATUS_TOO_MANY, _STATUS_UNAVAILABLE}:
        return None
    return min(float(wait), ASKED_S_MAX)


def failed(
    before: Breaker, at: datetime, *, calls: int, reason: str, asked_wait_s: float | None, trial: bool
) -> Breaker:
    """The breaker after one failed call.

    Args:
        before: as it was.
        at: now.
        calls: how many calls this process made since it last said so, this one included.
        reason: the problem's code.
        asked_wait_s: what the target asked for (`asked_s`).
        trial: whether the call was the one that tried the target. The end of another, which began before the breaker
            opened, says nothing new.
    """
    if asked_wait_s is not None:
        asked_until = at + timedelta(seconds=asked_wait_s)
        if before.state == "OPEN" and before.until >= asked_until:
            return before
        return replace(before, state="OPEN", until=asked_until, asked=True, reason=reason[:200], trial_until=None)
    if before.state == "OPEN":
        return _opened(before, at, reason) if trial else before
    if (at - before.counted_from).total_seconds() > WINDOW_S:
        before = replace(before, calls=0, failures=0, counted_from=at)
    counted = replace(before, calls=before.calls + min(max(calls, 1), CALLS_BETWEEN_MAX), failures=before.failures + 1)
    if counted.failures >= FAILURES_MIN and counted.failures >= counted.calls * FAILURE_SHARE:
        return _opened(counted, at, reason)
    return counted


def _opened(before: Breaker, at: datetime, reason: str) -> Breaker:
    openings = min(before.openings + 1, 32)
    wait_s = min(OPEN_S * 2.0 ** (openings - 1), OPEN_S_MAX)
    return replace(
        before,
        state="OPEN",
        until=at + timedelta(seconds=wait_s),
        openings=openings,
        asked=False,
        reason=reason[:200],
        trial_until=None,
    )


def succeeded(at: datetime) -> Breaker:
    """The breaker after the trial of an open one succeeded."""
    return fresh(at)


def untried(before: Breaker) -> Breaker:
    """The breaker after a trial in which the target was not asked: the next call tries."""
    return replace(before, trial_until=None)


def trial(before: Breaker, at: datetime, *, timeout_s: float) -> Breaker | None:
    """The breaker if a call may try the target now, else None: it is open still, or another call is trying.

    A Retry-After that is over is over: no trial, all may call again. A trial that nobody heard the end of ends by itself.
    """
    if before.state == "CLOSED":
        return before
    if at < before.until:
        return None
    if before.asked:
        return replace(fresh(at), openings=before.openings)
    if before.trial_until is not None and at < before.trial_until:
        return None
    return replace(before, trial_until=at + timedelta(seconds=timeout_s))


def wait_s(breaker: Breaker, at: datetime) -> float:
    """How long until it is worth asking again: until it may be tried, or, while another call tries, a second."""
    return max((breaker.until - at).total_seconds(), TRYING_S) if breaker.state == "OPEN" else 0.0
