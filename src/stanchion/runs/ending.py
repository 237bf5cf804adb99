"""Ending runs from outside their execution: cancelled while they waited, found to be poison, or impossible to load.
Recorded like any end (I6)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from uuid import UUID

from stanchion.audit import AuditRecord, build, insert_many, trace_id_of
from stanchion.base import Json, dumps
from stanchion.context import Env, system_actor
from stanchion.db import Tx
from stanchion.runs import rules, store
from stanchion.runs.store import Ended
from stanchion.runs.types import RunEndHook, RunStatus, StepRun


async def end_all(
    tx: Tx,
    env: Env,
    run_ids: Sequence[UUID],
    status: RunStatus,
    errors: Mapping[UUID, Mapping[str, Json]],
    *,
    dead_reason: str | None = None,
    hook: RunEndHook | None = None,
) -> list[Ended]:
    """End `run_ids`, which the caller has locked, by their `errors` (one each, with its `code`): with their open steps,
    their pending approvals (by `hook`) and their end records. Call `report` once the transaction is committed."""
    if not run_ids:
        return []
    rows = [
        {"id": run_id, "status": status.value, "error": errors.get(run_id), "dead_reason": dead_reason}
        for run_id in sorted(run_ids)
    ]
    ended = await store.end_runs(tx, ends=dumps(rows))
    await record_ends(tx, env, ended, {run.id: str(errors[run.id]["code"]) for run in ended})
    if hook is not None:
        by_tenant: dict[str, list[UUID]] = defaultdict(list)
        for run in ended:
            by_tenant[run.tenant].append(run.id)
        for tenant, ids in sorted(by_tenant.items()):
            await hook.runs_ended(tx, tenant, ids)
    return ended


async def record_ends(tx: Tx, env: Env, ended: Sequence[Ended], codes: Mapping[UUID, str]) -> None:
    """Insert the end records of runs that `tx` has just ended, each over its StepRuns as they now stand."""
    steps: dict[UUID, list[StepRun]] = defaultdict(list)
    for step in await store.load_steps(tx, [run.id for run in ended]):
        steps[step.run_id].append(step)
    await insert_many(tx, [_record(env, run, steps[run.id], codes[run.id]) for run in ended])


def _record(env: Env, run: Ended, steps: list[StepRun], code: str) -> AuditRecord:
    return build(
        clock=env.clock,
        ids=env.ids,
        tenant=run.tenant,
        environment=run.environment,
        actor=system_actor("engine", run.tenant),
        event_type="run.ended",
        target=("run", run.id),
        run_id=run.id,
        after=rules.digest_of_steps(steps),
        trace_id=trace_id_of(run.traceparent),
        extra={
            "status": str(run.status),
            "steps": len(steps),
            "attempt": run.attempt,
            "code": code,
        },
    )


def report(env: Env, ended: Sequence[Ended]) -> None:
    """Emit the ends, once they are committed."""
    for run in ended:
        env.telemetry.emit("run.ended", 1.0, run.queue, str(run.status))
        env.telemetry.emit("run.duration", run.duration_s, run.queue, str(run.status))
        if run.dead_reason is not None:
            env.telemetry.emit("run.dead", 1.0, run.queue, run.dead_reason, run=str(run.id))


def cancelled_error(run_id: UUID) -> dict[str, Json]:
    """What a cancelled run and the steps it stood at store as their error."""
    return {"code": "run.cancelled", "message": f"Run {run_id} was cancelled.", "hint": "", "step": ""}
