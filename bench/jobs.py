"""Part `jobs`: one-step runs a second, beside job queues. Each drains what was enqueued before its one worker started.

What "done" costs differs, and the rows say so: ours is a committed run with its step, its audit record and its pins;
the Redis queues may lose the last second; pgqueuer buffers completions; Celery acknowledges before it executes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.rows import NotMeasured, Row, Tally
from bench.running import named, peer
from bench.server import NO_REDIS
from bench.sitting import Sitting

JOBS = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A peer: its module, how much of JOBS it gets (about as many seconds for each), the settings that did best here
    of those that were tried, and the arguments that say so."""

    module: str
    share: float
    setting: str
    arguments: Sequence[object]
    redis: bool = False

    @property
    def name(self) -> str:
        return f"{self.module}: {self.setting}"


QUEUES = (
    Queue(module="arq", share=0.6, setting="max_jobs 100, poll 0", arguments=(100,), redis=True),
    Queue(module="saq", share=0.6, setting="concurrency 20", arguments=(20,), redis=True),
    Queue(module="celery", share=0.5, setting="prefork 2 (default)", arguments=("prefork", 2, 4, "none"), redis=True),
    Queue(module="celery", share=0.6, setting="solo, prefetch 64", arguments=("solo", 1, 64, "none"), redis=True),
    Queue(
        module="celery", share=0.6, setting="threads 8, prefetch 64", arguments=("threads", 8, 64, "none"), redis=True
    ),
    Queue(module="procrastinate", share=0.15, setting="concurrency 30, 10 connections", arguments=(30, 10)),
    Queue(module="pgqueuer", share=1.0, setting="asyncpg, 10 completions buffered (default)", arguments=(10,)),
    Queue(module="pgqueuer", share=2.0, setting="asyncpg, 1000 completions buffered", arguments=(1000,)),
)


def _drain(sitting: Sitting, queue: Queue) -> float:
    if not queue.redis:
        url = sitting.server.database(f"bench_{queue.module}")
    elif sitting.redis is not None:
        url = sitting.redis.url
    else:
        raise NotMeasured(NO_REDIS.removeprefix("not measured: "))
    said = peer(queue.module, url, sitting.sizes.of(round(JOBS * queue.share), 200), *queue.arguments)
    return said["jobs"] / said["seconds"]


async def measure(sitting: Sitting) -> list[Row]:
    tally, sizes = Tally(), sitting.sizes
    for number in range(sizes.rounds):
        tally.add("commit_ms", sitting.server.commit_cost_ms())
        done, _ = await sitting.stanchion.throughput(sizes.of(JOBS), name="one")
        tally.add("jobs_per_s", done.runs_per_s)
        await sitting.stanchion.clear()
        for queue in QUEUES:
            tally.attempt(queue.name, lambda queue=queue: _drain(sitting, queue))
        tally.tell(f"jobs, round {number + 1} of {sizes.rounds}")
    redis = sitting.redis.name if sitting.redis else "redis"
    rows: list[Row] = []
    for queue in QUEUES:
        said = f"{named(queue.module)}, {queue.setting}" + (f", {redis}" if queue.redis else "")
        rows.append(tally.against("jobs", "jobs_per_s", tally.median("jobs_per_s"), said, queue.name, "1/s"))
    place = f"pgbench INSERT+UPDATE c=1; {sitting.place}"
    return [*rows, tally.against("jobs", "commit_cost", tally.median("commit_ms"), place, "commit_ms", "ms")]
