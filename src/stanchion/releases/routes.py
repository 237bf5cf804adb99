"""HTTP: apply, validate, and what is live: /api/artifacts/apply, /api/blueprints, /api/releases."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import ConfigDict, Field, StringConstraints

from stanchion.artifacts import Document, KindSpec, NamePath, VersionQuery
from stanchion.http import CtxDep, Model, Page, PageDep, Reply
from stanchion.releases import rules
from stanchion.releases.service import apply, list_blueprints, list_releases, show_blueprint, validate
from stanchion.releases.types import ReleaseChange

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
        json_schema_extra={"examples": [{"environment": "local", "changes": [_CHANGE], "warnings": []}]}
    )

    environment: str
    changes: list[ChangeReply]
    warnings: list[IssueReply]


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


def build_router(kinds: Mapping[str, KindSpec]) -> APIRouter:
    """The routes of releases. `kinds` are those that a document can be of."""
    router = APIRouter(prefix="/api", tags=["releases"])

    @router.post("/artifacts/apply", summary="Apply documents", operation_id="apply")
    async def post_apply(ctx: CtxDep, body: ApplyRequest) -> AppliedReply:
        """Publish what changed and make it live, all or nothing; 422 with every error of every file."""
        applied = await apply(ctx, body.read(), kinds=kinds, dry_run=body.dry_run, changelog=body.changelog)
        return AppliedReply(
            environment=applied.environment,
            changes=[ChangeReply.model_validate(change) for change in applied.changes],
            warnings=[IssueReply.model_validate(issue) for issue in applied.warnings],
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

    @router.get("/releases", summary="List what is live", operation_id="list_releases")
    async def get_releases(ctx: CtxDep, page: PageDep) -> Page[ReleaseReply]:
        """Which version of every artifact is live, by kind and name."""
        found = await list_releases(ctx, page)
        return Page(items=[ReleaseReply.model_validate(row) for row in found.items], next=found.next)

    return router
