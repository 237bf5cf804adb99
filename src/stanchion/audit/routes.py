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

# A whole record, and the leaf that is really its own.
_RECORD: dict[str, Any] = {
    "schema_version": 1,
    "id": "01a20198-dc40-7064-8f83-97419a579307",
    "ts": "2026-11-22T04:52:04.800823Z",
    "tenant": "default",
    "env": "local",
    "actor": {
        "id": "01a20190-f413-7034-8be9-3f325a0c20cd",
        "kind": "user",
        "credential": "api_key:01a20190-f418-702e-bcf2-9575ab379aea",
    },
    "event_type": "principal.role_granted",
    "target": {"kind": "principal", "id": "01a20198-dc38-701c-a4fe-8d7e8fe34122"},
    "run_id": None,
    "before": "sha256:8801dddc5278f46cd416d3ba85ad8638117cc8c71281f0af64f4d324b5c8b358",
    "after": "sha256:db3699e60957eb0dc59cb71d83170ccef479dadf4c8f109251c72cda8abeb626",
    "reason": None,
    "outcome": None,
    "trace_id": "3254e8515242f3eeebaa89b89866c93c",
    "extra": {"role": "approver"},
}


class RecordReply(Reply):
    """One audit record; `record` is exactly what `leaf` commits to."""

    model_config = example(
        {
            "id": _RECORD["id"],
            "recorded_at": _RECORD["ts"],
            "event_type": "principal.role_granted",
            "actor": _RECORD["actor"]["id"],
            "actor_name": "admin",
            "target_kind": "principal",
            "target_id": _RECORD["target"]["id"],
            "run_id": None,
            "record": _RECORD,
            "leaf": "f60c8bacb7d50222b8404f460e21fa43f630a1d84aaeaa635053c2fc6c5df4b6",
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
