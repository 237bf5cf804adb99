"""A run's events as Server-Sent Events (WHATWG HTML §9.2): bounded waits on both sides, resumable by revision."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Final
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stanchion.base import dumps
from stanchion.context import Ctx
from stanchion.runs.reading import reason_of
from stanchion.runs.tasks import end_tasks
from stanchion.runs.types import RunDetail
from stanchion.runs.watching import Change, Watcher, follow
from stanchion.runs.wire import items_reply, run_reply, step_reply

# A client that does not take a chunk for this long is dropped; it resumes by Last-Event-ID.
SEND_S: Final = 20.0
# What a `run` event does not tell: it takes queries of its own, and `step` events say which are simulated.
_LEFT_OUT: Final = {"pins", "digest", "simulated"}


class EventStream(Response):
    """Streams what `chunks` yields; ends when the client leaves, does not read, or the run has ended."""

    media_type = "text/event-stream"

    def __init__(self, ctx: Ctx, chunks: AsyncGenerator[bytes]) -> None:
        super().__init__(status_code=200, headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        self._ctx = ctx
        self._chunks = chunks
        del self.headers["content-length"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        """Send the stream."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sending = asyncio.create_task(self._send_all(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end_tasks([sending, leaving])
        error = None if sending.cancelled() else sending.exception()
        if error is not None and not isinstance(error, TimeoutError | OSError):
            raise error

    async def _send_all(self, send: Send) -> None:
        async with contextlib.aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                async with asyncio.timeout(SEND_S):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def last_event_id(request: Request) -> int:
    """The revision a resuming client has seen, 0 for a new one; nonsense counts as new."""
    text = request.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


async def run_events(ctx: Ctx, watcher: Watcher, run_id: UUID, after: int) -> AsyncGenerator[bytes]:
    """The stream's chunks: `run`, `step` and `items` events, comments while nothing happens, `end` at the end."""
    yield b"retry: 1000\n\n"
    async with contextlib.aclosing(follow(ctx, watcher, run_id, after)) as changes:
        async for change in changes:
            yield b": still here\n\n" if change is None else encode(change)
    yield b"event: end\ndata: {}\n\n"


def encode(change: Change) -> bytes:
    """One change as events. Only the last one of a revision carries its id: a client that lost the connection in
    between gets all of it again rather than missing a part."""
    steps = [(step.rev, "step", step_reply(step).model_dump(mode="json")) for step in change.steps]
    events: list[tuple[int, str, object]] = list(steps)
    if change.changed:
        cause = next((step for step in change.steps if step.path == change.run.waiting_ref), None)
        waiting = reason_of(change.run, 1, cause)
        detail = RunDetail(run=change.run, digest="", pins=[], waiting_on=waiting, items=change.items)
        events.append((change.run.rev, "run", run_reply(detail).model_dump(mode="json", exclude=_LEFT_OUT)))
    parts: list[bytes] = []
    for n, (rev, name, data) in enumerate(events):
        last = n + 1 == len(events) or events[n + 1][0] != rev
        identity = b"id: %d\n" % rev if last else b""
        parts.append(identity + b"event: " + name.encode() + b"\ndata: " + dumps(data) + b"\n\n")
    if change.items is not None:
        counts = items_reply(change.items)
        parts.append(b"event: items\ndata: " + dumps(counts.model_dump() if counts else {}) + b"\n\n")
    return b"".join(parts)
