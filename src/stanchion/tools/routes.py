"""HTTP: /api/connectors and /api/effects."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field

from stanchion.base import Json
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.http import CtxDep, Model, Page, PageDep, Reply, shows
from stanchion.tools.adapter import AdapterRegistry
from stanchion.tools.effects import Effect, EffectFilter, EffectState, Versioned, list_effects, resolve, show
from stanchion.tools.service import discover_connector, list_connectors, show_connector, test_connector
from stanchion.tools.store import LiveConnector
from stanchion.tools.types import Connector, Resource

_RESOURCE: dict[str, Any] = {
    "name": "cases",
    "description": "Enforcement cases.",
    "key": "case_id",
    "operations": ["fetch", "lookup"],
    "fields": {"case_id": {"type": "string"}, "fine_eur": {"type": "integer"}},
}
_CONNECTOR: dict[str, Any] = {
    "name": "casebook",
    "version": 1,
    "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "description": "The casebook, a SQLite file.",
    "owner": "casework",
    "adapter": "sql",
    "environment": "local",
    "resources": [_RESOURCE],
    "released_at": "2026-11-18T09:00:00Z",
    "released_by": "ada",
}
_DISCOVERY: dict[str, Any] = {
    "connector": "casebook",
    "adapter": "sql",
    "narrative": "Found 1 tables and views that can be read.",
    "truncated": False,
    "capabilities": {"fetch": {"paging": "by position: the statement orders"}},
    "resources": {
        "cases": {
            "description": "table cases",
            "key": "case_id",
            "fields": {"case_id": {"type": "string"}, "fine_eur": {"type": ["integer", "null"]}},
            "fetch": {"statement": 'select case_id, fine_eur from "cases" order by case_id'},
            "lookup": {"statement": 'select case_id, fine_eur from "cases" where case_id = :key'},
        }
    },
    "operations": {},
}
_EFFECT: dict[str, Any] = {
    "id": "0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11",
    "run_id": "0199c1f0-0000-7000-8000-000000000001",
    "path": "triage/record",
    "key": "eff_2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "connector": "outcomes",
    "connector_digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "operation": "outcomes.push",
    "effect_class": "write",
    "idempotency": "none",
    "args_digest": "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "state": "UNKNOWN",
    "receipt": None,
    "error": {"code": "adapter.timeout", "message": "outcomes.outcomes timed out after 30 s."},
    "resolved_by": None,
    "evidence": None,
    "intent_at": "2026-11-18T09:00:00Z",
    "outcome_at": "2026-11-18T09:00:30Z",
    "attempts": 1,
    "simulated": False,
}
_RESOLVED: dict[str, Any] = {
    **_EFFECT,
    "state": "DONE",
    "receipt": {"applied": True, "rows": 1, "idempotency_key": _EFFECT["key"], "resolved_by": "ada"},
    "error": None,
    "resolved_by": "ada",
    "evidence": "Case GDPR-D048 is in the register, seen by Ada.",
    "outcome_at": "2026-11-18T09:20:00Z",
}


_SOURCE = """connector: casebook
description: The casebook, a SQLite file.
owner: casework
adapter: sql
environment: local
database: {driver: sqlite, path: casebook.sqlite}
resources:
  cases:
    description: Enforcement cases.
    key: case_id
    fields:
      case_id: {type: string}
      fine_eur: {type: integer}
    fetch: {statement: "select case_id, fine_eur from cases order by case_id"}
    lookup: {statement: "select case_id, fine_eur from cases where case_id = :key"}
"""


class ResourceReply(Reply):
    """What a connector offers of one kind of record."""

    name: str
    description: str
    key: str
    operations: list[str]
    fields: dict[str, Any]


class ConnectorReply(Reply):
    """A live connector: what it is bound to and what it offers. It holds no credential."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CONNECTOR]})

    name: str
    version: int
    digest: str
    description: str
    owner: str
    adapter: str
    environment: str
    resources: list[ResourceReply]
    released_at: datetime
    released_by: str


class ConnectorDetailReply(ConnectorReply):
    """A live connector, with its text as its author wrote it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_CONNECTOR, "source": _SOURCE}]})

    source: str


class TestedReply(Reply):
    """How a test ended: `ok`, and what was found, or a problem's code, words and way out."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ok": True, "code": "", "detail": "SQLite 3.40.1, 1 tables and views.", "hint": "", "duration_ms": 2},
            ]
        }
    )

    ok: bool
    code: str
    detail: str
    hint: str
    duration_ms: int


class DiscoveryReply(Reply):
    """What the target offers: `resources`, and `operations` for `execute`, are ready to stand in the connector's document;
    `capabilities` says per operation what the adapter makes of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DISCOVERY]})

    connector: str
    adapter: str
    narrative: str
    truncated: bool
    capabilities: dict[str, dict[str, Any]]
    resources: dict[str, dict[str, Any]]
    operations: dict[str, dict[str, Any]]


class EffectReply(Reply):
    """One effect: what was asked of which target, and what became of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EFFECT]}, from_attributes=True, extra="ignore")

    id: UUID
    run_id: UUID
    path: str
    key: str
    connector: str
    connector_digest: str
    operation: str
    effect_class: str
    idempotency: str
    args_digest: str
    state: EffectState
    receipt: dict[str, Any] | None
    error: dict[str, Any] | None
    resolved_by: str | None
    evidence: str | None
    intent_at: datetime
    outcome_at: datetime | None
    attempts: int
    simulated: bool


class ResolveRequest(Model):
    """A person's answer to "did this happen?", and what they looked at."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"happened": True, "evidence": _RESOLVED["evidence"], "attempt": 1}]},
    )

    happened: bool
    evidence: str = Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")
    attempt: int | None = Field(
        default=None,
        ge=1,
        le=2_147_483_647,
        description="Which attempt was looked into: `attempts` of the effect as you saw it. Needed after a second attempt.",
    )


_Name = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Connector name.")]
_VersionedFilter = Annotated[str | None, Query(pattern=r"^[a-z][a-z0-9-]{0,62}(@[1-9][0-9]{0,8})?$")]


def _resource(resource: Resource) -> ResourceReply:
    fields: Mapping[str, Mapping[str, Json]] = resource.fields
    return ResourceReply(
        name=resource.name,
        description=resource.description,
        key=resource.key,
        operations=list(resource.operations),
        fields=dict(fields),
    )


def _connector(row: LiveConnector, connector: Connector) -> dict[str, Any]:
    return {
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "description": connector.description,
        "owner": connector.owner,
        "adapter": connector.adapter,
        "environment": connector.environment,
        "resources": [_resource(resource) for resource in connector.resources.values()],
        "released_at": row.released_at,
        "released_by": row.released_by,
    }


def _versioned(said: str | None) -> Versioned | None:
    if said is None:
        return None
    name, _, version = said.partition("@")
    return Versioned(name=name, version=int(version) if version else None)


def _effect(effect: Effect) -> EffectReply:
    return EffectReply.model_validate(effect)


def build_router(adapters: AdapterRegistry, kills: Kills = NO_KILLS) -> APIRouter:
    """The routes of connectors and effects."""
    router = APIRouter(prefix="/api")

    @router.get("/connectors", summary="List connectors", operation_id="list_connectors", tags=["connectors"])
    async def get_connectors(ctx: CtxDep, page: PageDep) -> Page[ConnectorReply]:
        """The connectors that are live here, by name."""
        found = await list_connectors(ctx, page)
        return Page(items=[ConnectorReply(**_connector(*row)) for row in found.items], next=found.next)

    @router.get("/connectors/{name}", summary="Show a connector", operation_id="show_connector", tags=["connectors"])
    async def get_connector(ctx: CtxDep, name: _Name) -> ConnectorDetailReply:
        """One live connector."""
        row, connector = await show_connector(ctx, name)
        return ConnectorDetailReply(**_connector(row, connector), source=row.source)

    @router.post(
        "/connectors/{name}/test", summary="Test a connector", operation_id="test_connector", tags=["connectors"]
    )
    async def post_test(ctx: CtxDep, name: _Name) -> TestedReply:
        """Reach the target without changing it; a failure is an answer with `ok` false."""
        return TestedReply.model_validate(await test_connector(ctx, name, adapters, kills))

    @router.post(
        "/connectors/{name}/discover",
        summary="Discover what a connector's target offers",
        operation_id="discover_connector",
        tags=["connectors"],
    )
    async def post_discover(ctx: CtxDep, name: _Name) -> DiscoveryReply:
        """Ask the target what it has, and write it as resources for the connector's document. Changes nothing."""
        connector, found = await discover_connector(ctx, name, adapters, kills)
        return DiscoveryReply(
            connector=connector.name,
            adapter=connector.adapter,
            narrative=found.narrative,
            truncated=found.truncated,
            capabilities={operation: dict(said) for operation, said in found.capabilities.items()},
            resources={resource: dict(body) for resource, body in found.resources.items()},
            operations={operation: dict(body) for operation, body in found.operations.items()},
        )

    _add_effects(router)
    return router


def _add_effects(router: APIRouter) -> None:
    @router.get("/effects", summary="List effects", operation_id="list_effects", tags=["effects"])
    async def get_effects(
        ctx: CtxDep,
        page: PageDep,
        state: EffectState | None = None,
        run: UUID | None = None,
        connector: _VersionedFilter = None,
        tool: _VersionedFilter = None,
        since: datetime | None = None,
        simulated: bool | None = None,
    ) -> Page[EffectReply]:
        """Effects, newest first, that match every filter given. `connector` and `tool` are a name, or one version of it
        (`erp@2`); `since` is a time, with its zone, from which on they were last attempted."""
        where = EffectFilter(
            state=state,
            run_id=run,
            connector=_versioned(connector),
            tool=_versioned(tool),
            since=since if since is None or since.tzinfo else since.replace(tzinfo=UTC),
            simulated=simulated,
        )
        found = await list_effects(ctx, page, where)
        return Page(items=[_effect(row) for row in found.items], next=found.next)

    @router.get("/effects/{effect_id}", summary="Show an effect", operation_id="show_effect", tags=["effects"])
    async def get_effect(ctx: CtxDep, effect_id: UUID) -> EffectReply:
        """One effect."""
        return _effect(await show(ctx, effect_id))

    @router.post(
        "/effects/{effect_id}/resolve",
        summary="Resolve an effect",
        operation_id="resolve_effect",
        tags=["effects"],
        responses=shows(_RESOLVED),
    )
    async def post_resolve(ctx: CtxDep, effect_id: UUID, answer: ResolveRequest) -> EffectReply:
        """Say whether an effect of unknown outcome happened, with evidence; its run goes on."""
        settled = await resolve(
            ctx, effect_id, happened=answer.happened, evidence=answer.evidence, attempt=answer.attempt
        )
        return _effect(settled)
