"""SQL of the holder: who may have a secret, versions with their ciphertexts, data keys."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.db import Tx, execute, many, maybe, scalar, scalars


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """To which environment a secret is issued, and to which connectors it is granted."""

    environment: str
    connectors: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataKey:
    """A tenant's data key as stored."""

    tenant: str
    id: UUID
    kek_id: str
    wrapped: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVersion:
    """A version as stored, with the data key that it is encrypted under."""

    version: int
    state: str
    environment: str
    ends_at: datetime | None
    ciphertext: bytes | None
    data_key: UUID
    kek_id: str
    wrapped: bytes


async def issued(tx: Tx, tenant: str, provider: str, path: str) -> Issued | None:
    """Who may have a secret; None if there is none."""
    return await maybe(
        tx,
        Issued,
        "select environment, connectors from secrets"
        " where tenant = %s and provider = %s and path = %s and removed_at is null",
        (tenant, provider, path),
    )


async def version(tx: Tx, tenant: str, path: str, number: int | None) -> StoredVersion | None:
    """That version of a local secret, or the current one."""
    return await maybe(
        tx,
        StoredVersion,
        "select v.version, v.state, s.environment, v.ends_at, v.ciphertext, v.data_key, k.kek_id, k.wrapped"
        " from secrets s join secret_versions v on v.tenant = s.tenant and v.path = s.path"
        " join data_keys k on k.tenant = v.tenant and k.id = v.data_key"
        " where s.tenant = %(tenant)s and s.provider = 'local' and s.path = %(path)s and s.removed_at is null"
        " and case when %(number)s::int is null then v.state = 'current' else v.version = %(number)s::int end",
        {"tenant": tenant, "path": path, "number": number},
    )


async def previous(tx: Tx, tenant: str, path: str, now: datetime) -> int | None:
    """The newest version before the current one that is still valid."""
    return await scalar(
        tx,
        "select max(version) from secret_versions where tenant = %s and path = %s and state = 'previous' and ends_at > %s",
        (tenant, path, now),
    )


async def lock_data_keys(tx: Tx) -> None:
    """Until the transaction ends, nobody else makes a data key or encrypts them anew."""
    await execute(tx, "select pg_advisory_xact_lock(hashtextextended('stanchion data keys', 0))")


async def data_key(tx: Tx, tenant: str) -> DataKey | None:
    """The tenant's data key."""
    return await maybe(tx, DataKey, "select tenant, id, kek_id, wrapped from data_keys where tenant = %s", (tenant,))


async def insert_data_key(tx: Tx, key: DataKey) -> None:
    """The first data key of a tenant. `lock_data_keys` is held."""
    await execute(
        tx,
        "insert into data_keys (tenant, id, kek_id, wrapped) values (%s, %s, %s, %s)",
        (key.tenant, key.id, key.kek_id, key.wrapped),
    )


async def data_keys_under_others(tx: Tx, kek_id: str, limit: int) -> list[DataKey]:
    """Data keys of all tenants that are not encrypted under that key. Role `engine`."""
    return await many(
        tx,
        DataKey,
        "select tenant, id, kek_id, wrapped from data_keys where kek_id <> %s order by tenant limit %s for update",
        (kek_id, limit),
    )


async def rewrap(tx: Tx, key: DataKey) -> None:
    """Write a data key as it is encrypted now. Role `engine`."""
    await execute(
        tx,
        "update data_keys set kek_id = %s, wrapped = %s where tenant = %s and id = %s",
        (key.kek_id, key.wrapped, key.tenant, key.id),
    )


async def kek_ids(tx: Tx) -> set[str]:
    """The key-encryption keys that data keys of any tenant are encrypted under. Role `engine`."""
    return set(await scalars(tx, "select distinct kek_id from data_keys"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRefresh:
    """A kept refresh token as stored. `generation`: how often it was exchanged."""

    generation: int
    data_key: UUID | None
    ciphertext: bytes | None


async def refresh(tx: Tx, tenant: str, declared: bytes) -> KeptRefresh | None:
    """What is kept in place of a declared refresh token."""
    return await maybe(
        tx,
        KeptRefresh,
        "select generation, data_key, ciphertext from refresh_tokens where tenant = %s and declared = %s",
        (tenant, declared),
    )


async def hold_refresh(tx: Tx, tenant: str, declared: bytes, generation: int, *, by: UUID, for_s: float) -> bool:
    """Take the exchange of a refresh token, if nobody has it and it is still of that generation."""
    return bool(
        await execute(
            tx,
            "insert into refresh_tokens as r (tenant, declared, held_by, held_until)"
            " values (%(tenant)s, %(declared)s, %(by)s, clock_timestamp() + make_interval(secs => %(for_s)s))"
            " on conflict (tenant, declared) do update set held_by = excluded.held_by, held_until = excluded.held_until"
            " where r.generation = %(generation)s and (r.held_until is null or r.held_until < clock_timestamp())",
            {"tenant": tenant, "declared": declared, "generation": generation, "by": by, "for_s": for_s},
        )
    )


async def release_refresh(tx: Tx, tenant: str, declared: bytes, *, by: UUID) -> None:
    """Give the exchange back: nothing came of it."""
    await execute(
        tx,
        "update refresh_tokens set held_by = null, held_until = null where tenant = %s and declared = %s and held_by = %s",
        (tenant, declared, by),
    )


async def save_refresh(
    tx: Tx, tenant: str, declared: bytes, generation: int, *, data_key: UUID, ciphertext: bytes
) -> None:
    """Write what an exchange gave, unless a later one has."""
    await execute(
        tx,
        "update refresh_tokens set data_key = %s, ciphertext = %s, generation = generation + 1, held_by = null,"
        " held_until = null, granted_at = clock_timestamp() where tenant = %s and declared = %s and generation = %s",
        (data_key, ciphertext, tenant, declared, generation),
    )


async def forget_refresh(tx: Tx, tenant: str, days: int) -> None:
    """Remove what nobody used for so long."""
    await execute(
        tx,
        "delete from refresh_tokens where tenant = %s and granted_at < clock_timestamp() - make_interval(days => %s)",
        (tenant, days),
    )
