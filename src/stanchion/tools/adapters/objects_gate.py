"""The way out of a store's client, which connects by itself: a proxy of ours on the loopback interface, for it alone.

obstore has its own HTTP client and resolver, so what `Egress` checks would not be what it connects to. Its client is
given this proxy: it asks for a tunnel to a host and port, which is let through only if the connector may call it, and is
made to a checked address; TLS runs inside it, from the client to the store, and is verified by the client. A password
that only the client has keeps other processes of the machine out.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import secrets
from typing import Final

from stanchion.tools.egress import Egress, EgressProblem

_CONNECT_S: Final = 10.0
_HEAD_BYTES_MAX: Final = 16_384
_PART_BYTES: Final = 65_536


class Gate:
    """One proxy per process, opened by the first store that needs it, in the loop of that call."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._port = 0
        self._egresses: dict[str, Egress] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def url(self, egress: Egress) -> str:
        """The proxy's URL for clients that may reach what `egress` allows."""
        if self._server is None:
            await self._open()
        word = next((word for word, known in self._egresses.items() if known == egress), None)
        if word is None:
            # Not an identifier of ours, which env.ids gives, but a password: from the system's generator.
            word = secrets.token_urlsafe(24)
            self._egresses[word] = egress
        return f"http://store:{word}@127.0.0.1:{self._port}"

    async def _open(self) -> None:
        """Open the door, once, whoever else is about to or is cancelled meanwhile: between the listener's making and its
        being ours to close nothing is awaited, which is why it begins to serve in a step of its own."""
        made = await asyncio.start_server(self._accepted, "127.0.0.1", 0, limit=_HEAD_BYTES_MAX, start_serving=False)
        if self._server is not None:
            made.close()
            return
        self._server, self._port = made, made.sockets[0].getsockname()[1]
        await made.start_serving()

    async def close(self) -> None:
        """Close the door and every tunnel."""
        if self._server is not None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._server = None
        self._egresses.clear()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_CONNECT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            there = await self._tunnel(head)
            if isinstance(there, bytes):
                writer.write(there)
                await writer.drain()
                return
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _joined((reader, writer), there)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _tunnel(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | bytes:
        """The connection that is asked for, or the answer that refuses it. Why it is refused is not said to the client,
        whose messages we do not pass on; the connector's own check has said it before the client was called."""
        line, *headers = head.decode("latin-1").split("\r\n")
        egress = self._egress_of(headers)
        if egress is None:
            return b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
        method, _, rest = line.partition(" ")
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if method != "CONNECT" or not port.isascii() or not port.isdigit():
            return b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"
        try:
            opened = await egress.dial(host.strip("[]"), int(port), _CONNECT_S)
        except EgressProblem:
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        except OSError:
            return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"
        return await asyncio.open_connection(sock=opened)

    def _egress_of(self, headers: list[str]) -> Egress | None:
        for header in headers:
            name, _, value = header.partition(":")
            if name.strip().lower() == "proxy-authorization":
                said = value.strip().encode()
                for word, egress in self._egresses.items():
                    wanted = b"Basic " + base64.b64encode(f"store:{word}".encode())
                    if hmac.compare_digest(said, wanted):
                        return egress
        return None


async def _joined(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pass on what either side says until both have ended."""
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_passed(near[0], far[1]))
            both.create_task(_passed(far[0], near[1]))
    except* OSError:
        pass
    finally:
        far[1].close()
        with contextlib.suppress(OSError):
            await far[1].wait_closed()


async def _passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(_PART_BYTES):
        writer.write(part)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
