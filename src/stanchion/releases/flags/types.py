"""The nouns of live flags: what is served of a name, and what an evaluation gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from stanchion.base import Json
from stanchion.controls.flags import Flag, Resolution
from stanchion.releases.rollouts.states import Rollout
from stanchion.releases.rollouts.types import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A version of a flag, compiled."""

    version: int
    digest: str
    flag: Flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What there is of one name: the live version, and while a rollout moves it the candidate."""

    live: Served
    candidate: Served | None = None
    rollout: Rollout | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveFlags:
    """The flags of one tenant as of one moment. `revision` rises whenever one of them moves."""

    revision: int = 0
    entries: Mapping[str, Entry] = field(default_factory=dict[str, Entry])


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an evaluation gave, and by which version.

    Attributes:
        version, digest: of the document that decided; None if there is no such flag.
        rollout, arm: the open rollout that chose the version and the side it chose; None where none moves the flag. A
            unit that the rollout cannot deal by (it has no such value) is on the stable side.
    """

    resolution: Resolution
    version: int | None = None
    digest: str | None = None
    rollout: UUID | None = None
    arm: Arm | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRow:
    """The live version of a flag and its candidate, as the database has them."""

    name: str
    version: int
    digest: str
    body: dict[str, Json]
    source: str
    source_path: str
    released_at: datetime
    released_by: str
    candidate: int | None
    rollout: UUID | None
