"""MCP over streamable HTTP: the SDK's transport over an aiohttp session that passes the connector's egress.

Every connection is to a checked address and TLS is verified (`stanchion.tools.egress`). Redirects are not followed by
this client; the SDK follows one within the origin as a request of its own, which is checked like the first. A body is
bounded after decompression.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import cast

import aiohttp
import httpx2
from mcp.client.streamable_http import streamable_http_client

from stanchion.tools.adapters.mcp.answers import refusals
from stanchion.tools.adapters.mcp.stdio import LINE_BYTES_MAX, Streams
from stanchion.tools.egress import Egress, session

# What the SDK may leave open for longer than a call: nothing is read from it any more.
_READ_S = 660.0
# Set by this client; what a server says of its body's form is true of the bytes before aiohttp read them.
_OF_THE_FORM = {"content-encoding", "content-length", "transfer-encoding"}
_REFUSED = {401, 403}
_OF_THE_LINE = {"host", "content-length", "accept-encoding", "connection", "user-agent"}


@asynccontextmanager
async def http(url: str, egress: Egress, headers: Callable[[], Mapping[str, str]]) -> AsyncGenerator[Streams]:
    """The streams of a server at `url`. `headers` are asked for with each request: a rotated credential needs no new
    session. Raises EgressProblem, httpx2.HTTPError."""
    async with session(egress) as opened:
        transport = _Transport(opened, headers)
        async with (
            httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(_READ_S), trust_env=False) as client,
            streamable_http_client(url, http_client=client, max_sse_event_size=LINE_BYTES_MAX) as streams,
        ):
            yield cast("Streams", streams)


class _Transport(httpx2.AsyncBaseTransport):
    """httpx2's requests by aiohttp."""

    def __init__(self, opened: aiohttp.ClientSession, headers: Callable[[], Mapping[str, str]]) -> None:
        self._opened = opened
        self._headers = headers

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, its body still to be read. Raises httpx2.ConnectError and its like, EgressProblem."""
        given = [(name, value) for name, value in request.headers.items() if name.lower() not in _OF_THE_LINE]
        try:
            response = await self._opened.request(
                request.method,
                str(request.url),
                data=await request.aread() or None,
                headers={**dict(given), **self._headers()},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=_READ_S),
            )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout("no connection", request=request) from error
        except aiohttp.ClientError as error:
            raise httpx2.ConnectError(type(error).__name__, request=request) from error
        if response.status in _REFUSED and (told := refusals.get()) is not None:
            told.append(response.status)
        kept = [(name, value) for name, value in response.headers.items() if name.lower() not in _OF_THE_FORM]
        return httpx2.Response(response.status, headers=kept, stream=_Body(response, request), request=request)


class _Body(httpx2.AsyncByteStream):
    """A response's body, decompressed and bounded: of an event stream the SDK bounds each event."""

    def __init__(self, response: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        endless = self._response.content_type == "text/event-stream"
        size = 0
        try:
            async for part in self._response.content.iter_any():
                size += len(part)
                if size > LINE_BYTES_MAX and not endless:
                    raise httpx2.ReadError("the body is too large", request=self._request)
                yield part
        except (aiohttp.ClientError, TimeoutError) as error:
            raise httpx2.ReadError(type(error).__name__, request=self._request) from error

    async def aclose(self) -> None:
        self._response.close()
