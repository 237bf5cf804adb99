"""Verbs over tenants, principals and API keys. Each change is audited in its own transaction (I6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Denied
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.identity import rules, store
from stanchion.identity.pepper import Pepper
from stanchion.identity.types import ApiKey, NewKey, Principal, PrincipalKind, Tenant


async def list_tenants(ctx: Ctx) -> list[Tenant]:
    """The tenants the actor may see: its own, or all where it may make tenants."""
    ctx.require("tenants.read", name=ctx.tenant)
    everyone = permitted(ctx, ["tenants.create"])
    async with ctx.env.db.engine_tx() if everyone else ctx.tx() as tx:
        return await store.visible_tenants(tx)


async def create_principal(
    ctx: Ctx, *, name: str, kind: PrincipalKind, display_name: str = "", roles: Iterable[str] = ()
) -> Principal:
    """Make a principal.

    Raises Invalid `principal.bad_name` or `role.unknown`, Conflict `principal.exists`, Denied.
    """
    ctx.require("principals.create", name=name)
    made = new_principal(ctx, name=name, kind=kind, display_name=display_name, roles=roles)
    if made.roles:
        ctx.require("principals.grant", name=name)
    async with ctx.tx() as tx:
        if not await store.insert_principal(tx, made):
            raise Conflict(
                "principal.exists",
                f"The tenant {ctx.tenant!r} has a principal {name!r} already.",
                hint="Choose another name, or grant that one the roles it needs.",
            )
        await audit.record(tx, ctx, "principal.created", target=("principal", made.id), after=made)
    return made


def new_principal(ctx: Ctx, *, name: str, kind: PrincipalKind, display_name: str, roles: Iterable[str]) -> Principal:
    """A principal of the actor's tenant, checked, not stored."""
    return Principal(
        tenant=ctx.tenant,
        id=ctx.env.ids.new(),
        kind=kind,
        name=rules.check_principal_name(name),
        display_name=display_name or name,
        roles=rules.check_roles(roles),
        created_at=ctx.now,
        disabled_at=None,
    )


async def list_principals(ctx: Ctx, page: PageParams) -> Slice[Principal]:
    """The tenant's principals, newest first."""
    ctx.require("principals.read")
    after = id_after(page)
    async with ctx.tx() as tx:
        found = await store.select_principals(tx, ctx.tenant, after, page.limit + 1)
    return slice_of(found, page.limit, lambda p: (str(p.id),))


async def get_principal(ctx: Ctx, name: str) -> Principal:
    """One principal. Raises NotFound `principal.unknown`."""
    ctx.require("principals.read", name=name)
    async with ctx.tx() as tx:
        return await store.principal_named(tx, ctx.tenant, name)


async def whoami(ctx: Ctx) -> Principal:
    """The actor's own principal."""
    ctx.require("identity.whoami")
    async with ctx.tx() as tx:
        return await store.principal_named(tx, ctx.tenant, ctx.actor.principal)


def permitted(ctx: Ctx, actions: Iterable[str]) -> list[str]:
    """Those of `actions` that the actor's credential is permitted in its own tenant."""
    found: list[str] = []
    for action in actions:
        try:
            ctx.require(action)
        except Denied:
            continue
        found.append(action)
    return found


async def grant_role(ctx: Ctx, name: str, role: str) -> Principal:
    """Give a principal a role; nothing changes if it has it. Raises Invalid `role.unknown`, NotFound, Denied."""
    ctx.require("principals.grant", name=name)
    [known] = rules.check_roles([role])
    async with ctx.tx() as tx:
        before = await store.lock_principal(tx, ctx.tenant, name)
        if known in before.roles:
            return before
        after = dataclasses.replace(before, roles=tuple(sorted({*before.roles, known})))
        await _save(tx, ctx, "principal.role_granted", before, after, role=known)
    return after


async def revoke_role(ctx: Ctx, name: str, role: str) -> Principal:
    """Take a role from a principal; nothing changes if it has it not.

    Raises Conflict `principal.last_admin`, Invalid `role.unknown`, NotFound, Denied.
    """
    ctx.require("principals.grant", name=name)
    [known] = rules.check_roles([role])
    async with ctx.tx() as tx:
        admins = await store.lock_admins(tx, ctx.tenant)
        before = await store.lock_principal(tx, ctx.tenant, name)
        if known not in before.roles:
            return before
        if known == "admin" and before.disabled_at is None:
            rules.keeps_an_admin(admins, without=before.id)
        after = dataclasses.replace(before, roles=tuple(r for r in before.roles if r != known))
        await _save(tx, ctx, "principal.role_revoked", before, after, role=known)
    return after


async def disable_principal(ctx: Ctx, name: str) -> Principal:
    """Disable a principal: all its credentials fail from within a second on. Nothing changes if it is disabled.

    Raises Conflict `principal.last_admin`, NotFound, Denied.
    """
    ctx.require("principals.disable", name=name)
    async with ctx.tx() as tx:
        admins = await store.lock_admins(tx, ctx.tenant)
        before = await store.lock_principal(tx, ctx.tenant, name)
        if before.disabled_at is not None:
            return before
        if "admin" in before.roles:
            rules.keeps_an_admin(admins, without=before.id)
        after = dataclasses.replace(before, disabled_at=ctx.now)
        await _save(tx, ctx, "principal.disabled", before, after)
    return after


async def create_key(
    ctx: Ctx,
    pepper: Pepper,
    *,
    principal: str,
    label: str,
    scopes: Iterable[str] = (),
    expires_at: datetime | None = None,
) -> NewKey:
    """Make an API key; its text is in the answer and nowhere else.

    Args:
        ctx: who asks.
        pepper: the key of the HMAC that is stored.
        principal: whose key it is.
        label: what it is for, in the maker's words.
        scopes: actions it is limited to; none means all that the principal's roles permit.
        expires_at: when it ends, or None.

    Raises:
        Invalid `scope.unknown`, `key.bad_expiry`; NotFound `principal.unknown`; Conflict `principal.disabled`;
        Denied `keys.wider_than_own`.
    """
    ctx.require("keys.create", name=principal)
    checked = rules.check_scopes(scopes, ctx.actor)
    rules.check_expiry(expires_at, ctx.now)
    async with ctx.tx() as tx:
        holder = await store.principal_named(tx, ctx.tenant, principal)
        if holder.disabled_at is not None:
            raise Conflict(
                "principal.disabled", f"{principal!r} is disabled.", hint="Make a key for another principal."
            )
        return await insert_new_key(tx, ctx, pepper, holder, label=label, scopes=checked, expires_at=expires_at)


async def insert_new_key(
    tx: Tx,
    ctx: Ctx,
    pepper: Pepper,
    holder: Principal,
    *,
    label: str,
    scopes: tuple[str, ...] = (),
    expires_at: datetime | None = None,
) -> NewKey:
    """Store a new key of `holder` and its audit record in the caller's transaction."""
    secret = rules.secret_text(ctx.env.ids.secret(rules.SECRET_BYTES))
    key = ApiKey(
        tenant=holder.tenant,
        id=ctx.env.ids.new(),
        principal_id=holder.id,
        principal=holder.name,
        label=label,
        scopes=scopes,
        created_at=ctx.now,
        created_by=ctx.actor.principal,
        expires_at=expires_at,
        revoked_at=None,
    )
    await store.insert_key(tx, key, rules.mac_of(pepper.bytes(), "api_key", key.id, secret))
    await audit.record(
        tx, ctx, "api_key.created", target=("api_key", key.id), after=key, extra={"principal": str(holder.id)}
    )
    return NewKey(key=key, text=rules.key_text(ctx.env.environment.name, key.id, secret))


async def list_keys(ctx: Ctx, page: PageParams, *, principal: str | None = None) -> Slice[ApiKey]:
    """The tenant's API keys without their secrets, newest first."""
    ctx.require("keys.read")
    after = id_after(page)
    async with ctx.tx() as tx:
        found = await store.select_keys(tx, ctx.tenant, principal, after, page.limit + 1)
    return slice_of(found, page.limit, lambda k: (str(k.id),))


async def revoke_key(ctx: Ctx, key_id: UUID) -> ApiKey:
    """Revoke a key: it fails on every process within a second. Nothing changes if it is revoked. Raises NotFound."""
    ctx.require("keys.revoke", id=str(key_id))
    async with ctx.tx() as tx:
        before = await store.lock_key(tx, ctx.tenant, key_id)
        if before.revoked_at is not None:
            return before
        after = dataclasses.replace(before, revoked_at=ctx.now)
        await store.revoke_key(tx, ctx.tenant, key_id, ctx.now)
        await audit.record(tx, ctx, "api_key.revoked", target=("api_key", key_id), before=before, after=after)
    return after


async def _save(tx: Tx, ctx: Ctx, event: str, before: Principal, after: Principal, **facts: object) -> None:
    await store.save_principal(tx, after)
    await audit.record(tx, ctx, event, target=("principal", after.id), before=before, after=after, extra=facts)
