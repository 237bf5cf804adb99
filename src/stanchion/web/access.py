"""Who may come in: rate limits and authentication, before any route sees a request (I11).

Open without a credential are the health probes, the sign-in page and the hooks of signed webhooks, nothing else; a path that
does not exist is told only to those who are known.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from stanchion.base import Denied, Problem, Unauthenticated
from stanchion.context import Actor, Ctx, Env
from stanchion.controls import RateLimiter, address_key
from stanchion.http import CTX_KEY, problem_response, request_id_of, session_cookie
from stanchion.identity import Authenticator
from stanchion.telemetry import current_traceparent
from stanchion.web.settings import WebSettings

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready", "/health/dependencies", "/sign-in"})
# Below it, requests carry a signature instead, which the broker verifies; what comes of it tells a stranger nothing.
HOOKS: Final = "/api/hooks/"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Access:
    """Limits by address, authenticates, limits by principal, and leaves the Ctx in the scope."""

    def __init__(self, app: ASGIApp, env: Env, authenticator: Authenticator, settings: WebSettings) -> None:
        self._app = app
        self._env = env
        self._authenticator = authenticator
        self._settings = settings
        self._by_address = RateLimiter(env.clock, settings.per_address, scope="address")
        self._by_principal = RateLimiter(env.clock, settings.per_principal, scope="principal")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http" and scope["path"] != "/health/live":
            refusal = await self._refuse(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refuse(self, scope: Scope) -> Response | None:
        """None if the request may go on, else the answer."""
        try:
            client = scope.get("client")
            self._take(self._by_address, address_key(client[0]) if client else "local")
            if scope["path"].startswith(HOOKS) and scope["method"] == "POST":
                return None
            if scope["path"] in OPEN_PATHS:
                if scope["method"] not in _SAFE:
                    self._check_origin(scope, required=False)
                return None
            actor = await self._actor(scope)
            self._take(self._by_principal, f"{actor.tenant}/{actor.principal}")
        except Unauthenticated as problem:
            if _wants_page(scope):
                return RedirectResponse("/sign-in", status_code=303)
            return problem_response(problem, request_id_of(scope))
        except Problem as problem:
            return problem_response(problem, request_id_of(scope))
        scope[CTX_KEY] = Ctx(
            env=self._env, actor=actor, request_id=request_id_of(scope), traceparent=current_traceparent()
        )
        return None

    def _take(self, limiter: RateLimiter, key: str) -> None:
        try:
            limiter.take(key)
        except Problem:
            self._env.telemetry.emit("http.limited", 1, limiter.scope)
            raise

    async def _actor(self, scope: Scope) -> Actor:
        connection = HTTPConnection(scope)
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            scheme, _, key = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated(
                    "auth.unsupported_scheme",
                    "The Authorization header is not of the scheme Bearer.",
                    hint="Send `Authorization: Bearer <api key>`.",
                )
            return await self._authenticator.by_key(key.strip())
        token = session_cookie(connection.cookies, secure=is_secure(scope, self._settings))
        if token is None:
            raise Unauthenticated(
                "auth.required",
                "This needs a credential and the request carries none.",
                hint="Send `Authorization: Bearer <api key>`, or sign in for a session.",
            )
        if scope["method"] not in _SAFE:
            self._check_origin(scope, required=True)
        return await self._authenticator.by_session(token)

    def _check_origin(self, scope: Scope, *, required: bool) -> None:
        """A browser sends cookies along with other sites' requests; only our own pages may change anything.

        Raises Denied `auth.cross_site`. `required`: a request that tells neither its site nor its origin is refused
        too (a program should use an API key).
        """
        headers = Headers(scope=scope)
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is not None:
            same = site == "same-origin"
        elif origin is not None:
            same = urlsplit(origin).netloc in {headers.get("host", ""), urlsplit(self._settings.public_url).netloc} - {
                ""
            }
        else:
            same = not required
        if not same:
            raise Denied(
                "auth.cross_site",
                "The request comes with a session, but not from a page of this Stanchion.",
                hint="Programs use an API key: `Authorization: Bearer <api key>`.",
            )


def is_secure(scope: Scope, settings: WebSettings) -> bool:
    """Whether browsers reach this process over TLS."""
    return settings.public_url.startswith("https://") or (not settings.public_url and scope["scheme"] == "https")


def _wants_page(scope: Scope) -> bool:
    """Whether a person's browser asks for a page, who is better served by the sign-in page than by JSON."""
    headers = Headers(scope=scope)
    return (
        scope["method"] == "GET"
        and not scope["path"].startswith("/api/")
        and "authorization" not in headers
        and "text/html" in headers.get("accept", "")
    )
