"""Celery in processes of its own: one-step tasks over Redis, all sent before its worker starts.

usage: python -m bench.peers.celery REDIS_URL JOBS POOL CONCURRENCY PREFETCH RESULTS   → one JSON line {jobs, seconds}

A task writes its time into a file opened for appending (1-2 µs), whichever process executes it; the time is from the
first line to the last. Tasks are acknowledged before they run, which is Celery's default: one in hand is lost with
its worker. RESULTS is `redis` (results kept) or `none` (Celery's `ignore_result`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from celery import Celery

URL = os.environ.get("BENCH_REDIS", "redis://127.0.0.1")
RESULTS = os.environ.get("BENCH_RESULTS", "none")
app = Celery("bench", broker=URL, backend=URL if RESULTS == "redis" else None)
app.conf.update(
    task_ignore_result=RESULTS != "redis",
    worker_prefetch_multiplier=int(os.environ.get("BENCH_PREFETCH", "4")),
    broker_connection_retry_on_startup=True,
)
_file = os.open(os.environ["BENCH_TIMES"], os.O_WRONLY | os.O_APPEND) if "BENCH_TIMES" in os.environ else None


@app.task(name="one")
def one(n: int) -> int:
    if _file is not None:
        os.write(_file, b"%020d\n" % time.time_ns())
    return n + 1


def drained(worker: subprocess.Popen[bytes], times: Path, jobs: int) -> None:
    deadline = time.monotonic() + 180
    while times.stat().st_size < 21 * jobs:
        if worker.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(
                f"{times.stat().st_size // 21} of {jobs} tasks, then the worker ended or 180 s were over"
            )
        time.sleep(0.05)


def main() -> None:
    url, jobs, pool, concurrency, prefetch, results = sys.argv[1], int(sys.argv[2]), *sys.argv[3:7]
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        times.touch()
        said = {"BENCH_REDIS": url, "BENCH_RESULTS": results, "BENCH_PREFETCH": prefetch, "BENCH_TIMES": str(times)}
        app.conf.update(broker_url=url)
        with app.connection_for_write(url) as connection:
            connection.default_channel.client.flushdb()
            with app.amqp.Producer(connection) as producer:
                for n in range(jobs):
                    one.apply_async((n,), producer=producer)
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel=ERROR"]
        command = [sys.executable, "-m", "celery", "-A", "bench.peers.celery", "worker", "-P", pool, "-c", concurrency]
        log = (Path(folder) / "log").open("wb")
        worker = subprocess.Popen([*command, *quiet], env=os.environ | said, stdout=log, stderr=log)
        try:
            drained(worker, times, jobs)
        except RuntimeError as error:
            log.close()
            raise RuntimeError(f"{error}: {(Path(folder) / 'log').read_text()[-2000:]}") from None
        finally:
            worker.terminate()
            worker.wait(30)
            log.close()
        at = sorted(int(line) for line in times.read_text().split())
    print(json.dumps({"jobs": len(at), "seconds": (at[-1] - at[0]) / 1e9}), flush=True)


if __name__ == "__main__":
    main()
