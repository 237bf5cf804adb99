"""The case-triage example under faults: real worker processes, a target that logs every write it receives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import psycopg
from psycopg.rows import tuple_row

from stanchion import approvals, identity, releases, runs
from stanchion.artifacts import Document
from stanchion.base.settings import Settings, ToolsSettings
from stanchion.bootstrap.env import build_env
from stanchion.bootstrap.parts import Parts, build_parts
from stanchion.context import Actor, Ctx, Env
from stanchion.db import DatabaseUrls
from stanchion.queue import Notifier
from tests.conftest import processes_url

REPO = Path(__file__).resolve().parent.parent.parent
EXAMPLE = REPO / "examples" / "case-triage"
ORIGINAL = REPO.parent / "shared" / "data" / "gdpr-enforcement" / "cases.jsonl"
APPROVED_ABOVE_EUR = 100_000


def actor(name: str, *roles: str) -> Actor:
    return Actor(
        tenant="default", principal=name, principal_id="", kind="user", roles=frozenset(roles), credential="test"
    )


def load_cases(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@dataclass
class Ledger:
    """What the target itself says it received."""

    received: int
    received_cases: int
    outcomes: int
    received_twice: int


@dataclass
class World:
    """One database of Stanchion's, one casebook, one register, and any number of worker processes."""

    urls: DatabaseUrls
    register_url: str
    folder: Path
    cases: list[dict[str, object]]
    capacity: int = 64
    workers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    env: Env = field(init=False)
    parts: Parts = field(init=False)
    starter: runs.Starter = field(init=False)
    broker: subprocess.Popen[bytes] = field(init=False)

    @property
    def root(self) -> Path:
        return self.folder / "connectors"

    @property
    def needing_approval(self) -> int:
        return sum(int(str(case["fine_eur"])) > APPROVED_ABOVE_EUR for case in self.cases)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        self._seed()
        settings = Settings(data=self.folder, tools=ToolsSettings(connectors_root=self.root))
        self.env = build_env(settings, self.urls, process="test")
        self.parts = build_parts(self.env, settings)
        self.starter = runs.Starter(self.env, self.parts.resolver, Notifier(self.env, role="app"))
        async with self.env.db:
            async with self.env.db.tenant_tx("default") as tx:
                await tx.execute("insert into tenants (name, display_name) values ('default', 'Default')")
            documents = [
                Document(path=path.name, source=path.read_text(encoding="utf-8"))
                for path in sorted(EXAMPLE.glob("*.yaml"))
            ]
            await releases.apply(self.ctx("author", "admin"), documents, kinds=self.parts.kinds)
            # The broker asks whether whoever started a run still may.
            await identity.create_principal(self.ctx("author", "admin"), name="analyst", kind="user", roles=["analyst"])
            self.broker = self._spawned("broker", "broker")
            try:
                yield self
            finally:
                self.stop_workers()
                self.broker.kill()
                self.broker.wait()
                await self.parts.adapters.close()

    def ctx(self, name: str, *roles: str) -> Ctx:
        return Ctx(env=self.env, actor=actor(name, *roles))

    def _seed(self) -> None:
        self.root.mkdir(parents=True)
        with contextlib.closing(sqlite3.connect(self.root / "casebook.sqlite")) as connection:
            connection.executescript((EXAMPLE / "seed" / "casebook.sqlite.sql").read_text(encoding="utf-8"))
            names = (
                "case_id", "country", "authority", "decision_date", "controller", "fine_eur", "articles",
                "violation_type", "summary",
            )  # fmt: skip
            connection.executemany(
                f"insert into cases ({', '.join(names)}) values ({', '.join('?' * len(names))})",
                [[json.dumps(case[n]) if n == "articles" else case[n] for n in names] for case in self.cases],
            )
            connection.commit()
        with psycopg.connect(self.register_url, autocommit=True) as connection:
            connection.execute((EXAMPLE / "seed" / "outcomes.postgresql.sql").read_bytes())
        url_file = self.root / "outcomes.url"
        url_file.touch(mode=0o600)
        url_file.write_text(self.register_url)

    # --- processes

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "STANCHION_DATA": str(self.folder),
            "STANCHION_DATABASE_URL": processes_url(self.urls),
            "STANCHION_WORKER_CAPACITY": str(self.capacity),
            "STANCHION_TOOLS_CONNECTORS_ROOT": str(self.root),
        }

    def spawn(self, *command: str) -> int:
        """Start a worker process; returns its pid."""
        process = self._spawned(f"worker-{len(self.workers)}", "worker", *command)
        self.workers[process.pid] = process
        return process.pid

    def _spawned(self, name: str, kind: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                command or (sys.executable, "-m", "stanchion", "serve", kind),
                env=self.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPO,
            )  # fmt: skip

    def kill(self, pid: int) -> None:
        self.workers[pid].send_signal(signal.SIGKILL)
        self.workers.pop(pid).wait()

    def stop_workers(self) -> None:
        for process in self.workers.values():
            process.kill()
            process.wait()
        self.workers.clear()

    async def query(self, sql: str, *params: object) -> list[tuple]:
        async with self.env.db.connection("engine") as tx, tx.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(sql, params)  # type: ignore[arg-type]
            return await cursor.fetchall()

    async def until(self, sql: str, *params: object, within_s: float = 60, every_s: float = 0.02) -> float:
        """Wait until `sql` returns true; the seconds it took. What processes do has no signal but their commits."""
        started = time.monotonic()
        while not (rows := await self.query(sql, *params)) or rows[0][0] is not True:
            if time.monotonic() - started > within_s:
                states = await self.query("select status, waiting_kind, count(*) from runs group by 1, 2")
                raise TimeoutError(f"not within {within_s} s: {sql} {params}; runs: {states}; {self.logs()}")
            await asyncio.sleep(every_s)
        return time.monotonic() - started

    def logs(self) -> str:
        return "\n".join(path.read_text()[-1500:] for path in sorted(self.folder.glob("worker-*.log")))

    async def registered(self, pid: int) -> None:
        await self.until("select exists (select from workers where pid = %s and state = 'live')", pid)

    async def busiest_worker(self) -> int:
        """The pid of the registered worker that holds most runs now; the longest-serving of equals."""
        rows = await self.query(
            "select w.pid from workers w left join runs r on r.worker_id = w.id and r.status = 'RUNNING'"
            " where w.state = 'live' group by w.pid, w.started_at order by count(r.id) desc, w.started_at"
        )
        return next(pid for (pid,) in rows if pid in self.workers)

    # --- the run

    async def start(self) -> UUID:
        return (await self.starter.start(self.ctx("analyst", "analyst"), "case-triage", {})).run_id

    async def until_quiet(self, run_id: UUID) -> None:
        """Every child has ended or waits for a person."""
        await self.until(
            "select count(*) = %s and bool_and(status in ('SUCCEEDED', 'FAILED') or coalesce(waiting_kind, '') = 'approval')"
            " from runs where parent_id = %s", len(self.cases), run_id,
        )  # fmt: skip

    async def approve_all(self, run_id: UUID) -> int:
        ctx = self.ctx("supervisor", "approver")
        count = 0
        rows = await self.query(
            "select id, args_digest from approvals where root_id = %s and status = 'PENDING' order by id", run_id
        )
        for approval_id, digest in rows:
            await approvals.decide(
                ctx, approval_id, approvals.Verdict.APPROVE, reason="as recommended", args_digest=digest
            )
            count += 1
        return count

    async def until_ended(self, run_id: UUID, status: str = "SUCCEEDED") -> None:
        await self.until("select status in ('SUCCEEDED', 'FAILED', 'CANCELLED') from runs where id = %s", run_id)
        assert (await self.query("select status, error from runs where id = %s", run_id)) == [(status, None)]

    def ledger(self) -> Ledger:
        with psycopg.connect(self.register_url) as connection:
            row = connection.execute(
                "select (select count(*) from casebook.received), (select count(distinct case_id) from casebook.received),"
                " (select count(*) from casebook.outcomes),"
                " (select count(*) from (select from casebook.received group by case_id having count(*) > 1) t)"
            ).fetchone()
        assert row is not None
        return Ledger(*row)

    def clear_register(self) -> None:
        with psycopg.connect(self.register_url, autocommit=True) as connection:
            connection.execute("truncate casebook.outcomes, casebook.received")

    async def check(self, run_id: UUID) -> None:
        """One received write per case; outcomes = cases; audit and effects one to one; nothing lost, nothing open."""
        n = len(self.cases)
        assert self.ledger() == Ledger(received=n, received_cases=n, outcomes=n, received_twice=0)
        [(effects, done)] = await self.query(
            "select count(*), count(*) filter (where state = 'DONE') from effects e join runs r on r.id = e.run_id"
            " where r.root_id = %s", run_id,
        )  # fmt: skip
        assert (effects, done) == (n, n)
        await self._check_records(run_id)
        starts_and_ends = await self.query(
            "select event_type, count(*), count(distinct target_id) from audit_records where run_id in"
            " (select id from runs where root_id = %s) and event_type in ('run.started', 'run.ended') group by 1 order by 1",
            run_id,
        )
        assert starts_and_ends == [("run.ended", n + 1, n + 1), ("run.started", n + 1, n + 1)]
        assert await self.query("select count(*) from runs where root_id = %s and status <> 'SUCCEEDED'", run_id) == [
            (0,)
        ]

    async def _check_records(self, run_id: UUID) -> None:
        """Each effect has one record of its attempt and one of its success; else all that was recorded of it is told."""
        records = await self.query(
            "select e.id::text, a.event_type, a.record::json->'extra'->>'attempt_at', a.record::json->'outcome'->>'status',"
            " a.record::json->'outcome'->>'error_class', a.recorded_at::text from effects e join runs r on r.id = e.run_id"
            " left join audit_records a on a.target_id = e.id::text where r.root_id = %s order by e.id, a.recorded_at",
            run_id,
        )
        by_effect: dict[str, list[tuple]] = {}
        for effect, *told in records:
            by_effect.setdefault(effect, []).append(tuple(told))
        for effect, told in by_effect.items():
            said = f"{effect}: {told}"
            attempts = [row[1] for row in told if row[0] == "effect.attempted"]
            ends = [row[2] for row in told if row[0] == "effect.completed"]
            assert (len(attempts), ends) == (1, ["SUCCEEDED"]), said


@dataclass
class Kills:
    """What a series of kills saw."""

    count: int = 0
    hit_running: int = 0
    recoveries_s: list[float] = field(default_factory=list)

    @property
    def share_running(self) -> float:
        return self.hit_running / self.count if self.count else 0.0

    @property
    def p99_s(self) -> float:
        ordered = sorted(self.recoveries_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


async def trial(world: World, after_s: float, kills: Kills) -> float | None:
    """One run from start to end, one `kill -9` of a worker `after_s` seconds after its start; None.

    If the run has ended before that moment nobody is killed, and the answer is how long it took, in seconds. The
    victim is the worker that holds most of the run just then.
    """
    await world.until("select count(*) >= 2 from workers where state = 'live' and pid = any(%s)", list(world.workers))
    started = time.monotonic()
    run_id = await world.start()

    async def drive() -> float:
        await world.until_quiet(run_id)
        await world.approve_all(run_id)
        await world.until_ended(run_id)
        return time.monotonic() - started

    async def kill() -> None:
        victim = await world.busiest_worker()
        world.kill(victim)
        killed = time.monotonic()
        kills.count += 1
        stranded = await world.query(
            "select r.id, r.epoch from runs r join workers w on w.id = r.worker_id where w.pid = %s and r.status = 'RUNNING'",
            victim,
        )
        # A replacement takes the victim's place, as the supervisor's would; meanwhile the other worker takes over.
        world.spawn()
        if stranded:
            kills.hit_running += 1
            ids = [row[0] for row in stranded]
            await world.until(
                "select bool_and(w.pid is distinct from %s) from runs r left join workers w on w.id = r.worker_id"
                " where r.id = any(%s)", victim, ids,
            )  # fmt: skip
            kills.recoveries_s.append(time.monotonic() - killed)

    driving = asyncio.create_task(drive())
    await asyncio.wait({driving}, timeout=max(0.0, after_s - (time.monotonic() - started)))
    missed = driving.done()
    if not missed:
        await kill()
    took_s = await driving
    await world.check(run_id)
    world.clear_register()
    return took_s if missed else None


async def undisturbed_wall_s(world: World) -> float:
    """How long the run takes when nobody is killed, decisions included."""
    started = time.monotonic()
    run_id = await world.start()
    await world.until_quiet(run_id)
    assert await world.approve_all(run_id) == world.needing_approval
    await world.until_ended(run_id)
    wall_s = time.monotonic() - started
    await world.check(run_id)
    world.clear_register()
    return wall_s
