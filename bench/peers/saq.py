"""SAQ in a process of its own: one-step jobs, all enqueued before its worker starts.

usage: python -m bench.peers.saq REDIS_URL JOBS CONCURRENCY   → one JSON line {jobs, seconds}

The time is from the first call of the function to the last job whose result is recorded.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from typing import Any

import uvloop
from saq import Queue, Worker


async def run(url: str, jobs: int, concurrency: int) -> None:
    queue = Queue.from_url(url, name="bench")
    await queue.connect()
    await queue.redis.flushdb()  # type: ignore[attr-defined]
    seen = {"done": 0.0}
    over = asyncio.Event()

    async def one(_: Any, *, n: int) -> int:
        seen.setdefault("first", time.perf_counter())
        return n + 1

    async def ended(_: Any) -> None:
        seen["done"] += 1
        if seen["done"] == jobs:
            seen["last"] = time.perf_counter()
            over.set()

    for n in range(jobs):
        await queue.enqueue("one", n=n)
    logging.getLogger("saq").setLevel(logging.ERROR)
    worker = Worker(queue, functions=[("one", one)], concurrency=concurrency, after_process=ended)
    serving = asyncio.create_task(worker.start())
    done, _ = await asyncio.wait({serving, asyncio.create_task(over.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if serving in done:
        raise RuntimeError(f"the worker ended after {seen['done']:g} of {jobs} jobs: {serving.exception()!r}")
    await worker.stop()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    await queue.disconnect()
    print(json.dumps({"jobs": jobs, "seconds": seen["last"] - seen["first"]}), flush=True)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
