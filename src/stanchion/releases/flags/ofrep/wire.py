"""The protocol's shapes: contexts in, successes and failures out. Pure."""

from __future__ import annotations

from typing import Final

from stanchion.base import Json, Problem, digest, loads
from stanchion.controls.flags import ErrorCode, Reason
from stanchion.releases.flags.types import Answer

_REASONS: Final = frozenset({Reason.STATIC, Reason.TARGETING_MATCH, Reason.SPLIT, Reason.DISABLED})
_CODES: Final = frozenset({ErrorCode.PARSE_ERROR, ErrorCode.TARGETING_KEY_MISSING, ErrorCode.FLAG_NOT_FOUND})
INVALID_CONTEXT: Final = "INVALID_CONTEXT"


def context_of(body: bytes) -> dict[str, Json] | None:
    """The context of a request's body; None if there is none."""
    try:
        said = loads(body)
    except Problem:
        return None
    context = said.get("context") if isinstance(said, dict) else None
    return context if isinstance(context, dict) else None


def no_context() -> dict[str, Json]:
    """The failure of a request without a context."""
    return {"errorCode": INVALID_CONTEXT, "errorDetails": "The body is an object whose `context` is an object."}


def shown(answer: Answer) -> dict[str, Json]:
    """An answer in the protocol's shape: success (without `value` where the caller's own counts) or failure."""
    found = answer.resolution
    metadata: dict[str, Json] = {**found.metadata, "stanchion.reason": found.reason.value}
    if answer.version is not None:
        metadata |= {"stanchion.version": answer.version, "stanchion.digest": answer.digest}
    if answer.rollout is not None and answer.arm is not None:
        metadata |= {"stanchion.rollout": str(answer.rollout), "stanchion.arm": answer.arm.value}
    if found.error_code is not None:
        code = found.error_code if found.error_code in _CODES else ErrorCode.GENERAL
        return {"key": found.flag, "errorCode": code.value, "errorDetails": found.message, "metadata": metadata}
    reason = found.reason.value if found.reason in _REASONS else "UNKNOWN"
    # Empty where there is none: the protocol may leave it out, and OpenFeature's Python provider (0.3.0) fails without it.
    said: dict[str, Json] = {"key": found.flag, "variant": found.variant or "", "reason": reason, "metadata": metadata}
    return said if found.variant is None else {**said, "value": found.value}


def tag_of(flags: list[Json]) -> str:
    """The ETag of an answer for all flags: of its content, so that every process gives the same."""
    return f'"{digest(flags).removeprefix("sha256:")[:32]}"'


def matches(header: str, tag: str) -> bool:
    """Whether If-None-Match names the tag (RFC 9110 §13.1.2: weak comparison, `*` for any)."""
    return any(one.strip().removeprefix("W/") in (tag, tag.strip('"'), "*") for one in header.split(","))
