"""Verbs of audit: record a change, list what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from stanchion.audit import store
from stanchion.audit.rules import build, trace_id_of
from stanchion.audit.types import AuditRecord, Listed, Outcome
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx
from stanchion.db import Tx


async def record(
    tx: Tx,
    ctx: Ctx,
    event_type: str,
    *,
    target: tuple[str, str | UUID],
    run_id: UUID | None = None,
    before: object = None,
    after: object = None,
    reason: str | None = None,
    outcome: Outcome | None = None,
    extra: Mapping[str, object] | None = None,
) -> AuditRecord:
    """Record a change of `ctx`'s actor in the transaction `tx` of that change (I6). Arguments as in `build`."""
    made = build(
        clock=ctx.env.clock,
        ids=ctx.env.ids,
        tenant=ctx.tenant,
        environment=ctx.env.environment.name,
        actor=ctx.actor,
        event_type=event_type,
        target=target,
        run_id=run_id,
        before=before,
        after=after,
        reason=reason,
        outcome=outcome,
        trace_id=trace_id_of(ctx.traceparent),
        extra=extra,
    )
    await store.insert_many(tx, [made])
    return made


async def list_records(
    ctx: Ctx,
    page: PageParams,
    *,
    target_kind: str | None = None,
    target_id: str | None = None,
    run_id: UUID | None = None,
    event_type: str | None = None,
) -> Slice[Listed]:
    """The tenant's records, newest first, that match every filter given."""
    ctx.require("audit.read")
    after = id_after(page)
    async with ctx.tx() as tx:
        found = await store.select(
            tx,
            ctx.tenant,
            target_kind=target_kind,
            target_id=target_id,
            run_id=run_id,
            event_type=event_type,
            after=after,
            limit=page.limit + 1,
        )
    return slice_of(found, page.limit, lambda r: (str(r.id),))
