"""The nouns of the engine: runs, steps, their states, and the ports through which verbs run in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from stanchion.base import Json, Problem
from stanchion.blueprints import Op, Program
from stanchion.context import Ctx, Env
from stanchion.db import Tx

# The engine's own version: on every run, so that a worker claims only what it knows (I7). Raise it when a stored
# position, path or output would be read differently, and when a verb is added: a worker that claims a run with a verb
# it does not know can only end it.
ENGINE_V = 1


class RunStatus(StrEnum):
    """States of a BlueprintRun (DESIGN §2)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class StepStatus(StrEnum):
    """States of a StepRun (DESIGN §2)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    SUSPENDED = "SUSPENDED"
    UNKNOWN = "UNKNOWN"


class WaitingKind(StrEnum):
    """Why a run waits. `worker` and `worker_lost` are said of PENDING runs, the rest of SUSPENDED ones."""

    APPROVAL = "approval"
    CHILD = "child"
    RETRY = "retry"
    CONCURRENCY = "concurrency"
    EFFECT = "effect"
    WORKER = "worker"
    WORKER_LOST = "worker_lost"
    KILLED = "killed"
    REVOKED = "revoked"
    BROKER = "broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """One artifact version a run is bound to (I7)."""

    kind: str
    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PinSet:
    """The exact set a run resolved when it started. `digest` addresses the set itself."""

    digest: str
    pins: tuple[Pin, ...]

    def of(self, kind: str, name: str) -> Pin | None:
        """The pin of that artifact, or None if the set has none."""
        return next((p for p in self.pins if p.kind == kind and p.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begins:
    """The run that a version is chosen for: its id, who starts it, its input as it was sent."""

    tenant: str
    run_id: UUID
    principal: str
    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What starting a run needs of a Blueprint: its live version, the pins, the compiled program.

    `choose` is there while a rollout decides per run: what this run gets, from memory. `assigned` is what the run's
    record keeps of that decision.
    """

    blueprint: Pin
    pins: PinSet
    program: Program
    choose: Callable[[Begins], Resolved] | None = None
    assigned: tuple[Mapping[str, Json], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """What executing a run needs: the program and every pinned artifact's body, by (kind, name)."""

    pins: PinSet
    program: Program
    bodies: Mapping[tuple[str, str], Mapping[str, Json]]


class PinResolver(Protocol):
    """Filled by `releases`. Both calls are served from memory on the hot path."""

    async def resolve(self, ctx: Ctx, blueprint: str) -> Resolved:
        """The live version of `blueprint` in this deployment's environment. Raises NotFound `blueprint.unknown`."""
        ...

    async def load(self, tenant: str, pins: str) -> Pinned:
        """The program and bodies of a stored pin set, by its digest. Immutable, so cached without expiry (bounded)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write one run: valid while the run's row carries this epoch (I3)."""

    tenant: str
    run_id: UUID
    epoch: int


@dataclass(slots=True, kw_only=True)
class StepCall:
    """One attempt of one step, handed to its verb's handler. Read it only; it is not frozen because one is made for
    every step, and a frozen one of this size takes five times as long to make.

    Attributes:
        claim: whose writes are accepted; pass it to `runs.hold` in any transaction of your own.
        path: the StepRun's path, `triage/record` or `classify[3]`.
        attempt: 1-based.
        resumed: True if this attempt was suspended or interrupted before and continues now.
        op: the operation (exits, dominating approvals).
        config: the step's config with every template and expression replaced by its value.
        bodies: pinned artifact bodies by (kind, name). `digests`: their digests.
        requested_by: principal that started the run. `facts`: id, blueprint, environment, started_at of the run.
        traceparent: W3C, of the step's span; pass it on to external systems.
        timeout_s: what remains for this attempt, or None.
    """

    claim: Claim
    root_id: UUID
    blueprint: str
    path: str
    attempt: int
    resumed: bool
    op: Op
    config: Mapping[str, Json]
    bodies: Mapping[tuple[str, str], Mapping[str, Json]]
    digests: Mapping[tuple[str, str], str]
    requested_by: str
    facts: Mapping[str, Json]
    traceparent: str | None
    timeout_s: float | None
    uses: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class StepResult:
    """What a handler returns; not frozen, as StepCall. `exit` names one of the op's exits; None goes on with the next op."""

    output: Json
    exit: str | None = None


class StepHandler(Protocol):
    """Executes one verb. Registered with the engine by the verb's own domain; holds nothing of a run between calls.

    A handler with a true attribute `instant` computes without awaiting anything: nothing could break it off, so it is
    called without the time limit that other steps are broken off through.
    """

    verb: str

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        """Perform the step. Raises Problem (retried if `retryable` and the policy allows), StepFailed, or Suspend."""
        ...


class Suspend(BaseException):
    """Control flow: the run leaves the worker and waits. `also` runs in the very transaction that suspends the run
    (an approval's row commits with the suspension or not at all).

    A run that waits for a time is woken by the sweep: at `wake_at`, or `after_s` seconds after the suspension, counted by
    the database's clock. What waits with neither is woken by whoever ends its wait.
    """

    def __init__(
        self,
        kind: WaitingKind,
        *,
        ref: str | None = None,
        wake_at: datetime | None = None,
        after_s: float | None = None,
        also: Callable[[Tx], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(kind)
        self.kind = kind
        self.ref = ref
        self.wake_at = wake_at
        self.after_s = after_s
        self.also = also


class LostClaim(BaseException):
    """Control flow: a newer epoch owns the run; whoever holds this one stops and writes nothing (I3)."""


class StepFailed(Exception):  # noqa: N818 - said by a verb, not an error of the program
    """The step failed for good, whatever its retry policy says.

    `dead` is False where a person or the Blueprint already decided (a rejected approval): such a run is FAILED but
    no dead letter.
    """

    def __init__(self, problem: Problem, *, dead: bool = True) -> None:
        super().__init__(problem.message)
        self.problem = problem
        self.dead = dead


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingOn:
    """Why a run does not go on: always answerable for a run that is neither running nor ended.

    Attributes:
        kind: what it waits for. `ref`: which one (approval id, effect id, the fan-out's path, the queue), or None.
        since, until: from when, and at the latest until when, where that is known.
        text: the same as one plain sentence.
    """

    kind: WaitingKind
    ref: str | None
    since: datetime | None
    until: datetime | None
    text: str


class RunEndHook(Protocol):
    """Told, in the same transaction, that runs ended without being asked what they waited for (cancelled). Filled by
    `approvals`, which cancels what is still pending for them."""

    async def runs_ended(self, tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> None:
        """End what other domains hold open for these runs. Runs in the caller's transaction, of role app or engine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintRun:
    """One execution of a Blueprint: a row of `runs`. Times are UTC."""

    tenant: str
    id: UUID
    blueprint: str
    version: int
    pins: str
    environment: str
    engine_v: int
    queue: str
    priority: int
    status: RunStatus
    waiting_kind: WaitingKind | None
    waiting_ref: str | None
    waiting_since: datetime | None
    wake_at: datetime | None
    cursor: int
    path: str
    epoch: int
    worker_id: UUID | None
    attempt: int
    strikes: int
    rev: int
    input: Json
    output: Json
    error: Mapping[str, Json] | None
    dead_reason: str | None
    discarded_at: datetime | None
    cancel_reason: str | None
    requested_by: str
    traceparent: str | None
    root_id: UUID
    parent_id: UUID | None
    parent_path: str | None
    block: str
    item_no: int | None
    created_at: datetime
    ready_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRun:
    """One execution of a step: a row of `step_runs`, keyed by (run, path)."""

    tenant: str
    run_id: UUID
    path: str
    position: int
    item_no: int | None
    verb: str
    status: StepStatus
    attempt: int
    first_attempt: int
    output: Json
    error: Mapping[str, Json] | None
    errors: list[Json] | None = field(default=None)
    wake_at: datetime | None
    rev: int
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def simulated(self) -> bool:
        """Whether it made a write that was only simulated (`runs.simulated` counts the same in SQL)."""
        if self.verb not in {"push", "execute"}:
            return False
        receipt = self.output.get("receipt") if isinstance(self.output, Mapping) else None
        return isinstance(receipt, Mapping) and receipt.get("simulated") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A run in a list: without its input, output and pins."""

    id: UUID
    blueprint: str
    version: int
    queue: str
    status: RunStatus
    waiting_kind: WaitingKind | None
    waiting_ref: str | None
    waiting_since: datetime | None
    wake_at: datetime | None
    path: str
    attempt: int
    requested_by: str
    created_at: datetime
    ready_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    error: Mapping[str, Json] | None
    dead_reason: str | None
    parent_id: UUID | None
    item_no: int | None
    rev: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemSummary:
    """How many items of a run's fan-outs are in which state: `queued` wait for a free place, `waiting` for anything else
    (an approval, a retry's time, an effect's outcome)."""

    parent_id: UUID
    total: int
    succeeded: int
    failed: int
    cancelled: int
    running: int
    waiting: int
    queued: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDetail:
    """A run with what belongs to it: its pins, why it waits, its items, how many of its and their writes were simulated."""

    run: BlueprintRun
    digest: str
    pins: list[Mapping[str, Json]]
    waiting_on: WaitingOn | None
    items: ItemSummary | None
    simulated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A run in a list, with why it waits, and how many writes of its own steps were simulated."""

    run: RunSummary
    waiting_on: WaitingOn | None
    simulated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker process as it said of itself. Times are the database's."""

    id: UUID
    name: str
    host: str
    pid: int
    engine_v: int
    queues: list[str]
    capacity: int
    running: int
    state: str
    started_at: datetime
    beat_at: datetime
    lease_until: datetime
    ended_at: datetime | None
    probation_of: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A FAILED run that waits for a person: its error, the step it stands at, and how often it was tried."""

    id: UUID
    blueprint: str
    version: int
    queue: str
    reason: str
    error: Mapping[str, Json] | None
    path: str
    attempt: int
    strikes: int
    requested_by: str
    created_at: datetime
    ended_at: datetime
    parent_id: UUID | None
