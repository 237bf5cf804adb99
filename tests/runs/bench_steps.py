"""Durable steps per second of one worker: `python -m tests.runs.bench_steps OWNER_URL APP_URL ENGINE_URL [RUNS] [IN_FLIGHT]`.

Runs of five TRANSFORM steps, each with an expression over the step before, started through the service; the wall time
is that of the worker, from its start to the last end. Compare it with `pgbench` on the same server in the same sitting.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from dataclasses import replace

import uvloop

from stanchion.db import Database, DatabaseUrls
from stanchion.telemetry import Telemetry
from tests.conftest import make_env
from tests.runs.support import World
from tests.runs.test_linear import FIVE


async def main(owner: str, app: str, engine: str, runs: int = 4000, capacity: int = 256) -> None:
    async with Database(DatabaseUrls(app=app, engine=engine, owner=owner)) as db:
        env = replace(make_env(db), telemetry=Telemetry(process="bench", sample=0.1))
        world = World(env, owner)
        name = world.resolver.add(FIVE)
        started = time.perf_counter()
        gate = asyncio.Semaphore(256)

        async def one(n: int) -> None:
            async with gate:
                await world.start(name, {"n": n})

        await asyncio.gather(*(one(n) for n in range(runs)))
        starting_s = time.perf_counter() - started
        cpu = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        async with world.worker(capacity=capacity):
            registered = time.perf_counter()
            while (await world.rows("select count(*) as n from runs where status in ('PENDING', 'RUNNING')"))[0]["n"]:
                await asyncio.sleep(0.02)
            took_s = time.perf_counter() - registered
        used = resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = used.ru_utime + used.ru_stime - cpu.ru_utime - cpu.ru_stime
        print(f"starts/s {runs / starting_s:.0f}")
        print(f"steps/s {5 * runs / took_s:.0f}  cpu per step {cpu_s / runs / 5 * 1000:.3f} ms")
        for metric in ("commit_batch_size", "claim_batch_size"):
            text = env.telemetry.expose().decode()
            total, count = (
                float(
                    next(line.split()[-1] for line in text.splitlines() if line.startswith(f"stanchion_{metric}_{x} "))
                )
                for x in ("sum", "count")
            )
            print(metric, f"{total / count:.1f}")
        async with world.worker():
            lone: list[float] = []
            for n in range(100):
                began = time.perf_counter()
                run_id = await world.start(name, {"n": n})
                while (await world.run_row(run_id))["status"] != "SUCCEEDED":
                    await asyncio.sleep(0.0005)
                lone.append((time.perf_counter() - began) * 1000)
            print(f"lone run start to result p50 {sorted(lone)[50]:.1f} ms p95 {sorted(lone)[95]:.1f} ms")


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:4], *map(int, sys.argv[4:])))
