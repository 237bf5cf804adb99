"""Absurd in a process of its own: five-step tasks, executed by connections of one event loop.

usage: python -m bench.peers.absurd URL RUNS CONNECTIONS CONCURRENCY   → one JSON line {steps, seconds}

The same rule as for Stanchion: all tasks are spawned before the worker starts; steps are rows counted in the database;
the time is from the first task's start to the last one's end, as the rows say. A client of its SDK holds one
connection, on which its tasks take turns, so a worker process at its best has several clients.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import absurdctl
import psycopg
import uvloop
from absurd_sdk import AsyncAbsurd

QUEUE = "bench"
STEPS = 5


def prepare(url: str) -> None:
    """The schema that its command line carries, once per database; an empty queue each time."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("select to_regnamespace('absurd') is null").fetchone()
        if row is not None and row[0]:
            connection.execute(absurdctl.BUNDLED_SCHEMA_SQL.encode())
        connection.execute("select absurd.drop_queue(%s)", (QUEUE,))
        connection.execute("select absurd.create_queue(%s)", (QUEUE,))


def client(url: str) -> AsyncAbsurd:
    app = AsyncAbsurd(url, queue_name=QUEUE)

    @app.register_task("five")
    async def five(params: Any, ctx: Any) -> int:
        value = int(params["n"])
        for number in range(STEPS):

            async def add(now: int = value) -> int:
                return now + 1

            value = await ctx.step(f"s{number}", add)
        return value

    return app


async def spawn(url: str, runs: int) -> None:
    apps = [client(url) for _ in range(8)]

    async def some(first: int) -> None:
        for n in range(first, runs, len(apps)):
            await apps[first].spawn("five", {"n": n}, max_attempts=1)

    await asyncio.gather(*(some(first) for first in range(len(apps))))
    for app in apps:
        await app.close()


async def work(url: str, runs: int, connections: int, concurrency: int) -> None:
    apps = [client(url) for _ in range(connections)]
    workers = [asyncio.create_task(app.start_worker(concurrency=concurrency, poll_interval=0.01)) for app in apps]
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as look:
        while True:
            cursor = await look.execute("select count(*) from absurd.r_bench where state = 'completed'")
            row = await cursor.fetchone()
            if row is not None and row[0] >= runs:
                break
            done, _ = await asyncio.wait(workers, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    for app in apps:
        app.stop_worker()
    await asyncio.gather(*workers)
    for app in apps:
        await app.close()


def main() -> None:
    url, runs, connections, concurrency = sys.argv[1], *map(int, sys.argv[2:5])
    prepare(url)
    uvloop.run(spawn(url, runs))
    uvloop.run(work(url, runs, connections, concurrency))
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select (select count(*) from absurd.c_bench where status = 'committed'),"
            " extract(epoch from max(completed_at) - min(started_at))::float8 from absurd.r_bench"
        ).fetchone()
    if row is None or row[0] != STEPS * runs:
        raise RuntimeError(f"{row} instead of {STEPS * runs} steps")
    print(json.dumps({"steps": row[0], "seconds": row[1]}), flush=True)


if __name__ == "__main__":
    main()
