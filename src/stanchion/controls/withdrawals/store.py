"""All SQL over `withdrawals` and `withdrawal_revisions`."""

# ruff: noqa: S608 - only our own literals are put together, which pyright holds to (LiteralString)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.controls.looking import Revision, TenantRevision
from stanchion.controls.withdrawals.types import Mode, Withdrawal
from stanchion.db import Tx, execute, many, maybe, scalars

_COLUMNS = "tenant, id, mode, kind, name, version, digest, reason, set_by, set_at, emptied_at, lifted_by, lifted_at, lift_reason"


async def bump(tx: Tx, tenant: str) -> None:
    """Raise the tenant's revision, and tell every process when this transaction commits. Whoever changes withdrawals of one
    tenant at the same time follows one another from here on."""
    await execute(
        tx,
        "insert into withdrawal_revisions (tenant, rev) values (%s, 1)"
        " on conflict (tenant) do update set rev = withdrawal_revisions.rev + 1",
        (tenant,),
    )
    await execute(tx, "select pg_notify('stanchion_withdrawals', '')")


async def revision(tx: Tx) -> Revision:
    """What changes whenever a withdrawal anywhere does."""
    found = await maybe(
        tx, Revision, "select count(*) as tenants, coalesce(sum(rev), 0)::bigint as total from withdrawal_revisions"
    )
    return found or Revision(tenants=0, total=0)


async def revisions(tx: Tx) -> list[TenantRevision]:
    """The number of each tenant that ever withdrew a version."""
    return await many(tx, TenantRevision, "select tenant, rev from withdrawal_revisions")


async def insert(tx: Tx, one: Withdrawal) -> bool:
    """Insert a withdrawal; whether it is new. False if the version is withdrawn so already."""
    return bool(
        await execute(
            tx,
            """
            insert into withdrawals (tenant, id, mode, kind, name, version, digest, reason, set_by, set_at)
            values (%(tenant)s, %(id)s, %(mode)s, %(kind)s, %(name)s, %(version)s, %(digest)s, %(reason)s, %(set_by)s,
                    %(set_at)s)
            on conflict (tenant, mode, digest) where lifted_at is null do nothing
            """,
            {
                "tenant": one.tenant,
                "id": one.id,
                "mode": one.mode.value,
                "kind": one.kind,
                "name": one.name,
                "version": one.version,
                "digest": one.digest,
                "reason": one.reason,
                "set_by": one.set_by,
                "set_at": one.set_at,
            },
        )
    )


async def lift(tx: Tx, one: Withdrawal) -> None:
    """Write the end of a withdrawal."""
    await execute(
        tx,
        "update withdrawals set lifted_by = %s, lifted_at = %s, lift_reason = %s where tenant = %s and id = %s"
        " and lifted_at is null",
        (one.lifted_by, one.lifted_at, one.lift_reason, one.tenant, one.id),
    )


async def of_digest(tx: Tx, tenant: str, mode: Mode, digest: str) -> Withdrawal | None:
    """The withdrawal of a version: the one in force, else the newest that was lifted."""
    return await maybe(
        tx,
        Withdrawal,
        "select " + _COLUMNS + " from withdrawals where tenant = %s and mode = %s and digest = %s"
        " order by lifted_at is not null, id desc limit 1",
        (tenant, mode.value, digest),
    )


async def among(tx: Tx, tenant: str, digests: Sequence[str]) -> list[Withdrawal]:
    """Those in force of these digests, of either mode, revocations first."""
    return await many(
        tx,
        Withdrawal,
        "select " + _COLUMNS + " from withdrawals where tenant = %s and digest = any(%s) and lifted_at is null"
        " order by mode desc, id",
        (tenant, list(digests)),
    )


async def select(tx: Tx, tenant: str, mode: Mode, *, lifted: bool, before: UUID | None, limit: int) -> list[Withdrawal]:
    """Withdrawals in force, with `lifted` also the others, newest first, past `before`."""
    return await many(
        tx,
        Withdrawal,
        "select " + _COLUMNS + " from withdrawals where tenant = %(tenant)s and mode = %(mode)s"
        " and (%(lifted)s or lifted_at is null)"
        " and (%(before)s::uuid is null or id < %(before)s) order by id desc limit %(limit)s",
        {"tenant": tenant, "mode": mode.value, "lifted": lifted, "before": before, "limit": limit},
    )


async def in_force(tx: Tx, tenant: str) -> list[Withdrawal]:
    """Every withdrawal of the tenant that is in force."""
    return await many(
        tx,
        Withdrawal,
        "select " + _COLUMNS + " from withdrawals where tenant = %s and lifted_at is null order by id",
        (tenant,),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A digest of a tenant."""

    tenant: str
    digest: str


async def revoked_among(tx: Tx, digests: Sequence[str]) -> set[tuple[str, str]]:
    """(tenant, digest) of those digests that are revoked, of any tenant. Role `engine`."""
    found = await many(
        tx,
        Use,
        "select tenant, digest from withdrawals where mode = 'revoke' and digest = any(%s) and lifted_at is null",
        (list(digests),),
    )
    return {(use.tenant, use.digest) for use in found}


async def draining(tx: Tx, after: UUID | None, limit: int) -> list[Withdrawal]:
    """Drains of every tenant whose last run is not known to have ended, by id past `after`. Role `engine`."""
    return await many(
        tx,
        Withdrawal,
        "select " + _COLUMNS + " from withdrawals where mode = 'drain' and lifted_at is null and emptied_at is null"
        " and (%(after)s::uuid is null or id > %(after)s) order by id limit %(limit)s",
        {"after": after, "limit": limit},
    )


async def set_emptied(tx: Tx, one: Withdrawal, at: datetime) -> bool:
    """Note that the last run of a drained version has ended; whether nobody had before. Role `engine`."""
    return bool(
        await scalars(
            tx,
            "update withdrawals set emptied_at = %s where tenant = %s and id = %s and emptied_at is null"
            " and lifted_at is null returning id",
            (at, one.tenant, one.id),
        )
    )
