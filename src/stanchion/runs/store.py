"""The SQL of the domain's verbs: start, read, cancel, requeue, wake. Role `app` unless said otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from stanchion.db import Tx, execute, many, scalars
from stanchion.runs.types import RunStatus, StepRun


async def insert_starts(tx: Tx, *, starts: bytes, pin_sets: bytes, audits: bytes) -> None:
    """Insert new runs, each with the StepRun of its first op (I1), its pin set, its idempotency key and its audit
    record (I6), by one statement. A start whose idempotency key is taken inserts nothing: ask `select_keys` then.

    Args:
        tx: of role app, walled to the tenant of all rows.
        starts: JSON list of {tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, path, verb,
            input, requested_by, traceparent, key, request_digest}.
        pin_sets: JSON list of {tenant, digest, pins}, each once.
        audits: JSON list of audit rows, `run_id` naming the start.
    """
    await execute(
        tx,
        """
        with s as materialized (
            select * from json_to_recordset(%(starts)s::json) as s
                (tenant text, id uuid, blueprint text, version int, pins text, environment text, engine_v int,
                 queue text, priority smallint, path text, verb text, input jsonb, requested_by text, traceparent text,
                 key text, request_digest text)
        ), k as (
            insert into idempotency_keys (tenant, key, request_digest, run_id)
            select tenant, key, request_digest, id from s where key is not null order by key
            on conflict do nothing returning run_id
        ), fresh as materialized (
            -- A batch may be repeated whole after its outcome was lost: what is there already is left alone.
            select * from s
            where id in (select run_id from k) or key is null and not exists (select from runs where runs.id = s.id)
        ), p as (
            insert into pin_sets (tenant, digest, pins)
            select tenant, digest, pins from json_to_recordset(%(pin_sets)s::json) as p (tenant text, digest text, pins jsonb)
            order by digest on conflict do nothing
        ), r as (
            insert into runs
                (tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, status, path, input,
                 requested_by, traceparent, root_id)
            select tenant, id, blueprint, version, pins, environment, engine_v, queue, priority, 'PENDING', path,
                   coalesce(input, 'null'), requested_by, traceparent, id
            from fresh
        ), t as (
            insert into step_runs (tenant, run_id, path, position, verb, status, rev)
            select tenant, id, path, 0, verb, 'PENDING', 1 from fresh where path <> ''
        )
        insert into audit_records
            (tenant, id, recorded_at, event_type, actor, target_kind, target_id, run_id, record, leaf)
        select a.tenant, a.id, a.recorded_at, a.event_type, a.actor, a.target_kind, a.target_id, a.run_id, a.record,
               decode(a.leaf, 'hex')
        from json_to_recordset(%(audits)s::json) as a
            (tenant text, id uuid, recorded_at timestamptz, event_type text, actor text, target_kind text,
             target_id text, run_id uuid, record text, leaf text)
        join fresh on fresh.id = a.run_id
        """,
        {"starts": starts.decode(), "pin_sets": pin_sets.decode(), "audits": audits.decode()},
    )


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
