"""The nouns of bundles: what travels, where it comes from, whose signature is trusted, what was taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from stanchion.artifacts import Risk
from stanchion.base import Json

Key = tuple[str, str]

# Bounds of a bundle, checked before what they bound is read. As many artifacts as one apply takes.
FILE_BYTES_MAX: Final = 16 << 20
MEMBERS_MAX: Final = 500
DEPTH_MAX: Final = 64
EVIDENCE_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a bundle was made, by whom, when and why; `stanchion` is the version that made it."""

    environment: str
    production: bool
    tenant: str
    exported_by: str
    exported_at: datetime
    reason: str
    stanchion: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One version in a bundle. `version`, `author` and `created_at` are the origin's; `digest` is over `body` and the same
    everywhere. `evidence`: what gates knew of this digest, each record with its own digest.
    """

    kind: str
    name: str
    version: int
    digest: str
    body: Mapping[str, Json]
    refs: tuple[Key, ...]
    source: str
    source_path: str
    owner: str
    author: str
    changelog: str
    created_at: datetime
    labels: Mapping[str, str]
    risk: Risk
    live: bool
    evidence: tuple[Mapping[str, Json], ...] = ()

    @property
    def key(self) -> Key:
        """Which artifact it is a version of."""
        return (self.kind, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle says, by kind and name. `selected` was asked for, the other members are what those refer to.

    `digest` is over the signed bytes; `content` over the artifacts alone: two exports of the same versions have the same.
    """

    origin: Origin
    selected: tuple[Key, ...]
    members: tuple[Member, ...]
    digest: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A sealed bundle: the bytes of its file, and what they say."""

    data: bytes
    bundle: Bundle
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """A key whose bundles a tenant takes in, if they come from `origin_tenant` (and `origin_environment`, if one is said)."""

    id: UUID
    name: str
    fingerprint: str
    public_key: str
    origin_tenant: str
    origin_environment: str | None
    added_by: str
    added_at: datetime
    reason: str
    removed_by: str | None = None
    removed_at: datetime | None = None
    removal_reason: str | None = None


class ImportChange(StrEnum):
    """What an import meant for one artifact: a version that was not there, or one that was (also by another number)."""

    NEW = "new"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One artifact of an import: its version here, whether that one is live here, and its number at the origin."""

    kind: str
    name: str
    version: int
    digest: str
    change: ImportChange
    live: bool
    origin_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an import did. `known`: this very bundle had been taken in before. `misfits`: why making it live as it is
    would be refused now."""

    bundle: Bundle
    fingerprint: str
    signer: str
    environment: str
    known: bool
    arrived: tuple[Arrived, ...]
    misfits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRecord:
    """A bundle that was taken in: a row of a list."""

    digest: str
    content: str
    fingerprint: str
    origin: Mapping[str, Json]
    imported_at: datetime
    imported_by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginOf:
    """Where a version came from: its bundle, who wrote it there, and what gates knew of it there."""

    bundle: str
    author: str
    origin_version: int
    origin: Mapping[str, Json]
    evidence: Sequence[Mapping[str, Json]] = field(default=())
