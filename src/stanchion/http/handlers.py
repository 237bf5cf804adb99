"""What FastAPI and Starlette raise, as problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from stanchion.base import Denied, Internal, Invalid, NotFound, Problem, nearest
from stanchion.http.context import request_id_of
from stanchion.http.problems import problem_response

# A document with more mistakes than this is told about the first ones; the answer must not outgrow the request.
_ERRORS_MAX: Final = 100


def install_problem_handlers(app: FastAPI) -> None:
    """Let `app` answer every Problem, validation error and HTTP error as problem details."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)


def _answer(request: Request, problem: Problem) -> Response:
    return problem_response(problem, request_id_of(request.scope))


async def _on_problem(request: Request, error: Exception) -> Response:
    return _answer(request, cast("Problem", error))


async def _on_http(request: Request, error: Exception) -> Response:
    """Starlette's own: unknown paths, wrong methods, unreadable bodies."""
    found = cast("HTTPException", error)
    path = request.url.path
    if found.status_code == 404:
        slash = "No path ends with a slash. " if path.endswith("/") else ""
        problem: Problem = NotFound(
            "request.no_such_path", f"There is nothing at {path}.", hint=f"{slash}See /openapi.json."
        )
    elif found.status_code == 405:
        allow = (found.headers or {}).get("Allow", "")
        problem = Invalid(
            "request.method_not_allowed",
            f"{path} does not answer to {request.method}.",
            hint=f"It answers to {allow}.",
            allow=allow,
        )
    elif found.status_code == 403:
        problem = Denied("auth.denied", str(found.detail))
    elif found.status_code < 500:
        problem = Invalid("request.malformed", f"The request cannot be read: {found.detail}.")
    else:
        problem = Internal("internal.defect", "This request failed for a reason of ours.", hint="Quote the request id.")
    return _answer(request, problem)


async def _on_validation(request: Request, error: Exception) -> Response:
    """A body that is not JSON or a parameter of the wrong form is 400; a body with wrong content is 422."""
    found = cast("Sequence[Mapping[str, Any]]", cast("RequestValidationError", error).errors())
    kind = request.headers.get("content-type", "")
    # Without a JSON content type the body is not read as JSON: every route then finds bytes where it wants an object.
    if not _is_json(kind) and any(e["loc"] == ("body",) and e["type"] != "missing" for e in found):
        return _answer(request, _unsupported(kind))
    return _answer(request, validation_problem(found, _body_fields(request)))


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _unsupported(content_type: str) -> Invalid:
    said = f"says Content-Type: {content_type[:100]}" if content_type else "has no Content-Type"
    return Invalid(
        "request.unsupported_media_type",
        f"The request {said}; this path takes JSON.",
        hint="Send Content-Type: application/json.",
    )


def _body_fields(request: Request) -> tuple[str, ...]:
    """The fields of the body that the matched route takes; none if it takes none."""
    body = getattr(request.scope.get("route"), "body_field", None)
    model = getattr(getattr(body, "field_info", None), "annotation", None)
    return tuple(getattr(model, "model_fields", ()))


def validation_problem(found: Sequence[Mapping[str, Any]], known: Iterable[str] = ()) -> Invalid:
    """The problem for pydantic's errors, each with its place as a JSON pointer (RFC 6901). Inputs are not repeated.

    `known` are the fields of the body; one that is unknown and nearly one of them is asked about, for another they
    are listed.
    """
    malformed = next((e for e in found if e["type"] == "json_invalid"), None)
    if malformed is not None:
        return Invalid(
            "request.malformed",
            f"The body is not JSON: {malformed.get('ctx', {}).get('error', 'unreadable')} at character {malformed['loc'][-1]}.",
            hint="Send one JSON document with `Content-Type: application/json`.",
        )
    errors = [
        {"in": str(e["loc"][0]), "pointer": _pointer(e["loc"][1:]), "message": _words(e), "code": str(e["type"])}
        for e in found[:_ERRORS_MAX]
    ]
    first = errors[0]
    where = f"{first['in']} {first['pointer']}".strip()
    in_body = all(e["in"] == "body" for e in errors)
    return Invalid(
        "request.invalid" if in_body else "request.bad_parameter",
        f"{len(found)} {'error' if len(found) == 1 else 'errors'} in the request; the first at {where}: {first['message']}.",
        hint=_meant(found, list(known)) + "`errors` names every place; /openapi.json has the schema and an example.",
        errors=errors,
    )


def _meant(found: Sequence[Mapping[str, Any]], known: list[str]) -> str:
    """The field that the first unknown field at the top of the body stands for, as a question, or all that there are;
    nothing where no field is unknown."""
    unknown = next((e["loc"][1] for e in found if e["type"] == "extra_forbidden" and len(e["loc"]) == 2), None)
    if unknown is None or not known:
        return ""
    near = nearest(str(unknown), known)
    return f"Did you mean {near}? " if near else f"The body takes {', '.join(known)}. "


def _words(error: Mapping[str, Any]) -> str:
    """What is wrong at one place; pydantic's words where they are plain enough."""
    return "There is no such field" if error["type"] == "extra_forbidden" else str(error["msg"])


def _pointer(loc: Sequence[object]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in loc)
