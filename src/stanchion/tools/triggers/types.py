"""Nouns of triggers: the document as it is compiled, what arrives, what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

from stanchion.base import Json
from stanchion.blueprints import Schema
from stanchion.expressions import Expression, Template
from stanchion.secrets import SecretRef

SourceKind = Literal["webhook", "event"]
Outcome = Literal["started", "repeated", "filtered", "failed"]
OUTCOMES: Final[tuple[Outcome, ...]] = ("started", "repeated", "filtered", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where a signed webhook comes from. `headers`: those of the request that expressions may read, in lower case."""

    secret: SecretRef
    tolerance_s: float
    headers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A published trigger, compiled.

    Attributes:
        name, version, digest: which version.
        owner, description: as its author wrote them.
        blueprint: what a run is started of.
        webhook: None for a trigger whose events come with an API key.
        event: JSON Schema of the payload; `{}` takes anything.
        when: the filter, or None: everything starts a run.
        input: over `event` and `headers`, the input of the run.
        dedupe: the value by which duplicates are known.
    """

    name: str
    version: int
    digest: str
    owner: str
    description: str
    blueprint: str
    webhook: Webhook | None
    event: Schema
    when: Expression | None
    input: Template
    dedupe: Template

    @property
    def source(self) -> SourceKind:
        """`webhook` or `event`."""
        return "event" if self.webhook is None else "webhook"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What arrived, as expressions read it: the payload, and headers by name (lower case, `_` for `-`)."""

    event: Json
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a trigger makes of a message. `reason` is empty if a run is to be started, of `input`, once per `dedupe`."""

    input: Json
    dedupe: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message that was believed, and what came of it. `dedupe` is the SHA-256, in hex, of what duplicates share."""

    id: UUID
    trigger: str
    version: int
    source: SourceKind
    received_at: datetime
    dedupe: str
    outcome: Outcome
    reason: str
    run_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The answer to whoever delivered: duplicates get the same one."""

    run_id: UUID | None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTrigger:
    """A live trigger as published."""

    name: str
    version: int
    digest: str
    body: Mapping[str, Json]
    released_at: datetime
    released_by: str
