"""All SQL over `approvals`. Role app decides and reads; role engine asks, expires and checks."""

# ruff: noqa: S608 - only our own literals are put together, which pyright holds to (LiteralString)
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.approvals.types import Approval, Dominating
from stanchion.base import NotFound
from stanchion.db import Tx, execute, many, maybe, one, scalar

# Named, never `*`: this version's rows must read the same on the next version's schema.
_COLUMNS = (
    "tenant, id, run_id, root_id, path, attempt, blueprint, policy, policy_digest, requested_by, title, facts, shown,"
    " args_digest, bound, nonce, may_decide, forbid_self, on_reject, on_expire, status, decided_by, decided_at, reason,"
    " created_at, expires_at"
)


async def insert(tx: Tx, approval: Approval) -> None:
    """Insert a PENDING approval."""
    await execute(
        tx,
        "insert into approvals (tenant, id, run_id, root_id, path, attempt, blueprint, policy, policy_digest,"
        " requested_by, title, facts, shown, args_digest, bound, nonce, may_decide, forbid_self, on_reject, on_expire,"
        " status, created_at, expires_at) values (%(tenant)s, %(id)s, %(run_id)s, %(root_id)s, %(path)s, %(attempt)s,"
        " %(blueprint)s, %(policy)s, %(policy_digest)s, %(requested_by)s, %(title)s, %(facts)s, %(shown)s,"
        " %(args_digest)s, %(bound)s, %(nonce)s, %(may_decide)s, %(forbid_self)s, %(on_reject)s, %(on_expire)s,"
        " 'PENDING', %(created_at)s, %(expires_at)s)",
        {
            "tenant": approval.tenant,
            "id": approval.id,
            "run_id": approval.run_id,
            "root_id": approval.root_id,
            "path": approval.path,
            "attempt": approval.attempt,
            "blueprint": approval.blueprint,
            "policy": approval.policy,
            "policy_digest": approval.policy_digest,
            "requested_by": approval.requested_by,
            "title": approval.title,
            "facts": Jsonb(approval.facts),
            "shown": Jsonb(approval.shown),
            "args_digest": approval.args_digest,
            "bound": approval.bound,
            "nonce": approval.nonce,
            "may_decide": Jsonb(approval.may_decide),
            "forbid_self": approval.forbid_self,
            "on_reject": approval.on_reject,
            "on_expire": approval.on_expire,
            "created_at": approval.created_at,
            "expires_at": approval.expires_at,
        },
    )


async def get(tx: Tx, tenant: str, approval_id: UUID) -> Approval:
    """One approval. Raises NotFound `approval.unknown`."""
    return await one(
        tx,
        Approval,
        "select " + _COLUMNS + " from approvals where tenant = %s and id = %s",
        (tenant, approval_id),
        missing=NotFound(
            "approval.unknown", f"There is no approval {approval_id}.", hint="`GET /api/approvals` lists what waits."
        ),
    )


async def find(tx: Tx, tenant: str, run_id: UUID, path: str, attempt: int) -> Approval | None:
    """What this attempt of a step asked, if it did."""
    return await maybe(
        tx,
        Approval,
        "select " + _COLUMNS + " from approvals where tenant = %s and run_id = %s and path = %s and attempt = %s",
        (tenant, run_id, path, attempt),
    )


async def settle(tx: Tx, approval: Approval) -> bool:
    """End a PENDING approval as `approval` says; False if it was not PENDING any more, or asks something else."""
    changed = await execute(
        tx,
        "update approvals set status = %(status)s, decided_by = %(decided_by)s, decided_at = %(decided_at)s,"
        " reason = %(reason)s where tenant = %(tenant)s and id = %(id)s and status = 'PENDING'"
        " and args_digest = %(args_digest)s",
        {
            "status": approval.status.value,
            "decided_by": approval.decided_by,
            "decided_at": approval.decided_at,
            "reason": approval.reason,
            "tenant": approval.tenant,
            "id": approval.id,
            "args_digest": approval.args_digest,
        },
    )
    return changed == 1


async def expire_one(tx: Tx, tenant: str, approval_id: UUID, now: datetime) -> Approval | None:
    """Mark one approval expired if it is PENDING and its time is over; None if not."""
    return await maybe(
        tx,
        Approval,
        "update approvals set status = 'EXPIRED', decided_at = %(now)s where tenant = %(tenant)s and id = %(id)s"
        " and status = 'PENDING' and expires_at <= %(now)s returning " + _COLUMNS,
        {"tenant": tenant, "id": approval_id, "now": now},
    )


async def due(tx: Tx, now: datetime, limit: int) -> list[Approval]:
    """Role engine: PENDING approvals of all tenants whose time is over, the longest first."""
    return await many(
        tx,
        Approval,
        "select "
        + _COLUMNS
        + " from approvals where status = 'PENDING' and expires_at <= %s order by expires_at limit %s",
        (now, limit),
    )


async def cancel_of_runs(tx: Tx, tenant: str, run_ids: Sequence[UUID], now: datetime) -> list[Approval]:
    """Mark every PENDING approval of these runs cancelled; return them."""
    return await many(
        tx,
        Approval,
        "update approvals set status = 'CANCELLED', decided_at = %(now)s where tenant = %(tenant)s"
        " and run_id = any(%(runs)s) and status = 'PENDING' returning " + _COLUMNS,
        {"tenant": tenant, "runs": list(run_ids), "now": now},
    )


async def select(
    tx: Tx, tenant: str, *, status: str | None, run_id: UUID | None, after: UUID | None, limit: int
) -> list[Approval]:
    """Approvals of the tenant, oldest first, past `after`; `run_id` matches a run and the items of a run."""
    return await many(
        tx,
        Approval,
        "select "
        + _COLUMNS
        + " from approvals where tenant = %(tenant)s and (%(status)s::text is null or status = %(status)s)"
        " and (%(run)s::uuid is null or root_id = %(run)s or run_id = %(run)s)"
        " and (%(after)s::uuid is null or id > %(after)s) order by id limit %(limit)s",
        {"tenant": tenant, "status": status, "run": run_id, "after": after, "limit": limit},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """How many approvals wait, and since when the oldest does (None if none)."""

    pending: int
    oldest: datetime | None


async def waiting(tx: Tx) -> Waiting:
    """Role engine: what waits, over all tenants."""
    found = await maybe(
        tx, Waiting, "select count(*) as pending, min(created_at) as oldest from approvals where status = 'PENDING'"
    )
    return found or Waiting(pending=0, oldest=None)


async def count_pending(tx: Tx, tenant: str) -> int:
    """How many of the tenant's approvals wait."""
    return int(
        await scalar(tx, "select count(*) from approvals where tenant = %s and status = 'PENDING'", (tenant,)) or 0
    )


async def dominating(tx: Tx, tenant: str, run_id: UUID, paths: Sequence[str]) -> list[Dominating]:
    """The GOVERN steps `paths`, in this run or the runs it is an item of, with the approval of their current attempt.

    Each row is looked up by its own key, whatever the planner knows of the tables: the limits keep the lookups apart, and
    the tenant is compared after them. Joined freely, a guarded write read the whole of step_runs or of its index.
    """
    return await many(
        tx,
        Dominating,
        "with recursive chain (id, parent_id) as (select id, parent_id from runs where tenant = %(tenant)s"
        " and id = %(run)s union all select r.id, r.parent_id from chain c cross join lateral"
        " (select id, parent_id, tenant from runs where id = c.parent_id limit 1) r where r.tenant = %(tenant)s)"
        " select s.path, s.status as step_status, s.output ->> 'decision' as decision, a.id as approval_id,"
        " a.status as approval_status, a.bound from chain c"
        " cross join (select distinct unnest(%(paths)s::text[]) as path) wanted"
        " cross join lateral (select * from step_runs where run_id = c.id and path = wanted.path limit 1) s"
        " left join lateral (select * from approvals where run_id = s.run_id and path = s.path"
        " and attempt = s.attempt limit 1) a on a.tenant = s.tenant"
        " where s.tenant = %(tenant)s and s.verb = 'govern'",
        {"tenant": tenant, "run": run_id, "paths": list(paths)},
    )


async def queue_of(tx: Tx, tenant: str, run_id: UUID) -> str | None:
    """The queue of a run, to tell its workers after the commit."""
    return await scalar(tx, "select queue from runs where tenant = %s and id = %s", (tenant, run_id))
