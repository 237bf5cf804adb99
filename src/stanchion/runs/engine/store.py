"""The engine's SQL on its hot path: claim, checkpoint, load. Role `engine`; the tenant stands on each row.

Every time is the database's (`clock_timestamp()`, not the transaction's start), every write of a run is fenced by
its epoch (I3), every statement that touches several runs locks them in the order of their ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx, direct, execute, many, maybe, scalar
from stanchion.runs.types import RunStatus


@dataclass(slots=True)
class Claimed:
    """One claimed run, with the state of its current step before the claim; fields in the order of the columns."""

    tenant: str
    id: UUID
    blueprint: str
    version: int
    pins: str
    environment: str
    queue: str
    cursor: int
    path: str
    epoch: int
    attempt: int
    strikes: int
    input: Json
    requested_by: str
    traceparent: str | None
    root_id: UUID
    parent_id: UUID | None
    parent_path: str | None
    block: str
    item_no: int | None
    started_at: datetime
    waited_s: float
    waited_for: str | None
    step_status: str | None
    step_attempt: int | None
    step_first_attempt: int | None
    step_errors: list[Json] | None
    step_began: bool | None
    db_now: datetime


async def claim(
    tx: Tx, *, worker: UUID, queues: Sequence[str], engine_v: int, limit: int, probation: bool, any_strikes: bool
) -> list[Claimed]:
    """Take up to `limit` PENDING runs of `queues` for `worker`: highest priority first, then oldest.

    Raises the epoch, adds a strike, marks the current StepRun RUNNING. The share lock on the worker's own row makes
    a claim and the sweep's verdict on this worker exclude each other: a lost worker claims nothing. Who waited for it sees
    steps as they were before: where `old`, of then, is not `s`, of now, `step_status` is None, and the run to be given back.
    `probation` takes only runs that killed two workers; otherwise these are left out unless `any_strikes`.
    """
    return await direct(
        tx,
        Claimed,
        """
        with me as materialized (
            select id from workers where id = %(worker)s and state = 'live' for share
        ), picked as materialized (
            select r.id, r.waiting_kind, r.ready_at
            from me, unnest(%(queues)s::text[]) as q (name)
            cross join lateral (
                select id, waiting_kind, priority, ready_at from runs
                where status = 'PENDING' and queue = q.name and engine_v <= %(engine_v)s and cancel_reason is null
                  and (%(any_strikes)s or (strikes >= 2) = %(probation)s)
                order by priority desc, ready_at, id limit %(limit)s
                for update skip locked
            ) r
            order by r.priority desc, r.ready_at, r.id
            limit %(limit)s
        ), u as (
            update runs r
            set status = 'RUNNING', epoch = r.epoch + 1, strikes = r.strikes + 1, worker_id = %(worker)s,
                waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null, rev = r.rev + 1,
                started_at = coalesce(r.started_at, clock_timestamp())
            from picked p where r.id = p.id
            returning r.*, p.waiting_kind as waited_for,
                      extract(epoch from clock_timestamp() - p.ready_at)::float8 as waited_s
        ), s as (
            update step_runs s
            set status = 'RUNNING', rev = u.rev, wake_at = null, started_at = coalesce(s.started_at, clock_timestamp())
            from u, step_runs old
            where s.run_id = u.id and s.path = u.path and old.run_id = s.run_id and old.path = s.path and old.rev = s.rev
            returning s.run_id, old.status, old.started_at is not null as began, s.attempt, s.first_attempt, s.errors
        )
        select u.tenant, u.id, u.blueprint, u.version, u.pins, u.environment, u.queue, u.cursor, u.path, u.epoch,
               u.attempt, u.strikes, u.input, u.requested_by, u.traceparent, u.root_id, u.parent_id, u.parent_path,
               u.block, u.item_no, u.started_at, u.waited_s, u.waited_for,
               s.status as step_status, s.attempt as step_attempt, s.first_attempt as step_first_attempt,
               s.errors as step_errors, s.began as step_began, clock_timestamp() as db_now
        from u left join s on s.run_id = u.id
        order by u.id
        """,
        {
            "worker": worker,
            "queues": list(queues),
            "engine_v": engine_v,
            "limit": limit,
            "probation": probation,
            "any_strikes": any_strikes,
        },
    )


async def lock_claimed(tx: Tx, run_id: UUID, epoch: int) -> bool:
    """Lock a run that still belongs to the claim of this epoch, to end it; False if it does not (I3)."""
    found = await scalar(
        tx, "select true from runs where id = %s and epoch = %s and status = 'RUNNING' for update", (run_id, epoch)
    )
    return bool(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ancestor:
    """What a child run reads of the run above it."""

    id: UUID
    parent_id: UUID | None
    parent_path: str | None
    block: str
    input: Json


async def load_ancestors(tx: Tx, ids: Sequence[UUID]) -> list[Ancestor]:
    """The runs `ids`: inputs of roots, items of enclosing children."""
    return await many(
        tx, Ancestor, "select id, parent_id, parent_path, block, input from runs where id = any(%s)", (list(ids),)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One step's output, as an enclosing run's child reads it."""

    run_id: UUID
    path: str
    output: Json


async def load_outputs(tx: Tx, run_ids: Sequence[UUID], paths: Sequence[str]) -> list[Output]:
    """Outputs of the steps `paths` of these runs, where they have succeeded."""
    return await many(
        tx,
        Output,
        """
        select run_id, path, output from step_runs
        where run_id = any(%s) and path = any(%s) and status = 'SUCCEEDED'
        """,
        (list(run_ids), list(paths)),
    )


@dataclass(slots=True)
class Written:
    """What a checkpoint did to one run, in the order of the columns. A run that is missing from the answer was fenced."""

    id: UUID
    rev: int
    status: RunStatus
    cancel_reason: str | None
    duration_s: float
    told: bool = False


_CHECKPOINT: Final = """
with c as materialized (
    select * from json_to_recordset(%(runs)s::json) as c
        (id uuid, epoch bigint, status text, cursor int, path text, output jsonb, error jsonb,
         dead_reason text, waiting_kind text, waiting_ref text, wake_at timestamptz, delay_s float8)
), u as (
    update runs r
    set status = case when c.waiting_kind is not null and r.wakes <> '{}' then 'PENDING' else c.status end,
        waiting_kind = case when c.waiting_kind is not null and r.wakes <> '{}' then null else c.waiting_kind end,
        waiting_ref = case when c.waiting_kind is not null and r.wakes <> '{}' then null else c.waiting_ref end,
        waiting_since = case when c.waiting_kind is null then null else clock_timestamp() end,
        wake_at = coalesce(c.wake_at, clock_timestamp() + c.delay_s * interval '1 second'),
        ready_at = case when c.waiting_kind is not null and r.wakes <> '{}' then clock_timestamp() else r.ready_at end,
        wakes = case when c.status = 'RUNNING' then r.wakes else '{}' end,
        worker_id = case when c.status = 'RUNNING' then r.worker_id end,
        cursor = c.cursor, path = c.path, strikes = 0, rev = r.rev + 1,
        output = c.output, error = c.error, dead_reason = c.dead_reason,
        ended_at = case when c.status in ('SUCCEEDED', 'FAILED', 'CANCELLED') then clock_timestamp() end
    -- By key, whatever the planner believes of the tables when a session plans this once and for all: written plainly it joins
    -- through the index of all RUNNING runs, its dead entries included (measured: 197 pages for one run instead of 6).
    from c where r.id = any (array(select id from c)) and r.id = c.id and r.epoch = c.epoch and r.status || '' = 'RUNNING'
    returning r.id, r.tenant, r.rev, r.status, r.cancel_reason,
              extract(epoch from clock_timestamp() - r.created_at)::float8 as duration_s
), s as (
    insert into step_runs as s
        (tenant, run_id, path, position, item_no, verb, status, attempt, first_attempt, output, error, errors,
         fan_out, wake_at, rev, started_at, ended_at)
    select u.tenant, j.run_id, j.path, j.position, j.item_no, j.verb, j.status, j.attempt,
           coalesce(j.first_attempt, 1), j.output, j.error, j.errors, j.fan_out,
           coalesce(j.wake_at, clock_timestamp() + j.delay_s * interval '1 second'), u.rev,
           case when j.started then clock_timestamp() end, case when j.ended then clock_timestamp() end
    from json_to_recordset(%(steps)s::json) as j
        (run_id uuid, path text, position int, item_no int, verb text, status text, attempt int,
         first_attempt int, output jsonb, error jsonb, errors jsonb, fan_out jsonb, wake_at timestamptz,
         delay_s float8, started boolean, ended boolean)
    join u on u.id = j.run_id
    on conflict (run_id, path) do update
    set status = excluded.status, attempt = excluded.attempt, first_attempt = excluded.first_attempt,
        output = excluded.output, error = excluded.error, errors = coalesce(excluded.errors, s.errors),
        fan_out = excluded.fan_out, wake_at = excluded.wake_at, rev = excluded.rev,
        started_at = coalesce(s.started_at, excluded.started_at), ended_at = excluded.ended_at
), a as (
    insert into audit_records
        (tenant, id, recorded_at, event_type, actor, target_kind, target_id, run_id, record, leaf)
    select a.tenant, a.id, a.recorded_at, a.event_type, a.actor, a.target_kind, a.target_id, a.run_id, a.record,
           decode(a.leaf, 'hex')
    from json_to_recordset(%(audits)s::json) as a
        (tenant text, id uuid, recorded_at timestamptz, event_type text, actor text, target_kind text,
         target_id text, run_id uuid, record text, leaf text)
    join u on u.id = a.run_id
)
select id, rev, status, cancel_reason, duration_s, told.told
from u, lateral (select %(tell)s and pg_notify('stanchion_runs', u.id::text) is not null as told) as told
"""


async def checkpoint(tx: Tx, *, runs: bytes, steps: bytes, audits: bytes, tell: bool = False) -> list[Written]:
    """Write many runs' checkpoints by one statement; each row counts only if its run is RUNNING at its epoch (I3).

    Args:
        tx: in autocommit mode the statement is its own transaction: one round trip, one commit.
        runs: JSON list, one object per run (at most one each): id, epoch, status, cursor, path, and where they apply
            output, error, dead_reason, waiting_kind, waiting_ref, wake_at, delay_s.
        steps: JSON list of StepRuns of these runs: run_id, path, position, item_no, verb, status, attempt,
            first_attempt, output, error, errors, fan_out, wake_at, delay_s, started, ended.
        audits: JSON list of audit rows of runs that end here.
        tell: tell watchers of these runs with the commit itself (`Notifier.within`).

    A suspension whose wake-up has already come (`wakes`) becomes PENDING at once: no wake-up is lost.
    """
    return await direct(
        tx,
        Written,
        _CHECKPOINT,
        {"runs": runs, "steps": steps, "audits": audits, "tell": tell},
    )


async def try_session_lock(connection: Tx, key: int) -> bool:
    """Take the session lock that tells others this worker lives; PostgreSQL frees it when the connection ends."""
    return bool(await scalar(connection, "select pg_try_advisory_lock(%s)", (key,)))


async def register(
    tx: Tx,
    *,
    worker: UUID,
    name: str,
    host: str,
    pid: int,
    engine_v: int,
    queues: Sequence[str],
    capacity: int,
    lock_key: int,
    probation_of: UUID | None,
    lease_s: float,
) -> None:
    """Insert the row of a worker whose session lock is already held."""
    await execute(
        tx,
        """
        insert into workers (id, name, host, pid, engine_v, queues, capacity, lock_key, state, lease_until, probation_of)
        values (%(worker)s, %(name)s, %(host)s, %(pid)s, %(engine_v)s, %(queues)s::text[], %(capacity)s, %(lock_key)s,
                'live', clock_timestamp() + %(lease_s)s::float8 * interval '1 second', %(probation_of)s)
        """,
        {
            "worker": worker,
            "name": name,
            "host": host,
            "pid": pid,
            "engine_v": engine_v,
            "queues": list(queues),
            "capacity": capacity,
            "lock_key": lock_key,
            "probation_of": probation_of,
            "lease_s": lease_s,
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What a worker learns once a second.

    Attributes:
        state: its own row's state, None if there is no such row.
        claimable: whether its queues hold a run it may claim. `probation`: one that must be executed apart.
        due: whether a sweep has something to do.
        cancels: runs it holds that were cancelled.
    """

    state: str | None
    claimable: bool
    probation: bool
    due: bool
    cancels: list[UUID]


async def beat(tx: Tx, worker: UUID, *, running: int, lease_s: float) -> bool:
    """Renew a worker's lease; False if there is none to renew: it was taken for dead."""
    renewed = await execute(
        tx,
        """
        update workers
        set beat_at = clock_timestamp(), running = %(running)s,
            lease_until = clock_timestamp() + %(lease_s)s::float8 * interval '1 second'
        where id = %(worker)s and state in ('live', 'draining')
        """,
        {"worker": worker, "running": running, "lease_s": lease_s},
    )
    return renewed == 1


async def tick(tx: Tx, *, worker: UUID, queues: Sequence[str], engine_v: int, fans: bool) -> Tick:
    """Look around: the one query per second of an idle worker.

    `fans` also looks for fan-outs that nobody looks after, which is the dearest question.
    """
    found = await maybe(
        tx,
        Tick,
        """
        select
            (select state from workers where id = %(worker)s) as state,
            exists (select from runs where status = 'PENDING' and queue = any(%(queues)s::text[])
                    and engine_v <= %(engine_v)s and strikes < 2 and cancel_reason is null) as claimable,
            exists (select from runs where status = 'PENDING' and waiting_kind = 'worker_lost'
                    and queue = any(%(queues)s::text[]) and engine_v <= %(engine_v)s and strikes >= 2
                    and cancel_reason is null) as probation,
            (exists (select from runs where status = 'SUSPENDED' and wake_at <= (select clock_timestamp()))
             or exists (select from runs where cancel_reason is not null and status in ('PENDING', 'SUSPENDED'))
             or exists (select from workers where state in ('stopped', 'lost') and reclaimed_at is null)
             or exists (select from workers where state in ('live', 'draining') and id <> %(worker)s
                        and (lease_until < clock_timestamp() or pg_try_advisory_xact_lock(lock_key)))
             or %(fans)s and exists (
                select from runs p
                where p.status = 'SUSPENDED' and p.waiting_kind = 'child'
                  and not exists (
                    select from runs c where c.parent_id = p.id and c.status in ('PENDING', 'RUNNING') offset 0)
                  and (exists (select from runs c where c.parent_id = p.id and c.status = 'SUSPENDED'
                               and c.waiting_kind || '' = 'concurrency' offset 0)
                       or not exists (
                         select from runs c where c.parent_id = p.id and c.status = 'SUSPENDED' offset 0)))
            ) as due,
            array(select id from runs where worker_id = %(worker)s and status = 'RUNNING' and cancel_reason is not null)
                as cancels
        """,
        {"worker": worker, "queues": list(queues), "engine_v": engine_v, "fans": fans},
    )
    return found or Tick(state=None, claimable=False, probation=False, due=False, cancels=[])


async def set_worker_state(tx: Tx, worker: UUID, state: str) -> None:
    """Say that this worker drains or has stopped."""
    await execute(
        tx,
        """
        update workers
        set state = %(state)s, running = case when %(state)s = 'stopped' then 0 else running end,
            ended_at = case when %(state)s = 'stopped' then clock_timestamp() end
        where id = %(worker)s and state in ('live', 'draining')
        """,
        {"worker": worker, "state": state},
    )


async def hand_back_all(tx: Tx, worker: UUID) -> int:
    """Give back every run still in the name of a worker that lives but lost its session: none of them is to blame."""
    return await execute(
        tx,
        """
        update runs
        set status = 'PENDING', epoch = epoch + 1, worker_id = null, strikes = greatest(strikes - 1, 0), rev = rev + 1,
            -- A run on probation goes on waiting for probation: only as such is it looked for.
            waiting_kind = case when strikes > 2 then 'worker_lost' end,
            waiting_ref = case when strikes > 2 then queue end,
            waiting_since = case when strikes > 2 then clock_timestamp() end
        where worker_id = %s and status = 'RUNNING'
        """,
        (worker,),
    )


async def take_strikes_back(tx: Tx, run_ids: Sequence[UUID], epochs: Sequence[int]) -> int:
    """Take back the strikes that the sweep left to runs claimed at these epochs by a worker that it took for dead, and
    that only had lost the database. A checkpoint since then has cleared them; then there is nothing to take back."""
    return await execute(
        tx,
        """
        with mine as materialized (
            select r.id from runs r
            join unnest(%s::uuid[], %s::bigint[]) as claimed (id, epoch) on claimed.id = r.id
            where r.status = 'PENDING' and r.waiting_kind = 'worker_lost' and r.epoch = claimed.epoch + 1 and r.strikes > 0
               or r.status = 'RUNNING' and r.epoch = claimed.epoch + 2 and r.strikes > 1
            order by r.id for update of r
        )
        update runs r set strikes = r.strikes - 1 from mine where r.id = mine.id
        """,
        (list(run_ids), list(epochs)),
    )


async def hand_back(tx: Tx, worker: UUID, run_ids: Sequence[UUID]) -> int:
    """Give back these runs, which this worker holds without being able to execute them now."""
    return await execute(
        tx,
        """
        update runs
        set status = 'PENDING', epoch = epoch + 1, worker_id = null, strikes = greatest(strikes - 1, 0), rev = rev + 1,
            -- A run on probation goes on waiting for probation: only as such is it looked for.
            waiting_kind = case when strikes > 2 then 'worker_lost' end,
            waiting_ref = case when strikes > 2 then queue end,
            waiting_since = case when strikes > 2 then clock_timestamp() end
        where id = any(%s) and worker_id = %s and status = 'RUNNING'
        """,
        (list(run_ids), worker),
    )


async def confirm_crash(tx: Tx, parent: UUID) -> int:
    """The parent's word: its probation child died by itself."""
    return await execute(
        tx,
        """
        update workers set crashed = true
        where probation_of = %s and reclaimed_at is null and state in ('live', 'draining', 'lost')
        """,
        (parent,),
    )
