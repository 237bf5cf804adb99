"""The declared sites of credentials in a request: header, query, body field, basic, bearer, a signature. Pure."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import cast

from stanchion.base import Invalid, Json
from stanchion.secrets import is_reference
from stanchion.tools.credentials.outgoing import Outgoing
from stanchion.tools.credentials.sigv4 import Key, signature_of, signed
from stanchion.tools.credentials.types import Credentials


def authorised(
    request: Outgoing, auth: Mapping[str, Json], credentials: Credentials, *, token: str | None, at: datetime
) -> Outgoing:
    """The request with every credential of `auth` at its site; `token` is OAuth 2's, fetched before.

    Raises Invalid `connector.bad_credential` for a value that its site cannot hold, without the value.
    """
    for name in _mapping(auth.get("query")):
        value = credentials.value(f"/auth/query/{_token(name)}")
        request = replace(request, url=request.url.update_query({name: value}))
    for name in _mapping(auth.get("body")):
        request = _with_field(request, name, credentials.value(f"/auth/body/{_token(name)}"))
    headers = {
        name: _checked(credentials.value(f"/auth/header/{_token(name)}"), f"header {name}")
        for name in _mapping(auth.get("header"))
    }
    if "basic" in auth:
        basic = _mapping(auth["basic"])
        user = secret_or_text(basic, "username", "/auth/basic", credentials)
        headers["Authorization"] = basic_header(user, credentials.value("/auth/basic/password"), credentials)
    elif "bearer" in auth:
        scheme = str(_mapping(auth["bearer"]).get("scheme", "Bearer"))
        headers["Authorization"] = f"{scheme} {_checked(credentials.value('/auth/bearer/token'), 'bearer token')}"
    elif token is not None:
        headers["Authorization"] = f"Bearer {credentials.derived(token)}"
    request = request.with_headers(headers)
    return _signed(request, _mapping(auth["sigv4"]), credentials, at) if "sigv4" in auth else request


def secret_or_text(section: Mapping[str, Json], name: str, at: str, credentials: Credentials) -> str:
    """A name that the document may say itself, or by a reference."""
    value = section[name]
    return credentials.value(f"{at}/{name}") if is_reference(value) else str(value)


def basic_header(user: str, password: str, credentials: Credentials) -> str:
    """`Basic …` (RFC 7617), whose text is as secret as the password."""
    text = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
    return f"Basic {credentials.derived(text)}"


def _signed(request: Outgoing, section: Mapping[str, Json], credentials: Credentials, at: datetime) -> Outgoing:
    site = "/auth/sigv4"
    key = Key(
        access_key_id=secret_or_text(section, "access_key_id", site, credentials),
        secret_access_key=credentials.value(f"{site}/secret_access_key"),
        session_token=credentials.value(f"{site}/session_token") if "session_token" in section else None,
        region=str(section["region"]),
        service=str(section["service"]),
    )
    content = request.content()
    named = {} if content is None else {"Content-Type": request.content_type()}
    added = signed(key, request.method, request.url, named, content or b"", at)
    credentials.passing(signature_of(added))
    return request.with_headers({**named, **added})


def _with_field(request: Outgoing, name: str, value: str) -> Outgoing:
    """The request with a field of its body set: a name of the object, or a JSON pointer into it."""
    if not request.has_body:
        return request
    parts = [part.replace("~1", "/").replace("~0", "~") for part in name[1:].split("/")] if name[:1] == "/" else [name]
    if not isinstance(request.payload, dict):
        raise Invalid("connector.bad_credential", f"The body has no object in which {name!r} could be set.")
    payload = dict(request.payload)
    holder = payload
    for part in parts[:-1]:
        inner = holder.get(part)
        copied = dict(inner) if isinstance(inner, dict) else dict[str, Json]()
        holder[part] = copied
        holder = copied
    holder[parts[-1]] = value
    return replace(request, payload=payload)


def _checked(value: str, site: str) -> str:
    if not value or not value.isprintable() or not value.isascii() or value != value.strip():
        raise Invalid(
            "connector.bad_credential",
            f"The credential for the {site} is empty or holds a character that a header cannot have.",
            hint="Set the secret again, without a line end or white space around it.",
        )
    return value


def _mapping(value: Json) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", value or {})


def _token(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
