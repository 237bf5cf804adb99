"""The nouns of live configs: a row of the list, and one config with its values as they are in an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.base import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRow:
    """What is live of a config. `candidate`: the version that an open rollout tries, `rollout` its id."""

    name: str
    version: int
    digest: str
    owner: str
    body: Mapping[str, Json]
    source: str
    source_path: str
    released_at: datetime
    released_by: str
    candidate: int | None
    rollout: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """How many unfinished runs are pinned to a version: of the newest runs of its newest pin sets."""

    version: int
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One version of a config as it is in an environment.

    Attributes:
        row: what is live of it.
        version, digest: of the version that is shown; the live one unless another was asked for.
        environment: where its values are told for.
        values: with the environment's overlay and the schema's defaults in place.
        set_here: JSON pointers of the values that the environment sets itself.
        schema: of the values, declared or told from them.
        held: by version, the unfinished runs that have it.
    """

    row: ConfigRow
    version: int
    digest: str
    environment: str
    description: str
    values: Mapping[str, Json]
    set_here: tuple[str, ...]
    schema: Mapping[str, Json]
    held: tuple[Held, ...]
