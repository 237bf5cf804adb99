"""HTTP: GET /api/artifacts, /api/artifacts/{kind}/{name}, /api/artifacts/{kind}/{name}/versions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict

from stanchion.artifacts.service import diff, history, list_artifacts, show
from stanchion.artifacts.types import Risk
from stanchion.http import CtxDep, Page, PageDep, Reply

_SUMMARY: dict[str, Any] = {
    "kind": "policy",
    "name": "supervisor-approval",
    "version": 2,
    "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "owner": "casework",
    "author": "ada",
    "changelog": "Ask from 100,000 euros on.",
    "created_at": "2026-11-18T09:00:00Z",
    "labels": {"team": "casework"},
    "risk": "medium",
    "retired_at": None,
}


# Whole and valid, so that who copies it can publish it.
_BODY: dict[str, Any] = {
    "policy": "supervisor-approval",
    "type": "approval",
    "owner": "casework",
    "labels": {"team": "casework"},
    "risk": "medium",
    "facts": {"type": "object", "required": ["fine_eur"], "properties": {"fine_eur": {"type": "integer"}}},
    "when": "facts.fine_eur > 100000",
    "title": "Collect €${facts.fine_eur}?",
}
_SOURCE = """policy: supervisor-approval
type: approval
owner: casework
labels: {team: casework}
risk: medium
facts: {type: object, required: [fine_eur], properties: {fine_eur: {type: integer}}}
when: facts.fine_eur > 100000
title: Collect €${facts.fine_eur}?
"""


class SummaryReply(Reply):
    """One version, without its content."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    kind: str
    name: str
    version: int
    digest: str
    owner: str
    author: str
    changelog: str
    created_at: datetime
    labels: dict[str, str]
    risk: Risk
    retired_at: datetime | None


class ArtifactReply(SummaryReply):
    """One version: `body` is what `digest` addresses, `source` the text as its author wrote it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_SUMMARY,
                    "body": _BODY,
                    "refs": [],
                    "source": _SOURCE,
                    "source_path": "policies/supervisor-approval.yaml",
                }
            ]
        }
    )

    body: dict[str, Any]
    refs: list[list[str]]
    source: str
    source_path: str


class WordReply(Reply):
    """A stretch of a long text that both versions have, or only one of them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"op": "added", "text": " over 100,000"}]})

    op: Literal["same", "added", "removed"]
    text: str


_EDIT: dict[str, Any] = {
    "op": "changed",
    "path": "when",
    "before": "facts.fine_eur > 50000",
    "after": "facts.fine_eur > 100000",
    "words": [],
}


class EditReply(Reply):
    """One change of meaning. `moved`: `before` and `after` are places in the list from 1, or paths."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EDIT]})

    op: Literal["added", "removed", "changed", "moved"]
    path: str
    before: Any
    after: Any
    words: list[WordReply]


_SIDE: dict[str, Any] = {
    "version": 2,
    "digest": _SUMMARY["digest"],
    "source_path": "policies/supervisor-approval.yaml",
    "author": "ada",
    "changelog": "Ask from 100,000 euros on.",
    "created_at": "2026-11-18T09:00:00Z",
}


class SideReply(Reply):
    """One of the two that are compared; without a version it is the file that was sent."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SIDE]})

    version: int | None
    digest: str | None
    source_path: str
    author: str | None
    changelog: str
    created_at: datetime | None


class CommentReply(Reply):
    """A comment and where it stands, from 1."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Agreed with the board.", "line": 5, "column": 1}]}
    )

    text: str
    line: int
    column: int


class DiffReply(Reply):
    """What changed in meaning; apart from it the objects whose keys stand in another order, and the comments.

    `before` is null if there was no version. `cut`: there is more than was listed.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "policy",
                    "name": "supervisor-approval",
                    "before": {**_SIDE, "version": 1, "changelog": "First."},
                    "after": _SIDE,
                    "changes": [_EDIT],
                    "order": ["facts"],
                    "comments_added": [{"text": "Agreed with the board.", "line": 5, "column": 1}],
                    "comments_removed": [],
                    "cut": False,
                }
            ]
        }
    )

    kind: str
    name: str
    before: SideReply | None
    after: SideReply
    changes: list[EditReply]
    order: list[str]
    comments_added: list[CommentReply]
    comments_removed: list[CommentReply]
    cut: bool


KindPath = Annotated[str, Path(pattern=r"^[a-z_]{1,32}$", description="Artifact kind.")]
NamePath = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Artifact name.")]
VersionQuery = Annotated[int | None, Query(ge=1, le=2**31 - 1, description="The latest if left out.")]


_FROM = Query(alias="from", ge=1, le=2**31 - 1, description="The version before `to` if left out.")
_TO = Query(alias="to", ge=1, le=2**31 - 1, description="The latest if left out.")


def build_router() -> APIRouter:
    """The routes of artifacts."""
    router = APIRouter(prefix="/api/artifacts", tags=["artifacts"])

    @router.get("", summary="List artifacts", operation_id="list_artifacts")
    async def get_artifacts(
        ctx: CtxDep, page: PageDep, kind: Annotated[str | None, Query(pattern=r"^[a-z_]{1,32}$")] = None
    ) -> Page[SummaryReply]:
        """The latest version of each artifact, by kind and name."""
        found = await list_artifacts(ctx, page, kind=kind)
        return Page(items=[SummaryReply.model_validate(row) for row in found.items], next=found.next)

    @router.get("/{kind}/{name}", summary="Show an artifact", operation_id="show_artifact")
    async def get_artifact(ctx: CtxDep, kind: KindPath, name: NamePath, version: VersionQuery = None) -> ArtifactReply:
        """One version of an artifact."""
        return ArtifactReply.model_validate(await show(ctx, kind, name, version))

    @router.get("/{kind}/{name}/versions", summary="List an artifact's versions", operation_id="list_versions")
    async def get_versions(ctx: CtxDep, kind: KindPath, name: NamePath, page: PageDep) -> Page[SummaryReply]:
        """Every version of an artifact, newest first."""
        found = await history(ctx, kind, name, page)
        return Page(items=[SummaryReply.model_validate(row) for row in found.items], next=found.next)

    @router.get("/{kind}/{name}/diff", summary="Compare two versions", operation_id="diff_versions")
    async def get_diff(
        ctx: CtxDep,
        kind: KindPath,
        name: NamePath,
        before: Annotated[int | None, _FROM] = None,
        after: Annotated[int | None, _TO] = None,
    ) -> DiffReply:
        """What changed in meaning from one version to another: by path, steps by their ids, long texts word by word."""
        return DiffReply.model_validate(await diff(ctx, kind, name, before=before, after=after))

    return router
