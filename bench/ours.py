"""Stanchion under load: published Blueprints of TRANSFORM steps, started through the service.

Everything that production has is on: policies, row-level security, the audit of runs, spans at 10 %. Workers are
processes of their own (`stanchion serve worker`), as is the web process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
from psycopg.rows import tuple_row

from bench.machine import cpu_s
from stanchion import releases, runs
from stanchion.artifacts import Document
from stanchion.base.settings import Settings
from stanchion.bootstrap.admin import first_admin
from stanchion.bootstrap.env import build_env
from stanchion.bootstrap.parts import build_parts
from stanchion.context import Actor, Ctx, Env
from stanchion.db import DatabaseUrls, migrate
from stanchion.queue import Notifier
from stanchion.runs.watching import Watcher, ended_within

IN_FLIGHT = 256
# A queue that no worker serves, until `release` moves its runs.
HELD = "held"
WEB_PORT = 7391
DRAIN_S_MAX = 600


def blueprint(name: str, steps: int) -> Document:
    """`steps` TRANSFORM steps, each with one expression over the output before it."""
    before = ["input.n", *(f"steps.s{n}.value" for n in range(steps))]
    lines = [f"  - {{id: s{n}, transform: {{value: '${{{before[n]} + 1}}'}}}}" for n in range(steps)]
    head = [f"blueprint: {name}", "owner: bench"]
    given = "input: {type: object, required: [n], properties: {n: {type: integer}}}"
    source = "\n".join([*head, given, "steps:", *lines, f'output: "${{{before[steps]}}}"', ""])
    return Document(path=f"{name}.yaml", source=source)


STEPS = {"five": 5, "one": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Runs that were executed: steps counted in the database, seconds from the first start to the last end, CPU
    milliseconds of the workers per step."""

    runs: int
    steps: int
    seconds: float
    cpu_ms: float

    @property
    def steps_per_s(self) -> float:
        return self.steps / self.seconds

    @property
    def runs_per_s(self) -> float:
        return self.runs / self.seconds


@dataclass
class Ours:
    urls: DatabaseUrls
    folder: Path
    env: Env
    starter: runs.Starter
    key: str
    watch: psycopg.AsyncConnection[tuple[Any, ...]]

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
            "STANCHION_WEB_PORT": str(WEB_PORT),
            "STANCHION_WEB_PRINCIPAL_REQUESTS_PER_S": "1000000",
            "STANCHION_WEB_PRINCIPAL_BURST": "1000000",
            "STANCHION_WEB_ADDRESS_REQUESTS_PER_S": "1000000",
            "STANCHION_WEB_ADDRESS_BURST": "1000000",
        }

    @contextlib.contextmanager
    def process(self, kind: str, *, launch: Sequence[str] = (), **settings: str) -> Generator[subprocess.Popen[bytes]]:
        """One process of this kind. `launch`: arguments of bench.launch, where it is not the product's own command."""
        module = ["bench.launch", *launch] if launch else ["stanchion"]
        command = [sys.executable, "-m", *module, "serve", kind]
        with (self.folder / f"{kind}.log").open("ab") as log:
            child = subprocess.Popen(
                command, env=self._environment() | settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
            try:
                yield child
            finally:
                child.terminate()
                try:
                    child.wait(40)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    @contextlib.asynccontextmanager
    async def workers(
        self, count: int = 1, *, launch: Sequence[str] = (), **settings: str
    ) -> AsyncGenerator[list[subprocess.Popen[bytes]]]:
        """Worker processes, all registered."""
        live = "select count(*) = %s from workers where state = 'live' and pid = any(%s)"
        with contextlib.ExitStack() as stack:
            children = [stack.enter_context(self.process("worker", launch=launch, **settings)) for _ in range(count)]
            await self.until(live, count, [child.pid for child in children], alive=children)
            yield children

    async def query(self, sql: str, *params: object) -> tuple[Any, ...]:
        async with self.env.db.connection("engine") as tx, tx.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(sql.encode(), params)
            return await cursor.fetchone() or ()

    async def look(self, sql: str, *params: object) -> tuple[Any, ...]:
        """A question that is asked again and again while others work: by the partial indexes of live states alone."""
        cursor = await self.watch.execute(sql.encode(), params)
        return await cursor.fetchone() or ()

    async def until(self, sql: str, *params: object, alive: Sequence[subprocess.Popen[bytes]] = ()) -> None:
        """Ask every 50 ms until the answer is true. Raises if a process of `alive` ends meanwhile."""
        deadline = time.monotonic() + DRAIN_S_MAX
        while (await self.look(sql, *params))[0] is not True:
            ended = [child.returncode for child in alive if child.poll() is not None]
            if ended:
                log = (self.folder / "worker.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"a process ended with {ended[0]} while the bench waited: {log}")
            if time.monotonic() > deadline:
                raise TimeoutError(sql)
            await asyncio.sleep(0.05)

    async def drained(self, alive: Sequence[subprocess.Popen[bytes]]) -> None:
        await self.until(
            "select not exists (select from runs where status = 'PENDING')"
            " and not exists (select from runs where status = 'RUNNING')",
            alive=alive,
        )

    async def start(self, name: str, count: int, *, queue: str = "default") -> None:
        """Start `count` runs through the service."""
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def one(n: int) -> None:
            async with gate:
                await self.starter.start(self.ctx, name, {"n": n}, queue=queue)

        await asyncio.gather(*(one(n) for n in range(count)))

    async def release(self) -> None:
        """Put the held runs into the queue of the workers, which wait for them."""
        await self.query(
            "with moved as (update runs set queue = 'default' where queue = %s returning 1) select count(*) from moved",
            HELD,
        )

    async def wake(self) -> None:
        """Tell every worker that there are runs; they would look by themselves within a second."""
        await self.query("select true from pg_notify('stanchion_ready', 'default')")

    async def counted(self, name: str, count: int, cpu: float) -> Done:
        """What the database holds of the runs of this Blueprint; exactly `count` must have succeeded, with every step."""
        seconds, ended = await self.query(
            "select extract(epoch from max(ended_at) - min(started_at))::float8, count(*) from runs"
            " where status = 'SUCCEEDED' and blueprint = %s", name,
        )  # fmt: skip
        (steps,) = await self.query(
            "select count(*) from step_runs s join runs r on r.id = s.run_id where s.status = 'SUCCEEDED'"
            " and r.blueprint = %s", name,
        )  # fmt: skip
        if (ended, steps) != (count, STEPS[name] * count):
            raise RuntimeError(f"{ended} of {count} runs, {steps} steps")
        return Done(runs=count, steps=steps, seconds=seconds, cpu_ms=cpu * 1000 / steps)

    async def throughput(
        self, runs: int, *, name: str = "five", launch: Sequence[str] = (), **settings: str
    ) -> tuple[Done, dict[str, float]]:
        """Start all, then one worker process, count rows; and the worker's own metrics at the end."""
        await self.clear()
        await self.start(name, runs)
        async with self.workers(1, launch=launch, **settings) as [worker]:
            before = cpu_s(worker.pid)
            await self.drained([worker])
            cpu = cpu_s(worker.pid) - before
            metrics = await self.metrics(worker.pid)
        return await self.counted(name, runs, cpu), metrics

    async def metrics(self, pid: int) -> dict[str, float]:
        """Series without labels of one worker, by name."""
        connector = aiohttp.UnixConnector(str(self.folder / "run" / f"worker-{pid}.sock"))
        async with aiohttp.ClientSession("http://worker", connector=connector) as session:
            text = await (await session.get("/metrics")).text()
        pairs = (line.split() for line in text.splitlines() if not line.startswith("#") and "{" not in line)
        return {name: float(value) for name, value in pairs}

    async def lone_ms(self, count: int) -> list[float]:
        """Milliseconds from start to result of one run at a time, an idle worker waiting."""
        watcher = Watcher(self.env)
        latencies: list[float] = []
        async with self.workers():
            for n in range(count + 5):
                started = time.perf_counter()
                hears = watcher.hears
                run = await self.starter.start(self.ctx, "five", {"n": n})
                if not await ended_within(self.ctx, watcher, run.run_id, 30, heard=hears):
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
            async with aiohttp.ClientSession(
                f"http://127.0.0.1:{WEB_PORT}", connector=connector, headers=headers
            ) as session:
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
        with psycopg.connect(self.urls.owner or "", autocommit=True) as connection:
            connection.execute("truncate runs, step_runs, idempotency_keys, audit_records, effects, approvals cascade")


@contextlib.asynccontextmanager
async def ours(urls: DatabaseUrls, folder: Path) -> AsyncGenerator[Ours]:
    """Stanchion on this database, its Blueprints published, warmed up."""
    folder.mkdir()
    migrate(urls.owner or "")
    settings = Settings(data=folder)
    admin = await first_admin(settings, urls, known_key=None)
    env = build_env(settings, urls, process="bench")
    parts = build_parts(env, settings)
    watching = await psycopg.AsyncConnection.connect(urls.engine, autocommit=True, options="-c enable_seqscan=off")
    async with env.db, watching as watch:
        it = Ours(urls, folder, env, runs.Starter(env, parts.resolver, Notifier(env, role="app")), admin.key, watch)
        documents = [blueprint(name, steps) for name, steps in STEPS.items()]
        await releases.apply(it.ctx, documents, kinds=parts.kinds)
        await it.throughput(500)  # not counted
        yield it
