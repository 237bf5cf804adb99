"""The SQL of the sweep. Role `engine`.

What is compared with an indexed time is `(select clock_timestamp())`: by itself the function is volatile, which no index can be
asked about, and all that will ever be due is read (tests/runs/test_pages.py). Rows are changed by key for the same reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from stanchion.db import Tx, execute, many, scalar, scalars

# The advisory lock of all sweepers of one database ("swee" in ASCII, then 1).
_LOCK = 0x73776565_00000001


async def try_lock(tx: Tx) -> bool:
    """Whether this transaction is the one sweeper now."""
    return bool(await scalar(tx, "select pg_try_advisory_xact_lock(%s)", (_LOCK,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A worker just found dead: by its free session `lock`, or because its `lease` was over."""

    id: UUID
    how: str


async def mark_lost(tx: Tx) -> list[Lost]:
    """Mark dead workers as lost; they run nothing any more. A worker in the middle of a claim holds its row and is judged next time."""
    return await many(
        tx,
        Lost,
        """
        with dead as materialized (
            select id, case when lease_until < clock_timestamp() then 'lease' else 'lock' end as how
            from workers
            where state in ('live', 'draining')
              and (lease_until < clock_timestamp() or pg_try_advisory_xact_lock(lock_key))
            order by id for update skip locked
        )
        update workers w set state = 'lost', running = 0, ended_at = clock_timestamp()
        from dead where w.id = dead.id
        returning w.id, dead.how
        """,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """A run in the name of a dead worker, locked, with what its verdict needs."""

    tenant: str
    id: UUID
    queue: str
    path: str
    strikes: int
    parent_id: UUID | None
    on_probation: bool
    parent_alive: bool
    confirmed: bool
    lease_over: bool


async def lock_stranded(tx: Tx, limit: int) -> list[Stranded]:
    """Runs in the names of dead workers, locked."""
    return await many(
        tx,
        Stranded,
        """
        select r.tenant, r.id, r.queue, r.path, r.strikes, r.parent_id, w.probation_of is not null as on_probation,
               exists (select from workers p where p.id = w.probation_of and p.state in ('live', 'draining'))
                   as parent_alive,
               w.crashed as confirmed, w.lease_until < clock_timestamp() as lease_over
        from workers w join runs r on r.worker_id = w.id and r.status = 'RUNNING'
        where w.state in ('stopped', 'lost') and w.reclaimed_at is null
        order by r.id limit %s
        for update of r skip locked
        """,
        (limit,),
    )


async def reclaim(tx: Tx, run_ids: Sequence[UUID], strikes_max: int) -> int:
    """Give runs of dead workers back to their queues: the epoch rises, so that a zombie writes nothing (I3)."""
    return await execute(
        tx,
        """
        update runs
        set status = 'PENDING', epoch = epoch + 1, worker_id = null, waiting_kind = 'worker_lost', waiting_ref = queue,
            waiting_since = clock_timestamp(), strikes = least(strikes, %s::smallint), rev = rev + 1
        where id = any(%s) and status = 'RUNNING'
        """,
        (strikes_max, list(run_ids)),
    )


async def mark_reclaimed(tx: Tx) -> int:
    """Close the book on dead workers in whose name no run is left."""
    return await execute(
        tx,
        """
        update workers w set reclaimed_at = clock_timestamp()
        where w.state in ('stopped', 'lost') and w.reclaimed_at is null
          and not exists (select from runs r where r.worker_id = w.id and r.status = 'RUNNING')
        """,
    )


async def wake_due(tx: Tx, limit: int) -> list[str]:
    """Make suspended runs PENDING whose time has come; return their queues. A retry stays known as one."""
    return await scalars(
        tx,
        """
        with due as materialized (
            select id from runs
            where status = 'SUSPENDED' and wake_at <= (select clock_timestamp()) and cancel_reason is null
            order by wake_at limit %s for update skip locked
        )
        update runs r
        set status = 'PENDING', waiting_kind = case when r.waiting_kind = 'retry' then 'retry' end, waiting_ref = null,
            waiting_since = null, wake_at = null, ready_at = clock_timestamp(), rev = r.rev + 1
        where r.id = any (array(select id from due))
        returning r.queue
        """,
        (limit,),
    )


async def delete_old_keys(tx: Tx, hours: float, limit: int) -> int:
    """Forget idempotency keys older than `hours`; at most `limit`."""
    return await execute(
        tx,
        """
        delete from idempotency_keys where (tenant, key) in (
            select tenant, key from idempotency_keys
            where created_at < (select clock_timestamp()) - %s::float8 * interval '1 hour' order by created_at limit %s)
        """,
        (hours, limit),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """One queue's runs in one state; `oldest_s` is the age of the oldest PENDING one."""

    queue: str
    status: str
    n: int
    oldest_s: float


async def queue_states(tx: Tx) -> list[QueueState]:
    """Runs that have not ended, by queue and state."""
    return await many(
        tx,
        QueueState,
        """
        select queue, status, count(*) as n,
               coalesce(extract(epoch from clock_timestamp() - min(ready_at)), 0)::float8 as oldest_s
        from runs where status in ('PENDING', 'RUNNING', 'SUSPENDED') group by queue, status
        """,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadState:
    """Dead letters of one queue by reason."""

    queue: str
    reason: str
    n: int


async def dead_states(tx: Tx) -> list[DeadState]:
    """Dead letters that wait for a decision."""
    return await many(
        tx,
        DeadState,
        """
        select queue, dead_reason as reason, count(*) as n from runs
        where status = 'FAILED' and dead_reason is not null and discarded_at is null group by queue, dead_reason
        """,
    )
