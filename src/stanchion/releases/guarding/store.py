"""All SQL of guarding: over `rollout_watches`, `rollout_runs`, `run_measurements` and `rollout_measurements`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.base import Json, present
from stanchion.db import Tx, execute, many, maybe, scalar, scalars
from stanchion.releases.guarding.types import EndedRun, Measured, Scan, Watch
from stanchion.releases.watching import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A watch that is not closed."""

    tenant: str
    rollout_id: UUID


async def now(tx: Tx) -> datetime:
    """The database's time: one clock for all who count."""
    return await scalar(tx, "select clock_timestamp()")


async def open_watches(tx: Tx, environment: str, *, past: UUID | None, limit: int) -> list[Open]:
    """Watches of the environment, of all tenants, that are not closed, by rollout past `past`. Role `engine`."""
    return await many(
        tx,
        Open,
        "select tenant, rollout_id from rollout_watches where environment = %(environment)s and not closed"
        " and (%(past)s::uuid is null or rollout_id > %(past)s) order by rollout_id limit %(limit)s",
        {"environment": environment, "past": past, "limit": limit},
    )


async def lock(tx: Tx, tenant: str, rollout_id: UUID) -> Watch | None:
    """Lock a watch that is not closed; None if somebody else is at it. Role `engine`."""
    return await maybe(
        tx,
        Watch,
        "select w.tenant, w.rollout_id, r.guards, w.comparisons, w.fresh_id, w.patrol_id, w.turn_id, w.counted,"
        " r.ended_at is not null as is_over from rollout_watches w"
        " join rollouts r on r.tenant = w.tenant and r.id = w.rollout_id"
        " where w.tenant = %s and w.rollout_id = %s and not w.closed for update of w skip locked",
        (tenant, rollout_id),
    )


async def comparisons(tx: Tx, tenant: str, rollout_id: UUID) -> dict[str, Json] | None:
    """What is known of a rollout's guards; None before the first look."""
    return await scalar(
        tx, "select comparisons from rollout_watches where tenant = %s and rollout_id = %s", (tenant, rollout_id)
    )


async def save(tx: Tx, watch: Watch, comparisons: Mapping[str, Json], at: datetime) -> None:
    """Write what is known, and where the looks go on."""
    await execute(
        tx,
        "update rollout_watches set comparisons = %s, fresh_id = %s, patrol_id = %s, turn_id = %s, counted = %s,"
        " looked_at = %s where tenant = %s and rollout_id = %s",
        (
            Jsonb(comparisons),
            watch.fresh_id,
            watch.patrol_id,
            watch.turn_id,
            watch.counted,
            at,
            watch.tenant,
            watch.rollout_id,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scanned:
    passed: int
    last_id: UUID | None
    found: int


async def scan(tx: Tx, tenant: str, rollout_id: UUID, *, after: UUID, limit: int, at: datetime) -> Scan:
    """Look at up to `limit` runs past `after`, in the order of their ids, that are pinned to a version that the rollout
    moves from or to, and take in those that were not looked at yet. Items of a fan-out are their parents' affair.

    A run counts for the arm in the record of its start, if that says that it could have got the other: it was dealt (it had
    a unit), and not at a share of 100 percent.
    """
    found = await maybe(
        tx,
        _Scanned,
        """
        with sets as (
            select distinct p.pins from rollout_members m join pin_members p on p.tenant = m.tenant and p.kind = m.kind
                and p.name = m.name and p.version in (m.stable_version, m.candidate_version)
            where m.tenant = %(tenant)s and m.rollout_id = %(rollout)s
        ), passed as materialized (
            select found.id from sets cross join lateral (
                select r.id from runs r where r.tenant = %(tenant)s and r.pins = sets.pins and r.parent_id is null
                    and r.id > %(after)s order by r.id limit %(limit)s) found
            order by found.id limit %(limit)s
        ), taken as (
            insert into rollout_runs (tenant, rollout_id, run_id, arm, counted_at)
            select %(tenant)s, %(rollout)s, passed.id, dealt.arm, case when dealt.arm is null then %(at)s::timestamptz end
            from passed left join lateral (
                select case when a ? 'bucket' and ((a ->> 'share')::int < 10000 or a ->> 'ring' <> '') then a ->> 'arm' end as arm
                from audit_records s cross join lateral jsonb_array_elements(s.record::jsonb -> 'extra' -> 'assigned') a
                where s.tenant = %(tenant)s and s.run_id = passed.id and s.event_type = 'run.started'
                    and a ->> 'rollout' = %(rollout)s::uuid::text
                limit 1) dealt on true
            where not exists (select from rollout_runs k where k.rollout_id = %(rollout)s and k.run_id = passed.id)
            on conflict do nothing returning 1
        )
        select (select count(*) from passed)::int as passed, (select id from passed order by id desc limit 1) as last_id,
            (select count(*) from taken)::int as found
        """,
        {"tenant": tenant, "rollout": rollout_id, "after": after, "limit": limit, "at": at},
    )
    row = present(found, "a scan answers with one row")
    return Scan(passed=row.passed, last_id=row.last_id)


async def waiting(tx: Tx, tenant: str, rollout_id: UUID, *, newest: int) -> list[UUID]:
    """The newest runs of a rollout that are not counted yet."""
    return await scalars(
        tx,
        "select run_id from rollout_runs where tenant = %s and rollout_id = %s and counted_at is null"
        " order by run_id desc limit %s",
        (tenant, rollout_id, newest),
    )


async def waiting_past(tx: Tx, tenant: str, rollout_id: UUID, *, past: UUID | None, limit: int) -> list[UUID]:
    """Runs of a rollout that are not counted yet, by id past `past`."""
    return await scalars(
        tx,
        "select run_id from rollout_runs where tenant = %(tenant)s and rollout_id = %(rollout)s and counted_at is null"
        " and (%(past)s::uuid is null or run_id > %(past)s) order by run_id limit %(limit)s",
        {"tenant": tenant, "rollout": rollout_id, "past": past, "limit": limit},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    id: UUID
    arm: str
    is_cancelled: bool
    failed: bool
    denied: bool
    overridden: bool
    latency_ms: float | None
    at: datetime


async def count_ended(
    tx: Tx,
    tenant: str,
    rollout_id: UUID,
    run_ids: Sequence[UUID],
    *,
    denials: Collection[str] | None,
    overrides: bool,
    at: datetime,
) -> list[EndedRun]:
    """Those of these runs that have ended, from now on counted.

    `denials`: codes of a refusal by policy; None where no guard asks. `overrides`: whether one asks for rejections.
    """
    rows = await many(
        tx,
        _Ended,
        """
        with ended as (
            select k.run_id, k.arm, r.id, r.status, r.dead_reason, r.started_at, r.ended_at from rollout_runs k
            join runs r on r.tenant = k.tenant and r.id = k.run_id
            where k.tenant = %(tenant)s and k.rollout_id = %(rollout)s and k.run_id = any(%(runs)s)
                and k.counted_at is null and r.status in ('SUCCEEDED', 'FAILED', 'CANCELLED') and r.ended_at is not null
        ), counted as (
            update rollout_runs k set counted_at = %(at)s from ended
            where k.rollout_id = %(rollout)s and k.run_id = ended.id
        )
        select e.id, e.arm, e.status = 'CANCELLED' as is_cancelled,
            e.status = 'FAILED' and e.dead_reason is not null as failed,
            %(denials)s::text[] is not null and exists (
                with recursive family (id) as (
                    select e.id union all select c.id from family f join runs c on c.parent_id = f.id)
                select from family f join step_runs s on s.run_id = f.id
                where s.error ->> 'code' = any(%(denials)s::text[]) or exists (
                    select from jsonb_array_elements(s.errors) earlier where earlier ->> 'code' = any(%(denials)s::text[]))
            ) as denied,
            %(overrides)s and exists (
                select from approvals a where a.tenant = %(tenant)s and a.root_id = e.id and a.status = 'REJECTED'
            ) as overridden,
            (extract(epoch from e.ended_at - e.started_at) * 1000)::float8 as latency_ms, e.ended_at as at
        from ended e order by e.ended_at, e.id
        """,
        {
            "tenant": tenant,
            "rollout": rollout_id,
            "runs": list(run_ids),
            "denials": None if denials is None else sorted(denials),
            "overrides": overrides,
            "at": at,
        },
    )
    return [_ended_run(row) for row in rows]


def _ended_run(row: _Ended) -> EndedRun:
    return EndedRun(
        id=row.id,
        arm=Arm(row.arm),
        is_cancelled=row.is_cancelled,
        failed=row.failed,
        denied=row.denied,
        overridden=row.overridden,
        # Never below 0, should the database's clock have been set back meanwhile.
        latency_ms=None if row.latency_ms is None else max(row.latency_ms, 0.0),
        at=row.at,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    run_id: UUID
    metric: str
    arm: str
    value: float
    reported_at: datetime


async def count_measurements(tx: Tx, tenant: str, rollout_id: UUID, *, limit: int, at: datetime) -> list[Measured]:
    """Up to `limit` values that were reported and not counted, the oldest first, from now on counted."""
    rows = await many(
        tx,
        _Measured,
        "update rollout_measurements m set counted_at = %(at)s from (select run_id, metric from rollout_measurements"
        " where tenant = %(tenant)s and rollout_id = %(rollout)s and counted_at is null order by reported_at limit %(limit)s)"
        " w where m.rollout_id = %(rollout)s and m.run_id = w.run_id and m.metric = w.metric"
        " returning m.run_id, m.metric, m.arm, m.value, m.reported_at",
        {"tenant": tenant, "rollout": rollout_id, "limit": limit, "at": at},
    )
    return [
        Measured(run_id=row.run_id, metric=row.metric, arm=Arm(row.arm), value=row.value, at=row.reported_at)
        for row in rows
    ]


async def forget(tx: Tx, tenant: str, rollout_id: UUID, *, limit: int) -> int:
    """Delete up to `limit` runs and as many values of a rollout that is over; return how many. What is known stays."""
    runs = await execute(
        tx,
        "delete from rollout_runs where tenant = %(tenant)s and rollout_id = %(rollout)s and run_id in (select run_id"
        " from rollout_runs where rollout_id = %(rollout)s limit %(limit)s)",
        {"tenant": tenant, "rollout": rollout_id, "limit": limit},
    )
    values = await execute(
        tx,
        "delete from rollout_measurements where tenant = %(tenant)s and rollout_id = %(rollout)s and (run_id, metric) in"
        " (select run_id, metric from rollout_measurements where rollout_id = %(rollout)s limit %(limit)s)",
        {"tenant": tenant, "rollout": rollout_id, "limit": limit},
    )
    return runs + values


async def close(tx: Tx, tenant: str, rollout_id: UUID) -> None:
    """Look at it no more."""
    await execute(
        tx, "update rollout_watches set closed = true where tenant = %s and rollout_id = %s", (tenant, rollout_id)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A stored value of a run; `is_new` if this very statement stored it."""

    value: float
    reported_by: str
    reported_at: datetime
    is_new: bool


async def run_exists(tx: Tx, tenant: str, run_id: UUID) -> bool:
    """Whether the tenant has such a run."""
    return bool(await scalar(tx, "select exists (select from runs where tenant = %s and id = %s)", (tenant, run_id)))


async def insert_measurement(tx: Tx, tenant: str, run_id: UUID, metric: str, value: float, by: str) -> Kept:
    """Store a value of a run, or find the one that is there."""
    is_new = await execute(
        tx,
        "insert into run_measurements (tenant, run_id, metric, value, reported_by) values (%s, %s, %s, %s, %s)"
        " on conflict do nothing",
        (tenant, run_id, metric, value, by),
    )
    found = await maybe(
        tx,
        Kept,
        "select value, reported_by, reported_at, %s::boolean as is_new from run_measurements"
        " where tenant = %s and run_id = %s and metric = %s",
        (bool(is_new), tenant, run_id, metric),
    )
    return present(found, "a measurement that was stored, or was there, is found")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """An open rollout with guards that dealt a run."""

    rollout_id: UUID
    arm: str
    guards: dict[str, Json]


async def dealing(tx: Tx, tenant: str, run_id: UUID) -> list[Dealt]:
    """The open rollouts with guards that dealt this run, if it could have got the other arm (see `scan`)."""
    return await many(
        tx,
        Dealt,
        "select r.id as rollout_id, a ->> 'arm' as arm, r.guards from audit_records s"
        " cross join lateral jsonb_array_elements(s.record::jsonb -> 'extra' -> 'assigned') a"
        " join rollouts r on r.tenant = s.tenant and r.id = (a ->> 'rollout')::uuid"
        " where s.tenant = %s and s.run_id = %s and s.event_type = 'run.started' and r.ended_at is null"
        " and r.guards is not null and a ? 'bucket' and ((a ->> 'share')::int < 10000 or a ->> 'ring' <> '')",
        (tenant, run_id),
    )


async def insert_for_rollout(
    tx: Tx, tenant: str, rollout_id: UUID, *, run_id: UUID, metric: str, arm: str, value: float, at: datetime
) -> None:
    """Let a value count for a rollout."""
    await execute(
        tx,
        "insert into rollout_measurements (tenant, rollout_id, run_id, metric, arm, value, reported_at)"
        " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
        (tenant, rollout_id, run_id, metric, arm, value, at),
    )
