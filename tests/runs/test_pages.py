"""What a call of the engine's statements reads is bounded by what it is about, and not by what there is.

A session plans each of them once and keeps the plan for as long as it stands. In the first minute of an installation there
is nothing in the tables, and any plan is as good as another to the planner; an hour later it is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import pytest

from stanchion.base import dumps
from stanchion.db import Database, Tx
from stanchion.runs import store as runs
from stanchion.runs.engine import store as engine
from stanchion.runs.fanout import store as fans
from stanchion.runs.sweeping import store as sweeping
from stanchion.runs.types import Claim


def _id(kind: int, number: int = 0) -> UUID:
    return UUID(int=kind << 64 | number)


ME, DEAD, OTHER = _id(1, 1), _id(1, 2), _id(1, 3)
MINE, STRANDED, PARENT, WAITING, CANCELLED, STOPPING = (_id(kind, 1) for kind in (2, 3, 4, 5, 7, 8))

# Kinds of runs: how many there are, and what differs from a run that has succeeded.
_FILL = """
insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, queue, status, waiting_kind, wake_at, path,
                  input, requested_by, root_id, parent_id, parent_path, item_no, worker_id, epoch, cancel_reason, ended_at, strikes)
select 'acme', id, 'flow', 1, 'p', 'local', 1, %(queue)s::text, %(status)s::text, %(waiting)s::text,
       clock_timestamp() + %(wake_s)s::float8 * interval '1 second', 'a', '{}', 'x', id,
       %(parent)s::uuid, case when %(parent)s::uuid is not null then 'a' end, case when %(parent)s::uuid is not null then n + %(after)s::int end,
       %(worker)s::uuid, 1, %(cancel)s::text, case when %(status)s::text in ('SUCCEEDED', 'FAILED') then clock_timestamp() end, 1
from (select n, ('00000000-0000-' || lpad(to_hex(%(kind)s::int), 4, '0') || '-' || '0000-' || lpad(to_hex(n), 12, '0'))::uuid as id
      from generate_series(1, %(n)s::int) n) g
"""
_WORKER = (
    "insert into workers (id, name, host, pid, engine_v, queues, capacity, lock_key, state, lease_until)"
    " values (%s, 'w', 'h', 1, 1, '{default}', 256, %s, %s, clock_timestamp() + interval '1 hour')"
)
_NOBODY: dict[str, Any] = dict.fromkeys(("waiting", "wake_s", "parent", "worker", "cancel")) | {"after": 0}


def _add(owner: psycopg.Connection, kind: int, n: int, status: str, *, queue: str = "elsewhere", **more: Any) -> None:
    owner.execute(_FILL, {**_NOBODY, "kind": kind, "n": n, "status": status, "queue": queue, **more})
    owner.execute(
        "insert into step_runs (tenant, run_id, path, position, verb, status, rev, fan_out)"
        " select tenant, id, 'a', 0, 'probe', 'SUSPENDED', 1, case when waiting_kind = 'child' then"
        ' \'{"total": 1005, "concurrency": 8, "on_item_error": "stop", "max_failures": null}\'::jsonb end'
        " from runs on conflict do nothing"
    )


def _fill(owner: psycopg.Connection) -> None:
    """A busy installation with nothing due."""
    add = partial(_add, owner)
    owner.execute("set session_replication_role = replica")  # what these rows refer to is not needed
    for worker, lock in ((ME, 1), (OTHER, 3)):
        owner.execute(_WORKER, (worker, lock, "live"))
    add(2, 5, "RUNNING", worker=ME)
    add(4, 20, "SUSPENDED", waiting="child")
    add(8, 1, "RUNNING", worker=OTHER)
    for number in range(1, 21):
        add(0x100 + number, 5, "PENDING", parent=_id(4, number))
        add(0x200 + number, 1000, "SUSPENDED", waiting="concurrency", parent=_id(4, number), after=5)
    owner.execute(
        "insert into idempotency_keys (tenant, key, request_digest, run_id)"
        " select 'acme', n::text, 'x', gen_random_uuid() from generate_series(1, 5000) n"
    )
    add(0x250, 1000, "SUSPENDED", waiting="concurrency", parent=STOPPING)
    add(0x300, 5000, "RUNNING", worker=OTHER)
    add(0x301, 5000, "PENDING")
    add(0x302, 5000, "SUSPENDED", waiting="approval", wake_s=3600.0)
    add(0x303, 5000, "SUSPENDED", waiting="retry", wake_s=3600.0)
    add(0x304, 10000, "SUCCEEDED")


def _something_due(owner: psycopg.Connection) -> None:
    """Five of each that waits for somebody to look at it."""
    owner.execute(_WORKER, (DEAD, 2, "lost"))
    _add(owner, 3, 5, "RUNNING", worker=DEAD)
    _add(owner, 5, 5, "SUSPENDED", waiting="retry", wake_s=-1.0)
    _add(owner, 6, 5, "PENDING", queue="default")
    _add(owner, 7, 5, "SUSPENDED", waiting="approval", cancel="no")


_CHECKPOINT = dumps([{"id": str(MINE), "epoch": 1, "status": "RUNNING", "cursor": 1, "path": "b"}])
_STEPS = dumps(
    [{"run_id": str(MINE), "path": "a", "position": 0, "verb": "probe", "attempt": 1, "status": "SUCCEEDED"}]
)
_CLAIM = Claim(tenant="acme", run_id=MINE, epoch=1)
_OPENING = fans.Opening(
    tenant="acme", environment="local", blueprint="flow", version=1, pins="p", queue="default", traceparent=None,
    block="b", path="c", verb="probe", empty=False,
)  # fmt: skip
_TICK: dict[str, Any] = {"worker": ME, "queues": ("default",), "engine_v": 1}
_TAKE: dict[str, Any] = {"worker": ME, "queues": ("default",), "engine_v": 1, "probation": False, "any_strikes": False}
_STOP = Claim(tenant="acme", run_id=STOPPING, epoch=1)
_ITEMS = dumps([{"id": str(_id(9)), "item_no": 0, "value": 1}])
_ENDS = dumps([{"id": str(CANCELLED), "status": "CANCELLED", "error": {}, "dead_reason": None}])

Call = Callable[[Tx], Awaitable[object]]
# Each with the most pages of tables and indexes that it may touch, about twice what it does. A row that changes its state
# costs some 20: most indexes of `runs` are of one state.
_QUIET: dict[str, tuple[Call, int]] = {
    "beat": (lambda tx: engine.beat(tx, ME, running=1, lease_s=10.0), 15),
    "tick": (lambda tx: engine.tick(tx, fans=False, **_TICK), 80),
    "tick, fan-outs too": (lambda tx: engine.tick(tx, fans=True, **_TICK), 200),
    "delete_old_keys": (lambda tx: sweeping.delete_old_keys(tx, 24.0, 1000), 15),
    "waiting_parents": (lambda tx: fans.waiting_parents(tx, _id(0), 100), 150),
}
_BUSY: dict[str, tuple[Call, int]] = {
    "claim": (lambda tx: engine.claim(tx, limit=3, **_TAKE), 200),
    "claim, any strikes": (lambda tx: engine.claim(tx, limit=3, **_TAKE | {"any_strikes": True}), 200),
    "lock_claimed": (lambda tx: engine.lock_claimed(tx, MINE, 1), 15),
    "load_ancestors": (lambda tx: engine.load_ancestors(tx, [MINE]), 15),
    "load_outputs": (lambda tx: engine.load_outputs(tx, [MINE], ["a"]), 15),
    "checkpoint": (lambda tx: engine.checkpoint(tx, runs=_CHECKPOINT, steps=_STEPS, audits=b"[]"), 40),
    "hand_back": (lambda tx: engine.hand_back(tx, ME, [MINE]), 50),
    "hand_back_all": (lambda tx: engine.hand_back_all(tx, ME), 180),
    "take_strikes_back": (lambda tx: engine.take_strikes_back(tx, [MINE], [1]), 20),
    "mark_lost": (sweeping.mark_lost, 60),
    "lock_stranded": (lambda tx: sweeping.lock_stranded(tx, 100), 50),
    "reclaim": (lambda tx: sweeping.reclaim(tx, [STRANDED], 3), 70),
    "mark_reclaimed": (sweeping.mark_reclaimed, 30),
    "wake_due": (lambda tx: sweeping.wake_due(tx, 100), 200),
    "lock_cancelling": (lambda tx: runs.lock_cancelling(tx, 100), 50),
    "end_runs": (lambda tx: runs.end_runs(tx, ends=_ENDS), 60),
    "hold": (lambda tx: runs.hold(tx, dumps([{"id": str(MINE), "epoch": 1}])), 15),
    "wake": (lambda tx: runs.wake(tx, "acme", WAITING, "retry", None), 50),
    "lock_parent": (lambda tx: fans.lock_parent(tx, PARENT), 20),
    "counts": (lambda tx: fans.counts(tx, PARENT, "a", concurrency=8, failures=1), 40),
    "last_item": (lambda tx: fans.last_item(tx, PARENT, "a"), 15),
    "release": (lambda tx: fans.release(tx, PARENT, "a", 5), 220),
    "wake_parent": (lambda tx: fans.wake_parent(tx, PARENT), 50),
    "cancel_queued": (lambda tx: fans.cancel_queued(tx, _STOP, "a", "x", 5), 220),
    "insert_items": (lambda tx: fans.insert_items(tx, _CLAIM, "a", _OPENING, items=_ITEMS, audits=b"[]"), 60),
}
_READ = """
select coalesce(sum(pg_stat_get_xact_blocks_fetched(oid)), 0)::int from pg_class
where relkind in ('r', 'i') and relnamespace = 'public'::regnamespace
"""


async def _measured(tx: Tx, calls: dict[str, tuple[Call, int]]) -> dict[str, int]:
    """The pages that each call touched; what it changed is taken back."""

    async def read() -> int:
        (pages,) = await (await tx.execute(_READ)).fetchone()
        return pages

    found: dict[str, int] = {}
    for name, (call, _) in calls.items():
        async with tx.transaction(force_rollback=True):
            before = await read()
            await call(tx)
            found[name] = await read() - before
    return found


@pytest.mark.parametrize("analyzed", [False, True], ids=["planned while there was nothing", "planned after an analyze"])
async def test_what_a_statement_reads_does_not_grow_with_what_there_is(
    cluster, fresh_database_urls, analyzed: bool
) -> None:
    with psycopg.connect(cluster.superuser(fresh_database_urls), autocommit=True) as owner:
        owner.execute("alter table runs set (autovacuum_enabled = off)")
        owner.execute("alter table step_runs set (autovacuum_enabled = off)")
        async with Database(fresh_database_urls) as database, database.connection("engine") as tx:
            await _measured(tx, _QUIET | _BUSY)
            _fill(owner)
            if analyzed:
                owner.execute("analyze")
            found = await _measured(tx, _QUIET)
            _something_due(owner)
            found |= await _measured(tx, _BUSY)
    bounds = {name: most for name, (_, most) in (_QUIET | _BUSY).items()}
    assert {name: pages for name, pages in found.items() if not 0 < pages <= bounds[name]} == {}, found
