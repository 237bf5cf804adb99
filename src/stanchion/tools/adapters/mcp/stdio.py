"""MCP over the standard streams of a command that runs in a box: one JSON-RPC message a line.

Beside the SDK's own transport: the command gets no environment and is boxed, a line is bounded, what the server writes
to its stderr is counted and thrown away, and what it writes that is no message is never logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager

import anyio
import mcp_types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage

from stanchion.tools.sandbox import Started

# One message: as much as the http adapter takes of one answer.
LINE_BYTES_MAX = 16 * 1_048_576
# Of an orderly end: after its stdin is closed, and after SIGTERM (MCP 2025-11-25, lifecycle, shutdown).
_GRACE_S = 1.0
Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class Process:
    """What is known of a server's process: whether it runs, and how much it wrote to its stderr (bytes)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.stderr_bytes = 0

    @property
    def status(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    async def drain(self) -> None:
        """Read its stderr to the end, keeping nothing: a server that nobody reads from would stop."""
        stream = self._process.stderr
        while stream is not None and (part := await stream.read(65_536)):
            self.stderr_bytes += len(part)

    async def end(self) -> None:
        """Close its stdin, then SIGTERM, then SIGKILL, to it and all its descendants. Returns once it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_GRACE_S):
                    await self._process.wait()
                    return


@asynccontextmanager
async def stdio(opening: AbstractContextManager[Started], told: Callable[[Process], None]) -> AsyncGenerator[Streams]:
    """The streams of a server that is started here. `opening` is entered for the start alone; `told` gets the process at
    once. Raises OSError if it cannot be started."""
    with opening as started:
        process = await _process(started)
    known = Process(process)
    told(known)
    into, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, out = anyio.create_memory_object_stream[SessionMessage](0)
    tasks = [
        asyncio.create_task(_read(process, into)),
        asyncio.create_task(_write(process, out, into)),
        asyncio.create_task(known.drain()),
    ]
    try:
        yield incoming, outgoing
    finally:
        await asyncio.shield(asyncio.create_task(_ended(known, tasks)))
        for stream in (into, incoming, outgoing, out):
            stream.close()


async def _process(started: Started) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *started.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(started.environment),
        cwd=started.cwd,
        pass_fds=started.pass_fds,
        limit=LINE_BYTES_MAX,
        # A process group of its own, so that its end takes its descendants with it.
        start_new_session=True,
    )


async def _ended(known: Process, tasks: list[asyncio.Task[None]]) -> None:
    await known.end()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _read(process: asyncio.subprocess.Process, into: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    """Messages, line by line. A line that is too long or is no message ends the session: what follows cannot be trusted
    to be whole."""
    stream = process.stdout
    with contextlib.suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, ConnectionError, ValueError):
        while stream is not None and (line := await stream.readline()):
            if line.strip():
                # Raises ValueError, also for a line over the limit; its text would quote the line.
                message = mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                await into.send(SessionMessage(message))
    into.close()


async def _write(
    process: asyncio.subprocess.Process,
    out: MemoryObjectReceiveStream[SessionMessage],
    into: MemoryObjectSendStream[SessionMessage | Exception],
) -> None:
    stream = process.stdin
    try:
        async for item in out:
            if stream is None:
                return
            data = item.message.model_dump_json(by_alias=True, exclude_unset=True)
            stream.write(data.encode() + b"\n")
            await stream.drain()
    except (anyio.ClosedResourceError, anyio.BrokenResourceError, ConnectionError, RuntimeError):
        # It reads no more: whoever waits for an answer learns it by the end of the session.
        into.close()
