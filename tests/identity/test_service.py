"""The verbs of identity: each audited, the last admin kept, nothing begotten wider than its maker."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import timedelta

import pytest

from stanchion import audit, identity
from stanchion.base import Conflict, Denied, Invalid, NotFound, Unauthenticated
from stanchion.http import PageParams
from tests.support.web import PEPPER


async def events(ctx) -> list[str]:
    return [r.event_type for r in (await audit.list_records(ctx, PageParams(limit=200))).items]


async def test_the_first_admin_is_made_once(stage):
    ctx = await stage.admin()
    assert ctx.actor.roles == {"admin"}
    assert await events(ctx) == ["sign_in_link.created", "api_key.created", "principal.created", "tenant.created"]
    again = await identity.bootstrap_admin(stage.env, PEPPER)
    assert (again.created, again.key) == (False, None)
    assert again.sign_in is not None
    assert len((await identity.list_keys(ctx, PageParams())).items) == 1


async def test_two_bootstraps_at_once_make_one_key(stage):
    both = await asyncio.gather(*(identity.bootstrap_admin(stage.env, PEPPER, tenant="twin") for _ in range(4)))
    assert sorted(b.created for b in both) == [False, False, False, True]
    assert all(b.sign_in for b in both)


async def test_every_change_of_a_principal_is_recorded_and_paged(stage):
    ctx = await stage.admin()
    made = await identity.create_principal(ctx, name="ada@example.org", kind="user", roles=["viewer"])
    await identity.grant_role(ctx, "ada@example.org", "approver")
    assert (await identity.grant_role(ctx, "ada@example.org", "approver")).roles == ("approver", "viewer")
    await identity.revoke_role(ctx, "ada@example.org", "viewer")
    await identity.revoke_role(ctx, "ada@example.org", "viewer")
    after = await identity.disable_principal(ctx, "ada@example.org")
    await identity.disable_principal(ctx, "ada@example.org")
    assert after.disabled_at == stage.env.clock.now()
    assert (await events(ctx))[:4] == [
        "principal.disabled",
        "principal.role_revoked",
        "principal.role_granted",
        "principal.created",
    ]
    records = await audit.list_records(ctx, PageParams(), target_id=str(made.id))
    assert all("ada@example.org" not in r.record for r in records.items)
    granted = json.loads(records.items[2].record)
    assert granted["extra"] == {"role": "approver"}
    assert granted["before"] != granted["after"]
    first = await identity.list_principals(ctx, PageParams(limit=1))
    rest = await identity.list_principals(ctx, PageParams(limit=1, after=first.next))
    assert [p.name for p in (*first.items, *rest.items)] == ["ada@example.org", "admin"]
    assert rest.next is None


async def test_what_is_refused_changes_and_records_nothing(stage):
    ctx = await stage.admin()
    before = await events(ctx)
    with pytest.raises(Conflict):
        await identity.create_principal(ctx, name="admin", kind="user")
    with pytest.raises(Invalid):
        await identity.create_principal(ctx, name="a b", kind="user")
    with pytest.raises(Invalid):
        await identity.create_principal(ctx, name="x", kind="user", roles=["root"])
    with pytest.raises(NotFound):
        await identity.grant_role(ctx, "nobody", "viewer")
    with pytest.raises(NotFound):
        await identity.revoke_key(ctx, stage.env.ids.new())
    with pytest.raises(NotFound):
        await identity.create_key(ctx, PEPPER, principal="nobody", label="")
    assert await events(ctx) == before


async def test_the_last_admin_stays(stage):
    ctx = await stage.admin()
    for lock_out in (identity.revoke_role(ctx, "admin", "admin"), identity.disable_principal(ctx, "admin")):
        with pytest.raises(Conflict) as refused:
            await lock_out
        assert refused.value.code == "principal.last_admin"
    await identity.create_principal(ctx, name="second", kind="user", roles=["admin"])
    await identity.disable_principal(ctx, "second")
    with pytest.raises(Conflict):
        await identity.disable_principal(ctx, "admin")
    await identity.create_principal(ctx, name="third", kind="user", roles=["admin"])
    assert "admin" not in (await identity.revoke_role(ctx, "admin", "admin")).roles


async def test_two_admins_cannot_remove_each_other_at_once(stage):
    ctx = await stage.admin()
    await identity.create_principal(ctx, name="second", kind="user", roles=["admin"])
    ended = await asyncio.gather(
        identity.disable_principal(ctx, "admin"), identity.revoke_role(ctx, "second", "admin"), return_exceptions=True
    )
    assert sum(isinstance(e, Conflict) for e in ended) == 1


async def test_roles_decide(stage):
    admin = await stage.admin()
    viewer = dataclasses.replace(admin, actor=dataclasses.replace(admin.actor, roles=frozenset({"viewer"})))
    for attempt in (
        identity.create_principal(viewer, name="x", kind="user"),
        identity.list_principals(viewer, PageParams()),
        identity.grant_role(viewer, "admin", "viewer"),
        identity.disable_principal(viewer, "admin"),
        identity.create_key(viewer, PEPPER, principal="admin", label=""),
        identity.list_keys(viewer, PageParams()),
        identity.revoke_key(viewer, stage.env.ids.new()),
        identity.create_sign_in_link(viewer, PEPPER, "admin"),
        identity.create_tenant(viewer, PEPPER, name="x", display_name="", admin="a"),
        identity.list_tenants(viewer),
    ):
        with pytest.raises(Denied):
            await attempt


async def test_a_scoped_credential_begets_nothing_wider(stage):
    admin = await stage.admin()
    text = await stage.key(
        "admin", name="narrow", scopes=["keys.create", "signin.create", "tenants.create", "runs.read"]
    )
    narrow = dataclasses.replace(admin, actor=await stage.authenticator.by_key(text))
    for wider in (
        identity.create_key(narrow, PEPPER, principal="admin", label=""),
        identity.create_key(narrow, PEPPER, principal="admin", label="", scopes=["audit.read"]),
        identity.create_sign_in_link(narrow, PEPPER, "admin"),
        identity.create_tenant(narrow, PEPPER, name="x", display_name="", admin="a"),
    ):
        with pytest.raises(Denied):
            await wider
    made = await identity.create_key(narrow, PEPPER, principal="admin", label="", scopes=["runs.read"])
    assert made.key.scopes == ("runs.read",)


async def test_a_new_tenant_is_behind_its_wall(stage):
    ctx = await stage.admin()
    made = await identity.create_tenant(ctx, PEPPER, name="acme", display_name="Acme", admin="boss")
    inside = dataclasses.replace(ctx, actor=await stage.authenticator.by_key(made.key.text))
    assert [t.name for t in await identity.list_tenants(ctx)] == ["acme", "default"]
    assert [t.name for t in await identity.list_tenants(inside)] == ["acme"]
    assert [p.name for p in (await identity.list_principals(inside, PageParams())).items] == ["boss"]
    assert [k.label for k in (await identity.list_keys(inside, PageParams())).items] == ["first admin key"]
    assert await events(inside) == ["api_key.created", "principal.created", "tenant.created"]
    assert (await events(ctx))[0] == "tenant.requested"
    with pytest.raises(NotFound):
        await identity.get_principal(inside, "admin")
    with pytest.raises(Denied):
        await identity.create_tenant(inside, PEPPER, name="further", display_name="", admin="a")
    with pytest.raises(Conflict):
        await identity.create_tenant(ctx, PEPPER, name="acme", display_name="", admin="a")


async def test_a_sign_in_link_works_once_and_for_fifteen_minutes(stage, clock):
    ctx = await stage.admin()
    link = await identity.create_sign_in_link(ctx, PEPPER, "admin")
    session = await identity.redeem(stage.env, PEPPER, link.token)
    assert session.expires_at == clock.now() + timedelta(hours=12)
    actor = await stage.authenticator.by_session(session.token)
    assert (actor.principal, actor.credential) == ("admin", f"session:{session.id}")
    await refused(identity.redeem(stage.env, PEPPER, link.token), "auth.link_used")
    late = await identity.create_sign_in_link(ctx, PEPPER, "admin")
    clock.move(15 * 60)
    await refused(identity.redeem(stage.env, PEPPER, late.token), "auth.expired")
    assert (await events(ctx))[:2] == ["sign_in_link.created", "session.started"]


async def test_of_many_redeems_at_once_one_wins(stage):
    link = await identity.create_sign_in_link(await stage.admin(), PEPPER, "admin")
    ended = await asyncio.gather(
        *(identity.redeem(stage.env, PEPPER, link.token) for _ in range(5)), return_exceptions=True
    )
    assert sum(isinstance(e, identity.NewSession) for e in ended) == 1
    assert {e.code for e in ended if isinstance(e, Unauthenticated)} == {"auth.link_used"}


async def test_a_guessed_secret_does_not_use_a_link_up(stage):
    link = await identity.create_sign_in_link(await stage.admin(), PEPPER, "admin")
    guess = link.token[:-1] + ("0" if link.token[-1] != "0" else "1")
    await refused(identity.redeem(stage.env, PEPPER, guess), "auth.unknown")
    assert await identity.redeem(stage.env, PEPPER, link.token)


async def test_a_disabled_principal_cannot_sign_in_nor_get_credentials(stage):
    ctx = await stage.admin()
    await identity.create_principal(ctx, name="gone", kind="user")
    link = await identity.create_sign_in_link(ctx, PEPPER, "gone")
    await identity.disable_principal(ctx, "gone")
    await refused(identity.redeem(stage.env, PEPPER, link.token), "auth.disabled")
    with pytest.raises(Conflict):
        await identity.create_sign_in_link(ctx, PEPPER, "gone")
    with pytest.raises(Conflict):
        await identity.create_key(ctx, PEPPER, principal="gone", label="")


async def refused(attempt, code: str) -> None:
    with pytest.raises(Unauthenticated) as problem:
        await attempt
    assert problem.value.code == code
