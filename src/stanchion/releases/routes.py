"""HTTP: apply, validate, and what is live: /api/artifacts/apply, /api/blueprints, /api/releases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.routing import APIRoute
from pydantic import ConfigDict, Field, StringConstraints

from stanchion.artifacts import ArtifactVersion, Document, KindSpec
from stanchion.artifacts.routes import ArtifactReply, DiffReply, KindPath, NamePath, VersionQuery
from stanchion.http import CtxDep, Model, Page, PageDep, Reply
from stanchion.releases import rules
from stanchion.releases.gates.answers import RulingReply
from stanchion.releases.service import (
    apply,
    diff_with_live,
    list_blueprints,
    list_releases,
    require_environment,
    retire,
    show_blueprint,
    usage,
    validate,
)
from stanchion.releases.types import Release, ReleaseChange

_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_CHANGE: dict[str, Any] = {
    "kind": "blueprint",
    "name": "case-triage",
    "version": 3,
    "digest": _DIGEST,
    "change": "updated",
}
# A Blueprint that is accepted beside the connector of the reference, and the same with a misspelt field.
_SOURCE = """blueprint: case-triage
description: Count the cases.
owner: casework
input: {type: object, properties: {country: {type: string}}}
steps:
  - id: open
    fetch: {connector: casebook, resource: cases}
output: {cases: "${size(steps.open.records)}"}
"""
_DOCUMENT: dict[str, Any] = {
    "blueprint": "case-triage",
    "description": "Count the cases.",
    "owner": "casework",
    "input": {"type": "object", "properties": {"country": {"type": "string"}}},
    "steps": [{"id": "open", "fetch": {"connector": "casebook", "resource": "cases"}}],
    "output": {"cases": "${size(steps.open.records)}"},
}
_PATH = "blueprints/case-triage.yaml"
_MISSPELT = _SOURCE.replace("description", "descripton")
_ISSUE: dict[str, Any] = {
    "file": _PATH,
    "line": 2,
    "column": 1,
    "step": None,
    "code": "document.unknown_field",
    "message": "descripton is no field.",
    "hint": "Did you mean description?",
    "pointer": "/descripton",
    "severity": "error",
}
_LIVE: dict[str, Any] = {
    "name": "case-triage",
    "version": 3,
    "digest": _DIGEST,
    "released_at": "2026-11-18T09:00:00Z",
    "released_by": "ada",
}

# No NUL: PostgreSQL's text has none. Sizes bound what one request can make this process read.
_Text = Annotated[str, StringConstraints(max_length=1_048_576, pattern=r"^[^\x00]*$")]
_FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f]+$")]


_ArtifactKey = Annotated[str, StringConstraints(pattern=r"^[a-z_]{1,32}/[a-z][a-z0-9-]{0,62}$")]


class DocumentBody(Model):
    """A file: its path as the author knows it, and its text."""

    path: _FilePath
    source: _Text


class ValidateRequest(Model):
    """A set of documents that are checked together."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"documents": [{"path": _PATH, "source": _MISSPELT}]}]})

    documents: list[DocumentBody] = Field(min_length=1, max_length=500)

    def read(self) -> list[Document]:
        """The documents as the verbs take them."""
        return [Document(path=d.path, source=d.source) for d in self.documents]


class ApplyRequest(ValidateRequest):
    """A set of documents to publish and make live, all or nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "documents": [{"path": _PATH, "source": _SOURCE}],
                    "dry_run": False,
                    "changelog": "Say what it is for.",
                }
            ]
        }
    )

    dry_run: bool = False
    changelog: str = Field(default="", max_length=4000, pattern=r"^[^\x00]*$")
    expected: dict[_ArtifactKey, Annotated[int, Field(ge=0, le=2**31 - 1)]] = Field(
        default_factory=dict,
        max_length=500,
        description="By `kind/name` the version that you think is live, 0 for none; 409 if another one is by now.",
    )

    environment: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")] | None = Field(
        default=None, description="The environment that you mean; 409 if this deployment is another one."
    )
    break_glass: str | None = Field(
        default=None,
        max_length=2000,
        pattern=r"^[^\x00]*$",
        description="Why it is made live although its gates say no: with a permission of its own, and a review afterwards.",
    )

    def expectations(self) -> dict[tuple[str, str], int]:
        """`expected` by (kind, name)."""
        return {(key.partition("/")[0], key.partition("/")[2]): version for key, version in self.expected.items()}


class DiffRequest(Model):
    """A document, and the version to compare it with: the live one if left out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"document": {"path": _PATH, "source": _SOURCE}}]})

    document: DocumentBody
    version: int | None = Field(default=None, ge=1, le=2**31 - 1)


class RetireRequest(Model):
    """Which version, and why; the reason is kept."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 1, "reason": "Superseded by the new limits."}]}
    )

    version: int = Field(ge=1, le=2**31 - 1)
    reason: str = Field(min_length=8, max_length=2000, pattern=r"^[^\x00]*$")


class LiveInReply(Reply):
    """Where a version is live, or in an open rollout the candidate or the stable version."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"environment": "local", "version": 3, "standing": "live"}]}
    )

    environment: str
    version: int
    standing: str


_REFERRER: dict[str, Any] = {
    "environment": "local",
    "kind": "blueprint",
    "name": "case-triage",
    "version": 3,
    "digest": _DIGEST,
}


class ReferrerReply(Reply):
    """A live version that names the artifact."""

    model_config = ConfigDict(json_schema_extra={"examples": [_REFERRER]})

    environment: str
    kind: str
    name: str
    version: int
    digest: str


class UsageReply(Reply):
    """Who uses an artifact, or one version of it. `runs`: pinned top-level runs by status; `runs_cut`: there are more
    than were counted. `newest`: ids of the newest of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "connector",
                    "name": "casebook",
                    "version": 2,
                    "live": [{"environment": "local", "version": 2, "standing": "live"}],
                    "referrers": [_REFERRER],
                    "runs": {"RUNNING": 2, "SUCCEEDED": 140},
                    "runs_cut": False,
                    "newest": ["01a20133-bb93-7061-a222-41b34a2bc8b2"],
                }
            ]
        }
    )

    kind: str
    name: str
    version: int | None
    live: list[LiveInReply]
    referrers: list[ReferrerReply]
    runs: dict[str, int]
    runs_cut: bool
    newest: list[UUID]


class ChangeReply(Reply):
    """One artifact of an apply, as it is live afterwards."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHANGE]})

    kind: str
    name: str
    version: int
    digest: str
    change: ReleaseChange


class IssueReply(Reply):
    """One thing wrong with a document, at its own place; lines and columns count from 1."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ISSUE]})

    file: str
    line: int
    column: int
    step: str | None
    code: str
    message: str
    hint: str
    pointer: str
    severity: str


class AppliedReply(Reply):
    """What an apply did, or for a dry run would do."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"environment": "local", "changes": [_CHANGE], "warnings": [], "gates": None}]}
    )

    environment: str
    changes: list[ChangeReply]
    warnings: list[IssueReply]
    gates: RulingReply | None = Field(
        default=None, description="What the gates say of what moves; null if nothing does."
    )


class ValidatedReply(Reply):
    """Everything that is wrong with a set of documents; empty if `apply` would take it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"issues": [_ISSUE]}]})

    issues: list[IssueReply]


class BlueprintReply(Reply):
    """A live Blueprint, without its document."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{**_LIVE, "description": _DOCUMENT["description"], "owner": "casework"}]}
    )

    name: str
    version: int
    digest: str
    description: str
    owner: str
    released_at: datetime
    released_by: str


class BlueprintDetailReply(Reply):
    """One version of a Blueprint: the document as JSON and as its author wrote it, and which version is live."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "case-triage",
                    "version": 3,
                    "digest": _DIGEST,
                    "live_version": 3,
                    "document": _DOCUMENT,
                    "source": _SOURCE,
                    "source_path": _PATH,
                    "input_schema": _DOCUMENT["input"],
                    "description": _DOCUMENT["description"],
                    "owner": "casework",
                    "author": "ada",
                    "changelog": "Say what it is for.",
                    "created_at": "2026-11-18T09:00:00Z",
                }
            ]
        }
    )

    name: str
    version: int
    digest: str
    live_version: int | None
    document: dict[str, Any]
    source: str
    source_path: str
    input_schema: dict[str, Any]
    description: str
    owner: str
    author: str
    changelog: str
    created_at: datetime


class ReleaseReply(Reply):
    """Which version of an artifact is live in this environment, since when, by whom."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_LIVE, "environment": "local", "kind": "blueprint"}]})

    environment: str
    kind: str
    name: str
    version: int
    digest: str
    released_at: datetime
    released_by: str


def build_router(kinds: Mapping[str, KindSpec], route: type[APIRoute] = APIRoute) -> APIRouter:
    """The routes of releases. `kinds` are those that a document can be of; `route`: the class of its routes (`http.telling`)."""
    router = APIRouter(prefix="/api", tags=["releases"], route_class=route)

    @router.post("/artifacts/apply", summary="Apply documents", operation_id="apply")
    async def post_apply(ctx: CtxDep, body: ApplyRequest) -> AppliedReply:
        """Publish what changed and make it live, all or nothing; 422 with every error of every file."""
        require_environment(ctx, body.environment)
        applied = await apply(
            ctx,
            body.read(),
            kinds=kinds,
            dry_run=body.dry_run,
            changelog=body.changelog,
            expected=body.expectations(),
            break_glass=body.break_glass,
        )
        return AppliedReply(
            environment=applied.environment,
            changes=[ChangeReply.model_validate(change) for change in applied.changes],
            warnings=[IssueReply.model_validate(issue) for issue in applied.warnings],
            gates=RulingReply.of(applied.ruling),
        )

    @router.post("/blueprints/validate", summary="Validate documents", operation_id="validate")
    async def post_validate(ctx: CtxDep, body: ValidateRequest) -> ValidatedReply:
        """Check documents as an apply would, and write nothing."""
        checked = await validate(ctx, body.read(), kinds=kinds)
        return ValidatedReply(issues=[IssueReply.model_validate(issue) for issue in checked.issues])

    @router.get("/blueprints", summary="List Blueprints", operation_id="list_blueprints")
    async def get_blueprints(ctx: CtxDep, page: PageDep) -> Page[BlueprintReply]:
        """The live Blueprints, by name."""
        found = await list_blueprints(ctx, page)
        return Page(items=[BlueprintReply.model_validate(row) for row in found.items], next=found.next)

    @router.get("/blueprints/{name}", summary="Show a Blueprint", operation_id="show_blueprint")
    async def get_blueprint(ctx: CtxDep, name: NamePath, version: VersionQuery = None) -> BlueprintDetailReply:
        """One version of a Blueprint: the live one, if none is named."""
        found, live = await show_blueprint(ctx, name, version)
        return _detail(found, live)

    @router.get("/releases", summary="List what is live", operation_id="list_releases")
    async def get_releases(ctx: CtxDep, page: PageDep) -> Page[ReleaseReply]:
        """Which version of every artifact is live, by kind and name."""
        found = await list_releases(ctx, page)
        return Page(items=[ReleaseReply.model_validate(row) for row in found.items], next=found.next)

    _add_registry(router, kinds)
    return router


def _detail(found: ArtifactVersion, live: Release | None) -> BlueprintDetailReply:
    document = dict(found.body)
    return BlueprintDetailReply(
        name=found.name,
        version=found.version,
        digest=found.digest,
        live_version=live.version if live else None,
        document=document,
        source=found.source,
        source_path=found.source_path,
        input_schema=rules.input_schema(found.body),
        description=str(document.get("description") or ""),
        owner=found.owner,
        author=found.author,
        changelog=found.changelog,
        created_at=found.created_at,
    )


def _add_registry(router: APIRouter, kinds: Mapping[str, KindSpec]) -> None:
    """What artifacts cannot answer alone: it needs what is live and which runs there are."""

    @router.get("/artifacts/{kind}/{name}/usage", summary="Show who uses an artifact", operation_id="artifact_usage")
    async def get_usage(
        ctx: CtxDep,
        kind: KindPath,
        name: NamePath,
        version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="All versions if left out.")] = None,
        digest: Annotated[str | None, Query(pattern=r"^sha256:[0-9a-f]{64}$")] = None,
    ) -> UsageReply:
        """Where it is live, which live versions refer to it, which runs are pinned to it (at most 10,000 counted)."""
        return UsageReply.model_validate(await usage(ctx, kind, name, version=version, digest=digest))

    @router.post("/artifacts/diff", summary="Compare a file with what is live", operation_id="diff_file")
    async def post_diff(ctx: CtxDep, body: DiffRequest) -> DiffReply:
        """What applying a document would change, against the live version of its name or the one asked for."""
        document = Document(path=body.document.path, source=body.document.source)
        return DiffReply.model_validate(await diff_with_live(ctx, document, kinds=kinds, version=body.version))

    @router.post("/artifacts/{kind}/{name}/retire", summary="Retire a version", operation_id="retire_version")
    async def post_retire(ctx: CtxDep, kind: KindPath, name: NamePath, body: RetireRequest) -> ArtifactReply:
        """Retire a version to which nothing refers; 409 with what does. Its content is kept."""
        return ArtifactReply.model_validate(await retire(ctx, kind, name, body.version, reason=body.reason))
