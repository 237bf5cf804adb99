"""The session cookie: HttpOnly, SameSite=Strict, `__Host-` wherever the connection is secure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

# `__Host-` makes browsers refuse a cookie that another host or path has planted (RFC 6265bis §4.1.3.2). They take it
# only over TLS, so plain http on one's own machine has a name of its own.
SECURE_COOKIE: Final = "__Host-stanchion"
PLAIN_COOKIE: Final = "stanchion_session"


def set_session_cookie(response: Response, token: str, *, max_age_s: int, secure: bool) -> None:
    """Give the browser its session for `max_age_s` seconds."""
    response.set_cookie(
        SECURE_COOKIE if secure else PLAIN_COOKIE,
        token,
        max_age=max_age_s,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def session_cookie(cookies: Mapping[str, str], *, secure: bool) -> str | None:
    """The session token among a request's cookies. Over TLS only the `__Host-` cookie counts."""
    return cookies.get(SECURE_COOKIE if secure else PLAIN_COOKIE)


def clear_session_cookie(response: Response) -> None:
    """Take the session from the browser, under both names."""
    for name, secure in ((SECURE_COOKIE, True), (PLAIN_COOKIE, False)):
        response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")
