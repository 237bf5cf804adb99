"""Verbs of approvals: decide, list, show, expire what is due, cancel with a run, measure what waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stanchion import audit, runs
from stanchion.approvals import rules, store
from stanchion.approvals.types import Approval, ApprovalStatus, Verdict
from stanchion.base import Conflict
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx, Env, system_actor
from stanchion.db import Tx
from stanchion.queue import Notifier
from stanchion.runs import StepCall, WaitingKind

# How many due approvals are read at once.
_EXPIRE_BATCH: Final = 100


async def decide(
    ctx: Ctx, approval_id: UUID, verdict: Verdict, *, reason: str, args_digest: str, notifier: Notifier | None = None
) -> Approval:
    """A person's verdict on what was shown to them; the run that waits is woken in the same transaction.

    Args:
        ctx: who decides; needs `approvals.decide` and must be among those the approval asks.
        approval_id: which.
        verdict: approve or reject.
        reason: why, 8 to 2000 characters.
        args_digest: the approval's `args_digest` as the person saw it.
        notifier: tells workers at once; without it they look within a second.

    Raises:
        NotFound `approval.unknown`; Invalid, Denied and Conflict as `rules.decide` says. Of concurrent decisions one
        wins and the others get Conflict `approval.decided`.
    """
    ctx.require("approvals.decide", id=str(approval_id))
    async with ctx.tx() as tx:
        before = await store.get(tx, ctx.tenant, approval_id)
        after = rules.decide(before, verdict, by=ctx.actor, at=ctx.now, reason=reason, args_digest=args_digest)
        # The run's row is taken before the approval's, as a cancel takes them.
        queue = await _wake(tx, after)
        if not await store.settle(tx, after):
            await _refuse_late(tx, ctx, approval_id, verdict, reason, args_digest)
        await _record_decision(tx, ctx, before, after)
    _tell(notifier, after, queue)
    ctx.env.telemetry.emit("approval.decided", 1, after.status.value)
    return after


async def _refuse_late(tx: Tx, ctx: Ctx, approval_id: UUID, verdict: Verdict, reason: str, args_digest: str) -> None:
    """Somebody was faster: say what the approval is now. Always raises Conflict."""
    now = await store.get(tx, ctx.tenant, approval_id)
    rules.decide(now, verdict, by=ctx.actor, at=ctx.now, reason=reason, args_digest=args_digest)
    raise Conflict(
        "approval.decided", f"Approval {approval_id} was decided by somebody else just now.", hint="Look at it again."
    )


async def _wake(tx: Tx, approval: Approval) -> str | None:
    """Wake the run that waits for this approval; its queue if it will go on."""
    woken = await runs.wake(tx, approval.tenant, approval.run_id, WaitingKind.APPROVAL, str(approval.id))
    return await store.queue_of(tx, approval.tenant, approval.run_id) if woken else None


def _tell(notifier: Notifier | None, approval: Approval, queue: str | None) -> None:
    """After the commit: workers of the queue may look, and whoever watches the run."""
    if notifier is not None and queue is not None:
        notifier.ready(queue)
        notifier.changed(approval.run_id, True)


async def _record_decision(tx: Tx, ctx: Ctx, before: Approval, after: Approval) -> None:
    await audit.record(
        tx,
        ctx,
        "approval.decided",
        target=("approval", after.id),
        run_id=after.run_id,
        before=before,
        after=after,
        reason=after.reason,
        extra={**rules.facts_of(after), "roles": sorted(ctx.actor.roles)},
    )


async def show(ctx: Ctx, approval_id: UUID) -> Approval:
    """One approval, in full. Raises NotFound `approval.unknown`."""
    ctx.require("approvals.read", id=str(approval_id))
    async with ctx.tx() as tx:
        return await store.get(tx, ctx.tenant, approval_id)


async def count_pending(ctx: Ctx) -> int:
    """How many of the tenant's approvals wait for a decision."""
    ctx.require("approvals.read")
    async with ctx.tx() as tx:
        return await store.count_pending(tx, ctx.tenant)


async def list_approvals(
    ctx: Ctx, page: PageParams, *, status: ApprovalStatus | None = None, run_id: UUID | None = None
) -> Slice[Approval]:
    """The tenant's approvals, oldest first; of a run and its items where `run_id` is given."""
    ctx.require("approvals.read")
    after = id_after(page)
    async with ctx.tx() as tx:
        found = await store.select(
            tx,
            ctx.tenant,
            status=status.value if status else None,
            run_id=run_id,
            after=after,
            limit=page.limit + 1,
        )
    return slice_of(found, page.limit, lambda row: (str(row.id),))


async def request(tx: Tx, env: Env, approval: Approval) -> None:
    """Store a new approval and its audit record, in the transaction that suspends its run."""
    await store.insert(tx, approval)
    await _record_system(tx, env, "approval.requested", approval)


async def expire_due(env: Env, notifier: Notifier | None = None) -> int:
    """The scheduler's duty: mark every approval whose time is over EXPIRED and wake its run; return how many.

    Each in a transaction of its own, which locks one run and then one approval like every other verb here.
    """
    expired = 0
    while True:
        async with env.db.engine_tx() as tx:
            due = await store.due(tx, env.clock.now(), _EXPIRE_BATCH)
        for approval in due:
            expired += (await expire(env, approval, notifier)).status is ApprovalStatus.EXPIRED
        if len(due) < _EXPIRE_BATCH:
            return expired


async def expire(env: Env, approval: Approval, notifier: Notifier | None = None) -> Approval:
    """Mark `approval` EXPIRED if it is PENDING and its time is over; return it as it is then.

    The sweep calls it, and the woken step if that is first to notice.
    """
    async with env.db.engine_tx() as tx:
        queue = await _wake(tx, approval)
        ended = await store.expire_one(tx, approval.tenant, approval.id, env.clock.now())
        if ended is None:
            return await store.get(tx, approval.tenant, approval.id)
        await _record_system(tx, env, "approval.expired", ended)
    _tell(notifier, ended, queue)
    env.telemetry.emit("approval.decided", 1, ended.status.value)
    return ended


class PendingApprovals:
    """Fills `runs.RunEndHook`: what ended runs still ask is cancelled in the transaction that ends them."""

    def __init__(self, env: Env) -> None:
        self._env = env

    async def runs_ended(self, tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> None:
        """Cancel every pending approval of these runs, each with its audit record."""
        for approval in await store.cancel_of_runs(tx, tenant, run_ids, self._env.clock.now()):
            await _record_system(tx, self._env, "approval.cancelled", approval)
            self._env.telemetry.emit("approval.decided", 1, approval.status.value)


class ApprovalCheck:
    """What the effect port asks right before a write: was this record approved where the Blueprint wants it? (I8)"""

    async def check(self, tx: Tx, call: StepCall, record_digest: str) -> None:
        """Return if every GOVERN step that dominates `call` asked nobody, or was approved with this record shown.

        Args:
            tx: the transaction that commits the effect's intent, of role engine.
            call: the step that is about to write.
            record_digest: `base.digest` of what it writes, without `call.op.own_fields`.

        Raises:
            Denied `approval.missing` or `approval.arguments_changed`.
        """
        await self.covered(
            tx,
            tenant=call.claim.tenant,
            run_id=call.claim.run_id,
            path=call.path,
            paths=call.op.approvals,
            record_digest=record_digest,
        )

    async def covered(
        self, tx: Tx, *, tenant: str, run_id: UUID, path: str, paths: tuple[str, ...], record_digest: str
    ) -> None:
        """The same for whoever has no StepCall: the broker, which looks again right before it calls. Role engine."""
        if paths:
            found = await store.dominating(tx, tenant, run_id, paths)
            rules.check_covered(found, path=path, paths=paths, record_digest=record_digest)


async def _record_system(tx: Tx, env: Env, event_type: str, approval: Approval) -> None:
    record = audit.build(
        clock=env.clock,
        ids=env.ids,
        tenant=approval.tenant,
        environment=env.environment.name,
        actor=system_actor("engine", approval.tenant),
        event_type=event_type,
        target=("approval", approval.id),
        run_id=approval.run_id,
        after=approval,
        extra=rules.facts_of(approval),
    )
    await audit.insert_many(tx, [record])


async def measure(env: Env) -> None:
    """The scheduler's duty: set the gauges of pending approvals and of the oldest one's age."""
    async with env.db.engine_tx() as tx:
        waiting = await store.waiting(tx)
    age_s = 0.0 if waiting.oldest is None else (env.clock.now() - waiting.oldest).total_seconds()
    env.telemetry.emit("approvals.pending", waiting.pending)
    env.telemetry.emit("approvals.age", max(0.0, age_s))
