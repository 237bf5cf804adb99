"""pgqueuer in a process of its own: one-step jobs, all enqueued before its worker starts.

usage: python -m bench.peers.pgqueuer URL JOBS BATCH   → one JSON line {jobs, seconds}

The time is from the first job's `picked` to the last one's `successful` in its log table. A completion is buffered
(up to BATCH of them), so a job is not durable when its handler returns: a crash runs the buffered ones again.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import asyncpg
import psycopg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode


async def run(url: str, jobs: int, batch: int) -> None:
    connection = await asyncpg.connect(url)
    driver = AsyncpgDriver(connection)
    queries = Queries(driver)
    await queries.install()
    for first in range(0, jobs, 1000):
        size = min(1000, jobs - first)
        await queries.enqueue(["one"] * size, [b"%d" % n for n in range(first, first + size)], [0] * size)
    pgq = PgQueuer(driver)

    @pgq.entrypoint("one")
    async def one(job: Job) -> None:
        _ = int(job.payload or b"0") + 1

    await pgq.qm.run(
        dequeue_timeout=timedelta(seconds=1),
        batch_size=batch,
        mode=QueueExecutionMode.drain,
        log_aggregation_interval=timedelta(0),
    )
    await connection.close()


def main() -> None:
    url, jobs, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    uvloop.run(run(url, jobs, batch))
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*) filter (where status = 'successful'), extract(epoch from max(created)"
            " filter (where status = 'successful') - min(created) filter (where status = 'picked'))::float8"
            " from pgqueuer_log"
        ).fetchone()
    if row is None or row[0] != jobs:
        raise RuntimeError(f"{row} instead of {jobs} jobs")
    print(json.dumps({"jobs": row[0], "seconds": row[1]}), flush=True)


if __name__ == "__main__":
    main()
