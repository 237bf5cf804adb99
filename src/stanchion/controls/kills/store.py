"""All SQL over `kills` and `kill_revisions`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from stanchion.controls.kills.types import Kill
from stanchion.controls.looking import Revision, TenantRevision
from stanchion.db import Tx, execute, many, maybe, scalars


async def bump(tx: Tx, tenant: str) -> None:
    """Raise the tenant's revision, and tell every process when this transaction commits. Whoever changes kills of one
    tenant at the same time follows one another from here on."""
    await execute(
        tx,
        "insert into kill_revisions (tenant, rev) values (%s, 1)"
        " on conflict (tenant) do update set rev = kill_revisions.rev + 1",
        (tenant,),
    )
    await execute(tx, "select pg_notify('stanchion_kills', '')")


async def revision(tx: Tx) -> Revision:
    """What changes whenever a kill anywhere does."""
    found = await maybe(
        tx, Revision, "select count(*) as tenants, coalesce(sum(rev), 0)::bigint as total from kill_revisions"
    )
    return found or Revision(tenants=0, total=0)


async def revisions(tx: Tx) -> list[TenantRevision]:
    """The number of each tenant that ever had a kill."""
    return await many(tx, TenantRevision, "select tenant, rev from kill_revisions")


async def insert(tx: Tx, kill: Kill) -> bool:
    """Insert a kill; whether it is new. False if the same thing is killed already."""
    return bool(
        await execute(
            tx,
            """
            insert into kills (tenant, id, kind, name, version, digest, reason, set_by, set_at)
            values (%(tenant)s, %(id)s, %(kind)s, %(name)s, %(version)s, %(digest)s, %(reason)s, %(set_by)s, %(set_at)s)
            on conflict (tenant, kind, name, coalesce(version, 0)) where lifted_at is null do nothing
            """,
            {
                "tenant": kill.tenant,
                "id": kill.id,
                "kind": kill.kind,
                "name": kill.name,
                "version": kill.version,
                "digest": kill.digest,
                "reason": kill.reason,
                "set_by": kill.set_by,
                "set_at": kill.set_at,
            },
        )
    )


async def in_force_on(tx: Tx, tenant: str, kind: str, name: str, version: int | None) -> Kill | None:
    """The kill in force of exactly this target."""
    return await maybe(
        tx,
        Kill,
        "select tenant, id, kind, name, version, digest, reason, set_by, set_at, lifted_by, lifted_at, lift_reason"
        " from kills where tenant = %s and kind = %s and name = %s and coalesce(version, 0) = coalesce(%s::int, 0)"
        " and lifted_at is null",
        (tenant, kind, name, version),
    )


async def by_id(tx: Tx, tenant: str, kill_id: UUID) -> Kill | None:
    """One kill, in force or lifted."""
    return await maybe(
        tx,
        Kill,
        "select tenant, id, kind, name, version, digest, reason, set_by, set_at, lifted_by, lifted_at, lift_reason"
        " from kills where tenant = %s and id = %s",
        (tenant, kill_id),
    )


async def lift(tx: Tx, kill: Kill) -> None:
    """Write the end of a kill."""
    await execute(
        tx,
        "update kills set lifted_by = %s, lifted_at = %s, lift_reason = %s where tenant = %s and id = %s"
        " and lifted_at is null",
        (kill.lifted_by, kill.lifted_at, kill.lift_reason, kill.tenant, kill.id),
    )


async def select(tx: Tx, tenant: str, *, lifted: bool, before: UUID | None, limit: int) -> list[Kill]:
    """Kills in force, with `lifted` also the others, newest first, past `before`."""
    return await many(
        tx,
        Kill,
        "select tenant, id, kind, name, version, digest, reason, set_by, set_at, lifted_by, lifted_at, lift_reason"
        " from kills where tenant = %(tenant)s and (%(lifted)s or lifted_at is null)"
        " and (%(before)s::uuid is null or id < %(before)s) order by id desc limit %(limit)s",
        {"tenant": tenant, "lifted": lifted, "before": before, "limit": limit},
    )


async def in_force(tx: Tx, tenant: str) -> list[Kill]:
    """Every kill of the tenant that is in force."""
    return await many(
        tx,
        Kill,
        "select tenant, id, kind, name, version, digest, reason, set_by, set_at, lifted_by, lifted_at, lift_reason"
        " from kills where tenant = %s and lifted_at is null order by id",
        (tenant,),
    )


async def in_force_among(tx: Tx, ids: Sequence[str]) -> set[str]:
    """Those of `ids` (any text) that are kills in force, of any tenant. Role `engine`."""
    return set(
        await scalars(tx, "select id::text from kills where id::text = any(%s) and lifted_at is null", (list(ids),))
    )
