"""Part `sustained`: 100,000 five-step runs (500,000 durable steps) fed continuously to one worker process.

How long a step waits for its commit (a probe in the worker, queueing included), the worker's memory on the way, the
rate of the first and of the last fifth, and what the database weighs at the end. Once, not a median.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Sequence

from bench.machine import cpu_s, rss_mb
from bench.ours import IN_FLIGHT, STEPS, Ours
from bench.rows import Row, row
from bench.sitting import Sitting

RUNS = 100_000
# Runs waiting at most: enough that the worker never looks around in vain, few beside all of them.
BACKLOG_MAX = 4 * IN_FLIGHT
STARTERS = 64
MARKS = (0.1, 0.5, 1.0)
# Memory at the end beside that at the first mark: up to here it is flat.
FLAT = 1.10

_FIFTHS = """
select extract(epoch from at[2] - at[1])::float8, extract(epoch from at[4] - at[3])::float8,
       extract(epoch from at[4] - at[1])::float8, count
from (select percentile_disc(array[0, 0.2, 0.8, 1]) within group (order by ended_at) as at, count(*) as count
      from step_runs where status = 'SUCCEEDED') s
"""


class Feed:
    """Starts runs as long as few wait, and remembers the worker's memory at the marks."""

    def __init__(self, stanchion: Ours, runs: int, worker: subprocess.Popen[bytes]) -> None:
        self._stanchion = stanchion
        self._runs = runs
        self._worker = worker
        self._next = 0
        self._started = 0
        self._open = asyncio.Event()
        self.rss: dict[float, float] = {}

    async def run(self) -> None:
        """Until every run has ended."""
        self._open.set()
        starters = [asyncio.create_task(self._starter()) for _ in range(STARTERS)]
        began, told = time.monotonic(), 0
        while (share := await self._look()) < 1:
            if self._worker.poll() is not None:
                raise RuntimeError(f"the worker ended with {self._worker.returncode} at {share:.0%}")
            if int(share * 10) > told:
                told = int(share * 10)
                took = time.monotonic() - began
                print(
                    f"sustained: {share:.0%} after {took:.0f} s, worker {rss_mb(self._worker.pid):.0f} MiB", flush=True
                )
            await asyncio.sleep(0.1)
        await asyncio.gather(*starters)

    async def _starter(self) -> None:
        while self._next < self._runs:
            n, self._next = self._next, self._next + 1
            await self._open.wait()
            await self._stanchion.starter.start(self._stanchion.ctx, "five", {"n": n})
            self._started += 1

    async def _look(self) -> float:
        started = self._started
        waiting, held = await self._stanchion.look(
            "select (select count(*) from runs where status = 'PENDING'),"
            " (select count(*) from runs where status = 'RUNNING')"
        )
        if waiting < BACKLOG_MAX:
            self._open.set()
        else:
            self._open.clear()
        share = max(0, started - waiting - held) / self._runs
        for mark in MARKS:
            if share >= mark and mark not in self.rss:
                self.rss[mark] = rss_mb(self._worker.pid)
        return share


def sentence(rows: Sequence[Row]) -> str:
    """Whether memory stayed flat and the rate steady, from the rows of this part alone."""
    by = {one["metric"]: one for one in rows if one["bench"] == "sustained"}
    end, rate = by["worker_rss_100"], by["steps_per_s_last_fifth"]
    flat = "is flat" if (end["ratio"] or 0) <= FLAT else "is not flat"
    size = by["postgres_size"]
    return (
        f"The worker's memory {flat}: {end['theirs']:.0f} MiB at 10 %, {by['worker_rss_50']['ours']:.0f} at 50 %,"
        f" {end['ours']:.0f} at 100 % of {by['steps']['ours']:,.0f} steps. The last fifth went at {rate['ours']:,.0f} steps/s,"
        f" the first at {rate['theirs']:,.0f} ({rate['ratio']:.2f}). PostgreSQL holds {size['ours']:,.0f} MiB at the end,"
        f" {(size['ours'] - (size['theirs'] or 0)) * 2**20 / by['steps']['ours']:,.0f} bytes a step."
    )


async def measure(sitting: Sitting) -> list[Row]:
    stanchion, runs = sitting.stanchion, sitting.sizes.of(RUNS, 1000)
    seen = stanchion.folder / "probe.json"
    await stanchion.clear()
    commit_ms, before = sitting.server.commit_cost_ms(), sitting.server.size_bytes()
    async with stanchion.workers(1, launch=("--probe", str(seen))) as [worker]:
        feed, used = Feed(stanchion, runs, worker), cpu_s(worker.pid)
        await feed.run()
        used = cpu_s(worker.pid) - used
        metrics = await stanchion.metrics(worker.pid)
    done = await stanchion.counted("five", runs, used)
    first_s, last_s, all_s, steps = await stanchion.query(_FIFTHS)
    probe = json.loads(seen.read_text())
    if probe["count"] < steps:
        raise RuntimeError(f"the probe saw {probe['count']} checkpoints of {steps} steps")
    commits = metrics["stanchion_commit_seconds_count"]
    size, fifth = sitting.server.size_bytes(), steps / 5
    rss = feed.rss
    await stanchion.clear()

    def beside(metric: str, ours: float, peer: str, theirs: float, unit: str) -> Row:
        return row("sustained", metric, ours, peer, theirs, unit)

    rows = [
        beside("steps", steps, "target", STEPS["five"] * RUNS, ""),
        beside("steps_per_s", steps / all_s, "pgbench INSERT+UPDATE c=1", 1000 / commit_ms, "1/s"),
        beside("steps_per_s_last_fifth", fifth / last_s, "first fifth", fifth / first_s, "1/s"),
        beside("step_commit_p50", probe["p50_ms"], "one commit", commit_ms, "ms"),
        beside("step_commit_p99", probe["p99_ms"], "one commit", commit_ms, "ms"),
        beside("step_commit_max", probe["max_ms"], "one commit", commit_ms, "ms"),
        beside("commit_mean", metrics["stanchion_commit_seconds_sum"] * 1000 / commits, "one commit", commit_ms, "ms"),
        beside("checkpoints_per_commit", steps / commits, "one commit per step", 1, ""),
        beside("worker_rss_50", rss[0.5], "at 10 %", rss[0.1], "MiB"),
        beside("worker_rss_100", rss[1.0], "at 10 %", rss[0.1], "MiB"),
        beside("worker_cpu_per_step", done.cpu_ms, "budget (reference)", 0.2, "ms"),
        beside("postgres_size", size / 2**20, "before", before / 2**20, "MiB"),
        beside("commit_cost", commit_ms, f"pgbench INSERT+UPDATE c=1; {sitting.place}", commit_ms, "ms"),
    ]
    print(sentence(rows), flush=True)
    return rows
