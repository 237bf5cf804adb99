"""What the verbs above do to withdrawals, in their own transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from stanchion.base import present
from stanchion.context import Ctx
from stanchion.controls.withdrawals import rules, store
from stanchion.controls.withdrawals.types import Mode, Withdrawal
from stanchion.db import Tx


async def put(
    tx: Tx, ctx: Ctx, mode: Mode, *, kind: str, name: str, version: int, digest: str, reason: str
) -> Withdrawal:
    """Withdraw a version; every process knows within a second of the commit. The caller has authorised it, and audits it.

    Raises Invalid `withdrawal.no_reason`; Conflict `release.already_revoked` or `release.already_drained`.
    """
    why = rules.check_reason(reason)
    await store.bump(tx, ctx.tenant)
    made = Withdrawal(
        tenant=ctx.tenant,
        id=ctx.env.ids.new(),
        mode=mode,
        kind=kind,
        name=name,
        version=version,
        digest=digest,
        reason=why,
        set_by=ctx.actor.principal,
        set_at=ctx.now,
        emptied_at=None,
        lifted_by=None,
        lifted_at=None,
        lift_reason=None,
    )
    if not await store.insert(tx, made):
        there = await store.of_digest(tx, ctx.tenant, mode, digest)
        raise rules.already(present(there, "what a withdrawal conflicts with is in force"))
    return made


async def lift(tx: Tx, ctx: Ctx, mode: Mode, digest: str, *, reason: str) -> Withdrawal | None:
    """End the withdrawal of a version that is in force; None if there is none. The caller has authorised it, and audits
    it. Raises Invalid `withdrawal.no_reason`."""
    why = rules.check_reason(reason)
    await store.bump(tx, ctx.tenant)  # held before it is read: the second of two who lift sees the first
    before = await store.of_digest(tx, ctx.tenant, mode, digest)
    if before is None or before.lifted_at is not None:
        return None
    after = rules.lift(before, by=ctx.actor.principal, at=ctx.now, reason=why)
    await store.lift(tx, after)
    return after


async def find(tx: Tx, tenant: str, mode: Mode, digest: str) -> Withdrawal | None:
    """The withdrawal of a version that is in force, else the newest that was."""
    return await store.of_digest(tx, tenant, mode, digest)


async def listed(tx: Tx, tenant: str, mode: Mode, *, lifted: bool, before: UUID | None, limit: int) -> list[Withdrawal]:
    """Withdrawals in force, with `lifted` also the others, newest first."""
    return await store.select(tx, tenant, mode, lifted=lifted, before=before, limit=limit)


async def refuse(tx: Tx, tenant: str, digests: Iterable[str]) -> None:
    """Refuse a verb that would let new runs get a version that is withdrawn: raises Conflict `release.revoked` or
    `release.drained`."""
    found = await store.among(tx, tenant, list(digests))
    if found:
        raise rules.move_refused(found[0])


async def revoked_among(tx: Tx, digests: Sequence[str]) -> set[tuple[str, str]]:
    """(tenant, digest) of those that are revoked, in a transaction of role `engine`: who waits on another may go on."""
    return await store.revoked_among(tx, digests)


async def draining(tx: Tx, after: UUID | None, limit: int) -> list[Withdrawal]:
    """Drains whose last run is not known to have ended, of any tenant. Role `engine`."""
    return await store.draining(tx, after, limit)


async def emptied(tx: Tx, one: Withdrawal, at: datetime) -> bool:
    """Note that the last run of a drained version has ended; whether nobody had before. Role `engine`."""
    return await store.set_emptied(tx, one, at)
