"""Verbs of signing in: one-time links, sessions, signing out; and the first admin of a tenant."""

from __future__ import annotations

from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Denied, Unauthenticated
from stanchion.context import Ctx, Env, system_actor
from stanchion.db import Tx
from stanchion.identity import rules, store
from stanchion.identity.pepper import Pepper
from stanchion.identity.service import insert_new_key, new_principal
from stanchion.identity.types import (
    SESSION_TTL,
    SIGN_IN_TTL,
    Bootstrapped,
    NewKey,
    NewSession,
    NewSignIn,
    NewTenant,
    Principal,
    Tenant,
)


async def create_sign_in_link(ctx: Ctx, pepper: Pepper, principal: str) -> NewSignIn:
    """Make a link that signs `principal` in once, within 15 minutes.

    Raises NotFound `principal.unknown`, Conflict `principal.disabled`, and Denied `signin.wider_than_own`: a session
    has no scopes, so a scoped key must not beget one.
    """
    ctx.require("signin.create", name=principal)
    if ctx.actor.scopes:
        raise Denied(
            "signin.wider_than_own",
            "A session is permitted all that its principal's roles are, more than the scoped key that asks for it.",
            hint="Ask with a key without scopes, or from a session.",
        )
    async with ctx.tx() as tx:
        holder = await store.principal_named(tx, ctx.tenant, principal)
        if holder.disabled_at is not None:
            raise Conflict(
                "principal.disabled", f"{principal!r} is disabled and cannot sign in.", hint="Choose another."
            )
        return await _insert_link(tx, ctx, pepper, holder)


async def redeem(env: Env, pepper: Pepper, token: str, *, request_id: str = "") -> NewSession:
    """Begin a session with a sign-in link, which is used up in the same transaction.

    Raises Unauthenticated `auth.malformed_token`, `auth.unknown`, `auth.expired`, `auth.link_used`, `auth.disabled`.
    """
    presented = rules.read_token(token)
    async with env.db.presented_tx(str(presented.id)) as tx:
        link = await store.presented_link(tx, presented.id)
        # Proven first: whoever guesses an id uses up nobody's link.
        if not rules.proves(pepper.bytes(), "sign_in_link", link, presented) or link is None:
            raise Unauthenticated("auth.unknown", "The sign-in link is not known here.", hint="Ask for a new link.")
        await store.enter_tenant(tx, link.tenant)
        holder = await store.principal_of_id(tx, link.tenant, link.principal_id)
        why_not = rules.refusal("sign_in_link", link, holder, env.clock.now())
        if why_not is None and not await store.use_link(tx, link.tenant, link.id, env.clock.now()):
            why_not = Unauthenticated(
                "auth.link_used", "The sign-in link was used already.", hint="Ask for a new link."
            )
        if why_not is not None or holder is None:
            raise why_not or Unauthenticated("auth.disabled", "The principal is gone.")
        ctx = Ctx(env=env, actor=rules.actor_of(holder, f"sign_in_link:{link.id}"), request_id=request_id)
        return await _begin_session(tx, ctx, pepper, holder)


async def end_session(ctx: Ctx) -> bool:
    """Sign out: end the session that makes this request. False if the request was not made by one."""
    kind, _, session_id = ctx.actor.credential.partition(":")
    if kind != "session":
        return False
    async with ctx.tx() as tx:
        ended = await store.end_session(tx, ctx.tenant, UUID(session_id), ctx.now)
        if ended:
            await audit.record(tx, ctx, "session.ended", target=("session", session_id))
    return ended


async def create_tenant(ctx: Ctx, pepper: Pepper, *, name: str, display_name: str, admin: str) -> NewTenant:
    """Make a tenant, its first admin and that admin's key.

    Recorded in both tenants: the maker's says who made it, the new one's how it began.
    Raises Invalid `tenant.bad_name`, `principal.bad_name`, Conflict `tenant.exists`, Denied.
    """
    ctx.require("tenants.create", name=name)
    if ctx.actor.scopes:
        raise Denied(
            "tenants.wider_than_own",
            "The new admin's key would be permitted more than the scoped key that makes it.",
            hint="Ask with a key without scopes, or from a session.",
        )
    rules.check_tenant_name(name)
    rules.check_principal_name(admin)
    # The maker's record commits first: an attempt that fails halfway is then visible, a tenant without record is not.
    async with ctx.tx() as tx:
        await audit.record(tx, ctx, "tenant.requested", target=("tenant", name), after={"name": name})
    inside = Ctx(env=ctx.env, actor=system_actor("bootstrap", name), traceparent=ctx.traceparent)
    async with inside.tx() as tx:
        made = await _found_tenant(tx, inside, pepper, display_name=display_name or name, admin=admin)
        if made is None:
            raise Conflict("tenant.exists", f"There is a tenant {name!r} already.", hint="Choose another name.")
    return made


async def bootstrap_admin(env: Env, pepper: Pepper, *, tenant: str = "default", admin: str = "admin") -> Bootstrapped:
    """The first tenant, its admin and the admin's first key; every time, a fresh one-time sign-in link.

    Safe to repeat and to run on two machines at once: one of them makes the key, nobody makes a second.
    """
    ctx = Ctx(env=env, actor=system_actor("bootstrap", rules.check_tenant_name(tenant)))
    ctx.require("tenants.create", name=tenant)
    async with ctx.tx() as tx:
        made = await _found_tenant(tx, ctx, pepper, display_name=tenant, admin=rules.check_principal_name(admin))
        holder = made.admin if made else await store.principal_named(tx, tenant, admin)
        sign_in = await _insert_link(tx, ctx, pepper, holder) if holder.disabled_at is None else None
    key: NewKey | None = made.key if made else None
    return Bootstrapped(tenant=tenant, principal=admin, created=made is not None, key=key, sign_in=sign_in)


async def _found_tenant(tx: Tx, ctx: Ctx, pepper: Pepper, *, display_name: str, admin: str) -> NewTenant | None:
    """The tenant of `ctx` with its first admin and key, or None if it was there."""
    now = ctx.now
    if not await store.insert_tenant(tx, ctx.tenant, display_name, now):
        return None
    tenant = Tenant(name=ctx.tenant, display_name=display_name, created_at=now)
    await audit.record(tx, ctx, "tenant.created", target=("tenant", ctx.tenant), after=tenant)
    holder = new_principal(ctx, name=admin, kind="user", display_name=admin, roles=["admin"])
    await store.insert_principal(tx, holder)
    await audit.record(tx, ctx, "principal.created", target=("principal", holder.id), after=holder)
    key = await insert_new_key(tx, ctx, pepper, holder, label="first admin key")
    return NewTenant(tenant=tenant, admin=holder, key=key)


async def _insert_link(tx: Tx, ctx: Ctx, pepper: Pepper, holder: Principal) -> NewSignIn:
    link_id = ctx.env.ids.new()
    secret = rules.secret_text(ctx.env.ids.secret(rules.SECRET_BYTES))
    expires_at = ctx.now + SIGN_IN_TTL
    mac = rules.mac_of(pepper.bytes(), "sign_in_link", link_id, secret)
    await store.insert_link(tx, ctx.tenant, link_id, holder.id, mac, ctx.now, expires_at)
    await audit.record(
        tx, ctx, "sign_in_link.created", target=("sign_in_link", link_id), extra={"principal": str(holder.id)}
    )
    return NewSignIn(principal=holder.name, token=rules.token_text(link_id, secret), expires_at=expires_at)


async def _begin_session(tx: Tx, ctx: Ctx, pepper: Pepper, holder: Principal) -> NewSession:
    session_id = ctx.env.ids.new()
    secret = rules.secret_text(ctx.env.ids.secret(rules.SECRET_BYTES))
    expires_at = ctx.now + SESSION_TTL
    mac = rules.mac_of(pepper.bytes(), "session", session_id, secret)
    await store.insert_session(tx, holder.tenant, session_id, holder.id, mac, ctx.now, expires_at)
    await audit.record(tx, ctx, "session.started", target=("session", session_id))
    token = rules.token_text(session_id, secret)
    return NewSession(principal=holder, id=session_id, token=token, expires_at=expires_at)
