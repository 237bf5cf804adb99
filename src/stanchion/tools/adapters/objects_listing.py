"""A store's listing, read part by part, that may be broken off at any moment.

obstore's stream (0.12.1) has the request it is in the middle of. Python frees the stream of a cancelled call in a thread that
is none of its runtime's; if that is what ends the request, its HTTP client panics, and a client that panicked answers nobody
any more: every later call of that store fails until the process ends (tests/tools/adapters/test_objects_listing.py). So the
stream is let go of first and its request is cancelled then: the request, which has a hold of the stream of its own, ends
where it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

from stanchion.tools.adapters.objects_content import Found


class Stream(Protocol):
    """obstore's listing: each call gives the future of the objects that come next, which has no need of this object."""

    def __anext__(self) -> Awaitable[Any]: ...


class Listing:
    """One listing. Its holder passes the stream on and keeps no reference to it."""

    def __init__(self, stream: Stream) -> None:
        self._stream: Stream | None = stream

    async def next(self) -> list[Found]:
        """The next objects; none at the end, and after a call of this that was cancelled.

        A folder lists a prefix that is not there, or went away meanwhile, with an error; a bucket does not: both are its end.
        """
        if self._stream is None:
            return []
        asked = asyncio.ensure_future(self._stream.__anext__())
        try:
            await asyncio.wait((asked,))
        except asyncio.CancelledError:
            self._stream = None
            asked.cancel()
            raise
        try:
            parts = asked.result()
        except (StopAsyncIteration, FileNotFoundError):
            return []
        return [Found.of(meta) for meta in parts]
