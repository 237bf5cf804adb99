"""The nouns of artifacts: an immutable version, and the port by which a kind registers its document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal, Protocol
from uuid import UUID

from stanchion.base import Json
from stanchion.blueprints import Document, Lookup, Parsed, Specimen

Risk = Literal["low", "medium", "high"]

# Every kind that there can be (DESIGN §2); which of them a deployment has is what registers.
KINDS: Final = frozenset(
    ("blueprint", "prompt", "route", "tool", "index", "connector", "policy", "config", "flag", "eval_suite", "trigger")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactVersion:
    """One immutable, content-addressed version. `digest` is over `body`; `source` is the text as written.

    `refs` are the artifacts that this one names, each [kind, name]. `labels` and `risk` are what the document says of
    itself. A version with `retired_at` keeps its content and is offered no more.
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
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    risk: Risk = "low"
    retired_at: datetime | None = None


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
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    risk: Risk = "low"
    retired_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveIn:
    """Where a version is live, or in an open rollout the candidate or the stable version that it returns to."""

    environment: str
    version: int
    standing: Literal["live", "candidate", "stable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrer:
    """A live version that names the artifact."""

    environment: str
    kind: str
    name: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Who uses an artifact, or one version of it.

    Attributes:
        kind, name: of the artifact.
        version: the version asked about; None for the artifact in all its versions.
        live: where a version of it is live (of one version: where that one is).
        referrers: live versions that name the artifact. A reference has no version of its own: what it means is what
            is live. So a version that is live nowhere has none.
        runs: pinned top-level runs by status, newest counted first; `runs_cut`: there are more than were counted.
        newest: ids of the newest of them.
    """

    kind: str
    name: str
    version: int | None
    live: tuple[LiveIn, ...]
    referrers: tuple[Referrer, ...]
    runs: Mapping[str, int]
    runs_cut: bool
    newest: tuple[UUID, ...]


class KindSpec(Protocol):
    """How documents of one artifact kind are read and checked. Registered in `bootstrap` by the kind's own domain.

    The file's first key is the kind (`blueprint: case-triage`, `connector: casebook`, `policy: supervisor-approval`).

    Attributes:
        kind: that key.
        refs: the kinds whose artifacts documents of this kind may refer to. What `Parsed.references` names is checked
            at publish, for every kind alike: its kind is one of these, and it is in the same apply or live.
        specimen: what the kind is tried by; None only for a kind whose versions nobody's work depends on.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102 - see above
    @property
    def refs(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def specimen(self) -> Specimen | None: ...  # noqa: D102

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check the document; all issues at once, never an exception for what the author wrote. `lookup`
        sees the documents of the same apply first, then what is live."""
        ...
