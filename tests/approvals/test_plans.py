"""What it costs to look up the approvals before a write does not grow with what there is."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from stanchion.approvals import store
from stanchion.db import Database

_OTHERS = """
insert into step_runs (tenant, run_id, path, position, verb, status, rev)
select 'acme', gen_random_uuid(), 'approval', 1, 'govern', 'SUCCEEDED', 1 from generate_series(1, 5000)
"""
_RUN = """
insert into runs
  (tenant, id, parent_id, root_id, blueprint, version, pins, environment, engine_v, requested_by, status, input, item_no)
values ('acme', %(id)s, %(parent)s, %(root)s, 'flow', 1, 'x', 'local', 1, 'alice', 'RUNNING', '{}', %(item)s)
"""
_STEP = """
insert into step_runs (tenant, run_id, path, position, verb, status, rev, output)
values ('acme', %s, 'approval', 1, 'govern', 'SUCCEEDED', 1, '{"decision": "not_required"}')
"""


async def _read(tx) -> int:
    """Entries of indexes and rows of `step_runs` that this connection has read and not yet reported."""
    cursor = await tx.execute(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) + pg_stat_get_xact_blocks_fetched(relid)"
        " + (select coalesce(sum(pg_stat_get_xact_blocks_fetched(indexrelid)), 0) from pg_index where indrelid = relid)"
        " from pg_stat_xact_user_tables where relname = 'step_runs'"
    )
    (read,) = await cursor.fetchone()
    return int(read)


@pytest.mark.parametrize("analyzed", [False, True], ids=["planned while there was little", "planned after an analyze"])
async def test_the_approvals_before_a_write_are_found_without_reading_other_runs(
    cluster, fresh_database_urls, analyzed: bool
) -> None:
    """A plan is kept for as long as a connection stands, or until the next analyze: a busy first minute went by the first."""
    run, parent = uuid4(), uuid4()
    with psycopg.connect(cluster.superuser(fresh_database_urls), autocommit=True) as owner:
        owner.execute("alter table step_runs set (autovacuum_enabled = off)")
        owner.execute("set session_replication_role = replica")  # what these rows refer to is not needed
        _put(owner, run, parent)
        _put(owner, parent, None)
        async with Database(fresh_database_urls) as database, database.engine_tx() as tx:
            await tx.execute("set plan_cache_mode = force_generic_plan")  # as after some calls
            for _ in range(8):  # from the sixth on it is a prepared statement
                found = await store.dominating(tx, "acme", run, ["approval", "approval", "other"])
            owner.execute(_OTHERS)
            if analyzed:
                owner.execute("analyze step_runs")
            before = await _read(tx)
            assert await store.dominating(tx, "acme", run, ["approval", "approval", "other"]) == found
            read = await _read(tx) - before
    assert [(one.path, one.decision) for one in found] == [("approval", "not_required")] * 2  # its own, its parent's
    assert 0 < read < 40


def _put(owner: psycopg.Connection, run: UUID, parent: UUID | None) -> None:
    owner.execute(_RUN, {"id": run, "parent": parent, "root": parent or run, "item": 0 if parent else None})
    owner.execute(_STEP, (run,))
