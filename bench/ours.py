"""Stanchion under the workload `engine`: published Blueprints of five TRANSFORM steps, started through the service.

Everything that production has is on: policies, row-level security, the audit of runs, spans at 10 %. The worker is a
process of its own (`stanchion serve worker`), as is the web process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psycopg
from psycopg.rows import tuple_row

from stanchion import releases, runs
from stanchion.artifacts import Document
from stanchion.base.settings import Settings
from stanchion.bootstrap import build_env, build_parts, first_admin
from stanchion.context import Actor, Ctx, Env
from stanchion.db import DatabaseUrls, migrate
from stanchion.queue import Notifier
from stanchion.runs.watching import Watcher, ended_within

IN_FLIGHT = 256
STEPS = "\n".join(
    f"  - {{id: s{n}, transform: {{value: '${{{'input.n' if n == 0 else f'steps.s{n - 1}.value'} + 1}}'}}}}"
    for n in range(5)
)
FIVE = f"""
blueprint: five
owner: bench
input: {{type: object, required: [n], properties: {{n: {{type: integer}}}}}}
steps:
{STEPS}
output: "${{steps.s4.value}}"
"""


@dataclass
class Ours:
    urls: DatabaseUrls
    folder: Path
    env: Env
    starter: runs.Starter
    key: str

    @property
    def ctx(self) -> Ctx:
        actor = Actor(
            tenant="default",
            principal="admin",
            principal_id="",
            kind="user",
            roles=frozenset({"admin"}),
            credential="bench",
        )
        return Ctx(env=self.env, actor=actor)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "STANCHION_DATA": str(self.folder),
            "STANCHION_DATABASE_URL": self.urls.app,
            "STANCHION_DATABASE_ENGINE_URL": self.urls.engine,
            "STANCHION_WORKER_CAPACITY": str(IN_FLIGHT),
            "STANCHION_WEB_PORT": "7391",
            "STANCHION_WEB_PRINCIPAL_REQUESTS_PER_S": "1000000",
            "STANCHION_WEB_PRINCIPAL_BURST": "1000000",
            "STANCHION_WEB_ADDRESS_REQUESTS_PER_S": "1000000",
            "STANCHION_WEB_ADDRESS_BURST": "1000000",
        }

    @contextlib.contextmanager
    def process(self, kind: str):
        log = (self.folder / f"{kind}.log").open("ab")
        command = [sys.executable, "-m", "stanchion", "serve", kind]
        child = subprocess.Popen(command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield child
        finally:
            child.terminate()
            child.wait(30)
            log.close()

    async def query(self, sql: str, *params: object) -> tuple:
        async with self.env.db.connection("engine") as tx, tx.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(sql, params)
            return await cursor.fetchone()

    async def until(self, sql: str, *params: object) -> None:
        deadline = time.monotonic() + 300
        while (await self.query(sql, *params))[0] is not True:
            if time.monotonic() > deadline:
                raise TimeoutError(sql)
            await asyncio.sleep(0.05)

    async def throughput(self, count: int) -> tuple[float, float]:
        """(durable steps a second, worker CPU milliseconds a step): start all, then one worker process, count rows."""
        mark = time.time()
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(n: int) -> None:
            async with gate:
                await self.starter.start(self.ctx, "five", {"n": n})

        await asyncio.gather(*(one(n) for n in range(count)))
        with self.process("worker") as worker:
            await self.until("select not exists (select from runs where status in ('PENDING', 'RUNNING'))")
            cpu = cpu_s(worker.pid)
        seconds, ended = await self.query(
            "select extract(epoch from max(ended_at) - min(started_at))::float8, count(*) from runs"
            " where status = 'SUCCEEDED' and created_at > to_timestamp(%s)", mark,
        )  # fmt: skip
        (steps,) = await self.query(
            "select count(*) from step_runs s join runs r on r.id = s.run_id where s.status = 'SUCCEEDED'"
            " and r.created_at > to_timestamp(%s)", mark,
        )  # fmt: skip
        if (ended, steps) != (count, 5 * count):
            raise RuntimeError(f"{ended} of {count} runs, {steps} steps")
        return steps / seconds, (cpu - 1.0) * 1000 / steps  # about 1 s of CPU goes into the start of the process

    async def lone_ms(self, count: int) -> list[float]:
        """Milliseconds from start to result of one run at a time, an idle worker waiting."""
        watcher = Watcher(self.env)
        latencies: list[float] = []
        with self.process("worker"):
            await self.until("select exists (select from workers where state = 'live')")
            for n in range(count + 5):
                started = time.perf_counter()
                run = await self.starter.start(self.ctx, "five", {"n": n})
                if not await ended_within(self.ctx, watcher, run.run_id, 30):
                    raise TimeoutError(str(run.run_id))
                if n >= 5:
                    latencies.append((time.perf_counter() - started) * 1000)
        await watcher.close()
        return latencies

    async def http_starts(self, seconds: float) -> float:
        """Runs accepted per second by one web process over HTTP, 64 connections, no worker running."""
        with self.process("web"):
            headers = {"Authorization": f"Bearer {self.key}"}
            connector = aiohttp.TCPConnector(limit=64)
            async with aiohttp.ClientSession("http://127.0.0.1:7391", connector=connector, headers=headers) as session:
                for _ in range(200):
                    with contextlib.suppress(aiohttp.ClientError):
                        if (await session.get("/health/ready")).status == 200:
                            break
                    await asyncio.sleep(0.05)
                accepted = 0
                started = time.monotonic()

                async def client() -> None:
                    nonlocal accepted
                    while time.monotonic() - started < seconds:
                        async with session.post("/api/blueprints/five/runs", json={"input": {"n": 1}}) as answer:
                            if answer.status != 202:
                                raise RuntimeError(await answer.text())
                            accepted += 1

                await asyncio.gather(*(client() for _ in range(64)))
                elapsed = time.monotonic() - started
        await self.clear()
        return accepted / elapsed

    async def clear(self) -> None:
        """Forget the runs, as owner would: each round meets tables of the same size."""
        with psycopg.connect(self.urls.owner, autocommit=True) as connection:
            connection.execute("truncate runs, step_runs, idempotency_keys, audit_records, effects, approvals")


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def ours(urls: DatabaseUrls, folder: Path) -> AsyncIterator[Ours]:
    folder.mkdir()
    migrate(urls.owner)
    settings = Settings(data=folder)
    admin = await first_admin(settings, urls, known_key=None)
    env = build_env(settings, urls, process="bench")
    parts = build_parts(env, settings)
    async with env.db:
        it = Ours(urls, folder, env, runs.Starter(env, parts.resolver, Notifier(env, role="app")), admin.key)
        await releases.apply(it.ctx, [Document(path="five.yaml", source=FIVE)], kinds=parts.kinds)
        yield it


def p50(values: list[float]) -> float:
    return statistics.median(values)
