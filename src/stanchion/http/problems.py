"""Problems on the wire: RFC 9457 problem details with a stable `code`, what happened and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from stanchion.base import Invalid, Kind, Problem, dumps

PROBLEM_JSON: Final = "application/problem+json"

_STATUS: Final[Mapping[Kind, int]] = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.DENIED: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.LIMIT_EXCEEDED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
}

# A request that HTTP itself could not read is told apart from one whose content is wrong (RFC 9110 §15.5).
_STATUS_BY_CODE: Final[Mapping[str, int]] = {
    "json.malformed": 400,
    "page.bad_cursor": 400,
    "request.malformed": 400,
    "request.bad_parameter": 400,
    "request.nul_character": 400,
    "request.method_not_allowed": 405,
    "request.timeout": 408,
    "request.too_large": 413,
    "request.unsupported_media_type": 415,
    # A size that stays too large however often it is sent; 429 would ask for that.
    "run.input_too_large": 413,
    "broker.frame_too_large": 413,
}

_TITLES: Final[Mapping[Kind, str]] = {
    Kind.INVALID: "The request is not valid",
    Kind.UNAUTHENTICATED: "No valid credential",
    Kind.DENIED: "Not permitted",
    Kind.NOT_FOUND: "Not found",
    Kind.CONFLICT: "In conflict with the present state",
    Kind.LIMIT_EXCEEDED: "A limit is reached",
    Kind.UNAVAILABLE: "Something that serving needs is away",
    Kind.INTERNAL: "A defect in Stanchion",
}


class ProblemModel(BaseModel):
    """RFC 9457 problem details. Further members carry facts of the problem (`errors`, `retry_after_s`, ids)."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:stanchion:problem:approval.expired",
                    "title": "In conflict with the present state",
                    "status": 409,
                    "code": "approval.expired",
                    "detail": "Approval 0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11 expired at 2026-11-20T09:00:00Z.",
                    "hint": "Retry the run to ask again.",
                    "request_id": "0199c1f1-0000-7abc-8def-000000000000",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    hint: str
    request_id: str


def status_of(problem: Problem) -> int:
    """The HTTP status of a problem: that of its kind, but for the few codes that HTTP names more exactly; and what is away
    and stays so however often it is asked for is no 503, which invites to ask again."""
    if problem.kind is Kind.UNAVAILABLE and not problem.retryable:
        return _STATUS_BY_CODE.get(problem.code, 502)
    return _STATUS_BY_CODE.get(problem.code, _STATUS[problem.kind])


def problem_body(problem: Problem, request_id: str) -> dict[str, object]:
    """The members of the problem document, the standard ones first; the problem's own fields never override them."""
    standard: dict[str, object] = {
        "type": f"urn:stanchion:problem:{problem.code}",
        "title": _TITLES[problem.kind],
        "status": status_of(problem),
        "code": problem.code,
        "detail": problem.message,
        "hint": problem.hint,
        "request_id": request_id,
    }
    return standard | {name: value for name, value in problem.fields.items() if name not in standard}


def problem_response(problem: Problem, request_id: str = "") -> Response:
    """The answer for a problem, with `Retry-After`, `WWW-Authenticate` or `Allow` where the status asks for it."""
    body = problem_body(problem, request_id)
    try:
        content = dumps(body)
    except Invalid:
        content = dumps({name: value if isinstance(value, (str, int)) else str(value) for name, value in body.items()})
    return Response(content, status_code=status_of(problem), media_type=PROBLEM_JSON, headers=_headers(problem))


def _headers(problem: Problem) -> dict[str, str]:
    headers = {"cache-control": "no-store"}
    if problem.kind is Kind.UNAUTHENTICATED:
        headers["www-authenticate"] = 'Bearer realm="stanchion"'
    wait_s = problem.fields.get("retry_after_s", 1 if status_of(problem) == 503 else None)
    if isinstance(wait_s, int | float):
        headers["retry-after"] = str(max(1, math.ceil(wait_s)))
    allow = problem.fields.get("allow")
    if isinstance(allow, str):
        headers["allow"] = allow
    return headers
