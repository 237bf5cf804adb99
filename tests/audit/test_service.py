"""Records commit with their change, are walled by tenant, listed by filter and page, and never changed."""

from __future__ import annotations

import dataclasses
import json

import psycopg
import pytest

from stanchion import audit
from stanchion.audit import routes as audit_routes
from stanchion.base import Invalid
from stanchion.context import Actor, Ctx
from stanchion.http import PageParams
from tests.support.http import app_of, client_of


@pytest.fixture
async def ctx(env, request):
    tenant = f"t{abs(hash(request.node.name)) % 10**9}"
    async with env.db.engine_tx() as tx:
        await tx.execute("insert into tenants (name, display_name) values (%s, %s)", (tenant, tenant))
    actor = Actor(
        tenant=tenant,
        principal="ada",
        principal_id=str(env.ids.new()),
        kind="user",
        roles=frozenset({"admin"}),
        credential="api_key:1",
    )
    async with env.db.tenant_tx(tenant) as tx:
        await tx.execute(
            "insert into principals (tenant, id, kind, name, display_name, roles) values (%s, %s, 'user', 'ada', '', '{}')",
            (tenant, actor.principal_id),
        )
    return Ctx(env=env, actor=actor, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")


async def test_what_is_stored_is_what_was_built(ctx):
    run = ctx.env.ids.new()
    async with ctx.tx() as tx:
        made = await audit.record(tx, ctx, "run.started", target=("run", run), run_id=run, after={"a": 1})
    [stored] = (await audit.list_records(ctx, PageParams())).items
    assert (stored.id, stored.recorded_at, stored.record, stored.leaf) == (
        made.id,
        made.recorded_at,
        made.record,
        made.leaf,
    )
    assert stored.leaf == audit.leaf_of(stored.record.encode())
    assert stored.actor == ctx.actor.principal_id
    assert stored.actor_name == "ada"
    assert json.loads(stored.record)["trace_id"] == "a" * 32


async def test_a_record_rolls_back_with_its_change(ctx):
    with pytest.raises(RuntimeError):  # noqa: PT012 - the rollback is what is tested
        async with ctx.tx() as tx:
            await audit.record(tx, ctx, "run.started", target=("run", "1"))
            raise RuntimeError
    assert (await audit.list_records(ctx, PageParams())).items == []


async def test_insert_many_and_pages_newest_first(ctx):
    made = [
        audit.build(
            clock=ctx.env.clock,
            ids=ctx.env.ids,
            tenant=ctx.tenant,
            environment="local",
            actor=ctx.actor,
            event_type="run.ended",
            target=("run", f"r{n % 2}"),
        )
        for n in range(7)
    ]
    async with ctx.tx() as tx:
        assert await audit.insert_many(tx, made) == 7
        assert await audit.insert_many(tx, []) == 0
    seen, after = [], None
    while True:
        page = await audit.list_records(ctx, PageParams(limit=3, after=after))
        seen += [r.id for r in page.items]
        after = page.next
        if after is None:
            break
    assert seen == [r.id for r in reversed(made)]
    odd = await audit.list_records(ctx, PageParams(), target_kind="run", target_id="r1")
    assert [r.id for r in odd.items] == [r.id for r in reversed(made[1::2])]
    assert (await audit.list_records(ctx, PageParams(), event_type="run.started")).items == []


async def test_tenants_do_not_see_each_other(ctx):
    async with ctx.tx() as tx:
        await audit.record(tx, ctx, "run.started", target=("run", "1"))
    other = dataclasses.replace(ctx, actor=dataclasses.replace(ctx.actor, tenant="other"))
    assert (await audit.list_records(other, PageParams())).items == []
    made = await _built_for(ctx)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with other.tx() as tx:
            await audit.insert_many(tx, [made])


async def _built_for(ctx):
    return audit.build(
        clock=ctx.env.clock,
        ids=ctx.env.ids,
        tenant=ctx.tenant,
        environment="local",
        actor=ctx.actor,
        event_type="run.ended",
        target=("run", "1"),
    )


@pytest.mark.parametrize("statement", ["update audit_records set actor = 'x'", "delete from audit_records"])
@pytest.mark.parametrize("role", ["app", "engine"])
async def test_nobody_changes_a_record_at_run_time(ctx, statement, role):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # noqa: PT012 - the setting is needed first
        async with ctx.env.db.connection(role) as tx:
            await tx.execute("select set_config('stanchion.tenant', %s, false)", (ctx.tenant,))
            await tx.execute(statement)


async def test_a_foreign_cursor_is_refused(ctx):
    for cursor in ("???", "bm9wZQ", "AAAA"):
        with pytest.raises(Invalid) as refused:
            await audit.list_records(ctx, PageParams(after=cursor))
        assert refused.value.code == "page.bad_cursor"


async def test_over_http(ctx):
    async with ctx.tx() as tx:
        made = await audit.record(tx, ctx, "run.started", target=("run", "1"), reason="because")
        await audit.record(tx, ctx, "run.ended", target=("run", "1"))
    async with client_of(app_of(ctx, audit_routes.build_router())) as client:
        found = (await client.get("/api/audit", params={"event": "run.started"})).json()
        assert found["next"] is None
        [item] = found["items"]
        assert item["id"] == str(made.id)
        assert item["record"] == json.loads(made.record)
        assert item["leaf"] == made.leaf.hex()
        bad = await client.get("/api/audit", params={"run": "x", "limit": 500})
        assert bad.status_code == 400
        assert bad.headers["content-type"] == "application/problem+json"
        assert {e["pointer"] for e in bad.json()["errors"]} == {"/run", "/limit"}
