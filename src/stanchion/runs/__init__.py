"""The engine: BlueprintRuns executed durably on PostgreSQL.

A run goes PENDING → RUNNING → SUCCEEDED · FAILED · CANCELLED, or waits as SUSPENDED with a named reason. What holds:
no step executes whose row was not committed first (I1); an accepted run ends, waits or is a dead letter (I2); every
write of a run carries the epoch of its claim (I3); a step is done when its checkpoint is committed, and checkpoints
share commits (I4); a run finishes on the artifacts it resolved at its start (I7).
"""

from stanchion.runs.deadletters import DeadFilter, count_dead, discard, list_dead, requeue, retry, show_dead
from stanchion.runs.engine import SpawnProbation, Worker
from stanchion.runs.handlers import TransformHandler
from stanchion.runs.reading import list_items, list_runs, list_steps, list_workers, show, waiting_on
from stanchion.runs.service import cancel, hold, wake
from stanchion.runs.starting import Started, Starter
from stanchion.runs.types import (
    ENGINE_V,
    Begins,
    BlueprintRun,
    Claim,
    DeadLetter,
    LostClaim,
    Pin,
    Pinned,
    PinResolver,
    PinSet,
    Resolved,
    RunDetail,
    RunEndHook,
    RunStatus,
    StepCall,
    StepFailed,
    StepHandler,
    StepResult,
    StepRun,
    StepStatus,
    Suspend,
    WaitingKind,
    WaitingOn,
)
from stanchion.runs.watching import Watcher, ended_within

__all__ = [
    "ENGINE_V",
    "Begins",
    "BlueprintRun",
    "Claim",
    "DeadFilter",
    "DeadLetter",
    "LostClaim",
    "Pin",
    "PinResolver",
    "PinSet",
    "Pinned",
    "Resolved",
    "RunDetail",
    "RunEndHook",
    "RunStatus",
    "SpawnProbation",
    "Started",
    "Starter",
    "StepCall",
    "StepFailed",
    "StepHandler",
    "StepResult",
    "StepRun",
    "StepStatus",
    "Suspend",
    "TransformHandler",
    "WaitingKind",
    "WaitingOn",
    "Watcher",
    "Worker",
    "cancel",
    "count_dead",
    "discard",
    "ended_within",
    "hold",
    "list_dead",
    "list_items",
    "list_runs",
    "list_steps",
    "list_workers",
    "requeue",
    "retry",
    "show",
    "show_dead",
    "waiting_on",
    "wake",
]
