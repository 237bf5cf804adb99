"""HTTP: the two routes of OFREP, over what this process serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from stanchion.base import Json, dumps
from stanchion.context import Ctx
from stanchion.controls.flags import ErrorCode
from stanchion.http import PROBLEM_JSON, CtxDep
from stanchion.releases.flags import service
from stanchion.releases.flags.ofrep.wire import INVALID_CONTEXT, context_of, matches, no_context, shown, tag_of
from stanchion.releases.flags.snapshot import Snapshot
from stanchion.releases.flags.types import Answer

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
    400: _failed("The context is none.", {"errorCode": INVALID_CONTEXT, "errorDetails": "`context` is an object."}),
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
        context = context_of(await request.body())
        if context is None:
            return _json(400, {"key": key, **no_context()})
        answer = _evaluated(ctx, flags, key, context)
        said = shown(answer)
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
        context = context_of(await request.body())
        if context is None:
            return _json(400, no_context())
        known = flags.of(ctx.tenant)
        found: list[Json] = [shown(_evaluated(ctx, flags, name, context)) for name in sorted(known.entries)]
        tag = tag_of(found)
        if matches(request.headers.get("if-none-match", ""), tag):
            return Response(status_code=304, headers={"ETag": tag})
        return _json(200, {"flags": found, "metadata": {"stanchion.revision": known.revision}}, tag)

    return router


def _evaluated(ctx: Ctx, flags: Snapshot, name: str, context: Mapping[str, Json]) -> Answer:
    return flags.evaluate(ctx.tenant, name, None, context, principal=ctx.actor.principal)


def _json(status: int, said: Mapping[str, Json], tag: str | None = None) -> Response:
    return Response(dumps(said), status_code=status, media_type=_JSON, headers={} if tag is None else {"ETag": tag})
