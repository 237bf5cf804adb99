"""What the engine does about a fan-out; each call is a transaction of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stanchion.audit import AuditRecord, build, trace_id_of
from stanchion.audit import rows as audit_rows
from stanchion.base import Json, canonical, digest_bytes, dumps
from stanchion.context import Env, system_actor
from stanchion.db import Tx
from stanchion.runs import ending, rules
from stanchion.runs.fanout import store
from stanchion.runs.fanout.store import EndedItem, Opening
from stanchion.runs.rules import FanOut, FanOutStep
from stanchion.runs.types import Claim, LostClaim

# Items inserted per commit: large enough to be quick, small enough that no transaction is long.
WINDOW: Final = 100
_FIRST: Final = UUID(int=0)
STOPPED: Final = "for_each.stopped"


async def create(env: Env, claim: Claim, path: str, opening: Opening, values: Sequence[Json], rule: FanOut) -> bool:
    """Insert the items that are not there yet, in windows, each with its start record; return whether all is done.

    Raises LostClaim if a newer epoch owns the parent.
    """
    async with env.db.connection("engine") as tx:
        at = await store.last_item(tx, claim.run_id, path) + 1
        while at < len(values):
            window = values[at : at + WINDOW]
            numbered = [(env.ids.new(), no, value) for no, value in enumerate(window, at)]
            items = [{"id": run_id, "item_no": no, "value": value} for run_id, no, value in numbered]
            records = [_started(env, claim, path, opening, *item) for item in numbered]
            inserted = await store.insert_items(
                tx, claim, path, opening, items=dumps(items), audits=dumps(audit_rows(records))
            )
            if inserted != len(window):
                raise LostClaim
            env.telemetry.emit("run.started", float(inserted), opening.queue)
            at += inserted
        return (await _next(tx, claim.run_id, path, rule)).done


def _started(
    env: Env, claim: Claim, path: str, opening: Opening, run_id: UUID, item_no: int, value: Json
) -> AuditRecord:
    return build(
        clock=env.clock,
        ids=env.ids,
        tenant=opening.tenant,
        environment=opening.environment,
        actor=system_actor("engine", opening.tenant),
        event_type="run.started",
        target=("run", run_id),
        run_id=run_id,
        after=digest_bytes(canonical(value)),
        trace_id=trace_id_of(opening.traceparent),
        extra={
            "blueprint": opening.blueprint,
            "version": opening.version,
            "pins": opening.pins,
            "queue": opening.queue,
            "parent": claim.run_id,
            "path": path[-512:],  # the longest text a record holds; only fan-outs nested absurdly deep reach it
            "item_no": item_no,
        },
    )


async def ended_items(env: Env, parent: UUID, path: str) -> list[EndedItem]:
    """The items of a fan-out that is done, in order."""
    async with env.db.connection("engine") as tx:
        return await store.select_ended(tx, parent, path)


async def cancel_queued(env: Env, claim: Claim, path: str) -> None:
    """Cancel the items that never began, in windows, each with its end record: the for_each has stopped."""
    while True:
        async with env.db.engine_tx() as tx:
            window = await store.cancel_queued(tx, claim, path, STOPPED, WINDOW)
            await ending.record_ends(tx, env, window, {run.id: STOPPED for run in window})
        ending.report(env, window)
        if len(window) < WINDOW:
            return


async def advance(env: Env, parent: UUID) -> str | None:
    """Release items of a waiting fan-out, or wake its parent. Returns the queue in which something became ready."""
    async with env.db.engine_tx() as tx:
        return await advance_in(tx, parent)


async def advance_in(tx: Tx, parent: UUID) -> str | None:
    """The same in the caller's transaction."""
    waiting = await store.lock_parent(tx, parent)
    if waiting is None:
        return None
    step = await _next(tx, parent, waiting.path, waiting.rule())
    if step.done:
        await store.wake_parent(tx, parent)
    elif step.release:
        await store.release(tx, parent, waiting.path, step.release)
    return waiting.queue if step.done or step.release else None


async def _next(tx: Tx, parent: UUID, path: str, rule: FanOut) -> FanOutStep:
    counts = await store.counts(tx, parent, path, concurrency=rule.concurrency, failures=(rule.max_failures or 0) + 1)
    return rules.next_of_fan_out(rule, counts)


async def advance_all(env: Env, limit: int = 100) -> set[str]:
    """Advance every fan-out that nobody looks after; return the queues in which something became ready."""
    queues: set[str] = set()
    async with env.db.connection("engine") as tx:
        parents = await store.waiting_parents(tx, _FIRST, limit)
    for parent in parents:
        queue = await advance(env, parent)
        if queue is not None:
            queues.add(queue)
    return queues
