"""One request over HTTP and its answer: by way of the connector's egress, with its credentials, at most three redirects.

Credentials and declared headers go to the connector's own origin alone, never along to where a redirect leads. A write is
not redirected at all. `sent` of a problem is False only where the connection was never made, so nothing left.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import sha256
from typing import Final, cast

import aiohttp
from yarl import URL

from stanchion.base import Clock, Invalid, Json, loads
from stanchion.secrets import Exchange
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.call import Call
from stanchion.tools.credentials import (
    NO_CREDENTIALS,
    Credentials,
    Granted,
    KeptGrants,
    Outgoing,
    Tokens,
    authorised,
    declared_grant,
    granted_of,
    load_client_certificate,
    refusal_of,
    token_key,
    token_request,
)
from stanchion.tools.egress import Egress, Network, Sessions

_REDIRECTS_MAX: Final = 3
_REDIRECTS: Final = {301, 302, 303, 307, 308}
# Of the time that is left, what making a connection may take: when all is over, a connection is known to have been made.
_CONNECT_SHARE: Final = 0.9
_CONNECT_S: Final = 10.0
_CONTEXTS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back. `body` is None where it was not wanted; `retry_after_s` is the server's wish, at most a day."""

    status: int
    content_type: str = ""
    link: str = ""
    retry_after_s: float | None = None
    body: bytes | None = None

    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        return self.content_type == "application/json" or self.content_type.endswith("+json")

    def json(self) -> Json:
        """The body. Raises ValueError if it is not JSON."""
        try:
            return loads(self.body or b"")
        except Invalid:
            raise ValueError("is not JSON") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a request is sent.

    Attributes:
        writes: it may change the target: it is not redirected, and what may have been sent is said so.
        fresh: on a connection of its own, so that none that the server was about to close swallows it: for what the target
            would not recognise when repeated.
        errors: read the body of a refusal too.
    """

    writes: bool = False
    fresh: bool = False
    errors: bool = False


READS: Final = Manner()


class HttpClient:
    """See the module. Sessions are opened by the first call of a connector, in the loop of that call."""

    def __init__(self, clock: Clock, network: Network) -> None:
        self._clock = clock
        self._network = network
        self._sessions = Sessions(clock)
        self._writing = Sessions(clock)
        self._tokens = Tokens(clock.monotonic)
        self._contexts: OrderedDict[tuple[Egress, bytes], ssl.SSLContext] = OrderedDict()

    def egress(self, target: Target) -> Egress:
        """What the connector may connect to: its own host, those it lists, and its token endpoint."""
        oauth = _auth(target).get("oauth2")
        urls = (str(cast("Mapping[str, Json]", oauth)["token_url"]),) if oauth else ()
        return Egress.of(target.connector, self._network, *urls)

    async def send(self, call: Call, request: Outgoing, manner: Manner = READS) -> Answer:
        """Send, with credentials, once more with a new token if OAuth 2's was refused. Raises AdapterProblem."""
        target = call.target
        auth, credentials = _auth(target), target.credentials or NO_CREDENTIALS
        if not auth or request.url.origin() != base_of(target).origin():
            return await self._followed(call, request, manner)
        if target.credentials is None:
            raise target.problem(
                "adapter.no_credentials",
                "needs credentials, and this process holds none.",
                hint="Calls with credentials go through the broker: `stanchion serve broker`.",
            )
        token = await self._token(call, auth, credentials)
        answer = await self._followed(call, self._authorised(target, request, token), manner)
        if answer.status == 401 and token is not None:
            token = await self._token(call, auth, credentials, not_this=token)
            answer = await self._followed(call, self._authorised(target, request, token), manner)
        return answer

    async def token(self, call: Call, *, not_this: str = "") -> str | None:
        """OAuth 2's access token for a call that is sent by other means; None where `auth` names no such grant.

        Args:
            call: the call in hand; its time is for this request too.
            not_this: a token that the target refused. Raises AdapterProblem `adapter.token_refused`.
        """
        target = call.target
        return await self._token(call, _auth(target), target.credentials or NO_CREDENTIALS, not_this=not_this)

    def _authorised(self, target: Target, request: Outgoing, token: str | None) -> Outgoing:
        credentials = target.credentials or NO_CREDENTIALS
        try:
            return authorised(request, _auth(target), credentials, token=token, at=self._clock.now())
        except Invalid as error:
            raise target.problem(
                "adapter.bad_credential", f"cannot be called: {error.message}", hint=error.hint
            ) from None

    async def _token(
        self, call: Call, auth: Mapping[str, Json], credentials: Credentials, *, not_this: str = ""
    ) -> str | None:
        if "oauth2" not in auth:
            return None
        section = cast("Mapping[str, Json]", auth["oauth2"])
        target = call.target
        tenant = target.asker.tenant if target.asker is not None else ""
        key = token_key(target.connector.name, tenant, section, credentials)
        ask = partial(self._granted, call, section)
        if credentials.kept is not None and section["grant"] == "refresh_token":
            ask = partial(self._kept, credentials, credentials.kept, section, ask, not_this)
        try:
            token = await self._tokens.token(key, ask, wait_s=call.left_s(), not_this=not_this)
        except TimeoutError:  # while another call's request for it was on its way
            raise _timeout(target, sent=False) from None
        return credentials.derived(token)

    async def _kept(
        self,
        credentials: Credentials,
        kept: KeptGrants,
        section: Mapping[str, Json],
        ask: Exchange,
        not_this: str,
        _: str | None,
    ) -> Granted:
        """As `_granted`, with the refresh token that is kept for all processes, and which this process may not know yet."""
        declared = declared_grant(section, credentials)
        granted = await kept.keeping.use(kept.tenant, declared, ask, not_this=not_this)
        credentials.derived(granted.refresh_token or "")
        return granted

    async def _granted(self, call: Call, section: Mapping[str, Json], refresh_token: str | None) -> Granted:
        """Ask the token endpoint. Nothing was written to the target, whatever comes of it."""
        target = call.target
        credentials = target.credentials or NO_CREDENTIALS
        credentials.derived(refresh_token or "")
        request = token_request(section, credentials, refresh_token)
        answer = await self._followed(call, request, Manner(writes=True, errors=True), own=False)
        try:
            body = answer.json()
            if answer.status < 300:
                granted = granted_of(body)
                credentials.derived(granted.refresh_token or "")
                return granted
        except ValueError:
            body = None
        said = refusal_of(body)
        raise target.problem(
            "adapter.token_refused",
            f"got no access token: the token endpoint answered with status {answer.status}{' ' + said if said else ''}.",
            hint="Check `auth.oauth2` of the connector, and its secrets: `stanchion secret check`.",
            retryable=answer.status in {408, 425, 429} or answer.status >= 500,
            status=answer.status,
        )

    async def _followed(self, call: Call, request: Outgoing, manner: Manner, *, own: bool = True) -> Answer:
        """Send and follow redirects of reads. `own`: to the connector itself, and not to its token endpoint."""
        egress = self.egress(call.target)
        async with self._session(egress, manner) as opened:
            for _ in range(_REDIRECTS_MAX + 1):
                answer, leads = await self._once(
                    call, opened, egress, request, manner if own else replace(manner, writes=False), own=own
                )
                if leads is None or manner.writes:
                    return answer
                url = egress.followed(request.url, leads)
                if url.origin() != request.url.origin():
                    request = Outgoing(method=request.method, url=url, headers={"Accept": "application/json"})
                else:
                    request = replace(request, url=url)
        raise call.target.problem("adapter.elsewhere", f"redirected more than {_REDIRECTS_MAX} times.")

    @asynccontextmanager
    async def _session(self, egress: Egress, manner: Manner) -> AsyncGenerator[aiohttp.ClientSession]:
        if not manner.writes:
            yield await self._sessions.of(egress)
        elif manner.fresh:
            async with self._writing.alone(egress) as opened:
                yield _once_only(opened)
        else:
            yield _once_only(await self._writing.of(egress))

    async def _once(
        self,
        call: Call,
        opened: aiohttp.ClientSession,
        egress: Egress,
        request: Outgoing,
        manner: Manner,
        *,
        own: bool,
    ) -> tuple[Answer, str | None]:
        target, left_s = call.target, call.left_s()
        call.calls += 1
        content = self._content(target, request)
        headers = {**request.headers, **({} if content is None else {"Content-Type": request.content_type()})}
        timeout = aiohttp.ClientTimeout(total=left_s, connect=left_s * _CONNECT_SHARE, sock_connect=_CONNECT_S)
        # Like headers and credentials, a client certificate is shown to the connector's own origin alone.
        own = own and request.url.origin() == base_of(target).origin()
        tls = self._client_tls(target, egress) if own else None
        try:
            async with opened.request(
                request.method,
                request.url,
                headers=headers,
                data=content,
                allow_redirects=False,
                timeout=timeout,
                ssl=True if tls is None else tls,
            ) as response:
                leads = response.headers.get("Location", "") if response.status in _REDIRECTS else None
                return await self._answer(call, response, egress.max_bytes, manner), leads
        except AdapterProblem:
            raise
        except aiohttp.ConnectionTimeoutError:
            raise _timeout(target, sent=False) from None
        except TimeoutError:
            raise _timeout(target, sent=manner.writes) from None
        except aiohttp.ClientPayloadError:
            raise target.problem(
                "adapter.truncated", "ended its answer before its end.", retryable=True, sent=manner.writes
            ) from None
        except aiohttp.ClientError as error:
            raise _unreachable(target, error, writes=manner.writes) from None

    def _content(self, target: Target, request: Outgoing) -> bytes | None:
        try:
            return request.content()
        except ValueError as error:
            raise target.problem("adapter.bad_parameter", f"cannot be asked: its body {error}.") from None

    def _client_tls(self, target: Target, egress: Egress) -> ssl.SSLContext | None:
        if "client_certificate" not in _auth(target):
            return None
        credentials = target.credentials or NO_CREDENTIALS
        site = "/auth/client_certificate"
        pair = credentials.value(f"{site}/certificate"), credentials.value(f"{site}/private_key")
        # Another certificate makes another context; the digest is that of the pair, never kept anywhere else.
        key = egress, sha256("\x00".join(pair).encode()).digest()
        found = self._contexts.get(key)
        if found is None:
            found = egress.tls_context()
            try:
                load_client_certificate(found, *pair)
            except Invalid as error:
                raise target.problem(
                    "adapter.bad_credential", f"cannot be called: {error.message}", hint=error.hint
                ) from None
            self._contexts[key] = found
            if len(self._contexts) > _CONTEXTS_MAX:
                self._contexts.popitem(last=False)
        return found

    async def _answer(self, call: Call, response: aiohttp.ClientResponse, bytes_max: int, manner: Manner) -> Answer:
        wanted = response.status < 300 or manner.errors
        body = bytearray()
        async for part in response.content.iter_chunked(65_536) if wanted else _nothing():
            body += part
            if len(body) > bytes_max:
                raise call.target.problem(
                    "adapter.too_large",
                    f"answered with more than {bytes_max} bytes.",
                    hint="Ask for smaller pages: `page` with `size` and `size_parameter`; or say a higher `egress.max_bytes`.",
                    sent=manner.writes,
                )
        call.bytes += len(body)
        return Answer(
            status=response.status,
            content_type=response.content_type,
            link=", ".join(response.headers.getall("Link", [])),
            retry_after_s=_retry_after(response.headers.get("Retry-After"), self._clock.now()),
            body=bytes(body) if wanted else None,
        )

    async def close(self) -> None:
        """Close the sessions and their connections."""
        await self._sessions.close()
        await self._writing.close()


def _once_only(opened: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Aiohttp sends PUT and DELETE again by itself when a kept connection breaks; a write is sent once, and whether it may
    be sent again is the ledger's to say. There is no public way to ask for that."""
    opened._retry_connection = False  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return opened


async def _nothing() -> AsyncGenerator[bytes]:
    for part in ():
        yield part


def base_of(target: Target) -> URL:
    """The base URL, with the slash at its end."""
    return URL(str(target.connector.settings["base_url"]).rstrip("/") + "/")


def headers_of(target: Target) -> dict[str, str]:
    """What every request of the connector says: its constant headers, and the trace."""
    constants = cast("Mapping[str, Json]", target.connector.settings.get("headers", {}))
    headers = {"Accept": "application/json", **{name: str(value) for name, value in constants.items()}}
    if target.traceparent:
        headers["traceparent"] = target.traceparent
    return headers


def _auth(target: Target) -> Mapping[str, Json]:
    return cast("Mapping[str, Json]", target.connector.settings.get("auth") or {})


def _timeout(target: Target, *, sent: bool) -> AdapterProblem:
    return target.problem("adapter.timeout", f"timed out after {target.timeout_s:g} s.", retryable=True, sent=sent)


def _retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait (RFC 9110 §10.2.3), from a number or a date; at most a day."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:9]), 86_400))
    try:
        at = parsedate_to_datetime(header)
    except (ValueError, TypeError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), 86_400.0)


def _unreachable(target: Target, error: aiohttp.ClientError, *, writes: bool) -> AdapterProblem:
    # A server whose certificate is not valid does not become so by asking again.
    tls = isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError)
    # Without a connection, to it or to the proxy before it, nothing left.
    unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError) or tls
    sent = writes and not unsent
    if isinstance(error, aiohttp.ClientResponseError):
        return target.problem("adapter.not_http", "answered with something that is not HTTP.", sent=sent)
    return target.problem(
        "adapter.unreachable",
        "has a certificate that is not valid." if tls else "cannot be reached, or closed the connection.",
        hint="Check `base_url`, and whether the server is up.",
        retryable=not tls,
        sent=sent,
    )
