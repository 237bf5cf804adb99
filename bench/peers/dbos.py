"""DBOS in a process of its own: five-step workflows through its queue, and a lone queued workflow's latency.

usage: python -m bench.peers.dbos URL RUNS LONE POLL_S   → one JSON line {steps, seconds, lone_p50_ms}

The same rule as for Stanchion: all workflows are enqueued before a worker listens; steps are rows counted in the
database; the time is from the first step's start to the last one's end, as the rows say. Phase 1 makes the schema,
phase 2 enqueues with the client, phase 3 executes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time

import psycopg
from dbos import DBOS, DBOSClient


@DBOS.step()
def step(value: int) -> int:
    return value + 1


@DBOS.workflow(name="five")
def five(value: int) -> int:
    for _ in range(5):
        value = step(value)
    return value


def launch(url: str, poll_s: float) -> None:
    DBOS(config={"name": "bench", "system_database_url": url, "sys_db_pool_size": 20, "log_level": "ERROR"})
    DBOS.launch()
    DBOS.register_queue("bench", polling_interval_sec=poll_s, on_conflict="always_update")


def lone(count: int) -> list[float]:
    """Milliseconds from enqueueing one workflow to its result, one after the other."""
    latencies: list[float] = []
    for _ in range(count):
        started = time.perf_counter()
        result = DBOS.enqueue_workflow("bench", five, 0).get_result(polling_interval_sec=0.005)
        latencies.append((time.perf_counter() - started) * 1000)
        assert result == 5
    return latencies


def enqueue(url: str, runs: int) -> list[str]:
    client = DBOSClient(system_database_url=url)
    options = {"queue_name": "bench", "workflow_name": "five"}
    ids = [client.enqueue(options, n).workflow_id for n in range(runs)]
    client.destroy()
    return ids


def main() -> None:
    url, runs, lone_runs, poll_s = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    launch(url, poll_s)
    lone(2)  # warm-up: pools, plans, the first poll
    latencies = lone(lone_runs)
    DBOS.destroy()
    ids = enqueue(url, runs)
    launch(url, poll_s)
    for workflow_id in ids:
        DBOS.retrieve_workflow(workflow_id).get_result(polling_interval_sec=0.1)
    DBOS.destroy()
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "select count(*), (max(completed_at_epoch_ms) - min(started_at_epoch_ms)) / 1000.0"
            " from dbos.operation_outputs where workflow_uuid = any(%s)",
            (ids,),
        ).fetchone()
    if row is None or row[0] != 5 * runs:
        raise RuntimeError(f"{row} instead of {5 * runs} steps")
    said = {"steps": row[0], "seconds": float(row[1]), "lone_p50_ms": statistics.median(latencies)}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
