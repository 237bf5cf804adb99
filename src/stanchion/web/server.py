"""uvicorn, bounded: deadlines and sizes that uvicorn itself does not have, and the options to run it with.

uvicorn's httptools protocol waits for a request head for ever, takes a head of any size, and flushes to a client that
does not read for ever (0.54, read in its source). The subclass below ends all three.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stanchion.web.settings import WebSettings

# Key of the ASGI scope: cuts the connection without flushing it.
ABORT_KEY: Final = "stanchion.abort"
_TIMEOUT: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with a deadline for each request head, a size for it, and one for reading what is answered."""

    settings: WebSettings = WebSettings()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._flush: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; the clock for its first request runs."""
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, and with it every timer."""
        self._disarm()
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; if no request is in hand they begin one (a stray CRLF counts, so that it buys no time)."""
        # uvicorn's annotation leaves out that there is no cycle before the first request.
        cycle = cast("RequestResponseCycle | None", self.cycle)
        if self._deadline is None and (cycle is None or cycle.response_complete):
            self._arm()
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes = 0
        self.scope[ABORT_KEY] = self.transport.abort  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        """A piece of the request target came."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came."""
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is complete in time."""
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """The answer is written; if the client has not read it all yet, it has a while to do so."""
        super().on_response_complete()
        if self._flush is None and self.transport.get_write_buffer_size():
            self._watch_flush(self.transport.get_write_buffer_size())

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self.settings.header_bytes_max:
            # httptools turns this into its parser error, which uvicorn answers with 400 and closes.
            raise ValueError("The request head is too large.")

    def _arm(self) -> None:
        self._deadline = self.loop.call_later(self.settings.header_timeout_s, self._too_slow)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.write(_TIMEOUT)
            self.transport.close()

    def _watch_flush(self, waiting: int) -> None:
        self._flush = self.loop.call_later(self.settings.send_timeout_s, self._check_flush, waiting)

    def _check_flush(self, before: int) -> None:
        self._flush = None
        now = self.transport.get_write_buffer_size()
        if now >= before:
            self.transport.abort()
        elif now:
            self._watch_flush(now)


def uvicorn_options(settings: WebSettings) -> dict[str, Any]:
    """Keyword arguments for `uvicorn.Config` beside the app and where to listen."""
    protocol = type("ConfiguredProtocol", (BoundedProtocol,), {"settings": settings})
    return {
        "http": protocol,
        "ws": "none",
        "loop": "uvloop",
        "limit_concurrency": settings.connections_max,
        "timeout_keep_alive": settings.keep_alive_s,
        "timeout_graceful_shutdown": settings.drain_s,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": list(settings.trusted_proxies),
        # uvicorn's access log writes query strings, and a sign-in token is one; our events carry the route instead.
        "access_log": False,
        "log_config": None,
        "server_header": False,
    }
