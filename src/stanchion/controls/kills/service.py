"""Verbs of kill switches: set, lift, list, show, and what one would stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from stanchion import audit
from stanchion.base import NotFound, present
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx
from stanchion.controls.kills import rules, store
from stanchion.controls.kills.types import InFlight, Kill, KillableKind
from stanchion.db import Tx

Killable = Mapping[str, KillableKind]


async def set_kill(ctx: Ctx, kinds: Killable, kind: str, name: str, *, version: int | None = None, reason: str) -> Kill:
    """Stop every use of `kind/name` (or of that version), on every process within a second, until it is lifted.

    Raises Invalid `kill.unknown_kind` or `kill.no_reason`, NotFound `kill.unknown_target`, Conflict `kill.already`.
    """
    ctx.require("kills.set", name=f"{kind}/{name}")
    why, killable = rules.check_reason(reason), _kind(kinds, kind)
    async with ctx.tx() as tx:
        digest = await killable.digest(tx, ctx.tenant, name, version)
        await store.bump(tx, ctx.tenant)
        kill = Kill(
            tenant=ctx.tenant,
            id=ctx.env.ids.new(),
            kind=kind,
            name=name,
            version=version,
            digest=digest,
            reason=why,
            set_by=ctx.actor.principal,
            set_at=ctx.now,
            lifted_by=None,
            lifted_at=None,
            lift_reason=None,
        )
        if not await store.insert(tx, kill):
            there = await store.in_force_on(tx, ctx.tenant, kind, name, version)
            raise rules.already(present(there, "what a kill conflicts with is in force"))
        await audit.record(
            tx, ctx, "kill.set", target=("kill", kill.id), after=_facts(kill), reason=why, extra=_facts(kill)
        )
    ctx.env.telemetry.emit("kill.changed", 1.0, kind, "set", target=kill.target, by=kill.set_by)
    return kill


async def lift_kill(ctx: Ctx, kill_id: UUID, *, reason: str) -> Kill:
    """End a kill: new work is accepted again within a second, and the runs that wait for it go on by themselves.

    Raises NotFound `kill.unknown`, Conflict `kill.lifted`, Invalid `kill.no_reason`.
    """
    ctx.require("kills.lift", id=str(kill_id))
    why = rules.check_reason(reason)
    async with ctx.tx() as tx:
        await store.bump(tx, ctx.tenant)  # held before the kill is read: the second of two who lift sees the first
        before = await _one(tx, ctx, kill_id)
        after = rules.lift(before, by=ctx.actor.principal, at=ctx.now, reason=why)
        await store.lift(tx, after)
        await audit.record(
            tx,
            ctx,
            "kill.lifted",
            target=("kill", kill_id),
            before=_facts(before),
            after={**_facts(after), "lifted_by": after.lifted_by},
            reason=why,
            extra=_facts(after),
        )
    ctx.env.telemetry.emit("kill.changed", 1.0, after.kind, "lifted", target=after.target, by=after.lifted_by)
    return after


async def show_kill(ctx: Ctx, kinds: Killable, kill_id: UUID) -> tuple[Kill, InFlight]:
    """A kill and the runs it concerns now. Raises NotFound `kill.unknown`."""
    ctx.require("kills.read", id=str(kill_id))
    async with ctx.tx() as tx:
        kill = await _one(tx, ctx, kill_id)
        return kill, await _kind(kinds, kill.kind).in_flight(tx, ctx.tenant, kill.name, kill.digest)


async def impact(ctx: Ctx, kinds: Killable, kind: str, name: str, *, version: int | None = None) -> InFlight:
    """What is in flight that a kill of `kind/name` would hold back. Raises as `set_kill` does of its target."""
    ctx.require("kills.read", name=f"{kind}/{name}")
    killable = _kind(kinds, kind)
    async with ctx.tx() as tx:
        digest = await killable.digest(tx, ctx.tenant, name, version)
        return await killable.in_flight(tx, ctx.tenant, name, digest)


async def list_kills(ctx: Ctx, page: PageParams, *, lifted: bool = False) -> Slice[Kill]:
    """Kills in force, with `lifted` also those that were, newest first."""
    ctx.require("kills.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await store.select(tx, ctx.tenant, lifted=lifted, before=before, limit=page.limit + 1)
    return slice_of(found, page.limit, lambda kill: (str(kill.id),))


async def in_force_among(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that are kills in force, in a transaction of role `engine`: who waits on another may go on."""
    return await store.in_force_among(tx, ids)


def _kind(kinds: Killable, kind: str) -> KillableKind:
    found = kinds.get(kind)
    if found is None:
        raise rules.unknown_kind(kind, kinds)
    return found


async def _one(tx: Tx, ctx: Ctx, kill_id: UUID) -> Kill:
    found = await store.by_id(tx, ctx.tenant, kill_id)
    if found is None:
        raise NotFound("kill.unknown", f"There is no kill {kill_id}.", hint="See `stanchion kill list --lifted`.")
    return found


def _facts(kill: Kill) -> dict[str, object]:
    return {"kind": kill.kind, "name": kill.name, "version": kill.version, "digest": kill.digest}
