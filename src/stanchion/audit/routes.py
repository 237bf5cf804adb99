"""HTTP: GET /api/audit."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Query

from stanchion.audit.service import list_records
from stanchion.audit.types import Listed
from stanchion.base import loads
from stanchion.http import CtxDep, Page, PageDep, Reply, example


class RecordReply(Reply):
    """One audit record; `record` is exactly what `leaf` commits to."""

    model_config = example(
        {
            "id": "0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11",
            "recorded_at": "2026-11-18T09:00:00.123456Z",
            "event_type": "principal.role_granted",
            "actor": "0199c1e0-0000-7000-8000-000000000001",
            "actor_name": "admin",
            "target_kind": "principal",
            "target_id": "0199c1e0-0000-7000-8000-000000000002",
            "run_id": None,
            "record": {"schema_version": 1, "event_type": "principal.role_granted"},
            "leaf": "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
        }
    )

    id: UUID
    recorded_at: datetime
    event_type: str
    actor: str
    actor_name: str | None
    target_kind: str
    target_id: str
    run_id: UUID | None
    record: dict[str, Any]
    leaf: str


def _reply(row: Listed) -> RecordReply:
    return RecordReply(
        id=row.id,
        recorded_at=row.recorded_at,
        event_type=row.event_type,
        actor=row.actor,
        actor_name=row.actor_name,
        target_kind=row.target_kind,
        target_id=row.target_id,
        run_id=row.run_id,
        record=cast("dict[str, Any]", loads(row.record)),
        leaf=row.leaf.hex(),
    )


_Name = Annotated[str | None, Query(min_length=1, max_length=255, pattern=r"^[^\x00]+$")]


def build_router() -> APIRouter:
    """The routes of audit."""
    router = APIRouter(prefix="/api/audit", tags=["audit"])

    @router.get("", summary="List audit records", operation_id="list_audit_records")
    async def list_audit_records(
        ctx: CtxDep,
        page: PageDep,
        target_kind: _Name = None,
        target_id: _Name = None,
        run: UUID | None = None,
        event: _Name = None,
    ) -> Page[RecordReply]:
        """Records of this tenant, newest first, that match every filter given."""
        found = await list_records(
            ctx, page, target_kind=target_kind, target_id=target_id, run_id=run, event_type=event
        )
        return Page(items=[_reply(row) for row in found.items], next=found.next)

    return router
