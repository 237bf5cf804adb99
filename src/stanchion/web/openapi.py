"""The OpenAPI document: FastAPI's, with security, problems and an example on every operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, cast

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from stanchion.base import invariant
from stanchion.http import PROBLEM_JSON, ProblemModel
from stanchion.web.access import HOOKS, OPEN_PATHS

Doc = dict[str, Any]

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_PROBLEMS: Final = {
    "400": ("Malformed", "The request cannot be read: its JSON, a parameter, a cursor."),
    "401": ("Unauthenticated", "No credential, or one that is unknown, expired or revoked."),
    "403": ("Denied", "The principal is known and policy says no."),
    "404": ("NotFound", "No such thing, or none that this principal may see."),
    "408": ("Timeout", "The body did not arrive in time."),
    "409": ("Conflict", "The thing is in a state in which the call makes no sense."),
    "413": ("TooLarge", "The body is too large."),
    "415": ("UnsupportedMediaType", "The body is not said to be JSON."),
    "422": ("Invalid", "The content is wrong; `errors` names each place."),
    "429": ("LimitExceeded", "A limit is reached; `Retry-After` says when it is not."),
    "500": ("Internal", "A defect of Stanchion."),
    "502": ("BadGateway", "Something behind Stanchion, or its settings, refuse; asking again changes nothing."),
    "503": ("Unavailable", "Something that serving needs is away; `Retry-After` says when to try again."),
}
# What an operation without credential, body and parameters can answer.
_OPEN_PROBLEMS: Final = ("429", "500", "503")
_DESCRIPTION: Final = (
    "Governed Blueprints, run durably. Every operation but the health probes, the sign-in page and signed webhooks needs a credential: "
    "an API key as bearer token, or the session cookie of a browser. Errors are RFC 9457 problem details with a stable "
    "`code`. Lists are pages: send `next` as `after` for the following one."
)


def install_openapi(app: FastAPI) -> None:
    """Let `app` serve the completed document, made once."""

    def openapi() -> Doc:
        if app.openapi_schema is None:
            app.openapi_schema = build_openapi(app)
        return app.openapi_schema

    app.openapi = openapi


def build_openapi(app: FastAPI) -> Doc:
    """The document of all routes of `app`. Raises Internal if two operations share an id."""
    doc = get_openapi(title="Stanchion", version=app.version, description=_DESCRIPTION, routes=app.routes)
    components = cast("Doc", doc.setdefault("components", {}))
    schemas = cast("Doc", components.setdefault("schemas", {}))
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for schema in schemas.values():
        if "examples" in schema:
            schema["examples"] = [_whole(found, schema, schemas) for found in schema["examples"]]
    schemas["Problem"] = ProblemModel.model_json_schema()
    components["responses"] = {name: _problem(text) for name, text in _PROBLEMS.values()}
    components["securitySchemes"] = {
        "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: stn_<environment>_<id>_…"},
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-stanchion", "description": "Set by signing in."},
    }
    seen: dict[str, str] = {}
    for path, method, operation in operations(doc):
        name = cast("str", operation["operationId"])
        where = f"{method.upper()} {path}"
        invariant(name not in seen, f"the operation id {name} is of {seen.get(name)} and of {where}")
        seen[name] = where
        _complete(path, operation, schemas)
    return doc


def operations(doc: Doc) -> Iterator[tuple[str, str, Doc]]:
    """Every (path, method, operation) of the document."""
    for path, item in cast("dict[str, Doc]", doc["paths"]).items():
        for method in _METHODS:
            if method in item:
                yield path, method, cast("Doc", item[method])


def without_example(doc: Doc) -> list[str]:
    """Where an operation lacks an example: of its body, or of a success. Empty in a document fit to be served."""
    missing: list[str] = []
    for path, method, operation in operations(doc):
        where = f"{method.upper()} {path}"
        body = cast("Doc", operation.get("requestBody", {})).get("content", {})
        missing += [f"{where} request {kind}" for kind, media in body.items() if "example" not in media]
        for status, response in cast("dict[str, Doc]", operation["responses"]).items():
            if status.startswith("2"):
                content = cast("dict[str, Doc]", response.get("content", {}))
                missing += [f"{where} {status} {kind}" for kind, media in content.items() if "example" not in media]
    return missing


def _complete(path: str, operation: Doc, schemas: Doc) -> None:
    is_open = path in OPEN_PATHS or path.startswith(HOOKS)
    operation["security"] = [] if is_open else [{"apiKey": []}, {"session": []}]
    responses = cast("dict[str, Doc]", operation["responses"])
    if _is_default_422(responses.get("422")):
        del responses["422"]
    bare = is_open and "requestBody" not in operation and not operation.get("parameters")
    for status, (name, _) in _PROBLEMS.items():
        if status == "415" and "application/json" not in cast("Doc", operation.get("requestBody", {})).get(
            "content", {}
        ):
            continue
        if not bare or status in _OPEN_PROBLEMS:
            responses.setdefault(status, {"$ref": f"#/components/responses/{name}"})
    successes = [r for status, r in responses.items() if status.startswith("2")]
    for part in (cast("Doc", operation.get("requestBody", {})), *successes):
        for media in cast("dict[str, Doc]", part.get("content", {})).values():
            if "example" not in media and "examples" not in media:
                found = _example_of(media.get("schema", {}), schemas)
                if found is not None:
                    media["example"] = found
            elif "example" in media:
                media["example"] = _whole(media["example"], media.get("schema", {}), schemas)


def _is_default_422(response: Doc | None) -> bool:
    content = cast("Doc", (response or {}).get("content", {}))
    return "HTTPValidationError" in str(content.get("application/json", ""))


def _example_of(schema: Doc, schemas: Doc) -> object:
    """The example a schema carries, or one made of its items' for a list or a page; None if there is none."""
    reference = cast("str", schema.get("$ref", ""))
    if reference:
        return _example_of(schemas.get(reference.rpartition("/")[2], {}), schemas)
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("type") == "array":
        item = _example_of(schema.get("items", {}), schemas)
        return None if item is None else [item]
    properties = cast("Doc", schema.get("properties", {}))
    if set(properties) == {"items", "next"}:
        items = _example_of(properties["items"], schemas)
        return None if items is None else {"items": items, "next": None}
    return None


def _whole(value: Any, schema: Doc, schemas: Doc) -> Any:
    """An example in the order of its schema, with the members that are null.

    FastAPI leaves them out of the document and pydantic sorts the rest; an answer has them, in this order.
    """
    if "$ref" in schema:
        return _whole(value, schemas.get(schema["$ref"].rpartition("/")[2], {}), schemas)
    if "anyOf" in schema and value is not None:
        return _whole(value, schema["anyOf"][0], schemas)
    if isinstance(value, list):
        return [_whole(item, schema.get("items", {}), schemas) for item in cast("list[Any]", value)]
    properties = cast("dict[str, Doc]", schema.get("properties", {}))
    if not isinstance(value, dict) or not properties:
        return cast("Any", value)
    given = cast("Doc", value)
    known = {
        name: _whole(given.get(name), inner, schemas)
        for name, inner in properties.items()
        if name in given or name in schema.get("required", ())
    }
    return {**known, **{name: inner for name, inner in given.items() if name not in known}}


def _problem(text: str) -> Doc:
    return {"description": text, "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
