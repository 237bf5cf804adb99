"""The SQL of the domain's verbs: start, read, cancel, requeue, wake. Role `app` unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from stanchion.base import Json, NotFound
from stanchion.db import Tx, direct, many, maybe, one, scalar, scalars
from stanchion.runs.types import BlueprintRun, ItemSummary, RunStatus, RunSummary, StepRun, WorkerRow

_INSERT_STARTS: Final = """
with me as materialized (
    select set_config('stanchion.tenant', %(tenant)s, true) as tenant
), s as materialized (
    select s.* from me, json_to_recordset(%(starts)s::json) as s
        (tenant text, id uuid, blueprint text, version int, pins text, environment text, engine_v int,
         queue text, priority smallint, path text, verb text, input jsonb, requested_by text, traceparent text,
         key text, request_digest text)
), k as (
    insert into idempotency_keys (tenant, key, request_digest, run_id)
    select tenant, key, request_digest, id from s where key is not null order by key
    on conflict do nothing returning run_id
), p as (
    insert into pin_sets (tenant, digest, pins)
    select p.tenant, p.digest, p.pins
    from me, json_to_recordset(%(pin_sets)s::json) as p (tenant text, digest text, pins jsonb)
    order by p.digest on conflict do nothing
), r as (
    insert into runs
        (tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, status, path, input,
         requested_by, traceparent, root_id)
    select tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, 'PENDING', path,
           coalesce(input, 'null'), requested_by, traceparent, id
    from s where key is null or id in (select run_id from k)
    -- A batch may be repeated whole after its outcome was lost: what is there already is left alone.
    on conflict (id) do nothing returning id
), t as (
    insert into step_runs (tenant, run_id, path, position, verb, status, rev)
    select s.tenant, s.id, s.path, 0, s.verb, 'PENDING', 1 from s join r on r.id = s.id where s.path <> ''
), a as (
    insert into audit_records
        (tenant, id, recorded_at, event_type, actor, target_kind, target_id, run_id, record, leaf)
    select a.tenant, a.id, a.recorded_at, a.event_type, a.actor, a.target_kind, a.target_id, a.run_id, a.record,
           decode(a.leaf, 'hex')
    from json_to_recordset(%(audits)s::json) as a
        (tenant text, id uuid, recorded_at timestamptz, event_type text, actor text, target_kind text,
         target_id text, run_id uuid, record text, leaf text)
    join r on r.id = a.run_id
)
select pg_notify('stanchion_ready', q.queue)
from (select distinct s.queue from s join r on r.id = s.id where %(tell)s) q
"""


@dataclass(slots=True)
class _Told:
    pg_notify: str


@dataclass(slots=True)
class _Status:
    status: str


async def insert_starts(
    tx: Tx, tenant: str, *, starts: bytes, pin_sets: bytes, audits: bytes, tell: bool = False
) -> None:
    """Insert new runs, each with the StepRun of its first op (I1), its pin set, its idempotency key and its audit
    record (I6), by one statement. A start whose idempotency key is taken inserts nothing: ask `select_keys` then.
    The statement raises the tenant's wall itself: every row flows through `me`, which sets the tenant of the
    transaction before row-level security looks at any row. One round trip, one commit.

    Args:
        tx: of role app, in autocommit mode.
        tenant: of all rows; a row of another tenant is refused by row-level security.
        starts: JSON list of {tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, path, verb,
            input, requested_by, traceparent, key, request_digest}.
        pin_sets: JSON list of {tenant, digest, pins}, each once.
        audits: JSON list of audit rows, `run_id` naming the start.
        tell: wake the workers of the queues with the commit itself (`Notifier.within`).
    """
    params = {"tenant": tenant, "starts": starts, "pin_sets": pin_sets, "audits": audits, "tell": tell}
    await direct(tx, _Told, _INSERT_STARTS, params)


async def select_status(tx: Tx, tenant: str, run_id: UUID) -> str | None:
    """A run's state, by one statement that raises the tenant's wall itself; `tx` is in autocommit mode.

    `offset 0` keeps the planner from looking at `runs` before `me` has set the tenant, which would find nothing.
    """
    found = await direct(
        tx,
        _Status,
        """
        with me as materialized (
            select set_config('stanchion.tenant', %(tenant)s, true) as tenant
        )
        select r.status from me cross join lateral (
            select status from runs where tenant = me.tenant and id = %(run_id)s offset 0
        ) r
        """,
        {"tenant": tenant, "run_id": run_id},
    )
    return found[0].status if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyUse:
    """What an idempotency key stands for."""

    key: str
    request_digest: str
    run_id: UUID


async def select_keys(tx: Tx, tenant: str, keys: Sequence[str]) -> list[KeyUse]:
    """The uses of these idempotency keys."""
    return await many(
        tx,
        KeyUse,
        "select key, request_digest, run_id from idempotency_keys where tenant = %s and key = any(%s)",
        (tenant, list(keys)),
    )


async def load_steps(tx: Tx, run_ids: Sequence[UUID]) -> list[StepRun]:
    """All StepRuns of these runs, in order within each run. Role app or engine."""
    return await many(
        tx,
        StepRun,
        """
        select tenant, run_id, path, position, item_no, verb, status, attempt, first_attempt, output, error, errors,
               wake_at, rev, started_at, ended_at
        from step_runs where run_id = any(%s) order by run_id, position, item_no nulls first, path
        """,
        (list(run_ids),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A run that was ended by another than its worker."""

    tenant: str
    id: UUID
    queue: str
    status: RunStatus
    environment: str
    attempt: int
    traceparent: str | None
    parent_id: UUID | None
    dead_reason: str | None
    duration_s: float


async def lock_cancelling(tx: Tx, limit: int) -> list[UUID]:
    """Runs that were cancelled while they waited, locked. Role engine."""
    return await scalars(
        tx,
        """
        select id from runs where cancel_reason is not null and status in ('PENDING', 'SUSPENDED')
        order by id limit %s for update skip locked
        """,
        (limit,),
    )


async def end_runs(tx: Tx, *, ends: bytes) -> list[Ended]:
    """End runs and their open steps. Role app or engine.

    `ends` is a JSON list of {id, status, error, dead_reason}; the caller holds locks on these runs, none has ended.
    """
    return await many(
        tx,
        Ended,
        """
        with e as materialized (
            select * from json_to_recordset(%(ends)s::json) as e (id uuid, status text, error jsonb, dead_reason text)
        ), u as (
            update runs r
            set status = e.status, error = e.error, dead_reason = e.dead_reason, epoch = r.epoch + 1, worker_id = null,
                waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null, wakes = '{}',
                rev = r.rev + 1, ended_at = clock_timestamp()
            from e where r.id = e.id and r.status in ('PENDING', 'RUNNING', 'SUSPENDED')
            returning r.*
        ), s as (
            update step_runs s
            set status = 'FAILED', error = u.error, wake_at = null, rev = u.rev, ended_at = clock_timestamp()
            from u where s.run_id = u.id and s.status in ('PENDING', 'RUNNING', 'SUSPENDED', 'UNKNOWN')
        )
        select tenant, id, queue, status, environment, attempt, traceparent, parent_id, dead_reason,
               extract(epoch from clock_timestamp() - created_at)::float8 as duration_s
        from u order by id
        """,
        {"ends": ends.decode()},
    )


async def hold(tx: Tx, claims: bytes) -> list[UUID]:
    """Share-lock the runs that still belong to these claims ({id, epoch}); return which. Role engine."""
    return await scalars(
        tx,
        """
        with c as materialized (select * from json_to_recordset(%s::json) as c (id uuid, epoch bigint))
        select r.id from runs r join c on c.id = r.id and c.epoch = r.epoch
        where r.id = any (array(select id from c)) and r.status || '' = 'RUNNING' order by r.id for share of r
        """,
        (claims.decode(),),
    )


async def wake(tx: Tx, tenant: str, run_id: UUID, kind: str, ref: str | None) -> str | None:
    """Make a run PENDING that waits for this, or note the wake-up for a run that is still RUNNING; its new status.

    Of effects several may be open in one run: any of them wakes it. Workers hear of it when the caller commits (NOTIFY
    inside the transaction is dear only on hot paths). Role app or engine.
    """
    found = await scalars(
        tx,
        """
        with u as (
        update runs
        set status = case when status = 'SUSPENDED' then 'PENDING' else status end,
            wakes = case when status = 'RUNNING' then array_append(wakes[1:15], %(kind)s || ':' || coalesce(%(ref)s, ''))
                         else wakes end,
            waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null, rev = rev + 1,
            ready_at = case when status = 'SUSPENDED' then clock_timestamp() else ready_at end
        where tenant = %(tenant)s and id = %(run_id)s
          and (status = 'RUNNING'
               or status = 'SUSPENDED' and waiting_kind = %(kind)s
                  and (%(kind)s = 'effect' or waiting_ref is not distinct from %(ref)s::text))
        returning status, queue
        )
        select u.status from u, lateral (select pg_notify('stanchion_ready', u.queue)) as told
        """,
        {"tenant": tenant, "run_id": run_id, "kind": kind, "ref": ref},
    )
    return str(found[0]) if found else None


def unknown_run(run_id: UUID) -> NotFound:
    """There is no such run for this tenant."""
    return NotFound("run.unknown", f"There is no run {run_id}.", hint="`stanchion run list` shows the runs there are.")


async def select_run(tx: Tx, tenant: str, run_id: UUID) -> BlueprintRun:
    """One run. Raises NotFound `run.unknown`."""
    return await one(
        tx,
        BlueprintRun,
        """
        select tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, status, waiting_kind,
               waiting_ref, waiting_since, wake_at, cursor, path, epoch, worker_id, attempt, strikes, rev, input, output,
               error, dead_reason, discarded_at, cancel_reason, requested_by, traceparent, root_id, parent_id,
               parent_path, block, item_no, created_at, ready_at, started_at, ended_at
        from runs where tenant = %s and id = %s
        """,
        (tenant, run_id),
        missing=unknown_run(run_id),
    )


async def lock_run(tx: Tx, tenant: str, run_id: UUID) -> BlueprintRun:
    """One run, locked for a decision. Raises NotFound `run.unknown`."""
    if not await scalars(tx, "select id from runs where tenant = %s and id = %s for update", (tenant, run_id)):
        raise unknown_run(run_id)
    return await select_run(tx, tenant, run_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryCause:
    """The step that a run waits to try again: the attempt to come, and what the last one failed of."""

    run_id: UUID
    path: str
    attempt: int
    error: Mapping[str, Json]


async def select_retry_causes(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[RetryCause]:
    """Why those of `run_ids` that wait for a retry do so."""
    return await many(
        tx,
        RetryCause,
        """
        select s.run_id, s.path, s.attempt, s.error
        from runs r join step_runs s on s.run_id = r.id and s.path = r.waiting_ref
        where r.tenant = %s and r.id = any(%s) and r.status = 'SUSPENDED' and r.waiting_kind = 'retry'
          and s.error is not null
        """,
        (tenant, list(run_ids)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PinsRow:
    """A stored pin set."""

    pins: list[Mapping[str, Json]]


async def select_pins(tx: Tx, tenant: str, digest: str) -> list[Mapping[str, Json]]:
    """The pins of a set, as stored: {kind, name, version, digest}."""
    found = await maybe(tx, PinsRow, "select pins from pin_sets where tenant = %s and digest = %s", (tenant, digest))
    return found.pins if found else []


async def count_workers(tx: Tx, queue: str) -> int:
    """Live workers that serve `queue`."""
    return int(
        await scalar(
            tx,
            """
            select count(*) from workers
            where state = 'live' and lease_until > clock_timestamp() and %s = any(queues) and probation_of is null
            """,
            (queue,),
        )
    )


async def select_workers(tx: Tx) -> list[WorkerRow]:
    """Workers that live, and those that ended within the last hour; newest first."""
    return await many(
        tx,
        WorkerRow,
        """
        select id, name, host, pid, engine_v, queues, capacity, running, state, started_at, beat_at, lease_until, ended_at,
               probation_of
        from workers where ended_at is null or ended_at > clock_timestamp() - interval '1 hour' order by id desc limit 200
        """,
    )


async def select_runs(
    tx: Tx,
    tenant: str,
    *,
    status: str | None,
    blueprint: str | None,
    waiting_on: str | None,
    since: datetime | None,
    parent: UUID | None,
    after: UUID | None,
    limit: int,
) -> list[RunSummary]:
    """Runs of the tenant, newest first, before the id `after`: top-level ones, or the items of `parent`."""
    return await many(
        tx,
        RunSummary,
        """
        select id, blueprint, version, queue, status, waiting_kind, waiting_ref, waiting_since, wake_at, path, attempt,
               requested_by, created_at, ready_at, started_at, ended_at, error, dead_reason, parent_id, item_no, rev
        from runs
        where tenant = %(tenant)s and parent_id is not distinct from %(parent)s::uuid
          and (%(status)s::text is null or status = %(status)s)
          and (%(blueprint)s::text is null or blueprint = %(blueprint)s)
          and (%(waiting_on)s::text is null or waiting_kind = %(waiting_on)s and status in ('SUSPENDED', 'PENDING'))
          and (%(since)s::timestamptz is null or created_at >= %(since)s)
          and (%(after)s::uuid is null or id < %(after)s)
        order by id desc limit %(limit)s
        """,
        {
            "tenant": tenant,
            "parent": parent,
            "status": status,
            "blueprint": blueprint,
            "waiting_on": waiting_on,
            "since": since,
            "after": after,
            "limit": limit,
        },
    )


async def select_items(
    tx: Tx, tenant: str, parent: UUID, *, status: str | None, after: int, limit: int
) -> list[RunSummary]:
    """Child runs of `parent` in the order of their item numbers, after `after`."""
    return await many(
        tx,
        RunSummary,
        """
        select id, blueprint, version, queue, status, waiting_kind, waiting_ref, waiting_since, wake_at, path, attempt,
               requested_by, created_at, ready_at, started_at, ended_at, error, dead_reason, parent_id, item_no, rev
        from runs
        where tenant = %(tenant)s and parent_id = %(parent)s and item_no > %(after)s
          and (%(status)s::text is null or status = %(status)s)
        order by item_no, parent_path limit %(limit)s
        """,
        {"tenant": tenant, "parent": parent, "status": status, "after": after, "limit": limit},
    )


async def count_items(tx: Tx, tenant: str, parents: Sequence[UUID]) -> list[ItemSummary]:
    """How the items of these runs stand; runs without items are left out."""
    return await many(
        tx,
        ItemSummary,
        """
        select parent_id, count(*) as total,
               count(*) filter (where status = 'SUCCEEDED') as succeeded,
               count(*) filter (where status = 'FAILED') as failed,
               count(*) filter (where status = 'CANCELLED') as cancelled,
               count(*) filter (where status in ('RUNNING', 'PENDING')) as running,
               count(*) filter (where status = 'SUSPENDED' and waiting_kind <> 'concurrency') as waiting,
               count(*) filter (where status = 'SUSPENDED' and waiting_kind = 'concurrency') as queued
        from runs where tenant = %s and parent_id = any(%s) group by parent_id
        """,
        (tenant, list(parents)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Marked:
    """A run that was marked as cancelled, and whether a worker holds it."""

    id: UUID
    running: bool


async def request_cancel(tx: Tx, tenant: str, run_id: UUID, reason: str) -> list[Marked]:
    """Mark a run and everything below it as cancelled, where it has not ended and is not marked yet; return what was
    marked. What a RUNNING item inserted while its row was waited for is seen only by another call in the transaction."""
    return await many(
        tx,
        Marked,
        """
        with recursive tree as (
            select id from runs where tenant = %(tenant)s and id = %(run_id)s
            union all select c.id from runs c join tree on c.parent_id = tree.id
        ), marked as (
            update runs r set cancel_reason = %(reason)s, rev = r.rev + 1
            from tree where r.id = tree.id and r.status in ('PENDING', 'RUNNING', 'SUSPENDED') and r.cancel_reason is null
            returning r.id, r.status
        )
        select id, status = 'RUNNING' as running from marked
        """,
        {"tenant": tenant, "run_id": run_id, "reason": reason},
    )


async def lock_cancelled_below(tx: Tx, tenant: str, run_id: UUID, limit: int) -> list[UUID]:
    """Cancelled runs of this tree that wait and can be ended now, locked."""
    return await scalars(
        tx,
        """
        with recursive tree as (
            select id from runs where tenant = %(tenant)s and id = %(run_id)s
            union all
            select c.id from runs c join tree on c.parent_id = tree.id
        )
        select r.id from runs r join tree on tree.id = r.id
        where r.cancel_reason is not null and r.status in ('PENDING', 'SUSPENDED')
        order by r.id limit %(limit)s for update of r skip locked
        """,
        {"tenant": tenant, "run_id": run_id, "limit": limit},
    )


async def select_changed_steps(tx: Tx, tenant: str, run_id: UUID, after: int, upto: int) -> list[StepRun]:
    """StepRuns whose revision is in (after, upto], in the order of their changes."""
    return await many(
        tx,
        StepRun,
        """
        select tenant, run_id, path, position, item_no, verb, status, attempt, first_attempt, output, error, errors,
               wake_at, rev, started_at, ended_at
        from step_runs where tenant = %s and run_id = %s and rev > %s and rev <= %s
        order by rev, position, item_no nulls first, path
        """,
        (tenant, run_id, after, upto),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """How far a run has changed: its own revision, and the sum of its items'."""

    id: UUID
    rev: int
    below: int


async def select_revisions(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[Revision]:
    """The revisions of watched runs."""
    return await many(
        tx,
        Revision,
        """
        select r.id, r.rev,
               (select coalesce(sum(c.rev), 0)::bigint from runs c where c.parent_id = r.id) as below
        from runs r where r.tenant = %s and r.id = any(%s)
        """,
        (tenant, list(run_ids)),
    )
