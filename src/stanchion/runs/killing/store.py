"""The SQL of kills over runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stanchion.controls.kills import Affected
from stanchion.db import Tx, many, scalars


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusCount:
    """How many runs have that status."""

    status: str
    n: int


async def count_in_flight(tx: Tx, tenant: str, kind: str | None, name: str, digest: str | None) -> list[StatusCount]:
    """Top-level runs that have not ended, by status: those whose pins hold the artifact (at that digest), or with `kind`
    None all. Each status is asked for by itself, so that a partial index answers and no ended run is read."""
    return await many(
        tx,
        StatusCount,
        """
        with sets as materialized (
            select pins from pin_members
            where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s
              and (%(digest)s::text is null or digest = %(digest)s)),
        open as (
            select status, pins from runs where tenant = %(tenant)s and status = 'PENDING' and parent_id is null
            union all
            select status, pins from runs where tenant = %(tenant)s and status = 'RUNNING' and parent_id is null
            union all
            select status, pins from runs where tenant = %(tenant)s and status = 'SUSPENDED' and parent_id is null)
        select status, count(*) as n from open
        where %(kind)s::text is null or pins in (select pins from sets)
        group by status
        """,
        {"tenant": tenant, "kind": kind, "name": name, "digest": digest},
    )


async def newest_in_flight(
    tx: Tx, tenant: str, kind: str | None, name: str, digest: str | None, limit: int
) -> list[Affected]:
    """The newest of the runs that `count_in_flight` counts."""
    return await many(
        tx,
        Affected,
        """
        with sets as materialized (
            select pins from pin_members
            where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s
              and (%(digest)s::text is null or digest = %(digest)s)),
        open as (
            select * from runs where tenant = %(tenant)s and status = 'PENDING' and parent_id is null
            union all
            select * from runs where tenant = %(tenant)s and status = 'RUNNING' and parent_id is null
            union all
            select * from runs where tenant = %(tenant)s and status = 'SUSPENDED' and parent_id is null)
        select id as run_id, blueprint, version, status, waiting_kind as waiting_on, created_at from open
        where %(kind)s::text is null or pins in (select pins from sets)
        order by id desc limit %(limit)s
        """,
        {"tenant": tenant, "kind": kind, "name": name, "digest": digest, "limit": limit},
    )


async def refs_waited_for(tx: Tx) -> list[str]:
    """What runs that a kill holds back wait on, of any tenant. Index `runs_waiting`."""
    return await scalars(
        tx, "select distinct coalesce(waiting_ref, '') from runs where status = 'SUSPENDED' and waiting_kind = 'killed'"
    )


async def wake(tx: Tx, refs: Sequence[str], limit: int) -> list[str]:
    """Make runs PENDING that wait on one of `refs`, at most `limit`, the oldest first; return their queues, one per run."""
    return await scalars(
        tx,
        """
        with due as materialized (
            select id from runs
            where status = 'SUSPENDED' and waiting_kind = 'killed' and coalesce(waiting_ref, '') = any(%s)
              and cancel_reason is null
            order by id limit %s for update skip locked
        )
        update runs r
        set status = 'PENDING', waiting_kind = null, waiting_ref = null, waiting_since = null, wake_at = null,
            ready_at = clock_timestamp(), rev = r.rev + 1
        from due where r.id = due.id
        returning r.queue
        """,
        (list(refs), limit),
    )
