from __future__ import annotations

import asyncio

import psycopg
import pytest

from stanchion.artifacts import Document, Parsed, PublishChange, history, list_artifacts, load, publish, show
from stanchion.base import Denied, Internal, Invalid, NotFound, digest
from stanchion.blueprints import Issue
from stanchion.context import Env
from stanchion.http import PageParams
from tests.artifacts.support import add_tenants, ctx_of, parsed_of, publish_one
from tests.conftest import make_env


@pytest.fixture(autouse=True)
async def tenants(env: Env) -> None:
    await add_tenants(env, "acme", "umbra")


async def test_versions_of_a_name(env: Env) -> None:
    ctx = ctx_of(env)
    first, change = await publish_one(ctx, "limits", when="1")
    assert (first.version, change) == (1, PublishChange.CREATED)
    assert first.digest == digest(first.body)
    same, change = await publish_one(ctx, "limits", when="1")
    assert (same, change) == (first, PublishChange.UNCHANGED)
    second, change = await publish_one(ctx, "limits", when="2", changelog="Ask later.")
    assert (second.version, change) == (2, PublishChange.UPDATED)
    back, change = await publish_one(ctx, "limits", when="1")
    assert (back, change) == (first, PublishChange.REUSED)
    async with ctx.tx() as tx:
        assert await load(tx, "acme", "policy", second.digest) == second
    assert await show(ctx, "policy", "limits") == second
    assert await show(ctx, "policy", "limits", 1) == first
    listed = await history(ctx, "policy", "limits", PageParams(limit=1))
    assert [row.version for row in listed.items] == [2]
    rest = await history(ctx, "policy", "limits", PageParams(limit=1, after=listed.next))
    assert [row.version for row in rest.items] == [1]
    assert rest.next is None


async def test_a_new_version_is_audited_and_an_old_one_is_not(env: Env) -> None:
    ctx = ctx_of(env)
    made, _ = await publish_one(ctx, "audited", changelog="Because.")
    await publish_one(ctx, "audited")
    async with ctx.tx() as tx:
        rows = await (
            await tx.execute(
                "select event_type, record::jsonb->>'after' from audit_records where target_id = 'policy/audited'"
            )
        ).fetchall()
    assert [tuple(row) for row in rows] == [("artifact.published", made.digest)]


async def test_fifty_concurrent_publishes_of_one_name_are_gapless(env: Env) -> None:
    ctx = ctx_of(env)
    made = await asyncio.gather(*(publish_one(ctx, "crowd", n=n % 25) for n in range(50)))
    assert sorted({artifact.version for artifact, _ in made}) == list(range(1, 26))
    new = [a for a, change in made if change in (PublishChange.CREATED, PublishChange.UPDATED)]
    assert sorted(a.version for a in new) == list(range(1, 26))
    for n in range(25):
        assert len({a.version for a, _ in made if a.body["n"] == n}) == 1


async def test_a_failed_transaction_leaves_no_gap(env: Env) -> None:
    ctx = ctx_of(env)
    await publish_one(ctx, "gapless", n=1)
    with pytest.raises(RuntimeError):
        await _publish_and_fail(ctx)
    second, _ = await publish_one(ctx, "gapless", n=3)
    assert second.version == 2


async def _publish_and_fail(ctx) -> None:
    async with ctx.tx() as tx:
        await publish(tx, ctx, "policy", parsed_of("gapless", n=2), Document(path="x", source="x"))
        raise RuntimeError("the rest of the change failed")


async def test_a_version_cannot_be_changed_or_deleted(env: Env) -> None:
    ctx = ctx_of(env)
    await publish_one(ctx, "stone")
    for statement in ("update artifacts set body = '{}'", "delete from artifacts"):
        for open_tx in (ctx.tx, env.db.engine_tx):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with open_tx() as tx:
                    await tx.execute(statement)


async def test_another_tenant_sees_nothing_and_numbers_its_own(env: Env) -> None:
    ours = ctx_of(env)
    made, _ = await publish_one(ours, "walled", secret="ours")
    theirs = ctx_of(env, "umbra")
    with pytest.raises(NotFound) as caught:
        await show(theirs, "policy", "walled")
    assert caught.value.code == "artifact.unknown"
    with pytest.raises(NotFound):
        await history(theirs, "policy", "walled", PageParams())
    async with theirs.tx() as tx:
        with pytest.raises(NotFound):
            await load(tx, "umbra", "policy", made.digest)
        # The wall holds also where the query forgets the tenant.
        with pytest.raises(NotFound):
            await load(tx, "acme", "policy", made.digest)
        assert (await (await tx.execute("select count(*) from artifacts where tenant = 'acme'")).fetchone())[0] == 0
    their_first, change = await publish_one(theirs, "walled", secret="theirs")
    assert (their_first.version, change) == (1, PublishChange.CREATED)


async def test_lists_page_by_kind_and_name(env: Env) -> None:
    ctx = ctx_of(env, "umbra")
    for name in ("b-one", "a-one", "c-one"):
        await publish_one(ctx, name)
        await publish_one(ctx, name, n=2)
    page = await list_artifacts(ctx, PageParams(limit=2), kind="policy")
    assert [(row.name, row.version) for row in page.items] == [("a-one", 2), ("b-one", 2)]
    rest = await list_artifacts(ctx, PageParams(limit=2, after=page.next), kind="policy")
    assert "c-one" in [row.name for row in rest.items]
    assert (await list_artifacts(ctx, PageParams(), kind="prompt")).items == []


async def test_what_cannot_be_kept_is_refused(env: Env) -> None:
    ctx = ctx_of(env)
    with pytest.raises(Invalid) as caught:
        await publish_one(ctx, "nul", text="a\x00b")
    assert caught.value.code == "artifact.unstorable"
    assert "/text" in caught.value.message
    with pytest.raises(Invalid) as caught:
        await publish_one(ctx, "huge", text="x" * 1_100_000)
    assert caught.value.code == "artifact.too_large"


async def test_a_document_with_errors_is_never_published(env: Env) -> None:
    issue = Issue(code="x", message="m", hint="h", file="f", line=1, column=1, step=None, pointer="")
    broken = Parsed(name="broken", body={}, owner="", references=(), issues=(issue,))
    ctx = ctx_of(env)
    async with ctx.tx() as tx:
        with pytest.raises(Internal):
            await publish(tx, ctx, "policy", broken, Document(path="x", source="x"))


class DenyAll:
    def check(self, actor, action, resource) -> None:
        raise Denied("auth.denied", f"{action} is not permitted.")


async def test_every_verb_asks_first(env: Env) -> None:
    ctx = ctx_of(make_env(env.db, authorizer=DenyAll()))
    for call in (
        show(ctx, "policy", "limits"),
        history(ctx, "policy", "limits", PageParams()),
        list_artifacts(ctx, PageParams()),
        publish_one(ctx, "denied"),
    ):
        with pytest.raises(Denied):
            await call
