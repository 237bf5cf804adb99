"""The OpenFeature Remote Evaluation Protocol (OFREP 0.3.0, open-feature/protocol, service/openapi.yaml): any OpenFeature
SDK evaluates Stanchion's flags by its OFREP provider.

    POST /ofrep/v1/evaluate/flags/{key}    one flag, for servers that ask each time
    POST /ofrep/v1/evaluate/flags          all flags for one context, with an ETag, for clients that keep them

The answers have the protocol's shapes: a flag that chooses no value is sent without `value`, so that the SDK uses the
code's own default. The protocol knows the reasons STATIC, TARGETING_MATCH, SPLIT, DISABLED and UNKNOWN; others go as UNKNOWN,
and `metadata` has each as OpenFeature names it (`stanchion.reason`), with version, digest and rollout.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from stanchion.base import Json, Problem, digest, dumps, loads
from stanchion.context import Ctx
from stanchion.controls.flags import ErrorCode, Reason
from stanchion.http import PROBLEM_JSON, CtxDep
from stanchion.releases.flags import service
from stanchion.releases.flags.snapshot import Snapshot
from stanchion.releases.flags.types import Answer

_REASONS: Final = frozenset({Reason.STATIC, Reason.TARGETING_MATCH, Reason.SPLIT, Reason.DISABLED})
_CODES: Final = frozenset({ErrorCode.PARSE_ERROR, ErrorCode.TARGETING_KEY_MISSING, ErrorCode.FLAG_NOT_FOUND})
_INVALID_CONTEXT: Final = "INVALID_CONTEXT"
_JSON: Final = "application/json"

_ASKED: dict[str, Any] = {"context": {"targetingKey": "case-4711", "team": "fines"}}
_FOUND: dict[str, Any] = {
    "key": "new-review-flow",
    "value": True,
    "variant": "on",
    "reason": "TARGETING_MATCH",
    "metadata": {
        "stanchion.reason": "TARGETING_MATCH",
        "stanchion.version": 2,
        "stanchion.digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {
                "schema": {
                    "type": "object",
                    "required": ["context"],
                    "properties": {"context": {"type": "object", "additionalProperties": True}},
                },
                "example": _ASKED,
            }
        },
    }
}
_FAILED: dict[str, Any] = {
    "key": "new-review-flow",
    "errorCode": "TARGETING_KEY_MISSING",
    "errorDetails": "Shares are dealt by `targetingKey`, which is no text here.",
}


# What is refused before the protocol is heard (a body that is no JSON, a path that is none) is a problem as everywhere.
_PROBLEM: dict[str, Any] = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def _said(description: str, found: object) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": {"type": "object"}, "example": found}}}


def _failed(description: str, found: object) -> dict[str, Any]:
    said = _said(description, found)
    return {**said, "content": {**said["content"], **_PROBLEM}}


_ONE: dict[int | str, dict[str, Any]] = {
    200: _said("The value and why; without `value` the code's own default counts.", _FOUND),
    400: _failed("The context is none, or the flag cannot be evaluated with it.", _FAILED),
    404: _failed("No such flag is live.", {"key": "new-flow", "errorCode": "FLAG_NOT_FOUND"}),
}
_ALL: dict[int | str, dict[str, Any]] = {
    200: _said("Every flag.", {"flags": [_FOUND], "metadata": {"stanchion.revision": 7}}),
    304: {"description": "Nothing differs from the answer whose ETag was sent."},
    400: _failed("The context is none.", {"errorCode": _INVALID_CONTEXT, "errorDetails": "`context` is an object."}),
}


def build_ofrep_router(flags: Snapshot) -> APIRouter:
    """The two routes of the protocol over what this process serves."""
    router = APIRouter(prefix="/ofrep/v1/evaluate/flags", tags=["flags"])

    @router.post(
        "/{key}",
        summary="Evaluate a flag for OpenFeature",
        operation_id="ofrep_evaluate",
        response_class=Response,
        responses=_ONE,
        openapi_extra=_BODY,
    )
    async def post_one(ctx: CtxDep, key: str, request: Request) -> Response:
        """One flag for one context, as an OFREP provider asks for it."""
        ctx.require("flags.evaluate", name=key)
        service.check_read(flags)
        context = _context(await request.body())
        if context is None:
            return _json(400, {"key": key, **_no_context()})
        answer = _evaluated(ctx, flags, key, context)
        said = _shown(answer)
        code = answer.resolution.error_code
        return _json(200 if code is None else 404 if code is ErrorCode.FLAG_NOT_FOUND else 400, said)

    @router.post(
        "",
        summary="Evaluate all flags for OpenFeature",
        operation_id="ofrep_evaluate_all",
        response_class=Response,
        responses=_ALL,
        openapi_extra=_BODY,
    )
    async def post_all(ctx: CtxDep, request: Request) -> Response:
        """Every flag for one context. With `If-None-Match`: 304 while the answer is the one whose ETag that is."""
        ctx.require("flags.evaluate")
        service.check_read(flags)
        context = _context(await request.body())
        if context is None:
            return _json(400, _no_context())
        known = flags.of(ctx.tenant)
        found: list[Json] = [_shown(_evaluated(ctx, flags, name, context)) for name in sorted(known.entries)]
        tag = f'"{digest(found).removeprefix("sha256:")[:32]}"'
        if _matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers={"ETag": tag})
        return _json(200, {"flags": found, "metadata": {"stanchion.revision": known.revision}}, tag)

    return router


def _evaluated(ctx: Ctx, flags: Snapshot, name: str, context: Mapping[str, Json]) -> Answer:
    return flags.evaluate(ctx.tenant, name, None, context, principal=ctx.actor.principal)


def _context(body: bytes) -> dict[str, Json] | None:
    try:
        said = loads(body)
    except Problem:
        return None
    context = said.get("context") if isinstance(said, dict) else None
    return context if isinstance(context, dict) else None


def _no_context() -> dict[str, Json]:
    return {"errorCode": _INVALID_CONTEXT, "errorDetails": "The body is an object whose `context` is an object."}


def _shown(answer: Answer) -> dict[str, Json]:
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
    said: dict[str, Json] = {"key": found.flag, "reason": reason, "variant": found.variant or "", "metadata": metadata}
    return said if found.variant is None else {**said, "value": found.value}


def _matches(header: str, tag: str) -> bool:
    """Whether If-None-Match names the tag (RFC 9110 §13.1.2: weak comparison, `*` for any)."""
    return any(one.strip().removeprefix("W/") in (tag, tag.strip('"'), "*") for one in header.split(","))


def _json(status: int, said: Mapping[str, Json], tag: str | None = None) -> Response:
    return Response(dumps(said), status_code=status, media_type=_JSON, headers={} if tag is None else {"ETag": tag})
