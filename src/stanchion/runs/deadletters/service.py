"""Verbs of dead letters, and of retrying any FAILED run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Invalid, NotFound
from stanchion.base.paging import PageParams, Slice, slice_of
from stanchion.context import Ctx
from stanchion.controls.kills import NO_KILLS, TENANT, Kills
from stanchion.db import Tx
from stanchion.queue import Notifier
from stanchion.runs import rules
from stanchion.runs import store as runs_store
from stanchion.runs.deadletters import store
from stanchion.runs.deadletters.rules import not_dead
from stanchion.runs.deadletters.types import DeadDetail, DeadFilter, RunState
from stanchion.runs.reading import after_id, digest_among, show
from stanchion.runs.types import DeadLetter, RunDetail, RunStatus

# Dead letters one call decides about.
MANY_MAX: Final = 1000


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


async def show_dead(ctx: Ctx, run_id: UUID) -> DeadDetail:
    """One dead letter with its input, its pins and its StepRuns.

    Raises NotFound `run.unknown`, or NotFound `dlq.not_dead` for a run that is no dead letter.
    """
    ctx.require("dlq.read")
    async with ctx.tx() as tx:
        letter = await store.select_one(tx, ctx.tenant, run_id)
        if letter is None:
            message, hint, runs = not_dead(await _states(tx, ctx, [run_id]), 1)
            raise NotFound("dlq.not_dead", message, hint=hint, runs=runs)
        run = await runs_store.select_run(tx, ctx.tenant, run_id)
        pins = await runs_store.select_pins(tx, ctx.tenant, run.pins)
        steps = await runs_store.load_steps(tx, [run_id])
    return DeadDetail(letter=letter, input=run.input, digest=digest_among(pins, run.blueprint), pins=pins, steps=steps)


async def requeue(
    ctx: Ctx,
    notifier: Notifier,
    *,
    run_ids: Sequence[UUID] | None = None,
    where: DeadFilter | None = None,
    most: int = MANY_MAX,
    reason: str,
    kills: Kills = NO_KILLS,
) -> list[UUID]:
    """Begin a new attempt of dead letters, each at the step it failed at; return which.

    Give `run_ids`, all of which are decided about or none; or a filter: at most `most` of its newest, also none.
    Raises Invalid `dlq.bad_selection`, NotFound `run.unknown` for an id that is no run, Conflict `dlq.not_dead` for one
    that is no dead letter (any more), with `runs` [{run_id, status}]; Denied `kill.active` if the tenant is killed. Runs
    of a killed Blueprint are taken, and wait before their next step.
    """
    ctx.require("dlq.requeue")
    kills.admit(ctx.tenant, TENANT, ctx.tenant, None)
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


async def retry(ctx: Ctx, notifier: Notifier, run_id: UUID, *, reason: str, kills: Kills = NO_KILLS) -> RunDetail:
    """Begin a new attempt of a FAILED run at the step it failed at.

    Raises NotFound `run.unknown`, Conflict `run.not_failed`, Conflict `run.is_item` for an item of a for_each, Denied
    `kill.active` if the version of the Blueprint that it is bound to, or the tenant, is killed.
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
        pins = await runs_store.select_pins(tx, ctx.tenant, run.pins) if kills.any else []
        kills.admit(ctx.tenant, "blueprint", run.blueprint, digest_among(pins, run.blueprint))
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
    if run_ids is None:
        found = [letter.id for letter in await _select(tx, ctx, where or DeadFilter(), None, most)]
        return await store.lock_dead(tx, ctx.tenant, found)
    if len(run_ids) > most:
        raise Invalid("dlq.bad_selection", f"{len(run_ids)} ids are given, and `max` allows {most}.")
    locked = await store.lock_dead(tx, ctx.tenant, run_ids)
    others = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in set(locked)]
    if others:
        message, hint, runs = not_dead(await _states(tx, ctx, others), len(set(run_ids)))
        raise Conflict("dlq.not_dead", message, hint=hint, runs=runs)
    return locked


async def _states(tx: Tx, ctx: Ctx, run_ids: Sequence[UUID]) -> list[RunState]:
    """What these runs are, in this order. Raises NotFound `run.unknown` for the first that is no run of the tenant."""
    found = {state.id: state for state in await store.select_states(tx, ctx.tenant, run_ids)}
    for run_id in run_ids:
        if run_id not in found:
            raise runs_store.unknown_run(run_id)
    return [found[run_id] for run_id in run_ids]
