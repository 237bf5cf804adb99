"""What live flags look like over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field

from stanchion.base import Json
from stanchion.controls.flags import ErrorCode, FlagType, Reason
from stanchion.http import Model, Reply, example
from stanchion.releases.flags.types import Answer, FlagRow
from stanchion.releases.rollouts.types import Arm

_DIGEST = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_DIGEST_2 = "sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
_DOCUMENT: dict[str, Any] = {
    "flag": "new-review-flow",
    "owner": "casework",
    "type": "boolean",
    "variants": {"on": True, "off": False},
    "default": "off",
    "rules": [{"when": '${context.team == "fines"}', "serve": "on"}, {"split": {"on": 10, "off": 90}}],
}
_FLAG: dict[str, Any] = {
    "name": "new-review-flow",
    "type": "boolean",
    "version": 2,
    "digest": _DIGEST,
    "enabled": True,
    "default": "off",
    "variants": {"on": True, "off": False},
    "targeted": True,
    "owner": "casework",
    "description": "",
    "released_at": "2026-11-18T09:00:00Z",
    "released_by": "ada",
    "candidate": None,
    "rollout": None,
}
_HERE: dict[str, Any] = {"process": "web", "revision": 7, "age_s": 0.2, "version": 2, "candidate": None}
ANSWER: dict[str, Any] = {
    "flag": "new-review-flow",
    "value": True,
    "variant": "on",
    "reason": "TARGETING_MATCH",
    "error_code": None,
    "message": "",
    "version": 2,
    "digest": _DIGEST,
    "rollout": None,
    "arm": None,
    "metadata": {},
    "age_s": 0.2,
}
CHANGED: dict[str, Any] = {"name": "new-review-flow", "version": 3, "digest": _DIGEST_2, "change": "updated"}
_REASON = Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$", description="Why; kept.")


class FlagReply(Reply):
    """The live version of a flag. `targeted`: it has rules or targeting; `candidate`: the version that a rollout tries."""

    model_config = example(_FLAG)

    name: str
    type: FlagType
    version: int
    digest: str
    enabled: bool
    default: str | None
    variants: dict[str, Any]
    targeted: bool
    owner: str
    description: str
    released_at: datetime
    released_by: str
    candidate: int | None
    rollout: UUID | None

    @classmethod
    def of(cls, row: FlagRow) -> Self:
        """A row as it is shown."""
        return cls.model_validate(_facts(row))


class HereReply(Reply):
    """What the process that answers serves of it: which version, as of which revision of the tenant's flags, how old."""

    process: str
    revision: int
    age_s: float | None
    version: int | None
    candidate: int | None


class FlagShownReply(FlagReply):
    """The live version of a flag with its whole document, and what the answering process serves."""

    model_config = example({**_FLAG, "document": _DOCUMENT, "here": _HERE})

    document: dict[str, Any]
    here: HereReply

    @classmethod
    def shown(cls, row: FlagRow, here: HereReply) -> FlagShownReply:
        """A row with its document, and what is served here."""
        return cls.model_validate({**_facts(row), "document": row.body, "here": here})


class EvaluateRequest(Model):
    """Whom a flag is evaluated for. `fallback` is what the caller would use without the flag, `type` what it can use."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"context": {"targetingKey": "case-4711", "team": "fines"}, "fallback": False}]
        },
    )

    context: dict[str, Any] = Field(
        default_factory=dict[str, Any],
        description="Attributes; `targetingKey` names the unit that shares are dealt by.",
    )
    fallback: Any = Field(default=None, description="The caller's own value, given back where the flag chooses none.")
    type: FlagType | None = Field(default=None, description="The type needed; that of `fallback` if left out.")


class AnswerReply(Reply):
    """The value, the variant that has it (null: the caller's own), why, and by which version and side of a rollout."""

    model_config = example(ANSWER)

    flag: str
    value: Any
    variant: str | None
    reason: Reason
    error_code: ErrorCode | None
    message: str
    version: int | None
    digest: str | None
    rollout: UUID | None
    arm: Arm | None
    metadata: dict[str, Any]
    age_s: float | None

    @classmethod
    def of(cls, answer: Answer, age_s: float | None) -> Self:
        """An answer as it is sent."""
        found = answer.resolution
        return cls(
            flag=found.flag,
            value=found.value,
            variant=found.variant,
            reason=found.reason,
            error_code=found.error_code,
            message=found.message,
            version=answer.version,
            digest=answer.digest,
            rollout=answer.rollout,
            arm=answer.arm,
            metadata=dict(found.metadata),
            age_s=None if age_s is None else round(age_s, 3),
        )


class SwitchRequest(Model):
    """Why a flag is enabled or disabled."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "It loses citations."}]})

    reason: str = _REASON


class DefaultRequest(Model):
    """Which variant becomes the default, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"variant": "on", "reason": "The trial went well."}]}
    )

    variant: str = Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$")
    reason: str = _REASON


class FlagChangedReply(Reply):
    """The version that is live after a change; `change` says whether it is another one."""

    model_config = example(CHANGED)

    name: str
    version: int
    digest: str
    change: str


def _facts(row: FlagRow) -> Mapping[str, object]:
    body = row.body
    said: dict[str, Json] = {name: body.get(name) for name in ("type", "default", "variants", "owner")}
    return {
        **said,
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "enabled": body.get("enabled", True),
        "targeted": bool(body.get("rules") or body.get("targeting")),
        "description": body.get("description", ""),
        "released_at": row.released_at,
        "released_by": row.released_by,
        "candidate": row.candidate,
        "rollout": row.rollout,
    }
