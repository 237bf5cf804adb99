"""The SQL of fan-outs. Role `engine`.

`= any (array(...))`, `|| ''` and `offset 0` leave the planner one way: by key, or by the parent. Sessions plan these statements
once, perhaps on empty tables, and written plainly they then went through everything that waits (tests/runs/test_pages.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalars
from stanchion.runs.rules import FanOut, ItemCounts
from stanchion.runs.store import Ended
from stanchion.runs.types import Claim, RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """How every item of a fan-out begins: at which op of its block (`empty` if it has no step), and what its start
    record tells of the parent it takes everything from."""

    tenant: str
    environment: str
    blueprint: str
    version: int
    pins: str
    queue: str
    traceparent: str | None
    block: str
    path: str
    verb: str
    empty: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedItem:
    """One item as its parent collects it. `never_started` items were cancelled while they still queued."""

    id: UUID
    item_no: int
    status: RunStatus
    output: Json
    error: Mapping[str, Json] | None
    never_started: bool


async def counts(tx: Tx, parent: UUID, path: str, *, concurrency: int, failures: int) -> ItemCounts:
    """Items of the fan-out at `path` by state, each counted no further than `rules.next_of_fan_out` needs.

    Counting all of them at each item's end made a fan-out's time grow with the square of its size (measured: half of
    the 12 s that 5,000 items took, eight at once). So queued items are counted up to `concurrency`, failed and cancelled
    ones up to `failures` each, succeeded ones not at all, and whether any waits is asked only if none is active.
    `is not distinct from` keeps the planner from reading all items by their path; index runs_items_by_status.
    """
    found = await maybe(
        tx,
        ItemCounts,
        """
        with active as materialized (
            select count(*) as n from runs
            where parent_id = %(parent)s and parent_path is not distinct from %(path)s and status in ('PENDING', 'RUNNING')
        )
        select
            n as active,
            (select count(*) from (
                select from runs
                where parent_id = %(parent)s and parent_path is not distinct from %(path)s and status = 'SUSPENDED'
                  and waiting_kind = 'concurrency'
                order by item_no limit %(concurrency)s) q) as queued,
            case when n = 0 and exists (
                select from runs
                where parent_id = %(parent)s and parent_path is not distinct from %(path)s and status = 'SUSPENDED'
                  and waiting_kind <> 'concurrency') then 1 else 0 end as waiting,
            0 as succeeded,
            (select count(*) from (
                select from runs
                where parent_id = %(parent)s and parent_path is not distinct from %(path)s and status = 'FAILED'
                limit %(failures)s) f) as failed,
            (select count(*) from (
                select from runs
                where parent_id = %(parent)s and parent_path is not distinct from %(path)s and status = 'CANCELLED'
                  and started_at is not null
                limit %(failures)s) c) as cancelled
        from active
        """,
        {"parent": parent, "path": path, "concurrency": concurrency, "failures": failures},
    )
    return found or ItemCounts(queued=0, active=0, waiting=0, succeeded=0, failed=0, cancelled=0)


async def last_item(tx: Tx, parent: UUID, path: str) -> int:
    """The highest item number created so far, or -1."""
    found = await scalars(tx, "select max(item_no) from runs where parent_id = %s and parent_path = %s", (parent, path))
    return -1 if found[0] is None else int(found[0])


async def insert_items(tx: Tx, claim: Claim, path: str, opening: Opening, *, items: bytes, audits: bytes) -> int:
    """Insert child runs with the StepRun of their first op (I1) and their start records (I6), if `claim` still owns the
    parent; return how many.

    `items` is a JSON list of {id, item_no, value}, `audits` of their audit rows. The parent's row is share-locked: no
    reclaim comes between. A parent that was cancelled meanwhile has cancelled items: whoever cancelled it saw none.
    """
    return await execute(
        tx,
        """
        with parent as materialized (
            select * from runs where id = %(parent)s and epoch = %(epoch)s and status = 'RUNNING' for share
        ), j as (
            select * from json_to_recordset(%(items)s::json) as j (id uuid, item_no int, value jsonb)
        ), s as (
            insert into step_runs (tenant, run_id, path, position, verb, status, rev)
            select p.tenant, j.id, %(first_path)s, 0, %(verb)s, 'PENDING', 1 from parent p, j where not %(empty)s
        ), a as (
            insert into audit_records
                (tenant, id, recorded_at, event_type, actor, target_kind, target_id, run_id, record, leaf)
            select a.tenant, a.id, a.recorded_at, a.event_type, a.actor, a.target_kind, a.target_id, a.run_id, a.record,
                   decode(a.leaf, 'hex')
            from parent p, json_to_recordset(%(audits)s::json) as a
                (tenant text, id uuid, recorded_at timestamptz, event_type text, actor text, target_kind text,
                 target_id text, run_id uuid, record text, leaf text)
        )
        insert into runs
            (tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, status, waiting_kind,
             waiting_since, path, input, requested_by, traceparent, root_id, parent_id, parent_path, block, item_no,
             cancel_reason)
        select p.tenant, j.id, p.blueprint, p.version, p.pins, p.environment, p.engine_v, p.queue, p.priority,
               'SUSPENDED', 'concurrency', clock_timestamp(), %(first_path)s, coalesce(j.value, 'null'),
               p.requested_by, p.traceparent, p.root_id, p.id, %(path)s, %(block)s, j.item_no, p.cancel_reason
        from parent p, j
        """,
        {
            "parent": claim.run_id,
            "epoch": claim.epoch,
            "path": path,
            "block": opening.block,
            "first_path": opening.path,
            "verb": opening.verb,
            "empty": opening.empty,
            "items": items.decode(),
            "audits": audits.decode(),
        },
    )


async def select_ended(tx: Tx, parent: UUID, path: str) -> list[EndedItem]:
    """All items of a fan-out that is done, in order."""
    return await many(
        tx,
        EndedItem,
        """
        select id, item_no, status, output, error, started_at is null as never_started
        from runs where parent_id = %s and parent_path = %s order by item_no
        """,
        (parent, path),
    )


async def cancel_queued(tx: Tx, claim: Claim, path: str, reason: str, limit: int) -> list[Ended]:
    """Cancel up to `limit` items that never began, if `claim` still owns the parent."""
    return await many(
        tx,
        Ended,
        """
        with parent as materialized (
            select id from runs where id = %(parent)s and epoch = %(epoch)s and status = 'RUNNING' for share
        ), queued as materialized (
            select r.id from runs r
            where r.parent_id = (select id from parent) and r.parent_path is not distinct from %(path)s
              and r.status = 'SUSPENDED' and r.waiting_kind || '' = 'concurrency'
            order by r.id limit %(limit)s for update
        )
        update runs r
        set status = 'CANCELLED', waiting_kind = null, waiting_since = null, cancel_reason = %(reason)s, rev = r.rev + 1,
            ended_at = clock_timestamp()
        where r.id = any (array(select id from queued))
        returning r.tenant, r.id, r.queue, r.status, r.environment, r.attempt, r.traceparent, r.parent_id, r.dead_reason,
                  extract(epoch from clock_timestamp() - r.created_at)::float8 as duration_s
        """,
        {"parent": claim.run_id, "epoch": claim.epoch, "path": path, "reason": reason, "limit": limit},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingParent:
    """A parent that waits for its items, locked."""

    tenant: str
    queue: str
    path: str
    fan_out: Mapping[str, Json]

    def rule(self) -> FanOut:
        """What the decision about it needs."""
        stored = self.fan_out
        failures = stored["max_failures"]
        return FanOut(
            total=int(str(stored["total"])),
            concurrency=int(str(stored["concurrency"])),
            on_item_error="continue" if stored["on_item_error"] == "continue" else "stop",
            max_failures=None if failures is None else int(str(failures)),
        )


async def lock_parent(tx: Tx, parent: UUID) -> WaitingParent | None:
    """The parent, if it waits for its items now; concurrent advances of one fan-out follow one another."""
    return await maybe(
        tx,
        WaitingParent,
        """
        select r.tenant, r.queue, r.path, s.fan_out
        from runs r join step_runs s on s.run_id = r.id and s.path = r.path
        where r.id = %s and r.status = 'SUSPENDED' and r.waiting_kind = 'child' and s.fan_out is not null
          and r.cancel_reason is null
        for update of r
        """,
        (parent,),
    )


async def release(tx: Tx, parent: UUID, path: str, n: int) -> int:
    """Make the next `n` queued items PENDING, in their order; return how many."""
    return await execute(
        tx,
        """
        update runs
        set status = 'PENDING', waiting_kind = null, waiting_since = null, ready_at = clock_timestamp(), rev = rev + 1
        where id = any (array(
            select id from runs
            where parent_id = %s and parent_path is not distinct from %s and status = 'SUSPENDED'
              and waiting_kind || '' = 'concurrency'
            order by item_no limit %s
        ))
          -- Looked at again once the row is ours: a person may have cancelled it meanwhile.
          and status || '' = 'SUSPENDED' and waiting_kind || '' = 'concurrency'
        """,
        (parent, path, n),
    )


async def wake_parent(tx: Tx, parent: UUID) -> int:
    """Make the parent PENDING: its items are done."""
    return await execute(
        tx,
        """
        update runs
        set status = 'PENDING', waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null,
            ready_at = clock_timestamp(), rev = rev + 1
        where id = %s and status = 'SUSPENDED' and waiting_kind = 'child'
        """,
        (parent,),
    )


async def waiting_parents(tx: Tx, after: UUID, limit: int) -> list[UUID]:
    """Parents whose fan-out nobody is looking after: no item is at work, and one could begin or none is open."""
    return await scalars(
        tx,
        """
        select p.id from runs p
        where p.status = 'SUSPENDED' and p.waiting_kind = 'child' and p.id > %s
          and not exists (
            select from runs c where c.parent_id = p.id and c.status in ('PENDING', 'RUNNING') offset 0)
          and (
            exists (select from runs c
                    where c.parent_id = p.id and c.status = 'SUSPENDED' and c.waiting_kind || '' = 'concurrency' offset 0)
            or not exists (select from runs c where c.parent_id = p.id and c.status = 'SUSPENDED' offset 0))
        order by p.id limit %s
        """,
        (after, limit),
    )
