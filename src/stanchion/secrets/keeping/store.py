"""All SQL of the verbs over `secrets` and `secret_versions`. Ciphertexts go in here and never come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.secrets.keeping.types import Kept, Version
from stanchion.secrets.types import Encrypted


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """A version whose grace is over."""

    tenant: str
    path: str
    version: int


async def get(tx: Tx, tenant: str, provider: str, path: str) -> Kept | None:
    """One secret that is not removed."""
    return await maybe(
        tx,
        Kept,
        "select s.provider, s.path, s.environment, s.connectors, c.version, coalesce(c.fields, '{}') as fields,"
        " coalesce(c.set_by, s.created_by) as set_by, coalesce(c.set_at, s.created_at) as set_at,"
        " coalesce(p.versions, '{}') as previous, p.ends_at as previous_until from secrets s"
        " left join secret_versions c on c.tenant = s.tenant and c.provider = s.provider and c.path = s.path"
        " and c.state = 'current'"
        " left join lateral (select array_agg(v.version order by v.version) as versions, max(v.ends_at) as ends_at"
        " from secret_versions v where v.tenant = s.tenant and v.provider = s.provider and v.path = s.path"
        " and v.state = 'previous') p on true"
        " where s.tenant = %s and s.provider = %s and s.path = %s and s.removed_at is null",
        (tenant, provider, path),
    )


async def lock(tx: Tx, tenant: str, provider: str, path: str) -> None:
    """Until the transaction ends, nobody else changes that secret. One that does not exist locks nothing."""
    await scalar(
        tx,
        "select true from secrets where tenant = %s and provider = %s and path = %s for update",
        (tenant, provider, path),
    )


async def select(tx: Tx, tenant: str, *, after: tuple[str, str] | None, limit: int) -> list[Kept]:
    """Secrets by provider and path, those past `after`."""
    provider, path = after or (None, None)
    return await many(
        tx,
        Kept,
        "select s.provider, s.path, s.environment, s.connectors, c.version, coalesce(c.fields, '{}') as fields,"
        " coalesce(c.set_by, s.created_by) as set_by, coalesce(c.set_at, s.created_at) as set_at,"
        " coalesce(p.versions, '{}') as previous, p.ends_at as previous_until from secrets s"
        " left join secret_versions c on c.tenant = s.tenant and c.provider = s.provider and c.path = s.path"
        " and c.state = 'current'"
        " left join lateral (select array_agg(v.version order by v.version) as versions, max(v.ends_at) as ends_at"
        " from secret_versions v where v.tenant = s.tenant and v.provider = s.provider and v.path = s.path"
        " and v.state = 'previous') p on true"
        " where s.tenant = %(tenant)s and s.removed_at is null"
        " and (%(provider)s::text is null or (s.provider, s.path) > (%(provider)s::text, %(path)s::text))"
        " order by s.provider, s.path limit %(limit)s",
        {"tenant": tenant, "provider": provider, "path": path, "limit": limit},
    )


async def last_version(tx: Tx, tenant: str, path: str) -> int:
    """The highest number that a version of that local secret ever had; 0 if there was none."""
    return await scalar(
        tx,
        "select coalesce(max(version), 0) from secret_versions where tenant = %s and path = %s",
        (tenant, path),
    )


async def version(tx: Tx, tenant: str, path: str, number: int) -> Version | None:
    """One version of a local secret that is not removed."""
    return await maybe(
        tx,
        Version,
        "select v.version, v.state, v.fields, v.ends_at from secret_versions v"
        " join secrets s on s.tenant = v.tenant and s.provider = v.provider and s.path = v.path and s.removed_at is null"
        " where v.tenant = %s and v.path = %s and v.version = %s",
        (tenant, path, number),
    )


async def insert(
    tx: Tx,
    tenant: str,
    provider: str,
    path: str,
    *,
    environment: str,
    connectors: Sequence[str],
    by: str,
    at: datetime,
) -> bool:
    """Make a secret known, one that was removed too; whether it was not known."""
    return bool(
        await execute(
            tx,
            """
            insert into secrets (tenant, provider, path, environment, connectors, created_by, created_at)
            values (%(tenant)s, %(provider)s, %(path)s, %(environment)s, %(connectors)s, %(by)s, %(at)s)
            on conflict (tenant, provider, path) do update
            set environment = excluded.environment, connectors = excluded.connectors, created_by = excluded.created_by,
                created_at = excluded.created_at, removed_by = null, removed_at = null
            where secrets.removed_at is not null
            """,
            {
                "tenant": tenant,
                "provider": provider,
                "path": path,
                "environment": environment,
                "connectors": list(connectors),
                "by": by,
                "at": at,
            },
        )
    )


async def insert_version(
    tx: Tx, tenant: str, path: str, number: int, made: Encrypted, *, by: str, at: datetime
) -> bool:
    """The new current version; False if that number was given meanwhile, or another one is current."""
    return bool(
        await execute(
            tx,
            "insert into secret_versions (tenant, path, version, state, fields, data_key, ciphertext, set_by, set_at)"
            " values (%(tenant)s, %(path)s, %(version)s, 'current', %(fields)s, %(data_key)s, %(ciphertext)s, %(by)s, %(at)s)"
            " on conflict do nothing",
            {
                "tenant": tenant,
                "path": path,
                "version": number,
                "fields": list(made.fields),
                "data_key": UUID(made.data_key),
                "ciphertext": made.ciphertext,
                "by": by,
                "at": at,
            },
        )
    )


async def outdate(tx: Tx, tenant: str, path: str, number: int, *, until: datetime) -> bool:
    """The current version is a previous one until then; False if it is not the current one."""
    return bool(
        await execute(
            tx,
            "update secret_versions set state = 'previous', ends_at = %s"
            " where tenant = %s and path = %s and version = %s and state = 'current'",
            (until, tenant, path, number),
        )
    )


async def end(tx: Tx, tenant: str, path: str, number: int | None, *, at: datetime) -> int:
    """Erase what is stored of that version, or of every one; how many there were."""
    return await execute(
        tx,
        "update secret_versions set state = 'ended', ciphertext = null, ends_at = %(at)s"
        " where tenant = %(tenant)s and path = %(path)s and state <> 'ended'"
        " and (%(number)s::int is null or version = %(number)s::int)",
        {"at": at, "tenant": tenant, "path": path, "number": number},
    )


async def grant(tx: Tx, tenant: str, provider: str, path: str, connectors: Sequence[str]) -> None:
    """The connectors that a secret is granted to from now on."""
    await execute(
        tx,
        "update secrets set connectors = %s where tenant = %s and provider = %s and path = %s",
        (list(connectors), tenant, provider, path),
    )


async def remove(tx: Tx, tenant: str, provider: str, path: str, *, by: str, at: datetime) -> None:
    """Mark a secret as removed. Its row stays, for the numbers of its versions."""
    await execute(
        tx,
        "update secrets set removed_by = %s, removed_at = %s, connectors = '{}'"
        " where tenant = %s and provider = %s and path = %s",
        (by, at, tenant, provider, path),
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[Due]:
    """Versions whose grace is over, of all tenants. Role `engine`."""
    return await many(
        tx,
        Due,
        "select tenant, path, version from secret_versions where state = 'previous' and ends_at <= %s"
        " order by ends_at limit %s for update skip locked",
        (now, limit),
    )
