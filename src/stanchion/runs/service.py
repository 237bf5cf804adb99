"""Verbs that steer runs: cancel; and what other domains do to runs in their own transactions: wake, hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, dumps
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.queue import Notifier
from stanchion.runs import ending, fanout, rules, store
from stanchion.runs.reading import show
from stanchion.runs.types import Claim, LostClaim, RunDetail, RunEndHook, RunStatus, WaitingKind

# Waiting runs of a tree that the cancel itself ends; the sweep ends the rest within a second.
CANCELLED_AT_ONCE: Final = 200


async def cancel(
    ctx: Ctx, notifier: Notifier, run_id: UUID, *, reason: str, hook: RunEndHook | None = None
) -> RunDetail:
    """Cancel a run and all its items: what waits ends now; what runs is broken off, a step that writes is awaited.

    Raises NotFound `run.unknown`, Conflict `run.ended`, Conflict `run.cancelling` for a second request.
    """
    ctx.require("runs.cancel")
    async with ctx.tx() as tx:
        run = await store.lock_run(tx, ctx.tenant, run_id)
        if run.status in rules.ENDED:
            raise Conflict("run.ended", f"Run {run_id} has ended as {run.status}; it cannot be cancelled.")
        if run.cancel_reason is not None:
            raise Conflict(
                "run.cancelling",
                f"Run {run_id} is being cancelled already.",
                hint="It ends when its step in hand does.",
            )
        running: list[UUID] = []
        while marked := await store.request_cancel(tx, ctx.tenant, run_id, reason):
            running += [run.id for run in marked if run.running]
        await audit.record(tx, ctx, "run.cancel_requested", target=("run", run_id), run_id=run_id, reason=reason)
        waiting = await store.lock_cancelled_below(tx, ctx.tenant, run_id, CANCELLED_AT_ONCE)
        errors = {id_: ending.cancelled_error(id_) for id_ in waiting}
        ended = await ending.end_all(tx, ctx.env, waiting, RunStatus.CANCELLED, errors, hook=hook)
    ending.report(ctx.env, ended)
    for id_ in running:
        notifier.cancelled(id_)
    for id_ in (run_id, *(run.id for run in ended)):
        notifier.changed(id_, True)
    if run.parent_id is not None:
        await _advance(ctx, notifier, run.parent_id, run.queue)
    return await show(ctx, run_id)


async def _advance(ctx: Ctx, notifier: Notifier, parent: UUID, queue: str) -> None:
    """The fan-out of a cancelled item goes on."""
    async with ctx.tx() as tx:
        if await fanout.advance_in(tx, parent) is not None:
            notifier.ready(queue)


async def wake(tx: Tx, tenant: str, run_id: UUID, kind: WaitingKind, ref: str | None) -> bool:
    """Wake a run that waits for `kind` and `ref`, in the transaction of the cause; True if it will go on.

    A run that is just about to suspend on it does not wait then: whichever commits first, no wake-up is lost. False if
    the run waits for something else or has ended. Workers hear of it when the transaction commits.
    """
    return await store.wake(tx, tenant, run_id, kind.value, ref) is not None


async def hold(tx: Tx, claims: Sequence[Claim]) -> set[UUID]:
    """Fence other domains' writes of a run: the runs that still belong to these claims, share-locked until the end of
    this transaction of role engine, so that no reclaim comes between (I3). Raises LostClaim if none of them does."""
    held = set(await store.hold(tx, dumps([{"id": c.run_id, "epoch": c.epoch} for c in claims])))
    if not held:
        raise LostClaim
    return held
