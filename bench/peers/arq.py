"""ARQ in a process of its own: one-step jobs, all enqueued before its worker starts.

usage: python -m bench.peers.arq REDIS_URL JOBS JOBS_MAX   → one JSON line {jobs, seconds}

The time is from the first call of the function to the last job whose result is recorded. Its default poll of 0.5 s
bounds the rate, so the worker polls without a pause.
"""

# ruff: noqa: ARG001 - ARQ passes its context by this name

from __future__ import annotations

import json
import sys
import time
from typing import Any

import uvloop
from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

seen: dict[str, float] = {}


async def one(ctx: dict[Any, Any], n: int) -> int:
    seen.setdefault("first", time.perf_counter())
    return n + 1


async def ended(ctx: dict[Any, Any]) -> None:
    seen["last"] = time.perf_counter()


async def run(url: str, jobs: int, jobs_max: int) -> None:
    settings = RedisSettings.from_dsn(url)
    pool = await create_pool(settings)
    await pool.flushdb()
    for n in range(jobs):
        await pool.enqueue_job("one", n)
    worker = Worker(
        [func(one, name="one")],
        redis_settings=settings,
        burst=True,
        max_jobs=jobs_max,
        poll_delay=0,
        after_job_end=ended,
        handle_signals=False,
        log_results=False,
    )
    await worker.async_run()
    if worker.jobs_complete != jobs:
        raise RuntimeError(f"{worker.jobs_complete} of {jobs} jobs")
    await worker.close()
    await pool.aclose()
    print(json.dumps({"jobs": jobs, "seconds": seen["last"] - seen["first"]}), flush=True)


if __name__ == "__main__":
    uvloop.run(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
