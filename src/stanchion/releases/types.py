"""The nouns of releases: which version is live, and what an apply did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from stanchion.artifacts import Document, Parsed
from stanchion.base import Json
from stanchion.blueprints import Issue

if TYPE_CHECKING:
    from stanchion.releases.gates.types import Ruling


class ReleaseChange(StrEnum):
    """What an apply did to one artifact in this environment."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One artifact of an apply: the version that is live after it."""

    kind: str
    name: str
    version: int
    digest: str
    change: ReleaseChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply did, or for a dry run would do; `warnings` refuse nothing. `ruling`: what the gates say of what moves."""

    environment: str
    changes: tuple[Change, ...]
    warnings: tuple[Issue, ...]
    ruling: Ruling | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The live version of one artifact in one environment: a row of `releases`."""

    environment: str
    kind: str
    name: str
    version: int
    digest: str
    released_at: datetime
    released_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A live version with its content: what an apply checks against and a resolution pins."""

    kind: str
    name: str
    version: int
    digest: str
    body: Mapping[str, Json]
    refs: list[list[str]]
    source: str
    source_path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One document of an apply, read and checked."""

    kind: str
    document: Document
    parsed: Parsed


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A whole set of documents, checked together: every issue of every file, in the order of the files."""

    items: tuple[Item, ...]
    issues: tuple[Issue, ...]

    @property
    def errors(self) -> tuple[Issue, ...]:
        """What refuses the set."""
        return tuple(issue for issue in self.issues if issue.severity == "error")

    @property
    def warnings(self) -> tuple[Issue, ...]:
        """What does not."""
        return tuple(issue for issue in self.issues if issue.severity == "warning")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlueprintSummary:
    """A live Blueprint: a row of a list."""

    name: str
    version: int
    digest: str
    description: str
    owner: str
    released_at: datetime
    released_by: str
