"""What the routes of tools take and give."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from stanchion.context import Environment
from stanchion.http import Model, Reply, example
from stanchion.runs import RunDetail, StepRun
from stanchion.tools.catalogue import rules
from stanchion.tools.catalogue.calling import Called
from stanchion.tools.catalogue.derive import told_of
from stanchion.tools.catalogue.loading import Loaded
from stanchion.tools.catalogue.snapshot import flag_of
from stanchion.tools.catalogue.types import Point, PointName, ToldApproval, ToolVersion

Effect = Literal["read", "write", "destructive"]
# Whether a kill switch stops this version.
Killed = Callable[[ToolVersion], bool]
_TOLD: Final = "sha256:" + "5d" * 32
_RUN: Final = "019a5e7a-3c8e-7d3a-8a49-0d3c1f6b2a77"
_REASON: Final = "The clerks have read it and tried it."
_STATE: Final[dict[str, Any]] = {"by": "olga", "at": "2026-11-22T09:30:12.104212Z", "reason": _REASON}
TOOL: Final[dict[str, Any]] = {
    "name": "post-cost",
    "version": 2,
    "digest": "sha256:" + "3c" * 32,
    "live": True,
    "owner": "finance",
    "author": "ada",
    "operation": "erp.postings.push",
    "effect": "write",
    "enabled": True,
    "killed": False,
    "flag": "tool.post-cost.v2.enabled",
    "state": _STATE,
}
_SHAPE: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"number": {"type": "string"}, "amount": {"type": "string", "format": "decimal"}},
    "required": ["number", "amount"],
    "additionalProperties": False,
}
_MODEL: Final[dict[str, Any]] = {
    "name": "post_cost",
    "description": "Posts one cost line to the ERP.",
    "input_schema": _SHAPE,
    "annotations": {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": True},
}
_POINT: Final[dict[str, Any]] = {
    "number": 7,
    "point": "description approved by another",
    "holds": False,
    "evidence": "nobody approved sha256:5d5d5d5d5d5d",
    "way_out": "Let somebody else than ada read it and run: stanchion tool approve post-cost@2",
}
_CALL: Final[dict[str, Any]] = {
    "run_id": _RUN,
    "status": "SUCCEEDED",
    "tool": "post-cost",
    "version": 2,
    "dry_run": False,
    "output": {"receipt": {"applied": True, "rows": 1, "idempotency_key": "eff_9f2c"}, "applied": True},
    "error": None,
    "simulated": False,
}


class StateReply(Reply):
    """Who set the state of a version here, when, why."""

    model_config = example(_STATE)

    by: str
    at: datetime
    reason: str


class ToolReply(Reply):
    """A version of a tool. `enabled`: whether it is enabled here, through its connector's live version; `killed`: whether a kill
    switch stops it all the same. `state`: the last word on it; null if there is none."""

    model_config = example(TOOL)

    name: str
    version: int
    digest: str
    live: bool
    owner: str
    author: str
    operation: str
    effect: Effect
    enabled: bool
    killed: bool
    flag: str
    state: StateReply | None

    @classmethod
    def of(cls, found: ToolVersion, environment: Environment, killed: Killed) -> ToolReply:
        """A version as it is sent."""
        tool, state = found.tool, found.state
        return cls(
            name=tool.name,
            version=found.version,
            digest=tool.digest,
            live=found.live,
            owner=tool.owner,
            author=found.author,
            operation=tool.operation,
            effect=tool.effect,
            enabled=rules.stays_usable(found, environment),
            killed=killed(found),
            flag=flag_of(tool.name, found.version),
            state=None if state is None else StateReply.model_validate(state),
        )


class ToolDetailReply(ToolReply):
    """A version of a tool with what models are told of it (null while its connector is not live, or has no such operation),
    the digest of that, which an approval is bound to, and every version."""

    model_config = example({
            **TOOL, "description": "Cost postings of field work.", "model": _MODEL, "told": _TOLD, "idempotency": "key",
            "approval": "large-postings", "fallback": "Post by hand in the ERP.", "versions": [TOOL],
        })  # fmt: skip

    description: str
    model: dict[str, Any] | None
    told: str
    idempotency: str
    approval: str | None
    fallback: str
    versions: list[ToolReply]

    @classmethod
    def shown(
        cls, found: Loaded, every: list[ToolVersion], environment: Environment, killed: Killed
    ) -> ToolDetailReply:
        """A version with everything, as it is sent."""
        version, tool = found.version, found.version.tool
        model = (
            told_of(tool, found.connector) if found.connector is not None and version.input_schema is not None else None
        )
        return cls(
            **ToolReply.of(version, environment, killed).model_dump(),
            description=tool.description,
            model=model,
            told=version.told,
            idempotency=tool.idempotency if tool.effect != "read" else "natural",
            approval=tool.approval,
            fallback=tool.fallback,
            versions=[ToolReply.of(one, environment, killed) for one in every],
        )


class PointReply(Reply):
    """One point of the gate, with its evidence, and the way out where it does not hold."""

    model_config = example(_POINT)

    number: int
    point: PointName
    holds: bool
    evidence: str
    way_out: str

    @classmethod
    def of(cls, point: Point) -> PointReply:
        """A point as it is sent."""
        return cls(
            number=point.number,
            point=point.name,
            holds=point.holds,
            evidence=point.evidence,
            way_out=point.way_out,
        )


class GateReply(Reply):
    """The tool gate of one version: all eight points must hold before it may be enabled."""

    model_config = example({"name": "post-cost", "version": 2, "passes": False, "enabled": False, "points": [_POINT]})

    name: str
    version: int
    passes: bool
    enabled: bool
    points: list[PointReply]

    @classmethod
    def of(cls, found: ToolVersion, points: tuple[Point, ...], environment: Environment) -> GateReply:
        """The points as they are sent."""
        return cls(
            name=found.tool.name,
            version=found.version,
            passes=all(point.holds for point in points),
            enabled=rules.stays_usable(found, environment),
            points=[PointReply.of(point) for point in points],
        )


class ApprovedReply(Reply):
    """Who approved what models are told of a tool: `told` is the digest of exactly that."""

    model_config = example({"name": "post-cost", "told": _TOLD, **_STATE})

    name: str
    told: str
    by: str
    reason: str
    at: datetime

    @classmethod
    def of(cls, found: ToldApproval) -> ApprovedReply:
        """An approval as it is sent."""
        return cls(name=found.name, told=found.told, by=found.by, reason=found.reason, at=found.at)


class CallReply(Reply):
    """A call, which is a run of its own. `output` once it has ended, from the step that made the call; `simulated`: its write was
    not performed, as it was a dry run or its connector belongs to another environment."""

    model_config = example(_CALL)

    run_id: UUID
    status: str
    tool: str
    version: int
    dry_run: bool
    output: Any = None
    error: dict[str, Any] | None = None
    simulated: bool = False

    @classmethod
    def accepted(cls, called: Called) -> CallReply:
        """A call that goes on."""
        return cls(
            run_id=called.run_id,
            status="PENDING",
            tool=called.version.tool.name,
            version=called.version.version,
            dry_run=called.dry_run,
        )

    @classmethod
    def ended(cls, called: Called, found: RunDetail, steps: list[StepRun]) -> CallReply:
        """A call that has ended, with what its step gave."""
        made = next((one for one in steps if one.path.rpartition("/")[2] in ("call", "tried")), None)
        error = found.run.error
        return cls(
            run_id=called.run_id,
            status=str(found.run.status),
            tool=called.version.tool.name,
            version=found.run.version,
            dry_run=called.dry_run,
            output=None if made is None else made.output,
            error=None if error is None else dict(error),
            simulated=made is not None and made.simulated,
        )


_VERSION: Final = Field(default=None, ge=1, le=2**31 - 1, description="The live version if left out.")
_REASON_FIELD: Final = Field(max_length=rules.REASON_CHARS_MAX + 200, pattern=r"^[^\x00]*$")


class ChangeBody(Model):
    """Which version, and why."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 2, "reason": _REASON}]})

    version: int | None = _VERSION
    reason: str = _REASON_FIELD


class ApproveBody(ChangeBody):
    """Which version, the digest of what was shown (`told`), and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": 2, "told": _TOLD, "reason": _REASON}]}
    )

    told: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")


class TryBody(Model):
    """Which version."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"version": 2}]})

    version: int | None = _VERSION


class CallBody(Model):
    """The arguments of a call. `dry_run`: make intent and outcome, and send nothing; also of a version that is disabled."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"arguments": {"number": "2026-47-1", "amount": "120.00"}, "dry_run": True}]},
    )

    arguments: dict[str, Any] = Field(default_factory=dict[str, Any], max_length=500)
    version: int | None = _VERSION
    dry_run: bool = False
