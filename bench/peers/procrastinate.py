"""procrastinate in a process of its own: one-step jobs, all deferred before its worker starts.

usage: python -m bench.peers.procrastinate URL JOBS CONCURRENCY CONNECTIONS   → one JSON line {jobs, seconds}

The time is from the first job's `started` to the last one's `succeeded`, as its events in the database say.
"""

from __future__ import annotations

import json
import sys

import psycopg
import uvloop
from procrastinate import App, PsycopgConnector


async def run(url: str, jobs: int, concurrency: int, connections: int) -> None:
    app = App(connector=PsycopgConnector(conninfo=url, min_size=connections, max_size=connections))

    @app.task(name="one")
    async def one(n: int) -> int:
        return n + 1

    async with app.open_async():
        for first in range(0, jobs, 500):
            await one.batch_defer_async(*({"n": n} for n in range(first, min(first + 500, jobs))))
        await app.run_worker_async(concurrency=concurrency, wait=False, install_signal_handlers=False)


def prepare(url: str) -> None:
    """Its own schema, made anew: each round meets tables of the same size."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    app = App(connector=PsycopgConnector(conninfo=url))

    async def apply() -> None:
        async with app.open_async():
            await app.schema_manager.apply_schema_async()

    uvloop.run(apply())


def main() -> None:
    url, jobs, concurrency, connections = sys.argv[1], *map(int, sys.argv[2:5])
    prepare(url)
    uvloop.run(run(url, jobs, concurrency, connections))
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) filter (where type = 'succeeded'),"
            " extract(epoch from max(at) filter (where type = 'succeeded') - min(at) filter (where type = 'started'))::float8"
            " from procrastinate_events"
        ).fetchone()
    if row is None or row[0] != jobs:
        raise RuntimeError(f"{row} instead of {jobs} jobs")
    print(json.dumps({"jobs": row[0], "seconds": row[1]}), flush=True)


if __name__ == "__main__":
    main()
