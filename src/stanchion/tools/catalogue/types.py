"""The nouns of tools: a tool as published, its cases, its state here, what was tried of it, and the gate's eight points."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from stanchion.base import Json
from stanchion.blueprints import Schema
from stanchion.identity import CallVerdict
from stanchion.tools.types import Idempotency, Verb

Effect = Literal["read", "write", "destructive"]
TrialPoint = Literal["dry_run", "idempotency", "disable_path"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCase:
    """Who with which arguments in which environment may or may not call the tool."""

    name: str
    principal: str
    principal_kind: Literal["user", "service", "schedule"]
    roles: tuple[str, ...]
    arguments: Mapping[str, Json]
    environment: str
    production: bool
    permit: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleCase:
    """Arguments that show how the tool is used."""

    name: str
    arguments: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool as published: one operation of a connector, under a name and description that models are told.

    Attributes:
        called: the resource, or the operation of an EXECUTE. `verb`: what is done with it.
        model_name, model_description: what a model is told; `description` is for people.
        narrowed: argument -> keywords that narrow the connector's schema of it. `required`: arguments that may not be null.
        effect: at least as strict as the operation's. `idempotency`: the operation's.
        approval: the approval policy that judges each call, or None with `no_approval`, the reason. `facts`: what it judges.
        fallback: what people do while the tool is disabled.
        limit: at most so many records of a fetch.
    """

    name: str
    digest: str
    owner: str
    description: str
    model_name: str
    model_description: str
    connector: str
    verb: Verb
    called: str
    narrowed: Mapping[str, Schema]
    required: tuple[str, ...]
    effect: Effect
    idempotency: Idempotency
    approval: str | None
    no_approval: str
    facts: Json
    fallback: str
    limit: int
    cases: tuple[AuthorizationCase, ...]
    examples: tuple[ExampleCase, ...]

    @property
    def operation(self) -> str:
        """`erp.postings.push`, as policies and messages name it."""
        return f"{self.connector}.{self.called}.{self.verb}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolState:
    """The last word on one version in this environment. `evidence`: the gate's points as they stood when it was enabled."""

    name: str
    version: int
    digest: str
    connector_digest: str
    enabled: bool
    reason: str
    by: str
    at: datetime
    evidence: list[Json] = field(default_factory=list["Json"])


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldApproval:
    """Who approved what models are told: `told` is the digest of exactly that."""

    name: str
    told: str
    by: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What was tried of a version. `run_id`: the run that shows it, where one does."""

    id: UUID
    name: str
    version: int
    digest: str
    connector_digest: str
    point: TrialPoint
    run_id: UUID | None
    detail: str
    by: str
    at: datetime


class PointName(StrEnum):
    """The eight points of the tool gate, in their order."""

    SCHEMA = "schema validated"
    AUTHORIZATION = "authorization cases pass"
    APPROVAL_POLICY = "approval policy set"
    DRY_RUN = "dry run shows intent and outcome"
    IDEMPOTENCY = "idempotency declared and tested"
    DISABLE_PATH = "disable path tried"
    DESCRIPTION = "description approved by another"
    EXAMPLES = "example cases present"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One point of the gate: whether it holds, what shows that, and the way out where it does not."""

    number: int
    name: PointName
    holds: bool
    evidence: str
    way_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """An authorization case as it was judged. `unread`: why the policies could not be asked."""

    case: AuthorizationCase
    verdict: CallVerdict | None
    unread: str = ""

    @property
    def passes(self) -> bool:
        """Whether the verdict is the expected one, and a verdict at all: what only an unreadable policy denies is none."""
        found = self.verdict
        return found is not None and not found.refusals and found.permitted == self.case.permit


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolVersion:
    """A version of a tool here. `live`: whether it is the one that is live. `connector_digest`: of the live connector that it
    is called through, None where none is live."""

    tool: Tool
    version: int
    author: str
    live: bool
    retired: bool
    connector_version: int | None
    connector_digest: str | None
    input_schema: Schema | None
    told: str
    state: ToolState | None
