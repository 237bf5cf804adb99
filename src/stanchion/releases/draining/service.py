"""Verbs of drains: drain, undrain, list, show; and the duty that tells when one is empty."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import NotFound
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx, Env, system_actor
from stanchion.controls import withdrawals
from stanchion.controls.withdrawals import Mode, Withdrawal
from stanchion.db import Tx
from stanchion.releases import store as releases_store
from stanchion.releases.draining import rules, store
from stanchion.releases.draining.types import Drain
from stanchion.releases.revoking import Impact, Named, facts, impact
from stanchion.runs import revoking

# Drains that the duty reads at a time.
_BATCH: Final = 100


async def drain(ctx: Ctx, kind: str, name: str, version: int, *, reason: str) -> Drain:
    """Let no new run begin on a version, on every process within a second; those that began on it finish.

    Raises Denied; NotFound `artifact.unknown`; Invalid `withdrawal.no_reason`; Conflict `release.already_drained`,
    `drain.candidate` for the candidate of a rollout under way.
    """
    ctx.require("releases.drain", kind=kind, name=name)
    why = withdrawals.check_reason(reason)
    async with ctx.tx() as tx:
        found = await _named(tx, ctx, kind, name, version)
        standing = await releases_store.live_in(tx, ctx.tenant, kind, name, version)
        rules.refuse_candidate(found, tuple(standing))
        made = await withdrawals.put(
            tx, ctx, Mode.DRAIN, kind=kind, name=name, version=version, digest=found.digest, reason=why
        )
        await _record(tx, ctx, made, "release.drained", before=False, after=True, reason=why)
    ctx.env.telemetry.emit("withdrawal.changed", 1.0, "drain", "set", target=made.target, by=made.set_by)
    # Only now: counting takes the longer the more runs there are, and no new one may begin meanwhile.
    async with ctx.tx() as tx:
        now = await impact(tx, ctx, found)
    return Drain(withdrawal=made, counts=now.counts, live=_is_live(now))


async def undrain(ctx: Ctx, kind: str, name: str, version: int, *, reason: str) -> Withdrawal:
    """Let new runs begin on a version again. Raises as `drain`; NotFound `drain.unknown` if it is not drained."""
    ctx.require("releases.drain", kind=kind, name=name)
    why = withdrawals.check_reason(reason)
    async with ctx.tx() as tx:
        found = await _named(tx, ctx, kind, name, version)
        lifted = await withdrawals.lift(tx, ctx, Mode.DRAIN, found.digest, reason=why)
        if lifted is None:
            raise rules.not_drained(found)
        await _record(tx, ctx, lifted, "release.undrained", before=True, after=False, reason=why)
    ctx.env.telemetry.emit("withdrawal.changed", 1.0, "drain", "lifted", target=lifted.target, by=lifted.lifted_by)
    return lifted


async def list_drains(ctx: Ctx, page: PageParams, *, lifted: bool = False) -> Slice[Drain]:
    """Drains in force, with `lifted` also those that were, newest first, each with what is left."""
    ctx.require("releases.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await withdrawals.listed(tx, ctx.tenant, Mode.DRAIN, lifted=lifted, before=before, limit=page.limit + 1)
        digests = [one.digest for one in found]
        counts = await revoking.counts(tx, ctx.tenant, digests)
        live = await store.live_among(tx, ctx.tenant, ctx.env.environment.name, digests)
    drains = [Drain(withdrawal=one, counts=counts[one.digest], live=one.digest in live) for one in found]
    return slice_of(drains, page.limit, lambda row: (str(row.withdrawal.id),))


async def show_drain(ctx: Ctx, kind: str, name: str, version: int) -> tuple[Drain, Impact]:
    """The drain of a version (the last one, if it was undrained), and the runs that are left. Raises NotFound `artifact.unknown`,
    `drain.unknown`."""
    ctx.require("releases.read", kind=kind, name=name)
    async with ctx.tx() as tx:
        found = await _named(tx, ctx, kind, name, version)
        one = await withdrawals.find(tx, ctx.tenant, Mode.DRAIN, found.digest)
        if one is None:
            raise rules.not_drained(found)
        now = await impact(tx, ctx, found)
    return Drain(withdrawal=one, counts=now.counts, live=_is_live(now)), now


async def watch(env: Env) -> None:
    """The scheduler's duty: note, record and report which drained versions have no run left."""
    after: UUID | None = None
    while True:
        async with env.db.engine_tx() as tx:
            found = await withdrawals.draining(tx, after, _BATCH)
        for one in found:
            await _look(env, one)
        if len(found) < _BATCH:
            return
        after = found[-1].id


async def _look(env: Env, one: Withdrawal) -> None:
    at = env.clock.now()
    async with env.db.engine_tx() as tx:
        counts = await revoking.count(tx, one.tenant, one.digest)
        if not rules.is_empty(one, counts.left, at) or not await withdrawals.emptied(tx, one, at):
            return
        record = audit.build(
            clock=env.clock,
            ids=env.ids,
            tenant=one.tenant,
            environment=env.environment.name,
            actor=system_actor("scheduler", one.tenant),
            event_type="release.drain_emptied",
            target=("artifact", f"{one.kind}/{one.name}"),
            after={"digest": one.digest, "left": 0},
            extra=facts(one),
        )
        await audit.insert_many(tx, [record])
    env.telemetry.emit("drain.emptied", 1.0, one.kind, target=one.target)


async def _named(tx: Tx, ctx: Ctx, kind: str, name: str, version: int) -> Named:
    found = await store.by_version(tx, ctx.tenant, kind, name, version)
    if found is None:
        raise NotFound(
            "artifact.unknown",
            f"There is no {kind} {name} version {version}.",
            hint=f"`stanchion artifact history {kind}/{name}` lists its versions.",
        )
    return found


def _is_live(now: Impact) -> bool:
    return any(one.standing == "live" for one in now.standing)


async def _record(tx: Tx, ctx: Ctx, one: Withdrawal, event: str, *, before: bool, after: bool, reason: str) -> None:
    await audit.record(
        tx,
        ctx,
        event,
        target=("artifact", f"{one.kind}/{one.name}"),
        before={"digest": one.digest, "drained": before},
        after={"digest": one.digest, "drained": after},
        reason=reason,
        extra=facts(one),
    )
