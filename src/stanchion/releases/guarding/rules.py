"""What is counted of a run, and where looks for runs go on: pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from uuid import UUID

from stanchion.releases.guarding.types import EndedRun, Measured, Scan
from stanchion.releases.watching import MEASURED, Guard, Kind, Observation

# Codes with which a step is refused by policy and not by a defect of its own: wrong environment, no approval, another one's
# file, a tool or a secret that it may not have. A kill is no denial: it says nothing of the candidate; nor is what the broker
# refuses because a worker asks for something else than the ledger and the Blueprint say (`broker.…`).
DENIALS: Final = frozenset(
    {
        "auth.denied",
        "approval.missing",
        "approval.arguments_changed",
        "connector.path_escapes",
        "effect.wrong_environment",
        "secret.not_granted",
        "secret.wrong_environment",
        "tool.connector_changed",
        "tool.disabled",
        "tool.other_operation",
    }
)
# Ids are made of time, some while before their row is committed. A look goes on so far behind the newest id it has seen;
# what comes later still is the patrol's.
LOOKBACK_MS: Final = 3_000
# A start may be dealt by a process whose clock is behind that of the one on which the rollout began.
SKEW_MS: Final = 300_000


def observations(guard: Guard, runs: Iterable[EndedRun], reported: Iterable[Measured]) -> list[Observation]:
    """What a guard sees of these, in the order in which they ended or were reported."""
    if guard.metric in MEASURED:
        seen = [
            Observation(arm=run.arm, value=value, at=run.at)
            for run in runs
            if not run.is_cancelled and (value := _measured(guard.metric, run)) is not None
        ]
    else:
        seen = [
            Observation(arm=one.arm, value=one.value, at=one.at)
            for one in reported
            if one.metric == guard.metric and fits(guard, one.value)
        ]
    return sorted(seen, key=lambda one: one.at)


def _measured(metric: str, run: EndedRun) -> float | None:
    if metric == "latency_ms":
        return run.latency_ms
    return float({"error_rate": run.failed, "denial_rate": run.denied, "override_rate": run.overridden}[metric])


def fits(guard: Guard, value: float) -> bool:
    """Whether a value is of the guard's kind: 0 or 1 of a rate, 0 to 1 of a score, any from 0 of an exceedance."""
    if guard.kind is Kind.RATE:
        return value in (0.0, 1.0)
    return value >= 0 and (guard.kind is Kind.EXCEEDANCE or value <= 1)


def before(one: UUID, ms: int) -> UUID:
    """The lowest id of `ms` milliseconds before another was made (RFC 9562: its first 48 bits are milliseconds)."""
    return UUID(int=max((one.int >> 80) - ms, 0) << 80)


def fresh_after(at: UUID, scan: Scan, limit: int) -> UUID:
    """Where the look at new runs goes on, after a scan from `at`: a little behind the newest, unless there is more."""
    if scan.last_id is None:
        return at
    return scan.last_id if scan.passed >= limit else max(at, before(scan.last_id, LOOKBACK_MS))


def patrol_after(scan: Scan, limit: int) -> UUID | None:
    """Where the patrol goes on; None: at the beginning again."""
    return scan.last_id if scan.passed >= limit else None
