"""The SQL of revoked versions over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from stanchion.db import Tx, execute, many, scalars
from stanchion.runs.revoking.types import BoundRun, OpenRun


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount:
    """How many runs bound to a version have that status, and whether they stopped before it."""

    digest: str
    status: str
    stopped: bool
    n: int


async def count(tx: Tx, tenant: str, digests: Sequence[str]) -> list[StatusCount]:
    """Top-level runs that have not ended and whose pins hold one of these versions. Each status is asked for by itself, so
    that a partial index answers and no ended run is read."""
    return await many(
        tx,
        StatusCount,
        """
        with sets as materialized (
            select distinct pins, digest from pin_members where tenant = %(tenant)s and digest = any(%(digests)s)),
        open as (
            select id, status, pins from runs where tenant = %(tenant)s and status = 'PENDING' and parent_id is null
            union all
            select id, status, pins from runs where tenant = %(tenant)s and status = 'RUNNING' and parent_id is null
            union all
            select id, status, pins from runs where tenant = %(tenant)s and status = 'SUSPENDED' and parent_id is null),
        held as materialized (
            select distinct root_id, waiting_ref from runs
            where tenant = %(tenant)s and status = 'SUSPENDED' and waiting_kind = 'revoked'
              and waiting_ref = any(%(digests)s))
        select s.digest, o.status, (o.id, s.digest) in (select root_id, waiting_ref from held) as stopped, count(*) as n
        from open o join sets s on s.pins = o.pins
        group by 1, 2, 3
        """,
        {"tenant": tenant, "digests": list(digests)},
    )


async def bound(tx: Tx, tenant: str, digest: str, *, stopped: bool, before: UUID | None, limit: int) -> list[BoundRun]:
    """The runs that `count` counts, newest first, past `before`; with `stopped` only those that stopped."""
    return await many(
        tx,
        BoundRun,
        """
        with sets as materialized (
            select pins from pin_members where tenant = %(tenant)s and digest = %(digest)s),
        open as (
            select * from runs where tenant = %(tenant)s and status = 'PENDING' and parent_id is null
            union all
            select * from runs where tenant = %(tenant)s and status = 'RUNNING' and parent_id is null
            union all
            select * from runs where tenant = %(tenant)s and status = 'SUSPENDED' and parent_id is null),
        held as materialized (
            select distinct root_id from runs
            where tenant = %(tenant)s and status = 'SUSPENDED' and waiting_kind = 'revoked' and waiting_ref = %(digest)s)
        select id as run_id, blueprint, version, status, waiting_kind as waiting_on, path, created_at,
               id in (select root_id from held) as stopped
        from open
        where pins in (select pins from sets) and (not %(stopped)s or id in (select root_id from held))
          and (%(before)s::uuid is null or id < %(before)s)
        order by id desc limit %(limit)s
        """,
        {"tenant": tenant, "digest": digest, "stopped": stopped, "before": before, "limit": limit},
    )


async def lock_tree(tx: Tx, tenant: str, root: UUID) -> list[OpenRun]:
    """The runs of a tree that have not ended, locked in the order of their ids; the root is first."""
    return await many(
        tx,
        OpenRun,
        """
        with recursive tree as (
            select id from runs where tenant = %(tenant)s and id = %(root)s
            union all
            select c.id from runs c join tree on c.parent_id = tree.id
            where c.tenant = %(tenant)s and c.status in ('PENDING', 'RUNNING', 'SUSPENDED')
        )
        select r.id, r.parent_id, r.status, r.waiting_kind, r.waiting_ref, r.cancel_reason is not null as cancelling,
               r.pins, r.blueprint, r.block, r.cursor, r.path, r.queue,
               coalesce((select s.started_at is not null from step_runs s where s.run_id = r.id and s.path = r.path), false)
                   as begun
        from runs r
        where r.tenant = %(tenant)s and r.id in (select id from tree) and r.status in ('PENDING', 'RUNNING', 'SUSPENDED')
        order by r.id for update of r
        """,
        {"tenant": tenant, "root": root},
    )


async def set_pins(tx: Tx, tenant: str, run_ids: Sequence[UUID], *, pins: str, version: int, digest: str) -> list[str]:
    """Bind runs that no worker holds to another pin set, and let go on which waited before `digest`; the queues of those."""
    return await scalars(
        tx,
        """
        with mine as materialized (
            select id, waiting_kind = 'revoked' and waiting_ref = %(digest)s as held from runs
            where tenant = %(tenant)s and id = any(%(ids)s) and status in ('PENDING', 'SUSPENDED')
        ), u as (
            update runs r
            set pins = %(pins)s, version = %(version)s, rev = r.rev + 1,
                status = case when m.held then 'PENDING' else r.status end,
                waiting_kind = case when m.held then null else r.waiting_kind end,
                waiting_ref = case when m.held then null else r.waiting_ref end,
                waiting_since = case when m.held then null else r.waiting_since end,
                wake_at = case when m.held then null else r.wake_at end,
                ready_at = case when m.held then clock_timestamp() else r.ready_at end
            from mine m where r.id = m.id
            returning r.queue, m.held
        )
        select distinct queue from u where held
        """,
        {"tenant": tenant, "ids": list(run_ids), "pins": pins, "version": version, "digest": digest},
    )


async def ask_again(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[str]:
    """Begin a new attempt of the step at which these runs wait, whatever they wait for; their queues."""
    return await scalars(
        tx,
        """
        with u as (
            update runs
            set status = 'PENDING', waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null,
                ready_at = clock_timestamp(), rev = rev + 1
            where tenant = %(tenant)s and id = any(%(ids)s) and status in ('PENDING', 'SUSPENDED')
            returning id, queue, path, rev
        ), s as (
            update step_runs s
            set status = 'PENDING', attempt = s.attempt + 1, first_attempt = s.attempt + 1, wake_at = null, rev = u.rev,
                started_at = null
            from u where s.run_id = u.id and s.path = u.path
        )
        select distinct queue from u
        """,
        {"tenant": tenant, "ids": list(run_ids)},
    )


async def insert_pin_set(tx: Tx, tenant: str, digest: str, pins: str) -> None:
    """Store a pin set, if it is not there. `pins` is its JSON."""
    await execute(
        tx,
        "insert into pin_sets (tenant, digest, pins) values (%s, %s, %s::jsonb) on conflict do nothing",
        (tenant, digest, pins),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """What runs of a tenant wait for."""

    tenant: str
    ref: str


async def waited_for(tx: Tx) -> list[Waited]:
    """What stopped runs wait on, of any tenant. Index `runs_waiting`. Role `engine`."""
    return await many(
        tx,
        Waited,
        "select distinct tenant, coalesce(waiting_ref, '') as ref from runs"
        " where status = 'SUSPENDED' and waiting_kind = 'revoked'",
    )


async def wake(tx: Tx, free: Sequence[Waited], limit: int) -> list[str]:
    """Make runs PENDING that wait on one of these, at most `limit`, the oldest first; their queues, one per run. Role
    `engine`."""
    return await scalars(
        tx,
        """
        with due as materialized (
            select id from runs
            where status = 'SUSPENDED' and waiting_kind = 'revoked' and cancel_reason is null
              and (tenant, coalesce(waiting_ref, '')) in (select * from unnest(%s::text[], %s::text[]))
            order by id limit %s for update skip locked
        )
        update runs r
        set status = 'PENDING', waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null,
            ready_at = clock_timestamp(), rev = r.rev + 1
        from due where r.id = due.id
        returning r.queue
        """,
        ([one.tenant for one in free], [one.ref for one in free], limit),
    )
