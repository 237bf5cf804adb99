"""One attempt of one step: config, handler, time limit, interruption, and what came of it."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final, Literal

import psycopg

from stanchion.base import Internal, Invalid, Json, Problem, Unavailable, canonical
from stanchion.context import Env
from stanchion.expressions import Scope
from stanchion.runs.engine.plan import OpPlan, Plan, unknown_verb
from stanchion.runs.engine.store import Claimed
from stanchion.runs.rules import STEP_OUTPUT_MAX
from stanchion.runs.types import Claim, StepCall, StepFailed, StepHandler, StepResult, Suspend
from stanchion.telemetry import current_traceparent, is_sampled

# Why a step in hand is broken off: its run was cancelled, or its worker must stop now.
Reason = Literal["cancel", "drain"]


class Left(BaseException):
    """Control flow: the run has left this worker in good order; there is nothing more to do for it here."""


@dataclass(slots=True)
class Done:
    """The handler returned; `data` is the canonical JSON of `output`."""

    output: Json
    data: bytes
    exit: str | None


@dataclass(slots=True)
class Failed:
    """The attempt failed. `dead` says whether a run that ends by it waits for a person."""

    problem: Problem
    retryable: bool
    dead: bool = True


@dataclass(slots=True)
class Waits:
    """The handler asked to suspend."""

    suspend: Suspend


@dataclass(slots=True)
class Interrupted:
    """The attempt was broken off on request and says nothing about the step."""

    reason: Reason


Outcome = Done | Failed | Waits | Interrupted


class Hand:
    """A step in hand: holds the time limit of its handler's call, through which it can be broken off."""

    __slots__ = ("_limit", "_writes", "reason")

    def __init__(self) -> None:
        self._limit: asyncio.Timeout | None = None
        self._writes = False
        self.reason: Reason | None = None

    def interrupt(self, reason: Reason, *, force: bool = False) -> None:
        """Break the attempt off at its next await. A step that writes is awaited unless `force`: breaking it off
        would only make its effect unknown."""
        self.reason = reason
        if self._limit is not None and not self._limit.expired() and (force or not self._writes):
            self._limit.reschedule(asyncio.get_running_loop().time())

    async def call(self, env: Env, handler: StepHandler, call: StepCall, *, writes: bool, instant: bool) -> Outcome:
        """Await the handler within its time limit."""
        if self.reason is not None:
            return Interrupted(self.reason)
        if instant:
            return _outcome(call, await handler.execute(env, call))
        self._writes = writes
        limit = asyncio.timeout(call.timeout_s)
        try:
            async with limit:
                self._limit = limit
                result = await handler.execute(env, call)
        except TimeoutError:
            if not limit.expired():
                raise
            return Interrupted(self.reason) if self.reason is not None else _timed_out(call)
        finally:
            self._limit = None
        return _outcome(call, result)


def _outcome(call: StepCall, result: StepResult) -> Done | Failed:
    data = canonical(result.output)
    if len(data) > STEP_OUTPUT_MAX:
        return Failed(too_large(call.path, len(data), STEP_OUTPUT_MAX), retryable=False)
    return Done(result.output, data, result.exit)


async def perform(
    env: Env,
    plan: Plan,
    run: Claimed,
    claim: Claim,
    op: OpPlan,
    hand: Hand,
    *,
    path: str,
    attempt: int,
    resumed: bool,
    scope: Scope,
) -> Outcome:
    """Perform one attempt of `op`; every failure comes back as an outcome. LostClaim and the task's own cancellation
    pass through, and so does our own database's absence: it says nothing about the step, so the run is handed back
    as it stands and no attempt is used up."""
    if op.handler is None:
        return Failed(unknown_verb(op), retryable=False)
    traced = is_sampled(run.traceparent)
    # Under the span of the run, which is the current one.
    span = env.telemetry.span(f"step {op.verb}", path=path, attempt=attempt) if traced else _NO_SPAN
    started = env.clock.monotonic()
    try:
        with span:
            call = _call(plan, run, claim, op, path, attempt, resumed, scope, traced)
            return await hand.call(env, op.handler, call, writes=op.writes, instant=op.instant)
    except Suspend as suspend:
        return Waits(suspend)
    except StepFailed as failed:
        return Failed(failed.problem, retryable=False, dead=failed.dead)
    except Problem as problem:
        if problem.code in _OURS:
            raise
        return Failed(problem, retryable=problem.retryable)
    except psycopg.OperationalError:
        raise
    except (
        Exception,
        SystemExit,
        asyncio.CancelledError,
    ) as error:  # a handler's defect fails its step, never the worker
        if _is_our_cancel(error):
            raise
        env.telemetry.emit("defect", run=str(run.id), step=path, error=repr(error))
        return Failed(defect(path, error), retryable=False)
    finally:
        env.telemetry.emit("step.duration", env.clock.monotonic() - started, op.verb)


def _is_our_cancel(error: BaseException) -> bool:
    """Whether this task is being cancelled; if it is not, the handler awaited something else that was."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


_NO_SPAN = nullcontext()
_OURS: Final = frozenset({"db.unavailable", "db.pool_exhausted", "db.disk_full"})


def _call(
    plan: Plan,
    run: Claimed,
    claim: Claim,
    op: OpPlan,
    path: str,
    attempt: int,
    resumed: bool,
    scope: Scope,
    traced: bool,
) -> StepCall:
    facts = scope["run"]
    step = op.op.step
    return StepCall(
        claim=claim,
        root_id=run.root_id,
        blueprint=run.blueprint,
        path=path,
        attempt=attempt,
        resumed=resumed,
        op=op.op,
        config=op.config(scope),
        bodies=plan.pinned.bodies,
        digests=plan.digests,
        uses=op.uses,
        requested_by=run.requested_by,
        facts=facts if isinstance(facts, dict) else {},
        traceparent=current_traceparent() if traced else run.traceparent,
        timeout_s=step.timeout_s if step is not None else None,
    )


def _timed_out(call: StepCall) -> Failed:
    problem = Unavailable(
        "step.timeout",
        f"Step {call.path!r} did not finish within its timeout of {call.timeout_s:g} s (attempt {call.attempt}).",
        hint="Raise the step's `timeout`, or give it `retry: {attempts: …}`.",
    )
    return Failed(problem, retryable=True)


def too_large(path: str, size: int, limit: int) -> Invalid:
    """The problem of an output above its limit."""
    return Invalid(
        "step.output_too_large",
        f"Step {path!r} returned {size} bytes; a step's output may have at most {limit}.",
        hint="Return fewer fields or fewer records, or fan out over smaller pieces.",
    )


def defect(path: str, error: BaseException) -> Internal:
    """The problem of an exception nobody expected. It says where, and nothing of the run's content."""
    return Internal(
        "step.defect",
        f"Step {path!r} raised {type(error).__name__}, which its verb does not explain.",
        hint="This is a defect of the verb; the worker's log has the details.",
    )
