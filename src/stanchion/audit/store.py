"""All SQL of audit. Records are inserted and read, never changed: the roles hold no other grant."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from stanchion.audit.rules import rows
from stanchion.audit.types import AuditRecord, Listed
from stanchion.base import dumps
from stanchion.db import Tx, execute, many


async def insert_many(tx: Tx, records: Iterable[AuditRecord]) -> int:
    """Insert `records` by one statement in the caller's transaction; return how many."""
    batch = rows(records)
    if not batch:
        return 0
    return await execute(
        tx,
        """
        insert into audit_records
            (tenant, id, recorded_at, event_type, actor, target_kind, target_id, run_id, record, leaf)
        select tenant, id, recorded_at, event_type, actor, target_kind, target_id, run_id, record, decode(leaf, 'hex')
        from json_to_recordset(%s::json) as r
            (tenant text, id uuid, recorded_at timestamptz, event_type text, actor text, target_kind text,
             target_id text, run_id uuid, record text, leaf text)
        """,
        (dumps(batch).decode(),),
    )


async def select(
    tx: Tx,
    tenant: str,
    *,
    target_kind: str | None,
    target_id: str | None,
    run_id: UUID | None,
    event_type: str | None,
    after: UUID | None,
    limit: int,
) -> list[Listed]:
    """Up to `limit` records of the tenant, newest first, before the id `after`.

    The actor's name is looked up here and not stored in the record: records outlive names (I6).
    """
    return await many(
        tx,
        Listed,
        """
        select a.id, a.recorded_at, a.event_type, a.actor, p.name as actor_name, a.target_kind, a.target_id, a.run_id,
               a.record, a.leaf
        from audit_records a left join principals p on p.tenant = a.tenant and p.id::text = a.actor
        where a.tenant = %(tenant)s
          and (%(target_kind)s::text is null or a.target_kind = %(target_kind)s)
          and (%(target_id)s::text is null or a.target_id = %(target_id)s)
          and (%(run_id)s::uuid is null or a.run_id = %(run_id)s)
          and (%(event_type)s::text is null or a.event_type = %(event_type)s)
          and (%(after)s::uuid is null or a.id < %(after)s)
        order by a.id desc
        limit %(limit)s
        """,
        {
            "tenant": tenant,
            "target_kind": target_kind,
            "target_id": target_id,
            "run_id": run_id,
            "event_type": event_type,
            "after": after,
            "limit": limit,
        },
    )
