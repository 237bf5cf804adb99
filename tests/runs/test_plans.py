"""Under row-level security the hot statements and the lists reach their indexes (DESIGN §4)."""

from __future__ import annotations

import re

import psycopg
import pytest

from stanchion.runs import ENGINE_V


@pytest.fixture(scope="module")
def filled(database_urls):
    """20,000 runs of two tenants, most of them ended, as a busy installation has them."""
    with psycopg.connect(database_urls.owner, autocommit=True) as owner:
        owner.execute("alter table runs no force row level security; alter table step_runs no force row level security")
        owner.execute(
            """
            insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, queue, status, waiting_kind, path,
                              input, requested_by, root_id, dead_reason)
            select case when n % 2 = 0 then 'acme' else 'beta' end, id, 'b' || n % 20, 1, 'p', 'local', 1, 'default',
                   case when n % 50 = 0 then 'PENDING' when n % 51 = 0 then 'FAILED' when n % 52 = 0 then 'SUSPENDED'
                        else 'SUCCEEDED' end,
                   case when n % 50 <> 0 and n % 51 <> 0 and n % 52 = 0 then 'approval' end, 'a', '{}', 'x', id,
                   case when n % 50 <> 0 and n % 51 = 0 then 'tests.down' end
            from (select n, gen_random_uuid() as id from generate_series(1, 20000) n) g
            """
        )
        owner.execute(
            "insert into step_runs (tenant, run_id, path, position, verb, status, rev)"
            " select tenant, id, 'a', 0, 'probe', 'PENDING', 1 from runs"
        )
        owner.execute("alter table runs force row level security; alter table step_runs force row level security")
        owner.execute("analyze")
    return database_urls


def plan(url: str, query: str, *, tenant: str | None = None) -> str:
    with psycopg.connect(url) as connection:
        if tenant:
            connection.execute("select set_config('stanchion.tenant', %s, true)", (tenant,))
        return "\n".join(row[0] for row in connection.execute("explain " + query))


ONE = "'00000000-0000-7000-8000-000000000001'::uuid"


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("select id from runs where tenant = 'acme' and id < {one} order by id desc limit 51", "runs_by_tenant"),
        (
            "select id from runs where tenant = 'acme' and blueprint = 'b2' and id < {one} order by id desc limit 51",
            "runs_by_blueprint|runs_by_tenant",
        ),
        (
            (
                "select id from runs where tenant = 'acme' and status = 'FAILED' and dead_reason is not null"
                " and discarded_at is null order by id desc limit 51"
            ),
            "runs_dead",
        ),
        ("select * from step_runs where tenant = 'acme' and run_id = {one} and rev > 3", "step_runs_pkey"),
        ("select count(*) from runs where parent_id = {one} group by status", "runs_items"),
    ],
)
def test_reads_as_role_app(filled, query, index):
    found = plan(filled.app, query.format(one=ONE), tenant="acme")
    assert re.search(index, found), found
    assert "Seq Scan" not in found, found


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            (
                f"select id from runs where status = 'PENDING' and queue = 'default' and engine_v <= {ENGINE_V} and cancel_reason"
                " is null and strikes < 2 order by priority desc, ready_at, id limit 64 for update skip locked"
            ),
            "runs_ready",
        ),
        ("select id from runs where status = 'SUSPENDED' and wake_at <= clock_timestamp()", "runs_due"),
        ("select id from runs where worker_id = {one} and status = 'RUNNING'", "runs_of_worker"),
        ("select id from runs where status = 'SUSPENDED' and waiting_kind = 'child'", "runs_waiting"),
        (
            "select id from runs where cancel_reason is not null and status in ('PENDING', 'SUSPENDED')",
            "runs_cancelling",
        ),
        (
            (
                "update runs r set rev = rev + 1 from json_to_recordset('[]') as c (id uuid, epoch bigint)"
                " where r.id = c.id and r.epoch = c.epoch and r.status = 'RUNNING'"
            ),
            "runs_pkey|runs_of_worker",
        ),
    ],
)
def test_the_engine(filled, query, index):
    found = plan(filled.engine, query.format(one=ONE))
    assert re.search(index, found), found
    assert "Seq Scan" not in found, found


async def test_a_claim_takes_the_most_urgent_first(world, filled):
    from tests.runs.test_flow import one_probe
    from tests.runs.test_ownership import Corpse

    name = world.resolver.add(one_probe("urgent"))
    low = [await world.start(name, queue="urgent", priority=p) for p in (0, 5, 5, -3)]
    corpse = await Corpse.of(world, queues=("urgent",))
    order = [(await corpse.claim(queues=("urgent",), limit=1))[0].id for _ in range(4)]
    assert order == [low[1], low[2], low[0], low[3]]
    await corpse.die()
