"""How a run begins to wait, and what is reported when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from stanchion.base import Conflict, Json, Problem
from stanchion.blueprints import Retry
from stanchion.db import Tx
from stanchion.runs import rules
from stanchion.runs.engine.attempt import Failed, Left, defect
from stanchion.runs.engine.plan import OpPlan
from stanchion.runs.engine.store import Written
from stanchion.runs.engine.writer import Also
from stanchion.runs.types import RunStatus, StepStatus, Suspend, WaitingKind

if TYPE_CHECKING:
    from stanchion.runs.engine.execution import Execution


def run_cancelled(run_id: UUID) -> Conflict:
    """What the step in hand of a cancelled run failed of."""
    return Conflict("run.cancelled", f"Run {run_id} was cancelled.")


def killed(execution: Execution) -> Suspend | None:
    """The wait of a run whose Blueprint (at the version it is pinned to) or tenant is killed, or None. It is woken when
    the kill is lifted (`runs.killing`)."""
    run, kills = execution.run, execution.host.kills
    digest = execution.plan.digests.get(("blueprint", run.blueprint))
    blocked = kills.blocked(run.tenant, "blueprint", run.blueprint, digest)
    if blocked is None:
        return None
    execution.host.env.telemetry.emit("kill.stopped", 1.0, "step")
    return Suspend(WaitingKind.KILLED, ref=blocked.ref, after_s=blocked.again_s)


def revoked(execution: Execution, op: OpPlan) -> Suspend | None:
    """The wait of a run before an op that would use a revoked version, or None. It goes on with another version, or when
    the revocation is taken back (`runs.revoking`)."""
    stopped = execution.host.withdrawals.stopped(execution.run.tenant, op.uses, strict=op.writes)
    return None if stopped is None else Suspend(WaitingKind.REVOKED, ref=stopped.ref, after_s=stopped.again_s)


async def hold_back(execution: Execution, op: OpPlan, wish: Suspend) -> None:
    """Commit what is done and stop before `op`, which has not begun; at a block's end there is no step to wait at."""
    execution.host.env.telemetry.emit("withdrawal.stopped", 1.0, "step")
    if op.path:
        execution.notes.add(execution.notes.row(op, waiting_status(wish)))
    suspended(execution, wish.kind, await execution.commit(RunStatus.SUSPENDED, op, **_waiting(wish)))


async def suspend(execution: Execution, op: OpPlan, wish: Suspend, *, attempt: int, first: int) -> None:
    """Write the suspension a handler asked for, with what it wants in the same transaction."""
    if execution.interruption == "cancel":
        # Of a question to a person nothing is left; that a write's end was not seen is true all the same.
        unseen = wish.also if wish.kind is WaitingKind.EFFECT else None
        await execution.cancelled(op, attempt=attempt, first=first, also=unseen)
    row = execution.notes.row(op, waiting_status(wish), attempt=attempt, first=first)
    fields = _waiting(wish)
    if wish.wake_at is not None:
        row["wake_at"] = wish.wake_at
    try:
        written = await execution.write(RunStatus.SUSPENDED, op, [row], 0, also=wish.also, **fields)
    except Problem as problem:
        if problem.retryable:
            raise  # the database is away: nothing was written, the run is resumed elsewhere
        await execution.fail(op, Failed(problem, retryable=False), attempt=attempt, first=first)
    except psycopg.Error as error:
        if _blames_nobody(error):
            raise  # a deadlock, a timeout: nothing was written either
        execution.host.env.telemetry.emit("defect", run=str(execution.run.id), step=op.path, error=repr(error))
        await execution.fail(op, Failed(defect(op.path, error), retryable=False), attempt=attempt, first=first)
    else:
        suspended(execution, wish.kind, written)


def _waiting(wish: Suspend) -> dict[str, Any]:
    """What the run's row says of the wait, for a checkpoint."""
    fields: dict[str, Any] = {"waiting_kind": wish.kind.value, "waiting_ref": wish.ref}
    if wish.wake_at is not None:
        fields["wake_at"] = wish.wake_at
    if wish.after_s is not None:
        fields["delay_s"] = wish.after_s
    return fields


def _blames_nobody(error: psycopg.Error) -> bool:
    """Whether the same transaction may succeed later; what is too large for PostgreSQL stays so."""
    return isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.ProgramLimitExceeded)


def waiting_status(wish: Suspend) -> StepStatus:
    """The state of a waiting step: an effect of unknown outcome has a state of its own."""
    return StepStatus.UNKNOWN if wish.kind is WaitingKind.EFFECT else StepStatus.SUSPENDED


def with_the_end(execution: Execution, status: RunStatus, op: OpPlan, also: Also | None) -> Also | None:
    """What is written in the transaction of a run's end: `also`, and the end of a question to a person that stays
    unanswered, of a step that asked, was woken, and is cancelled or fails before it waits again."""
    hook, run = execution.host.hook, execution.run
    if hook is None or not (status is RunStatus.CANCELLED or (status is RunStatus.FAILED and op.verb == "govern")):
        return also

    async def both(tx: Tx) -> None:
        if also is not None:
            await also(tx)
        await hook.runs_ended(tx, run.tenant, [run.id])

    return both


async def retry(
    execution: Execution, op: OpPlan, problem: Problem, *, attempt: int, first: int, errors: list[Json] | None
) -> None:
    """Write that the step will be tried again after its backoff, counted by the database's clock."""
    if execution.interruption == "cancel":
        await execution.cancelled(op, attempt=attempt, first=first)
    delay_s = delay(execution, op, problem, attempt - first + 1)
    error = rules.error_json(problem, step=op.path)
    row = execution.notes.row(op, StepStatus.SUSPENDED, attempt=attempt + 1, first=first)
    row |= {"error": error, "errors": rules.kept_errors(errors, error, attempt), "delay_s": delay_s}
    written = await execution.write(
        RunStatus.SUSPENDED,
        op,
        [row],
        0,
        waiting_kind=WaitingKind.RETRY.value,
        waiting_ref=op.path,
        delay_s=delay_s,
    )
    execution.host.env.telemetry.emit("step.retried", 1.0, op.verb)
    execution.host.retry_in(delay_s)
    suspended(execution, WaitingKind.RETRY, written)


def delay(execution: Execution, op: OpPlan, problem: Problem, failed: int) -> float:
    """Seconds until the next attempt: the policy's jittered backoff, but no less than what the problem itself asks."""
    policy = op.op.step.retry if op.op.step is not None else Retry()
    asked = problem.fields.get("retry_after_s")
    least = float(asked) if isinstance(asked, int | float) else 0.0
    return max(rules.retry_delay_s(policy, failed, execution.host.env.rng), min(least, policy.max_s))


def suspended(execution: Execution, kind: WaitingKind, written: Written) -> None:
    """Report a suspension; a waiting item frees its place in the fan-out."""
    host, run = execution.host, execution.run
    host.env.telemetry.emit("run.suspended", 1.0, run.queue, kind.value)
    if written.status == RunStatus.PENDING:
        host.retry_in(0.0)  # its wake-up was there first
    if run.parent_id is not None:
        host.item_ended(run.tenant, run.parent_id)
    raise Left


def report_end(execution: Execution, status: RunStatus, written: Written, dead_reason: str | None) -> None:
    """Report a run's end; an item's end lets its fan-out go on."""
    host, run = execution.host, execution.run
    host.env.telemetry.emit("run.ended", 1.0, run.queue, status)
    host.env.telemetry.emit("run.duration", written.duration_s, run.queue, status)
    if dead_reason is not None:
        host.env.telemetry.emit("run.dead", 1.0, run.queue, dead_reason, run=str(run.id))
    if run.parent_id is not None:
        host.item_ended(run.tenant, run.parent_id)
