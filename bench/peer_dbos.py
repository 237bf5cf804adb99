"""DBOS, run as its own process: five-step workflows through its queue, and a lone queued workflow's latency.

usage: python -m bench.peer_dbos URL RUNS LONE POLL_S   → one JSON line {steps, seconds, lone_ms: [...]}
"""

from __future__ import annotations

import json
import sys
import time

import psycopg
from dbos import DBOS


def main() -> None:
    url, runs, lone, poll = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    DBOS(
        config={
            "name": "bench",
            "system_database_url": url,
            "sys_db_pool_size": 20,
            "log_level": "ERROR",
            "enable_otlp": False,
        }
    )
    @DBOS.step()
    def step(value: int) -> int:
        return value + 1

    @DBOS.workflow()
    def five(value: int) -> int:
        for _ in range(5):
            value = step(value)
        return value

    DBOS.launch()
    queue = DBOS.register_queue("bench", polling_interval_sec=poll, on_conflict="always_update")
    queue.enqueue(five, 0).get_result()  # warm-up: pools, plans, first poll
    latencies: list[float] = []
    for _ in range(lone):
        started = time.perf_counter()
        result = queue.enqueue(five, 0).get_result(polling_interval_sec=0.005)
        latencies.append((time.perf_counter() - started) * 1000)
        assert result == 5
    with psycopg.connect(url, autocommit=True) as connection:
        count = "select count(*) from dbos.operation_outputs"
        before = connection.execute(count).fetchone()[0]
        started = time.perf_counter()
        handles = [queue.enqueue(five, n) for n in range(runs)]
        enqueued = time.perf_counter()
        for handle in handles:
            handle.get_result(polling_interval_sec=0.05)
        seconds = time.perf_counter() - started
        steps = connection.execute(count).fetchone()[0] - before
    print(json.dumps({"steps": steps, "seconds": seconds, "enqueue_s": enqueued - started, "lone_ms": latencies}), flush=True)
    DBOS.destroy()


if __name__ == "__main__":
    main()
