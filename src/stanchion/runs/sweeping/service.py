"""Verbs of the sweep: periodic duties, each idempotent, each safe to run anywhere."""

from __future__ import annotations

from typing import Final

from stanchion.base import Json
from stanchion.context import Env
from stanchion.db import Tx
from stanchion.runs import ending, fanout, rules
from stanchion.runs import store as runs_store
from stanchion.runs.store import Ended
from stanchion.runs.sweeping import store
from stanchion.runs.sweeping.store import Stranded
from stanchion.runs.types import RunEndHook, RunStatus

# Rows of one kind that one sweep handles: bounds its transaction; the rest is next second's.
BATCH: Final = 500
# How long a start may be repeated with its key.
KEYS_KEPT_H: Final = 24.0


async def sweep(env: Env, hook: RunEndHook | None = None) -> set[str]:
    """Do what is due, unless another process is at it; return the queues in which something became ready."""
    queues: set[str] = set()
    ended: list[Ended] = []
    async with env.db.engine_tx() as tx:
        if not await store.try_lock(tx):
            return queues
        for lost in await store.mark_lost(tx):
            env.telemetry.emit("worker.lost", 1.0, lost.how, worker=str(lost.id))
        queues |= await _reclaim(tx, env, hook, ended)
        queues |= set(await store.wake_due(tx, BATCH))
        cancelling = await runs_store.lock_cancelling(tx, BATCH)
        ended += await ending.end_all(
            tx,
            env,
            cancelling,
            RunStatus.CANCELLED,
            {id_: ending.cancelled_error(id_) for id_ in cancelling},
            hook=hook,
        )
    ending.report(env, ended)
    for parent in {run.parent_id for run in ended if run.parent_id is not None}:
        queue = await fanout.advance(env, parent)
        queues |= {queue} if queue is not None else set()
    return queues | await fanout.advance_all(env)


async def _reclaim(tx: Tx, env: Env, hook: RunEndHook | None, ended: list[Ended]) -> set[str]:
    """Give back the runs of dead workers, or end those that killed three."""
    by_verdict: dict[str, list[Stranded]] = {"reclaim": [], "spare": [], "poison": [], "wait": []}
    for run in await store.lock_stranded(tx, BATCH):
        verdict = rules.verdict_on_lost(
            strikes=run.strikes,
            on_probation=run.on_probation,
            parent_alive=run.parent_alive,
            confirmed=run.confirmed,
            lease_over=run.lease_over,
        )
        by_verdict[verdict].append(run)
    back = by_verdict["reclaim"] + by_verdict["spare"]
    if back:
        await store.reclaim(tx, [run.id for run in back], rules.PROBATION_STRIKES)
        env.telemetry.emit("run.reclaimed", float(len(back)))
    poison = by_verdict["poison"]
    errors = {run.id: _poison(run) for run in poison}
    ended += await ending.end_all(tx, env, list(errors), RunStatus.FAILED, errors, dead_reason="poison", hook=hook)
    await store.mark_reclaimed(tx)
    return {run.queue for run in back}


def _poison(run: Stranded) -> dict[str, Json]:
    return {
        "code": "poison",
        "message": f"Step {run.path!r} killed its worker {run.strikes} times, the last time executed alone.",
        "hint": "Look at the worker's log and the kernel's (out of memory?) at that time; mend the step, then requeue.",
        "step": run.path,
    }


async def wake_due(env: Env) -> set[str]:
    """Make suspended runs PENDING whose time has come; return their queues."""
    async with env.db.connection("engine") as tx:
        return set(await store.wake_due(tx, BATCH))


async def expire_keys(env: Env) -> int:
    """Forget idempotency keys after a day, a batch at a time; return how many."""
    async with env.db.connection("engine") as tx:
        return await store.delete_old_keys(tx, KEYS_KEPT_H, 10 * BATCH)


class Gauges:
    """The gauges of queues and dead letters, for /metrics of the process that calls `measure` every few seconds."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, ...]] = set()

    async def measure(self, env: Env) -> None:
        """Set every gauge; what has vanished since the last call is set to 0."""
        async with env.db.connection("engine") as tx:
            states, dead = await store.queue_states(tx), await store.dead_states(tx)
        values: dict[tuple[str, ...], float] = dict.fromkeys(self._seen, 0.0)
        for state in states:
            values["queue.depth", state.queue, state.status] = float(state.n)
            if state.status == RunStatus.PENDING:
                values["queue.age", state.queue] = state.oldest_s
        for row in dead:
            values["dead.waiting", row.queue, row.reason] = float(row.n)
        self._seen = set(values)
        for (event, *labels), value in values.items():
            env.telemetry.emit(event, value, *labels)
