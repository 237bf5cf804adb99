"""Around every request: its id, its span, its metrics, its headers, and the bounds of its body. Plain ASGI."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stanchion.base import Internal, Invalid, LimitExceeded, Problem, loads
from stanchion.context import Env
from stanchion.http import REQUEST_ID_KEY, problem_response, request_id_of
from stanchion.telemetry import current_traceparent
from stanchion.web.access import HOOKS
from stanchion.web.server import ABORT_KEY
from stanchion.web.settings import WebSettings

# What a caller may call its request: long enough to be told apart, short and plain enough for a log line.
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,127}")
# The escape \u0000 whose backslash is not itself escaped.
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

# An API answers with no page that could do anything; pages of ours name their own policy.
API_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_SECURITY: Final = {
    "content-security-policy": API_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # `same-origin` and not `no-referrer`: under that one, browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}


class ClientGone(Exception):  # noqa: N818 - not an error of ours
    """The client went away or stopped reading; nothing is left to answer."""


class RequestScope:
    """The outermost layer: whatever happens inside, the request has an id, a span, metrics and an answer."""

    def __init__(self, app: ASGIApp, env: Env, settings: WebSettings) -> None:
        self._app = app
        self._env = env
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            # There are no websockets; refusing needs no credential and tells nothing.
            await send({"type": "websocket.close", "code": 1008})

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        telemetry, clock = self._env.telemetry, self._env.clock
        headers = Headers(scope=scope)
        scope[REQUEST_ID_KEY] = self._request_id(headers)
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        started = clock.monotonic()
        answer = _Answer(scope, send, self._settings.send_timeout_s)
        with telemetry.span(f"http {method}", headers.get("traceparent")) as span:
            try:
                await self._app(scope, receive, answer.send)
            except ClientGone:
                answer.cut()
            except Problem as problem:
                await answer.instead(problem, receive)
            except Exception as error:  # noqa: BLE001 - the edge: a defect becomes an answer, and an event
                self._defect(scope, error)
                await answer.instead(_defect_problem(), receive)
            finally:
                route = _route(scope)
                span.update_name(f"http {method} {route}")
                telemetry.emit("http.answered", 1, method, route, str(answer.status))
                telemetry.emit("http.duration", clock.monotonic() - started, method, route)

    def _request_id(self, headers: Headers) -> str:
        given = headers.get("x-request-id", "")
        return given if _REQUEST_ID.fullmatch(given) else str(self._env.ids.new())

    def _defect(self, scope: Scope, error: Exception) -> None:
        """Report where it happened, without what it says: an exception's text may quote content."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
        self._env.telemetry.emit(
            "defect", error=type(error).__name__, where=where, route=_route(scope), request_id=request_id_of(scope)
        )


class _Answer:
    """The sending side of one request."""

    def __init__(self, scope: Scope, send: Send, timeout_s: float) -> None:
        self.status = 499
        self._scope = scope
        self._send = send
        self._timeout_s = timeout_s
        self._started = False

    async def send(self, message: Message) -> None:
        """Pass a message on, with our headers; a client that does not read in time is cut off."""
        if message["type"] == "http.response.start":
            self._started = True
            self.status = message["status"]
            self._add_headers(message)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(message)
        except TimeoutError:
            raise ClientGone from None

    async def instead(self, problem: Problem, receive: Receive) -> None:
        """Answer with `problem`; if an answer has begun, cut it short so that nobody takes it for whole."""
        if self._started:
            self.cut()
            return
        try:
            await problem_response(problem, request_id_of(self._scope))(self._scope, receive, self.send)
        except ClientGone:
            self.cut()

    def cut(self) -> None:
        """Drop the connection without flushing."""
        abort = self._scope.get(ABORT_KEY)
        if callable(abort):
            abort()

    def _add_headers(self, message: MutableMapping[str, Any]) -> None:
        headers = MutableHeaders(raw=message.setdefault("headers", []))
        for name, value in _SECURITY.items():
            headers.setdefault(name, value)
        if self._scope["scheme"] == "https":
            headers.setdefault("strict-transport-security", "max-age=31536000")
        headers["x-request-id"] = request_id_of(self._scope)
        traceparent = current_traceparent()
        if traceparent:
            headers["traceparent"] = traceparent


class InputBounds:
    """Reads a request's body before anything acts on it: whole, within its size and its time, and strict JSON.

    A route then never holds a transaction while a client dribbles, and a body that is too large or too slow has one
    answer everywhere (413, 408), also when it comes in chunks of undeclared length. PostgreSQL holds no NUL character
    and JSON (RFC 8259) no NaN and no half of a surrogate pair, whatever Python's parser takes: refused here, once,
    for every route.
    """

    def __init__(self, app: ASGIApp, settings: WebSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
                raise _nul("path or query")
            if _has_body(headers):
                body = await self._read(headers, receive)
                if not scope["path"].startswith(HOOKS):  # whether the signature holds is looked at first, there
                    _check_json(headers, body)
                receive = _replay(body, receive)
        except Problem as problem:
            response = problem_response(problem, request_id_of(scope))
            # The rest of the body is still under way and would be read as the next request.
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes:
        limit = self._settings.body_bytes_max
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_timeout_s):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    body += message.get("body", b"")
                    if len(body) > limit:
                        raise _too_large(limit)
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            raise Invalid(
                "request.timeout",
                f"The body did not arrive within {self._settings.body_timeout_s:g} s; nothing was done.",
                hint="Send it again, faster.",
                retryable=True,
            ) from None


def _replay(body: bytes, receive: Receive) -> Callable[[], Awaitable[Message]]:
    """A `receive` that gives the body once and then waits for the client to go away."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _check_json(headers: Headers, body: bytes) -> None:
    """Return if a JSON body is strict and storable. Raises Invalid `json.malformed` or `request.nul_character`."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not body or not (kind == "application/json" or kind.endswith("+json")):
        return
    loads(body)
    if b"\\u0000" in body and _NUL.search(body):
        raise _nul("body")


def _nul(where: str) -> Invalid:
    return Invalid(
        "request.nul_character",
        f"The {where} contains the character U+0000, which no text here can hold.",
        hint="Leave it out; binary data travels as base64.",
    )


def _too_large(limit: int) -> LimitExceeded:
    return LimitExceeded(
        "request.too_large",
        f"The body has more than {limit} bytes.",
        hint="Send less, or send a reference to the data.",
        retryable=False,
        limit_bytes=limit,
    )


def _defect_problem() -> Internal:
    return Internal(
        "internal.defect",
        "Stanchion failed to answer this; whether a change was made can be read with GET.",
        hint="Quote the request id to whoever runs this deployment.",
    )


def _route(scope: Scope) -> str:
    """The template of the matched route, so that ids never become label values."""
    return str(getattr(scope.get("route"), "path", "unmatched"))
