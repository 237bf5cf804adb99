"""All SQL of identity. Functions take the transaction first and never commit."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from stanchion.base import NotFound
from stanchion.db import Tx, execute, many, maybe, one, scalars
from stanchion.identity.types import ApiKey, CredentialRow, Principal, Tenant

# --- tenants


async def insert_tenant(tx: Tx, name: str, display_name: str, now: datetime) -> bool:
    """Insert a tenant; False if it was there."""
    return (
        await execute(
            tx,
            "insert into tenants (name, display_name, created_at) values (%s, %s, %s) on conflict do nothing",
            (name, display_name, now),
        )
        == 1
    )


async def visible_tenants(tx: Tx) -> list[Tenant]:
    """The tenants that the transaction's role may see, by name: its own as `app`, all as `engine`."""
    return await many(tx, Tenant, "select name, display_name, created_at from tenants order by name limit 1000")


# --- principals


async def insert_principal(tx: Tx, principal: Principal) -> bool:
    """Insert a principal; False if the tenant has one of that name."""
    return (
        await execute(
            tx,
            """
        insert into principals (tenant, id, kind, name, display_name, roles, created_at, disabled_at)
        values (%s, %s, %s, %s, %s, %s, %s, %s)
        on conflict (tenant, name) do nothing
        """,
            (
                principal.tenant,
                principal.id,
                principal.kind,
                principal.name,
                principal.display_name,
                list(principal.roles),
                principal.created_at,
                principal.disabled_at,
            ),
        )
        == 1
    )


async def lock_principal(tx: Tx, tenant: str, name: str) -> Principal:
    """The principal of that name, locked. Raises NotFound `principal.unknown`."""
    return await one(
        tx,
        Principal,
        """
        select tenant, id, kind, name, display_name, roles, created_at, disabled_at
        from principals where tenant = %s and name = %s for update
        """,
        (tenant, name),
        missing=_no_principal(name),
    )


async def principal_named(tx: Tx, tenant: str, name: str) -> Principal:
    """The principal of that name. Raises NotFound `principal.unknown`."""
    return await one(
        tx,
        Principal,
        """
        select tenant, id, kind, name, display_name, roles, created_at, disabled_at
        from principals where tenant = %s and name = %s
        """,
        (tenant, name),
        missing=_no_principal(name),
    )


async def principal_of_id(tx: Tx, tenant: str, principal_id: UUID) -> Principal | None:
    """The principal of that id, or None."""
    return await maybe(
        tx,
        Principal,
        """
        select tenant, id, kind, name, display_name, roles, created_at, disabled_at
        from principals where tenant = %s and id = %s
        """,
        (tenant, principal_id),
    )


async def select_principals(tx: Tx, tenant: str, after: UUID | None, limit: int) -> list[Principal]:
    """Up to `limit` principals, newest first, before the id `after`."""
    return await many(
        tx,
        Principal,
        """
        select tenant, id, kind, name, display_name, roles, created_at, disabled_at
        from principals
        where tenant = %(tenant)s and (%(after)s::uuid is null or id < %(after)s)
        order by id desc limit %(limit)s
        """,
        {"tenant": tenant, "after": after, "limit": limit},
    )


async def lock_admins(tx: Tx, tenant: str) -> list[Principal]:
    """All principals with the role `admin`, locked in one order, so that two changes cannot each spare the other's."""
    return await many(
        tx,
        Principal,
        """
        select tenant, id, kind, name, display_name, roles, created_at, disabled_at
        from principals where tenant = %s and 'admin' = any (roles) order by id for update
        """,
        (tenant,),
    )


async def save_principal(tx: Tx, principal: Principal) -> None:
    """Write the principal's roles and whether it is disabled."""
    await execute(
        tx,
        "update principals set roles = %s, disabled_at = %s where tenant = %s and id = %s",
        (list(principal.roles), principal.disabled_at, principal.tenant, principal.id),
    )


# --- API keys


async def insert_key(tx: Tx, key: ApiKey, mac: bytes) -> None:
    """Insert a key with the HMAC of its secret."""
    await execute(
        tx,
        """
        insert into api_keys (tenant, id, principal_id, label, mac, scopes, created_at, created_by, expires_at)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s)
        """,
        (
            key.tenant,
            key.id,
            key.principal_id,
            key.label,
            mac,
            list(key.scopes),
            key.created_at,
            key.created_by,
            key.expires_at,
        ),
    )


async def lock_key(tx: Tx, tenant: str, key_id: UUID) -> ApiKey:
    """The key, locked. Raises NotFound `key.unknown`."""
    return await one(
        tx,
        ApiKey,
        """
        select k.tenant, k.id, k.principal_id, p.name as principal, k.label, k.scopes, k.created_at, k.created_by,
               k.expires_at, k.revoked_at
        from api_keys k join principals p on p.tenant = k.tenant and p.id = k.principal_id
        where k.tenant = %s and k.id = %s
        for update of k
        """,
        (tenant, key_id),
        missing=NotFound("key.unknown", f"There is no API key {key_id}.", hint="GET /api/keys lists them."),
    )


async def select_keys(tx: Tx, tenant: str, principal: str | None, after: UUID | None, limit: int) -> list[ApiKey]:
    """Up to `limit` keys, newest first, before the id `after`, of `principal` if given."""
    return await many(
        tx,
        ApiKey,
        """
        select k.tenant, k.id, k.principal_id, p.name as principal, k.label, k.scopes, k.created_at, k.created_by,
               k.expires_at, k.revoked_at
        from api_keys k join principals p on p.tenant = k.tenant and p.id = k.principal_id
        where k.tenant = %(tenant)s
          and (%(principal)s::text is null or p.name = %(principal)s)
          and (%(after)s::uuid is null or k.id < %(after)s)
        order by k.id desc limit %(limit)s
        """,
        {"tenant": tenant, "principal": principal, "after": after, "limit": limit},
    )


async def revoke_key(tx: Tx, tenant: str, key_id: UUID, now: datetime) -> None:
    """Mark the key revoked."""
    await execute(tx, "update api_keys set revoked_at = %s where tenant = %s and id = %s", (now, tenant, key_id))


# --- sign-in links and sessions


async def insert_link(
    tx: Tx, tenant: str, link_id: UUID, principal_id: UUID, mac: bytes, now: datetime, expires_at: datetime
) -> None:
    """Insert a one-time link."""
    await execute(
        tx,
        """
        insert into sign_in_links (tenant, id, principal_id, mac, created_at, expires_at)
        values (%s, %s, %s, %s, %s, %s)
        """,
        (tenant, link_id, principal_id, mac, now, expires_at),
    )


async def use_link(tx: Tx, tenant: str, link_id: UUID, now: datetime) -> bool:
    """Use the link up; False if it was used already (also by a concurrent request, which this waits for)."""
    return (
        await execute(
            tx,
            "update sign_in_links set used_at = %s where tenant = %s and id = %s and used_at is null",
            (now, tenant, link_id),
        )
        == 1
    )


async def insert_session(
    tx: Tx, tenant: str, session_id: UUID, principal_id: UUID, mac: bytes, now: datetime, expires_at: datetime
) -> None:
    """Insert a session."""
    await execute(
        tx,
        """
        insert into sessions (tenant, id, principal_id, mac, created_at, expires_at)
        values (%s, %s, %s, %s, %s, %s)
        """,
        (tenant, session_id, principal_id, mac, now, expires_at),
    )


async def end_session(tx: Tx, tenant: str, session_id: UUID, now: datetime) -> bool:
    """End the session; False if it had ended."""
    return (
        await execute(
            tx,
            "update sessions set ended_at = %s where tenant = %s and id = %s and ended_at is null",
            (now, tenant, session_id),
        )
        == 1
    )


# --- presented credentials: before a tenant is known, only the presented row is visible


async def presented_key(tx: Tx, key_id: UUID) -> CredentialRow | None:
    """The key's row, in a transaction that presents it."""
    return await maybe(
        tx,
        CredentialRow,
        """
        select tenant, id, principal_id, mac, scopes, expires_at, revoked_at as ended_at
        from api_keys where id = %s
        """,
        (key_id,),
    )


async def presented_session(tx: Tx, session_id: UUID) -> CredentialRow | None:
    """The session's row, in a transaction that presents it."""
    return await maybe(
        tx,
        CredentialRow,
        """
        select tenant, id, principal_id, mac, '{}'::text[] as scopes, expires_at, ended_at
        from sessions where id = %s
        """,
        (session_id,),
    )


async def presented_link(tx: Tx, link_id: UUID) -> CredentialRow | None:
    """The link's row, in a transaction that presents it."""
    return await maybe(
        tx,
        CredentialRow,
        """
        select tenant, id, principal_id, mac, '{}'::text[] as scopes, expires_at, used_at as ended_at
        from sign_in_links where id = %s
        """,
        (link_id,),
    )


async def enter_tenant(tx: Tx, tenant: str) -> None:
    """Wall the rest of this transaction to the tenant that the presented row named."""
    await scalars(tx, "select set_config('stanchion.tenant', %s, true)", (tenant,))


def _no_principal(name: str) -> NotFound:
    return NotFound("principal.unknown", f"There is no principal {name!r}.", hint="GET /api/principals lists them.")
