"""A listing of objects that is broken off, at any moment: what it was in the middle of ends where the client wants it to."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from typing import Any

import pytest
from obstore.store import S3Store

from stanchion.tools.adapters.objects_listing import Listing
from tests.support.s3 import Bucket, serving


class Stream:
    """What obstore lists with, as far as it is asked here: futures that somebody else ends."""

    def __init__(self) -> None:
        self.asked: list[Answer] = []

    def __anext__(self) -> asyncio.Future[Any]:
        self.asked.append(Answer(weakref.ref(self)))
        return self.asked[-1]


class Answer(asyncio.Future[Any]):
    """Knows whether the stream it came from was still there when it was cancelled."""

    def __init__(self, stream: weakref.ref[Stream]) -> None:
        super().__init__()
        self.stream = stream
        self.stream_was_gone: bool | None = None

    def cancel(self, msg: Any = None) -> bool:
        if self.stream_was_gone is None:
            self.stream_was_gone = self.stream() is None
        return super().cancel(msg)


async def test_the_stream_is_let_go_of_before_its_request_is_cancelled() -> None:
    stream = Stream()
    answers = stream.asked
    listing = Listing(stream)
    del stream
    task = asyncio.create_task(listing.next())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [answer.stream_was_gone for answer in answers] == [True]


async def test_what_is_asked_goes_on_with_the_same_stream() -> None:
    stream = Stream()
    listing = Listing(stream)
    for given, expected in (({"path": "a", "size": 1, "last_modified": None, "e_tag": None}, ["a"]), (None, [])):
        task = asyncio.create_task(listing.next())
        await asyncio.sleep(0)
        if given is None:
            stream.asked[-1].set_exception(StopAsyncIteration())
        else:
            stream.asked[-1].set_result([given])
        assert [found.path for found in await task] == expected
    assert len(stream.asked) == 2


async def test_a_listing_broken_off_at_any_moment_leaves_the_client_usable() -> None:
    """obstore 0.12.1 spoils its client for good where it meets the end of a request outside of its own threads, which can
    happen at the first request of a client: so each try has a new one. `anext` of the stream itself spoilt 21 of 1,200."""
    bucket = Bucket(objects={f"cases/{number}.json": b"{}" for number in range(5)})
    async with serving(bucket) as url:
        for moment_us in list(range(100, 1000, 25)) * 10:
            store = S3Store(
                bucket.name,
                config={"region": "eu", "endpoint": url, "virtual_hosted_style_request": False, "skip_signature": True},
                client_options={"allow_http": True},
            )
            task = asyncio.create_task(listed(store))
            until = time.perf_counter() + moment_us / 1e6
            while time.perf_counter() < until:
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            del task  # and with it what its frames hold
            assert await listed(store) == sorted(bucket.objects)


async def listed(store: S3Store) -> list[str]:
    listing, paths = Listing(store.list(chunk_size=1000)), list[str]()
    while parts := await listing.next():
        paths += [found.path for found in parts]
    return paths
