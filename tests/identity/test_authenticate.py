"""Credentials: judged on every request, looked up at most once a second, revoked everywhere within one."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from stanchion import identity
from stanchion.base import Unauthenticated
from stanchion.identity import Authenticator, Pepper, store
from tests.support.web import PEPPER


async def refused(attempt, code: str) -> None:
    with pytest.raises(Unauthenticated) as problem:
        await attempt
    assert problem.value.code == code


@pytest.fixture
def look_ups(monkeypatch):
    seen = []
    read = store.presented_key

    async def counted(tx, key_id):
        seen.append(key_id)
        return await read(tx, key_id)

    monkeypatch.setattr(store, "presented_key", counted)
    return seen


async def test_a_key_gives_the_principal_its_roles_and_scopes(stage):
    made = await stage.made_key("operator", name="ops", scopes=["runs.read"])
    actor = await stage.authenticator.by_key(made.text)
    assert (actor.tenant, actor.principal, actor.kind) == ("default", "ops", "user")
    assert (actor.roles, actor.scopes) == ({"operator"}, {"runs.read"})
    assert actor.credential == f"api_key:{made.key.id}"


async def test_a_revoked_key_fails_on_every_process_within_a_second(stage, clock):
    made = await stage.made_key("viewer")
    other_process = Authenticator(stage.env, PEPPER)
    await stage.authenticator.by_key(made.text)
    await other_process.by_key(made.text)
    await identity.revoke_key(await stage.admin(), made.key.id)
    clock.move(0.89)
    assert 0.8 < other_process.age_s() < 0.9
    await other_process.by_key(made.text)
    clock.move(0.02)
    await refused(other_process.by_key(made.text), "auth.revoked")
    await refused(stage.authenticator.by_key(made.text), "auth.revoked")


async def test_here_a_revocation_counts_at_once(stage):
    made = await stage.made_key("viewer")
    actor = await stage.authenticator.by_key(made.text)
    await identity.revoke_key(await stage.admin(), made.key.id)
    stage.authenticator.forget(actor)
    await refused(stage.authenticator.by_key(made.text), "auth.revoked")


async def test_roles_and_disabling_count_within_a_second(stage, clock):
    text = await stage.key("viewer", name="ada")
    await stage.authenticator.by_key(text)
    admin = await stage.admin()
    await identity.grant_role(admin, "ada", "operator")
    clock.move(1)
    assert (await stage.authenticator.by_key(text)).roles == {"viewer", "operator"}
    await identity.disable_principal(admin, "ada")
    clock.move(1)
    await refused(stage.authenticator.by_key(text), "auth.disabled")


async def test_an_expiry_counts_to_the_moment(stage, clock):
    made = await stage.made_key("viewer", expires_at=clock.now() + timedelta(seconds=0.5))
    await stage.authenticator.by_key(made.text)
    clock.move(0.5)
    await refused(stage.authenticator.by_key(made.text), "auth.expired")


async def test_a_session_ends_after_twelve_hours_or_by_signing_out(stage, clock):
    ctx = await stage.admin()
    link = await identity.create_sign_in_link(ctx, PEPPER, "admin")
    session = await identity.redeem(stage.env, PEPPER, link.token)
    clock.move(12 * 3600 - 1)
    await stage.authenticator.by_session(session.token)
    clock.move(1)
    await refused(stage.authenticator.by_session(session.token), "auth.expired")


async def test_a_wrong_secret_is_refused_without_saying_why(stage):
    text = stage.admin_key
    presented = identity.rules.read_key(text, "local")
    wrong = identity.rules.key_text("local", presented.id, identity.rules.secret_text(bytes(32)))
    unknown = identity.rules.key_text("local", stage.env.ids.new(), presented.secret)
    await refused(stage.authenticator.by_key(wrong), "auth.unknown")
    await refused(stage.authenticator.by_key(unknown), "auth.unknown")
    await refused(Authenticator(stage.env, Pepper(b"x" * 32)).by_key(text), "auth.unknown")


async def test_a_mistyped_key_costs_no_look_up(stage, look_ups):
    for wrong in (stage.admin_key[:-1], stage.admin_key[:-1] + "g", "nonsense", ""):
        with pytest.raises(Unauthenticated):
            await stage.authenticator.by_key(wrong)
    assert look_ups == []


async def test_requests_at_once_share_one_look_up(stage, look_ups, clock):
    await asyncio.gather(*(stage.authenticator.by_key(stage.admin_key) for _ in range(20)))
    assert len(look_ups) == 1
    clock.move(1)
    await stage.authenticator.by_key(stage.admin_key)
    assert len(look_ups) == 2


async def test_a_caller_that_gives_up_does_not_spoil_it_for_others(stage, look_ups):
    first = asyncio.create_task(stage.authenticator.by_key(stage.admin_key))
    second = asyncio.create_task(stage.authenticator.by_key(stage.admin_key))
    while not look_ups:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).principal == "admin"


async def test_the_memory_is_bounded(stage):
    small = Authenticator(stage.env, PEPPER, entries_max=2)
    for _ in range(5):
        unknown = identity.rules.key_text("local", stage.env.ids.new(), "0" * 43)
        await refused(small.by_key(unknown), "auth.unknown")
    assert len(small._known) == 2


async def test_the_refusals_are_counted(stage):
    with pytest.raises(Unauthenticated):
        await stage.authenticator.by_key("nonsense")
    assert b'stanchion_auth_refused_total{reason="malformed_key"} 1.0' in stage.env.telemetry.expose()


async def test_no_secret_is_stored(stage):
    presented = identity.rules.read_key(stage.admin_key, "local")
    link = await identity.create_sign_in_link(await stage.admin(), PEPPER, "admin")
    session = await identity.redeem(stage.env, PEPPER, link.token)
    secrets = [presented.secret, link.token.split(".")[1], session.token.split(".")[1]]
    async with stage.env.db.tenant_tx("default") as tx:
        for table in ("api_keys", "sign_in_links", "sessions", "audit_records", "principals"):
            rows = await (await tx.execute(f"select row_to_json(t)::text from {table} t")).fetchall()
            assert rows
            for secret in secrets:
                assert not any(secret in row[0] for row in rows)
