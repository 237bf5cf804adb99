"""The circuit breakers of connectors, shared by all broker processes through PostgreSQL.

A process knows from memory which are open; it reads them twice a second. A call that succeeds costs no statement, one that
fails because the target is not well costs one, which every process then knows of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import psycopg

from stanchion.base import Problem, Unavailable
from stanchion.context import Env
from stanchion.tools.broker import breaker_rules as rules
from stanchion.tools.broker import store
from stanchion.tools.broker.breaker_rules import Breaker
from stanchion.tools.broker.store import BreakerRow

# Open breakers that a process reads at most: beyond, the others are found out by their own failures.
_OPEN_MAX: Final = 10_000
_REPORT_S_MAX: Final = 2.0

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """An open breaker as this process knows it. Times are of its own monotonic clock.

    Attributes:
        until: nobody calls before. `trying_until`: until then one call tries the target, and no other does.
    """

    until: float
    trying_until: float
    reason: str
    asked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A call was let through. `trial`: it is the one that tries a target whose breaker is open."""

    key: Key
    trial: bool


class Breakers:
    """The breakers of every connector, for one process.

    Args:
        env: the process's Env, its database open.
        label: a connector's name as the label of a metric, of which there is a bounded number (`Measures.label`).
    """

    def __init__(self, env: Env, label: Callable[[str], str]) -> None:
        self._env = env
        self._label = label
        self._open: Mapping[Key, _Open] = {}
        self._calls: dict[Key, int] = {}
        self._shown: set[str] = set()

    def check(self, tenant: str, name: str) -> None:
        """Return unless the breaker is known to be open, without taking anything. Raises as `admit`."""
        known = self._open.get((tenant, name))
        if known is None:
            return
        now = self._env.clock.monotonic()
        if now < known.until:
            raise _refused(name, known.reason, known.until - now, asked=known.asked)
        if now < known.trying_until:
            raise _refused(name, known.reason, rules.TRYING_S, asked=known.asked)

    async def admit(self, tenant: str, name: str, *, timeout_s: float) -> Admission:
        """Return if the target may be called. Raises Unavailable `connector.breaker_open` with `retry_after_s`."""
        key = (tenant, name)
        known = self._open.get(key)
        if known is None:
            self._calls[key] = min(self._calls.get(key, 0) + 1, rules.CALLS_BETWEEN_MAX)
            return Admission(key=key, trial=False)
        self.check(tenant, name)
        return await self._tried(key, timeout_s)

    async def _tried(self, key: Key, timeout_s: float) -> Admission:
        """One call of all processes may try."""
        tenant, name = key
        async with self._env.db.engine_tx() as tx:
            row = await store.lock_breaker(tx, tenant, name)
            after = rules.trial(row.breaker, row.at, timeout_s=timeout_s)
            if after is not None and after != row.breaker:
                await store.save_breaker(tx, tenant, name, after)
        self._learn(key, row.breaker if after is None else after, row)
        if after is None:
            raise _refused(name, row.reason, rules.wait_s(row.breaker, row.at), asked=row.asked)
        return Admission(key=key, trial=after.state == "OPEN")

    async def ended(self, admission: Admission, problem: Problem | None) -> None:
        """A call that was let through has ended. That its end cannot be recorded does not change how it ended."""
        failed = problem is not None and rules.is_failure(problem)
        if not failed and not admission.trial:
            return
        try:
            async with asyncio.timeout(_REPORT_S_MAX):
                await self._report(admission, problem)
        except (TimeoutError, psycopg.Error, Problem) as error:
            self._env.telemetry.emit("duty.failed", duty="circuit breakers", error=repr(error))

    async def _report(self, admission: Admission, problem: Problem | None) -> None:
        tenant, name = admission.key
        calls = self._calls.pop(admission.key, 0)
        async with self._env.db.engine_tx() as tx:
            row = await store.lock_breaker(tx, tenant, name)
            after = _after(row, admission, problem, calls=calls)
            if after != row.breaker:
                await store.save_breaker(tx, tenant, name, after)
        if after.state == "OPEN" and after.until != row.until:
            self._env.telemetry.emit("connector.breaker_opened", 1.0, self._label(name), reason=after.reason)
        self._learn(admission.key, after, row)

    def _learn(self, key: Key, breaker: Breaker, row: BreakerRow) -> None:
        known = dict(self._open)
        if breaker.state == "CLOSED":
            known.pop(key, None)
        else:
            known[key] = self._seen(breaker, row)
        self._open = known

    def _seen(self, breaker: Breaker, row: BreakerRow) -> _Open:
        now = self._env.clock.monotonic()
        trying = row.at if breaker.trial_until is None else breaker.trial_until
        return _Open(
            until=now + (breaker.until - row.at).total_seconds(),
            trying_until=now + (trying - row.at).total_seconds(),
            reason=breaker.reason,
            asked=breaker.asked,
        )

    async def refresh(self) -> None:
        """A duty, twice a second: what other processes opened and closed."""
        async with self._env.db.engine_tx() as tx:
            rows = await store.open_breakers(tx, limit=_OPEN_MAX)
        self._open = {(row.tenant, row.connector): self._seen(row.breaker, row) for row in rows}
        now = self._env.clock.monotonic()
        shown: dict[str, float] = {}
        for (_, name), known in self._open.items():
            label = self._label(name)
            shown[label] = max(shown.get(label, 0.0), 1.0 if known.until > now else 0.5)
        for label in self._shown - shown.keys():
            self._env.telemetry.emit("connector.breaker", 0.0, label)
        for label, value in shown.items():
            self._env.telemetry.emit("connector.breaker", value, label)
        self._shown = set(shown)


def _after(row: BreakerRow, admission: Admission, problem: Problem | None, *, calls: int) -> Breaker:
    """The breaker after a trial, or after a call that failed."""
    if problem is None or not (rules.is_failure(problem) or rules.is_unasked(problem)):
        return rules.succeeded(row.at)
    if not rules.is_failure(problem):
        return rules.untried(row.breaker)
    return rules.failed(
        row.breaker,
        row.at,
        calls=calls,
        reason=problem.code,
        asked_wait_s=rules.asked_s(problem),
        trial=admission.trial,
    )


def _refused(name: str, reason: str, wait_s: float, *, asked: bool) -> Unavailable:
    why = (
        "the target asked to be left alone"
        if asked
        else f"the target failed again and again ({reason}), so it is left alone"
    )
    return Unavailable(
        "connector.breaker_open",
        f"The connector {name!r} is not called for {wait_s:.1f} s: {why}; nothing was sent.",
        hint="It closes by itself when the target answers again. Give the step `retry` to wait for that.",
        retry_after_s=round(max(wait_s, 0.1), 3),
        connector=name,
    )
