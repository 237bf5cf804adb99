"""The section `auth` of a connector's document, and what of it is refused at publish: above all a literal credential."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from stanchion.base import Invalid, Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.secrets import SecretRef, is_reference

REFERENCE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 500}
_TEXT: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 500}
_NAMED: Final[Json] = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 10,
    "propertyNames": {"maxLength": 200},
    "additionalProperties": dict(REFERENCE),
}


def _section(required: list[str], **properties: Json) -> dict[str, Json]:
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": dict(properties),
    }


AUTH_SCHEMA: Final[Schema] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "header": _NAMED,
        "query": _NAMED,
        "body": _NAMED,
        "basic": _section(["username", "password"], username=_TEXT, password=dict(REFERENCE)),
        "bearer": _section(["token"], token=dict(REFERENCE), scheme={"type": "string", "pattern": "^[A-Za-z]{1,30}$"}),
        "oauth2": _section(
            ["grant", "token_url", "client_id"],
            grant={"enum": ["client_credentials", "refresh_token"]},
            token_url={"type": "string", "pattern": "^https?://", "maxLength": 1000},
            client_id=_TEXT,
            client_secret=dict(REFERENCE),
            refresh_token=dict(REFERENCE),
            client_auth={"enum": ["basic", "body"]},
            scope=_TEXT,
            audience=_TEXT,
            resource=_TEXT,
        ),
        "sigv4": _section(
            ["region", "service", "access_key_id", "secret_access_key"],
            region={"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
            service={"type": "string", "pattern": "^[a-z0-9-]{1,40}$"},
            access_key_id=_TEXT,
            secret_access_key=dict(REFERENCE),
            session_token=dict(REFERENCE),
        ),
        "client_certificate": _section(
            ["certificate", "private_key"], certificate=dict(REFERENCE), private_key=dict(REFERENCE)
        ),
    },
}
# Fields of `auth` that are no credential: they may be said, or, where it is sensible, be a reference too.
_PLAIN: Final = {
    "basic": {"username"},
    "bearer": {"scheme"},
    "oauth2": {"grant", "token_url", "client_id", "client_auth", "scope", "audience", "resource"},
    "sigv4": {"region", "service", "access_key_id"},
}
# Each of these writes the header Authorization.
_ONE_OF: Final = ("basic", "bearer", "oauth2", "sigv4")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# Headers that the client itself sets, or that would change what a request is.
_OURS: Final = {"host", "content-length", "content-type", "transfer-encoding", "connection", "traceparent", "accept"}


def check_reference(pointer: str, value: Json) -> Iterator[ConfigIssue]:
    """Complaints about a value that must be a reference to a secret. The value itself is not repeated."""
    try:
        SecretRef.parse(value, place=pointer)
    except Invalid as error:
        if is_reference(value):
            yield ConfigIssue(pointer=pointer, code=error.code, message=error.message, hint=error.hint)
        else:
            yield ConfigIssue(
                pointer=pointer,
                code="connector.credential",
                message="A credential stands here itself, or something else that is no reference.",
                hint="Write `secret://local/NAME`, and set it with `stanchion secret set NAME`. If it was a credential, change it.",
            )


def check_auth(body: Mapping[str, Json]) -> Iterable[ConfigIssue]:
    """All complaints about `auth` beyond its schema: literals, sites that exclude each other, what a grant needs, and
    credentials that would travel without TLS."""
    auth = _mapping(body.get("auth"))
    for site, section in auth.items():
        for name, value in _mapping(section).items():
            pointer = f"/auth/{site}/{name.replace('~', '~0').replace('/', '~1')}"
            if is_reference(value) or name not in _PLAIN.get(site, ()):
                yield from check_reference(pointer, value)
    writing = [site for site in _ONE_OF if site in auth]
    if len(writing) > 1:
        yield ConfigIssue(
            pointer=f"/auth/{writing[1]}",
            code="connector.bad_auth",
            message=f"{writing[0]} and {writing[1]} both write the header Authorization.",
            hint="Keep the one that the system wants.",
        )
    yield from _check_headers(_mapping(auth.get("header")), bool(writing))
    yield from _check_grant(_mapping(auth.get("oauth2")))
    yield from _check_plain_text(body, auth)


def _check_headers(headers: Mapping[str, Json], authorised: bool) -> Iterator[ConfigIssue]:
    for name in headers:
        clash = authorised and name.lower() == "authorization"
        if clash or name.lower() in _OURS or not _HEADER.fullmatch(name):
            yield ConfigIssue(
                pointer=f"/auth/header/{name.replace('~', '~0').replace('/', '~1')}",
                code="connector.bad_header",
                message=f"The header {name!r} cannot be set here.",
                hint="It is written already, the client sets it itself, or it is no header name.",
            )


def _check_grant(oauth: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    if not oauth:
        return
    needed = {"client_credentials": "client_secret", "refresh_token": "refresh_token"}[str(oauth["grant"])]
    if needed not in oauth:
        yield ConfigIssue(
            pointer="/auth/oauth2",
            code="connector.missing_field",
            message=f"The grant {oauth['grant']} needs `{needed}`.",
            hint=f"{needed}: secret://local/NAME",
        )
    if needed == "client_secret" and "refresh_token" in oauth:
        yield ConfigIssue(
            pointer="/auth/oauth2/refresh_token",
            code="connector.unknown_field",
            message="The grant client_credentials has no `refresh_token`.",
        )


def _check_plain_text(body: Mapping[str, Json], auth: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    """Credentials go out over TLS; without it only to hosts that the connector lists as its own network's."""
    private = _mapping(body.get("egress")).get("private")
    places = {"/base_url": body.get("base_url")} if auth else {}
    if "oauth2" in auth:
        places["/auth/oauth2/token_url"] = _mapping(auth["oauth2"]).get("token_url")
    for pointer, url in places.items():
        if isinstance(url, str) and url.startswith("http://") and not private:
            yield ConfigIssue(
                pointer=pointer,
                code="connector.no_tls",
                message="Credentials would travel without TLS.",
                hint="Say https://. Within a network of your own, list its hosts under `egress.private`.",
            )


def _mapping(value: Json) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", value or {})
