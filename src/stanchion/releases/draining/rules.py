"""Pure decisions of drains."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from stanchion.artifacts import LiveIn
from stanchion.base import Conflict, NotFound
from stanchion.controls.withdrawals import Withdrawal
from stanchion.releases.revoking import Named

# How long after a drain a start may still come that was dealt before its process knew: the second in which every process
# learns of it, and one more for the start's own commit.
SETTLED_AFTER: Final = timedelta(seconds=2)


def refuse_candidate(version: Named, standing: tuple[LiveIn, ...]) -> None:
    """Refuse to drain what a rollout deals: its units would be refused. Raises Conflict `drain.candidate`."""
    if any(one.standing == "candidate" for one in standing):
        raise Conflict(
            "drain.candidate",
            f"{version.target} is the candidate of a rollout under way: a part of all new runs would be refused.",
            hint=f"Take the rollout back instead: stanchion release rollback {version.kind}/{version.name} --reason …",
        )


def is_empty(one: Withdrawal, left: int, now: datetime) -> bool:
    """Whether the last run of a drained version has ended."""
    return left == 0 and now - one.set_at >= SETTLED_AFTER


def not_drained(version: Named) -> NotFound:
    """The problem of a version that is not drained."""
    return NotFound("drain.unknown", f"{version.target} is not drained.", hint="See `stanchion release drained`.")
