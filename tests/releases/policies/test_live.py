"""Authorization policies as they are released: what publishing refuses, who hears of a change and when, what decides then."""

from __future__ import annotations

import psycopg
import pytest

from stanchion.approvals import PolicyKind
from stanchion.artifacts import Document
from stanchion.base import Invalid, Unavailable
from stanchion.context import Actor, Environment
from stanchion.controls import withdrawals
from stanchion.db import Database
from stanchion.identity import CallQuestion, CedarCalls
from stanchion.releases import apply
from stanchion.releases.policies import AGE_S_MAX, AuthorizationType, Snapshot, kept
from stanchion.releases.revoking import revoke
from stanchion.releases.rollouts import Target, rollback
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.flags.support import Clock, until
from tests.support.deployment import said, within_promise

KINDS = {"policy": PolicyKind(others=[AuthorizationType()])}
ROUNDS = 10
POLICY = """\
policy: freeze
type: authorization
owner: operations
cedar: |
  // Nothing is written while the books are closed.
  @id("closed")
  forbid (principal, action == Stanchion::Action::"effects.perform", resource);
"""


def document(*changes: tuple[str, str]) -> Document:
    source = POLICY
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return Document(path="policies/freeze.yaml", source=source)


OPEN = document(("forbid (principal", "permit (principal"))


def question(tenant: str = "acme") -> CallQuestion:
    who = Actor(
        tenant=tenant, principal="ada", principal_id="p", kind="user", roles=frozenset({"author"}), credential="x"
    )
    return CallQuestion(
        tenant=tenant, actor=who, effect="write", verb="push", connector="erp", resource="postings", operation="push",
        connector_environment="local", connector_digest="sha256:c", arguments={},
        environment=Environment(name="local", production=False),
    )  # fmt: skip


@pytest.fixture
async def env(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        made = make_env(db)
        await add_tenants(made, "acme", "beta")
        yield made


async def release(env, one: Document, tenant: str = "acme"):
    return await apply(ctx_of(env, tenant), (one,), kinds=KINDS, changelog="because")


@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
@pytest.mark.parametrize("role", ["app", "engine"])
async def test_a_policy_decides_on_every_process_within_a_second(
    env, cluster, fresh_database_urls, notified: bool, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if notified:  # and by nothing else
        monkeypatch.setattr(Snapshot, "every_s", 60.0)
    took = []
    async with kept(env, role=role, notified=notified) as live:
        calls = CedarCalls(live)
        if notified:
            with psycopg.connect(cluster.superuser(fresh_database_urls), autocommit=True) as server:
                await until(lambda: listens(server), "the process listens")
        for _ in range(ROUNDS):
            await release(env, document())
            took.append(await until(lambda: not calls.judge_call(question()).permitted, "forbidden"))
            await release(env, OPEN)
            took.append(await until(lambda: calls.judge_call(question()).permitted, "permitted"))
        assert calls.judge_call(question("beta")).permitted
    print(f"\ndecides after ({'notified' if notified else 'looks alone'}, {role}): {said(took)}")
    assert within_promise(took)


def listens(server: psycopg.Connection) -> bool:
    query = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %calls%'"
    return server.execute(query).fetchone() == (1,)


async def test_what_is_not_live_decides_nothing_and_a_rollback_brings_the_older_one_back(env) -> None:
    live = Snapshot(env)
    calls = CedarCalls(live)
    await release(env, document())
    await release(env, OPEN)
    await live.refresh()
    assert calls.judge_call(question()).because == ("built-in/calls.write_outside_production", "freeze/closed")
    await rollback(ctx_of(env, "acme"), Target(kind="policy", name="freeze"), kinds=KINDS, reason="closed again")
    await live.refresh()
    assert calls.judge_call(question()).because == ("freeze/closed",)


async def test_a_revoked_policy_that_is_live_denies(env) -> None:
    await release(env, document())
    await release(env, OPEN)
    withdrawn = withdrawals.Snapshot(env, role="app")
    live = Snapshot(env, withdrawn=withdrawn)
    async with env.db.tenant_tx("acme") as tx:
        row = await (await tx.execute("select digest from releases where kind = 'policy'")).fetchone()
    assert row is not None
    await revoke(ctx_of(env, "acme"), row[0], reason="it permits too much")
    await withdrawn.refresh()
    await live.refresh()
    verdict = CedarCalls(live).judge_call(question())
    assert not verdict.permitted
    assert "revoked" in verdict.refusals[0]


async def test_unread_and_too_old_deny(fresh_database_urls) -> None:
    clock = Clock()
    async with Database(fresh_database_urls) as db:
        env = make_env(db, clock=clock)
        await add_tenants(env, "acme")
        live = Snapshot(env)
        with pytest.raises(Unavailable, match="were not read yet"):
            live.policies("acme", strict=False)
        await live.refresh()
        clock.passed_s += AGE_S_MAX + 0.1
        assert live.policies("acme", strict=False) == ()  # reads go on by what is known
        with pytest.raises(Unavailable, match="could not be read"):
            live.policies("acme", strict=True)


async def test_publishing_tells_what_is_wrong_at_its_line(env) -> None:
    with pytest.raises(Invalid) as caught:
        await release(env, document(("effects.perform", "effects.perfrm"), ("owner: operations\n", "")))
    errors = {error["code"]: error for error in caught.value.fields["errors"]}
    assert (errors["policy.cedar_schema"]["line"], errors["policy.cedar_schema"]["column"]) == (6, 32)
    assert "perfrm" in errors["policy.cedar_schema"]["message"]
    assert "owner" in errors["document.missing_field"]["message"]


async def test_a_policy_of_ours_cannot_be_named_like_the_shipped_one(env) -> None:
    with pytest.raises(Invalid) as caught:
        await release(env, document(("policy: freeze", "policy: built-in")))
    assert [error["code"] for error in caught.value.fields["errors"]] == ["policy.name"]


async def test_the_number_cannot_be_forged_by_another_tenant(env) -> None:
    await release(env, document())
    async with env.db.tenant_tx("beta") as tx:
        assert (await tx.execute("update call_revisions set rev = 0")).rowcount == 0
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with env.db.tenant_tx("beta") as tx:
            await tx.execute("insert into call_revisions (tenant, environment, rev) values ('acme', 'x', 1)")
