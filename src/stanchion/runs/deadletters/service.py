"""Verbs of dead letters, and of retrying any FAILED run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Invalid
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.http import PageParams, Slice, slice_of
from stanchion.queue import Notifier
from stanchion.runs import rules
from stanchion.runs import store as runs_store
from stanchion.runs.deadletters import store
from stanchion.runs.reading import after_id, show
from stanchion.runs.types import DeadLetter, RunDetail, RunStatus, StepRun

# Dead letters one call decides about.
MANY_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters: all that match every field given."""

    reason: str | None = None
    blueprint: str | None = None
    since: datetime | None = None


async def count_dead(ctx: Ctx) -> int:
    """How many of the tenant's dead letters wait for a decision."""
    ctx.require("dlq.read")
    async with ctx.tx() as tx:
        return await store.count_dead(tx, ctx.tenant)


async def list_dead(ctx: Ctx, page: PageParams, where: DeadFilter) -> Slice[DeadLetter]:
    """Dead letters that wait for a decision, newest first."""
    ctx.require("dlq.read")
    async with ctx.tx() as tx:
        found = await _select(tx, ctx, where, after_id(page.after), page.limit + 1)
    return slice_of(found, page.limit, lambda d: (str(d.id),))


async def show_dead(ctx: Ctx, run_id: UUID) -> tuple[DeadLetter, list[StepRun]]:
    """One dead letter with its StepRuns. Raises NotFound `run.unknown`."""
    ctx.require("dlq.read")
    async with ctx.tx() as tx:
        return await store.select_one(tx, ctx.tenant, run_id), await runs_store.load_steps(tx, [run_id])


async def requeue(
    ctx: Ctx,
    notifier: Notifier,
    *,
    run_ids: Sequence[UUID] | None = None,
    where: DeadFilter | None = None,
    most: int = MANY_MAX,
    reason: str,
) -> list[UUID]:
    """Begin a new attempt of dead letters, each at the step it failed at; return which.

    Give `run_ids`, or a filter with at most `most` of its newest; ids that are no dead letters (any more) are left out.
    Raises Invalid `dlq.bad_selection`.
    """
    ctx.require("dlq.requeue")
    async with ctx.tx() as tx:
        chosen = await _choose(tx, ctx, run_ids, where, most)
        queues = await store.revive(tx, ctx.tenant, chosen)
        for run_id in chosen:
            await audit.record(tx, ctx, "run.requeued", target=("run", run_id), run_id=run_id, reason=reason)
    for queue in queues:
        notifier.ready(queue)
    return chosen


async def discard(
    ctx: Ctx,
    *,
    run_ids: Sequence[UUID] | None = None,
    where: DeadFilter | None = None,
    most: int = MANY_MAX,
    reason: str,
) -> list[UUID]:
    """Decide that dead letters stay failed; return which. Selection as in `requeue`."""
    ctx.require("dlq.discard")
    async with ctx.tx() as tx:
        chosen = await _choose(tx, ctx, run_ids, where, most)
        await store.discard(tx, ctx.tenant, chosen)
        for run_id in chosen:
            await audit.record(tx, ctx, "run.discarded", target=("run", run_id), run_id=run_id, reason=reason)
    return chosen


async def retry(ctx: Ctx, notifier: Notifier, run_id: UUID, *, reason: str) -> RunDetail:
    """Begin a new attempt of a FAILED run at the step it failed at.

    Raises NotFound `run.unknown`, Conflict `run.not_failed`, Conflict `run.is_item` for an item of a for_each.
    """
    ctx.require("runs.retry")
    async with ctx.tx() as tx:
        run = await runs_store.lock_run(tx, ctx.tenant, run_id)
        if run.status != RunStatus.FAILED or not rules.may(RunStatus(run.status), RunStatus.PENDING):
            raise Conflict(
                "run.not_failed",
                f"Run {run_id} is {run.status}; only a FAILED run can be retried.",
                hint="Start a new run instead.",
            )
        if run.parent_id is not None:
            raise Conflict(
                "run.is_item",
                f"Run {run_id} is item {run.item_no} of run {run.parent_id}.",
                hint=f"Retry the run that fanned out: {run.root_id}. It tries its failed items again.",
            )
        queues = await store.revive(tx, ctx.tenant, [run_id])
        await audit.record(tx, ctx, "run.retried", target=("run", run_id), run_id=run_id, reason=reason)
    for queue in queues:
        notifier.ready(queue)
    return await show(ctx, run_id)


async def _select(tx: Tx, ctx: Ctx, where: DeadFilter, after: UUID | None, limit: int) -> list[DeadLetter]:
    return await store.select_dead(
        tx,
        ctx.tenant,
        reason=where.reason,
        blueprint=where.blueprint,
        since=where.since,
        after=after,
        limit=limit,
    )


async def _choose(tx: Tx, ctx: Ctx, run_ids: Sequence[UUID] | None, where: DeadFilter | None, most: int) -> list[UUID]:
    if (run_ids is None) == (where is None):
        raise Invalid("dlq.bad_selection", "Give either `run_ids` or `filter`.")
    if not 1 <= most <= MANY_MAX or (run_ids is not None and len(run_ids) > MANY_MAX):
        raise Invalid("dlq.bad_selection", f"One call decides about 1 to {MANY_MAX} dead letters.")
    if where is not None:
        run_ids = [letter.id for letter in await _select(tx, ctx, where, None, most)]
    return await store.lock_dead(tx, ctx.tenant, list(run_ids or ())[:most])
