"""`live`, `ready` and metrics of a process without a port of its own, on a Unix socket (I15).

Liveness answers from the loop alone and touches nothing outside the process; readiness asks what serving needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from stanchion.base import dumps
from stanchion.processes.sockets import listen_unix
from stanchion.telemetry import Telemetry

# Name of a need -> what is wrong with it, or an empty text if nothing is.
Needs = Callable[[], Awaitable[Mapping[str, str]]]
_REQUEST_BYTES_MAX = 8192
_REQUEST_S = 5.0


class HealthServer:
    """Serves GET /health/live, /health/ready and /metrics while the block lasts."""

    def __init__(self, path: Path, telemetry: Telemetry, needs: Needs) -> None:
        self._path = path
        self._telemetry = telemetry
        self._needs = needs
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def __aenter__(self) -> Self:
        listener = listen_unix(self._path)
        self._inode = self._path.stat().st_ino
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_REQUEST_BYTES_MAX)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        # A successor may have put its own socket there.
        with suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._answer(head.split(b" ", 2)[1].decode("ascii", "replace"))
                lines = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(lines.encode() + body)
                await writer.drain()
        except (TimeoutError, OSError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that says nothing sensible gets nothing
        finally:
            writer.close()

    async def _answer(self, target: str) -> tuple[str, str, bytes]:
        if target == "/health/live":
            return "200 OK", "application/json", dumps({"status": "live", "process": self._telemetry.process})
        if target == "/health/ready":
            wrong = {name: said for name, said in (await self._needs()).items() if said}
            status = "503 Service Unavailable" if wrong else "200 OK"
            said = {"status": "not ready" if wrong else "ready", "process": self._telemetry.process, "wrong": wrong}
            return status, "application/json", dumps(said)
        if target == "/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", self._telemetry.expose()
        return (
            "404 Not Found",
            "application/json",
            dumps({"status": "unknown", "paths": ["/health/live", "/health/ready", "/metrics"]}),
        )
