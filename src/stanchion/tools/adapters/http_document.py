"""What a connector's document says to the `http` adapter, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from yarl import URL

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.secrets import references_in
from stanchion.tools.adapters.http_operations import EXECUTE_SCHEMA, PUSH_SCHEMA, check_operations
from stanchion.tools.adapters.http_paging import PAGE_NEEDS, PAGE_SCHEMA
from stanchion.tools.adapters.http_parts import CONSTANTS, PATH, POINTER, check_shape, path_parameters
from stanchion.tools.credentials import AUTH_SCHEMA, check_auth
from stanchion.tools.egress import origin_of

SETTINGS_SCHEMA: Mapping[str, Schema] = {
    "base_url": {"type": "string", "pattern": "^https?://", "maxLength": 1000},
    "auth": AUTH_SCHEMA,
    "headers": {
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {"type": "string", "pattern": "^[\\x20-\\x7e]*$", "maxLength": 1000},
    },
}
OPERATION_SCHEMAS: Mapping[str, Schema] = {
    "fetch": {
        "type": "object",
        "required": ["path"],
        "additionalProperties": False,
        "properties": {
            "path": PATH,
            "parameters": {"x-parameters": True},
            "query": CONSTANTS,
            "records": POINTER,
            "page": PAGE_SCHEMA,
        },
    },
    "lookup": {
        "type": "object",
        "required": ["path"],
        "additionalProperties": False,
        "properties": {"path": PATH, "query": CONSTANTS, "records": POINTER},
    },
    "push": PUSH_SCHEMA,
    "execute": EXECUTE_SCHEMA,
}
# Headers that carry credentials, or that the client itself must set.
_CREDENTIAL = re.compile(r"authorization|cookie|token|secret|password|api[-_]?key|credential", re.IGNORECASE)
_OURS = {"host", "content-length", "transfer-encoding", "connection", "traceparent", "accept"}


def check_http(body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    """All complaints beyond the schema."""
    yield from _check_base(str(body["base_url"]))
    yield from check_auth(body)
    yield from _check_stray(body)
    yield from check_operations(body)
    for header in cast("Mapping[str, Json]", body.get("headers", {})):
        yield from _check_header(header)
    for name, resource in cast("Mapping[str, Mapping[str, Json]]", body["resources"]).items():
        for verb in ("fetch", "lookup"):
            if verb in resource:
                pointer = f"/resources/{name}/{verb}"
                operation = cast("Mapping[str, Json]", resource[verb])
                yield from _check_path(pointer, verb, operation)
                if "page" in operation:
                    yield from _check_page(f"{pointer}/page", cast("Mapping[str, Json]", operation["page"]))


def _check_stray(body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    """References that stand where no credential is put: the text itself would be sent."""
    for pointer, _ in references_in(body):
        if not pointer.startswith("/auth/"):
            yield ConfigIssue(
                pointer=pointer,
                code="connector.credential",
                message="A credential is referred to where none is put; the reference itself would be sent.",
                hint="Its sites are those of `auth`: header, query, body, basic, bearer, oauth2, sigv4, client_certificate.",
            )


def _check_base(text: str) -> Iterable[ConfigIssue]:
    def issue(message: str, hint: str) -> ConfigIssue:
        return ConfigIssue(pointer="/base_url", code="connector.bad_base_url", message=message, hint=hint)

    try:
        origin_of(text)
    except ValueError as error:
        yield issue(
            f"The base URL {error}.", "https://host/path, without user or password: a connector never holds one."
        )
        return
    url = URL(text)
    if url.raw_query_string or url.raw_fragment:
        yield issue("The base URL has a query or fragment.", "Constant parameters belong in an operation's `query`.")


def _check_header(name: str) -> Iterable[ConfigIssue]:
    pointer = f"/headers/{name.replace('~', '~0').replace('/', '~1')}"
    if _CREDENTIAL.search(name):
        yield ConfigIssue(
            pointer=pointer,
            code="connector.credential",
            message=f"The header {name!r} would carry a credential.",
            hint=f"A connector never holds one: auth: {{header: {{{name}: secret://local/NAME}}}}.",
        )
    elif name.lower() in _OURS or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
        yield ConfigIssue(
            pointer=pointer,
            code="connector.bad_header",
            message=f"The header {name!r} cannot be set here.",
            hint="The client sets it itself (Accept is always application/json), or it is no header name. "
            "Allowed are others without a credential, such as X-Client or Accept-Language.",
        )


def _check_path(pointer: str, verb: str, operation: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    path, names = str(operation["path"]), path_parameters(str(operation["path"]))
    declared = ["key"] if verb == "lookup" else list(cast("Mapping[str, Json]", operation.get("parameters", {})))
    for name in names:
        if name not in declared:
            yield ConfigIssue(
                pointer=f"{pointer}/path",
                code="connector.undeclared_parameter",
                message=f"The path uses {{{name}}}, which is not declared.",
                hint=f"It may use: {', '.join(f'{{{n}}}' for n in declared) or 'no parameters'}.",
            )
    if verb == "lookup" and "key" not in names:
        yield ConfigIssue(
            pointer=f"{pointer}/path",
            code="connector.unused_parameter",
            message="The path of a lookup does not use {key}.",
            hint="Such as /cases/{key}.",
        )
    yield from check_shape(f"{pointer}/path", path)


def _check_page(pointer: str, page: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    style = str(page["style"])
    needed, allowed = PAGE_NEEDS[style]
    for name in sorted(needed - page.keys()):
        yield ConfigIssue(pointer=pointer, code="connector.missing_field", message=f"Paging by {style} needs `{name}`.")
    for name in sorted(page.keys() - needed - allowed - {"style"}):
        yield ConfigIssue(
            pointer=f"{pointer}/{name}", code="connector.unknown_field", message=f"Paging by {style} has no `{name}`."
        )
