"""The SQL of dead letters. Role `app`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from stanchion.db import Tx, execute, many, maybe, scalar, scalars
from stanchion.runs.deadletters.types import RunState
from stanchion.runs.types import DeadLetter


async def count_dead(tx: Tx, tenant: str) -> int:
    """How many dead letters of the tenant wait for a decision."""
    return int(
        await scalar(
            tx,
            """
            select count(*) from runs
            where tenant = %s and status = 'FAILED' and dead_reason is not null and discarded_at is null
            """,
            (tenant,),
        )
        or 0
    )


async def select_dead(
    tx: Tx,
    tenant: str,
    *,
    reason: str | None,
    blueprint: str | None,
    since: datetime | None,
    after: UUID | None,
    limit: int,
) -> list[DeadLetter]:
    """Dead letters of the tenant that wait for a decision, newest first, before the id `after`."""
    return await many(
        tx,
        DeadLetter,
        """
        select id, blueprint, version, queue, dead_reason as reason, error, path, attempt, strikes, requested_by,
               created_at, ended_at, parent_id
        from runs
        where tenant = %(tenant)s and status = 'FAILED' and dead_reason is not null and discarded_at is null
          and (%(reason)s::text is null or dead_reason = %(reason)s)
          and (%(blueprint)s::text is null or blueprint = %(blueprint)s)
          and (%(since)s::timestamptz is null or ended_at >= %(since)s)
          and (%(after)s::uuid is null or id < %(after)s)
        order by id desc limit %(limit)s
        """,
        {
            "tenant": tenant,
            "reason": reason,
            "blueprint": blueprint,
            "since": since,
            "after": after,
            "limit": limit,
        },
    )


async def select_one(tx: Tx, tenant: str, run_id: UUID) -> DeadLetter | None:
    """One dead letter, or None if the run is none."""
    return await maybe(
        tx,
        DeadLetter,
        """
        select id, blueprint, version, queue, dead_reason as reason, error, path, attempt, strikes, requested_by,
               created_at, ended_at, parent_id
        from runs
        where tenant = %s and id = %s and status = 'FAILED' and dead_reason is not null and discarded_at is null
        """,
        (tenant, run_id),
    )


async def select_states(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[RunState]:
    """The states of those of `run_ids` that are runs of the tenant."""
    return await many(
        tx,
        RunState,
        "select id, status, discarded_at, parent_id, root_id from runs where tenant = %s and id = any(%s)",
        (tenant, list(run_ids)),
    )


async def lock_dead(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[UUID]:
    """Those of `run_ids` that are dead letters now, locked in the order of their ids."""
    return await scalars(
        tx,
        """
        select id from runs
        where tenant = %s and id = any(%s) and status = 'FAILED' and dead_reason is not null and discarded_at is null
        order by id for update
        """,
        (tenant, list(run_ids)),
    )


async def discard(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> int:
    """Decide that these dead letters stay failed."""
    return await execute(
        tx,
        "update runs set discarded_at = clock_timestamp(), rev = rev + 1 where tenant = %s and id = any(%s)",
        (tenant, list(run_ids)),
    )


async def revive(tx: Tx, tenant: str, run_ids: Sequence[UUID]) -> list[str]:
    """Begin a new attempt of FAILED runs at the step they failed at; return their queues.

    Items of the fan-out they failed by (not of earlier ones, whose failures were accepted) are revived with them: those that failed, and those cancelled before they began,
    wait as SUSPENDED `concurrency` until the fan-out releases them. A step's attempts go on counting, with a fresh budget.
    """
    return await scalars(
        tx,
        """
        with recursive tree as (
            select id, path, false as item from runs
            where tenant = %(tenant)s and id = any(%(ids)s) and status = 'FAILED'
            union all
            select c.id, c.path, true from runs c join tree on c.parent_id = tree.id and c.parent_path = tree.path
            where c.status = 'FAILED' or c.status = 'CANCELLED' and c.cancel_reason = 'for_each.stopped'
        ), u as (
            update runs r
            set status = case when tree.item then 'SUSPENDED' else 'PENDING' end,
                waiting_kind = case when tree.item then 'concurrency' end, waiting_ref = null,
                waiting_since = case when tree.item then clock_timestamp() end, wake_at = null, wakes = '{}',
                attempt = r.attempt + 1, strikes = 0, rev = r.rev + 1, error = null, dead_reason = null, output = null,
                cancel_reason = null, ended_at = null, ready_at = clock_timestamp(), epoch = r.epoch + 1
            from tree where r.id = tree.id
            returning r.id, r.queue, r.rev, r.cursor, tree.item
        ), s as (
            update step_runs s
            set status = 'PENDING', attempt = s.attempt + 1, first_attempt = s.attempt + 1, wake_at = null, rev = u.rev,
                errors = coalesce(s.errors, '[]') || jsonb_build_array(
                    jsonb_build_object('attempt', s.attempt) || coalesce(s.error, '{}')),
                error = null, started_at = null, ended_at = null
            from u where s.run_id = u.id and s.position = u.cursor and s.status = 'FAILED'
        )
        select distinct queue from u where not item
        """,
        {"tenant": tenant, "ids": list(run_ids)},
    )
