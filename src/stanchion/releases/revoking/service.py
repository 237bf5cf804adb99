"""Verbs of revocation: what it would stop, revoke, reinstate, list, show, the runs; cancel those that stopped."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from stanchion import audit, runs
from stanchion.base import Conflict, NotFound
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx
from stanchion.controls import withdrawals
from stanchion.controls.withdrawals import Mode, Withdrawal
from stanchion.db import Tx
from stanchion.queue import Notifier
from stanchion.releases.revoking import store
from stanchion.releases.revoking.naming import impact, named
from stanchion.releases.revoking.types import Fate, Impact, Named, Outcome, Outcomes, Repin, Shown
from stanchion.runs import RunEndHook, revoking
from stanchion.runs.revoking import BoundRun

_REPINS_MAX: Final = 100


async def foresee(ctx: Ctx, digest: str) -> Impact:
    """What revoking (or draining) the version would do now. Changes nothing.

    Raises NotFound `artifact.unknown`, Invalid `release.ambiguous_digest`.
    """
    ctx.require("releases.read")
    async with ctx.tx() as tx:
        return await impact(tx, ctx, await named(tx, ctx, digest))


async def revoke(ctx: Ctx, digest: str, *, reason: str) -> Shown:
    """Let no new run begin on the version, and stop every run that is pinned to it before its next use of it: on every
    process within a second, until it is reinstated, or they are given another version or cancelled.

    Raises NotFound `artifact.unknown`, Invalid `release.ambiguous_digest` or `withdrawal.no_reason`, Conflict
    `release.already_revoked`.
    """
    ctx.require("releases.revoke")
    why = withdrawals.check_reason(reason)
    async with ctx.tx() as tx:
        version = await named(tx, ctx, digest)
        made = await withdrawals.put(
            tx, ctx, Mode.REVOKE, kind=version.kind, name=version.name, version=version.version, digest=version.digest,
            reason=why,
        )  # fmt: skip
        await audit.record(
            tx,
            ctx,
            "release.revoked",
            target=("artifact", f"{version.kind}/{version.name}"),
            before={"digest": version.digest, "revoked": False},
            after={"digest": version.digest, "revoked": True},
            reason=why,
            extra=facts(made),
        )
    ctx.env.telemetry.emit("withdrawal.changed", 1.0, "revoke", "set", target=made.target, by=made.set_by)
    # Only now: counting takes the longer the more runs there are, and none of them may go on meanwhile.
    async with ctx.tx() as tx:
        return Shown(withdrawal=made, impact=await impact(tx, ctx, version))


async def reinstate(ctx: Ctx, digest: str, *, reason: str) -> Withdrawal:
    """Take a revocation back: the runs that stopped go on by themselves on the version they are pinned to.

    Raises as `revoke`; NotFound `revocation.unknown` if it is not revoked.
    """
    ctx.require("releases.reinstate")
    why = withdrawals.check_reason(reason)
    async with ctx.tx() as tx:
        version = await named(tx, ctx, digest)
        lifted = await withdrawals.lift(tx, ctx, Mode.REVOKE, version.digest, reason=why)
        if lifted is None:
            raise not_revoked(version)
        await audit.record(
            tx,
            ctx,
            "release.reinstated",
            target=("artifact", f"{version.kind}/{version.name}"),
            before={"digest": version.digest, "revoked": True},
            after={"digest": version.digest, "revoked": False},
            reason=why,
            extra=facts(lifted),
        )
    ctx.env.telemetry.emit("withdrawal.changed", 1.0, "revoke", "lifted", target=lifted.target, by=lifted.lifted_by)
    return lifted


def not_revoked(version: Named) -> NotFound:
    """The problem of a version that is not revoked."""
    return NotFound("revocation.unknown", f"{version.target} is not revoked.", hint="See `stanchion release revoked`.")


def facts(one: Withdrawal) -> dict[str, object]:
    """What a record keeps of a withdrawal."""
    return {
        "kind": one.kind,
        "name": one.name,
        "version": one.version,
        "digest": one.digest,
        "withdrawal": str(one.id),
    }


async def list_revocations(ctx: Ctx, page: PageParams, *, lifted: bool = False) -> Slice[Withdrawal]:
    """Revocations in force, with `lifted` also those that were, newest first."""
    ctx.require("releases.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await withdrawals.listed(
            tx, ctx.tenant, Mode.REVOKE, lifted=lifted, before=before, limit=page.limit + 1
        )
    return slice_of(found, page.limit, lambda row: (str(row.id),))


async def show_revocation(ctx: Ctx, digest: str) -> Shown:
    """The revocation of a version (the last one, if it is reinstated), and what it does now. Raises NotFound
    `artifact.unknown`, `revocation.unknown`; Invalid `release.ambiguous_digest`."""
    ctx.require("releases.read")
    async with ctx.tx() as tx:
        version = await named(tx, ctx, digest)
        found = await withdrawals.find(tx, ctx.tenant, Mode.REVOKE, version.digest)
        if found is None:
            raise not_revoked(version)
        return Shown(withdrawal=found, impact=await impact(tx, ctx, version))


async def list_bound(ctx: Ctx, digest: str, page: PageParams, *, stopped: bool = False) -> Slice[BoundRun]:
    """The runs that have not ended and are pinned to a version, newest first: those that stopped before their next use of
    it, and without `stopped` those that are still before it. Raises as `foresee`."""
    ctx.require("releases.read")
    ctx.require("runs.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        version = await named(tx, ctx, digest)
        found = await revoking.bound(
            tx, ctx.tenant, version.digest, stopped=stopped, before=before, limit=page.limit + 1
        )
    return slice_of(found, page.limit, lambda row: (str(row.run_id),))


async def cancel_stopped(
    ctx: Ctx,
    digest: str,
    *,
    reason: str,
    notifier: Notifier,
    hook: RunEndHook | None,
    everything: bool = False,
    after: UUID | None = None,
) -> Outcomes:
    """Cancel the runs that stopped before a revoked version, a page of them per call; with `everything` also those that
    are still before their next use of it.

    Raises Denied; NotFound `artifact.unknown`, `revocation.unknown`; Invalid `release.ambiguous_digest`.
    """
    ctx.require("runs.cancel")
    why = withdrawals.check_reason(reason)
    async with ctx.tx() as tx:
        version = await named(tx, ctx, digest)
        await in_force(tx, ctx, version)
        roots = await revoking.roots(tx, ctx.tenant, version.digest, stopped=not everything, before=after)
    found: list[Outcome] = []
    for root in roots:
        try:
            await runs.cancel(ctx, notifier, root, reason=why, hook=hook)
            found.append(Outcome(run_id=root, fate=Fate.CANCELLED))
        except Conflict as problem:  # it ended meanwhile, or is being cancelled already
            found.append(Outcome(run_id=root, fate=Fate.REFUSED, reason=problem.message))
    return Outcomes(version=version, to=None, runs=tuple(found), next=next_page(roots))


async def in_force(tx: Tx, ctx: Ctx, version: Named) -> Withdrawal:
    """The revocation of a version. Raises NotFound `revocation.unknown` if it is not revoked."""
    found = await withdrawals.find(tx, ctx.tenant, Mode.REVOKE, version.digest)
    if found is None or found.lifted_at is not None:
        raise not_revoked(version)
    return found


async def list_repins(ctx: Ctx, run_id: UUID) -> list[Repin]:
    """What a run was given in place of revoked versions, the oldest first; at most 100."""
    ctx.require("runs.read")
    async with ctx.tx() as tx:
        return await store.repins_of(tx, ctx.tenant, run_id, _REPINS_MAX)


def next_page(roots: list[UUID]) -> UUID | None:
    """Past which id the next page of an action begins; None if this was the last."""
    return roots[-1] if len(roots) == revoking.BATCH else None
