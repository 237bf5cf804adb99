"""The nouns of artifacts: an immutable version, and the port by which a kind registers its document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from stanchion.base import Json
from stanchion.blueprints import Document, Lookup, Parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactVersion:
    """One immutable, content-addressed version. `digest` is over `body`; `source` is the text as written.

    `refs` are the artifacts that this one names, each [kind, name].
    """

    tenant: str
    kind: str
    name: str
    version: int
    digest: str
    body: Mapping[str, Json]
    refs: list[list[str]]
    source: str
    source_path: str
    owner: str
    author: str
    changelog: str
    created_at: datetime


class PublishChange(StrEnum):
    """What publishing a document meant for its name."""

    CREATED = "created"
    UPDATED = "updated"
    REUSED = "reused"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSummary:
    """A version without its body and source: a row of a list."""

    kind: str
    name: str
    version: int
    digest: str
    owner: str
    author: str
    changelog: str
    created_at: datetime


class KindSpec(Protocol):
    """How documents of one artifact kind are read and checked. Registered in `bootstrap` by the kind's own domain.

    The file's first key is the kind (`blueprint: case-triage`, `connector: casebook`, `policy: supervisor-approval`).
    """

    kind: str

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check the document; all issues at once, never an exception for what the author wrote. `lookup`
        sees the documents of the same apply first, then what is live."""
        ...
