"""What an execution needs of the worker it runs in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from stanchion.context import Env
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.runs.engine.plan import Plans
from stanchion.runs.engine.writer import CheckpointWriter
from stanchion.runs.types import PinResolver, RunEndHook


@dataclass(slots=True, kw_only=True)
class Host:
    """The worker as its executions see it. Nothing in it belongs to one run.

    Attributes:
        draining: True once the worker hands runs back instead of going on with their next step.
        item_ended: called with a fan-out's parent after an item's end or wait, or the parent's own, was committed.
        retry_in: called with the seconds after which a run that this worker suspended is due.
        kills, withdrawals: asked before each step.
        changed: called with the ids of runs that changed, for watchers; `ended` is True at a run's end or wait.
        hook: told, in the transaction of it, when a run ends that may still ask something of a person.
    """

    env: Env
    writer: CheckpointWriter
    plans: Plans
    resolver: PinResolver
    item_ended: Callable[[str, UUID], None]
    retry_in: Callable[[float], None]
    changed: Callable[[UUID, bool], None]
    hook: RunEndHook | None = None
    draining: bool = False
    kills: Kills = NO_KILLS
    withdrawals: Withdrawals = NO_WITHDRAWALS
    worker_id: UUID = field(default=UUID(int=0))
