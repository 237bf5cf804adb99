"""One small deployment under fire: real web and worker processes, a target that logs each write, clients at work."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psycopg

from stanchion import identity, releases
from stanchion.artifacts import Document
from stanchion.base.settings import Settings, ToolsSettings
from stanchion.bootstrap.admin import first_admin
from stanchion.bootstrap.env import build_env, opened
from stanchion.bootstrap.parts import build_parts
from stanchion.context import Ctx, system_actor
from stanchion.db import DatabaseUrls
from stanchion.processes.sockets import ask_unix
from tests.conftest import processes_url
from tests.faults.checker import Outcome, Received, check
from tests.faults.harness import actor
from tests.faults.load import LIMIT, Clients, Notes

REPO = Path(__file__).resolve().parent.parent.parent

BLUEPRINT = """
blueprint: posting
owner: tests
input:
  type: object
  required: [id, amount]
  properties: {id: {type: string}, amount: {type: integer}}
steps:
  - id: rate
    lookup: {connector: register, resource: rates, key: eur}
    retry: {attempts: 10, backoff: exponential, initial: 200ms}
  - id: entry
    transform: {value: {id: "${input.id}", amount: "${input.amount * steps.rate.record.factor}"}}
  - id: consent
    govern:
      policy: consent
      facts: {amount: "${input.amount}"}
      show: ["${steps.entry.value}"]
      on_reject: skip
      on_expire: fail
  - id: record
    push: {connector: register, resource: postings, record: "${steps.entry.value}"}
    retry: {attempts: 10, backoff: exponential, initial: 200ms}
"""
POLICY = f"""
policy: consent
type: approval
owner: tests
facts: {{type: object, required: [amount], properties: {{amount: {{type: integer}}}}}}
when: facts.amount > {LIMIT}
title: "Post ${{facts.amount}}?"
ask: {{roles: [approver], forbid_self: true, expires: 72h}}
"""
CONNECTOR = """
connector: register
owner: tests
adapter: sql
environment: local
database: {driver: postgresql, url_file: register.url}
resources:
  rates:
    key: name
    fields: {name: {type: string}, factor: {type: integer}}
    lookup: {statement: "select name, factor from rate_of(cast(:key as text))"}
  postings:
    key: id
    fields: {id: {type: string}, amount: {type: integer}}
    push:
      idempotency: probe
      probe: select 1 from postings where key = :idempotency_key
      statement: insert into postings (id, amount, key) values (:id, :amount, :idempotency_key)
"""
# Somebody else's system. It notes every write it receives, and takes its time, most of it to commit: when a fault hits,
# calls are in flight whose outcome is open. There is no unique index: a write that comes twice is there twice.
REGISTER = """
create table received (
    n bigint generated always as identity primary key, id text, amount int, key text,
    at timestamptz not null default clock_timestamp());
create table postings (id text not null, amount int not null, key text not null);
create function note() returns trigger language plpgsql as $$
begin
    insert into received (id, amount, key) values (new.id, new.amount, new.key);
    perform pg_sleep({seconds} * 0.1);
    return new;
end $$;
create trigger note before insert on postings for each row execute function note();
create function take_time() returns trigger language plpgsql as $$
begin
    perform pg_sleep({seconds} * 0.9);
    return null;
end $$;
create function rate_of(wanted text) returns table (name text, factor int) language plpgsql as $$
begin
    perform pg_sleep({seconds});
    return query select wanted, 1;
end $$;
create constraint trigger take_time after insert on postings deferrable initially deferred
    for each row execute function take_time();
"""


@dataclass
class Scene:
    """Stanchion's database, a register on another one, and any number of processes.

    Attributes:
        urls: what the processes are told. `watch_url`: a superuser's URL of the same database, for the test's own eyes.
        call_s: how long the register takes for a write.
        settings: further `STANCHION_*` variables of all processes.
    """

    urls: DatabaseUrls
    watch_url: str
    register_url: str
    folder: Path
    call_s: float = 0.1
    rate_hz: float = 20.0
    settings: Mapping[str, str] = field(default_factory=dict)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    notes: Notes = field(default_factory=Notes)
    clients: Clients = field(init=False)
    web_url: str = ""
    _watch: psycopg.AsyncConnection | None = None

    # --- set-up

    @contextlib.asynccontextmanager
    async def playing(self, workers: int = 2) -> AsyncIterator[Scene]:
        """The stage set: a broker, a web process, `workers` workers, and clients at work until the block ends."""
        try:
            await self.set_up()
            self.spawn_broker()
            self.spawn_web()
            for pid in [self.spawn_worker() for _ in range(workers)]:
                await self.registered(pid)
            await self.web_ready()
            async with self.with_clients():
                yield self
        finally:
            await self.tear_down()

    @contextlib.asynccontextmanager
    async def with_clients(self) -> AsyncIterator[None]:
        self.clients = Clients(self.web_url, self.keys, self.notes, rate_hz=self.rate_hz)
        async with self.clients.at_work():
            yield

    async def set_up(self) -> None:
        root = self.folder / "connectors"
        root.mkdir(parents=True, exist_ok=True)
        (root / "register.url").touch(mode=0o600)
        (root / "register.url").write_text(self.register_url)
        with psycopg.connect(self.register_url, autocommit=True) as connection:
            connection.execute(REGISTER.format(seconds=self.call_s).encode())
        settings = Settings(data=self.folder, tools=ToolsSettings(connectors_root=root))
        self.keys["admin"] = (await first_admin(settings, self.urls, known_key=None)).key
        async with opened(build_env(settings, self.urls, process="test")) as env:
            parts = build_parts(env, settings)
            pepper = identity.Pepper.from_file(settings.pepper_file, env.ids)
            ctx = Ctx(env=env, actor=system_actor("bootstrap", "default"))
            for name, role in (("analyst", "analyst"), ("supervisor", "approver")):
                await identity.create_principal(ctx, name=name, kind="user", roles=[role])
                self.keys[name] = (await identity.create_key(ctx, pepper, principal=name, label="test")).text
            documents = [
                Document(path=f"{name}.yaml", source=source)
                for name, source in (("blueprint", BLUEPRINT), ("policy", POLICY), ("connector", CONNECTOR))
            ]
            await releases.apply(Ctx(env=env, actor=actor("author", "admin")), documents, kinds=parts.kinds)
            await parts.adapters.close()

    async def tear_down(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
        self.processes.clear()
        if self._watch is not None:
            await self._watch.close()

    # --- processes

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "STANCHION_DATA": str(self.folder),
            "STANCHION_DATABASE_URL": processes_url(self.urls),
            **self.settings,
        }

    def _spawn(self, kind: str, more: Mapping[str, str], under: Sequence[str] = ()) -> int:
        log = (self.folder / f"{kind}-{len(self.processes)}-{time.monotonic_ns()}.log").open("wb")
        process = subprocess.Popen(
            [*under, sys.executable, "-m", "stanchion", "serve", kind],
            env={**self.environment(), **more}, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=REPO,
        )  # fmt: skip
        log.close()
        self.processes[process.pid] = process
        return process.pid

    def spawn_broker(self, **more: str) -> int:
        return self._spawn("broker", more)

    def spawn_worker(self, under: Sequence[str] = (), **more: str) -> int:
        return self._spawn("worker", more, under)

    def spawn_web(self, **more: str) -> int:
        """Start a web process on a port of its own, which `web_url` names from now on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.web_url = f"http://127.0.0.1:{port}"
        return self._spawn("web", {"STANCHION_WEB_PORT": str(port), **more})

    @property
    def broker(self) -> int:
        """Pid of the broker."""
        [found] = [pid for pid, process in self.processes.items() if process.args[-1] == "broker"]
        return found

    @property
    def workers(self) -> list[int]:
        """Pids of the worker processes that were not killed or awaited, oldest first."""
        return [pid for pid, process in self.processes.items() if process.args[-1] == "worker"]

    async def web_ready(self) -> None:
        """Wait until the web process named by `web_url` is ready to serve."""
        give_up = time.monotonic() + 40
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.web_url}/health/ready") as response:
                        if response.status == 200:
                            return
                if time.monotonic() > give_up:
                    raise TimeoutError(await self._plight("the web process is not ready"))
                await asyncio.sleep(0.02)

    def signal(self, pid: int, number: signal.Signals) -> float:
        """Send a signal; the monotonic time just before it."""
        at = time.monotonic()
        self.processes[pid].send_signal(number)
        return at

    def kill(self, pid: int) -> float:
        at = self.signal(pid, signal.SIGKILL)
        self.processes.pop(pid).wait()
        return at

    async def ended(self, pid: int, within_s: float = 30) -> int:
        """The exit code of a process that was asked to end."""
        process = self.processes[pid]
        code = await asyncio.wait_for(asyncio.to_thread(process.wait), within_s)
        del self.processes[pid]
        return code

    def metric(self, pid: int, name: str, labels: str = "") -> float:
        """The sum of a worker's series `name` whose labels contain `labels`, as its /metrics says now."""
        status, page = ask_unix(self.folder / "run" / f"worker-{pid}.sock", "/metrics")
        assert status == 200, f"worker {pid} does not answer"
        pattern = re.compile(rf"^{re.escape(name)}(\{{[^}}]*\}})? (\S+)$", re.MULTILINE)
        return sum(float(value) for found, value in pattern.findall(page.decode()) if labels in found)

    def logs(self, kind: str = "*") -> str:
        return "\n".join(
            f"-- {path.name}\n{path.read_text()[-2500:]}" for path in sorted(self.folder.glob(f"{kind}-*.log"))
        )

    # --- eyes

    async def query(self, sql: str, *params: object) -> list[tuple]:
        if self._watch is None or self._watch.closed or self._watch.broken:
            self._watch = await psycopg.AsyncConnection.connect(self.watch_url, autocommit=True, connect_timeout=5)
        cursor = await self._watch.execute(sql.encode(), params or None)
        return await cursor.fetchall()

    @contextlib.asynccontextmanager
    async def changed(self, sql: str) -> AsyncIterator[None]:
        """What `query` sees for the block if one row more or less were changed so; nothing stays of it."""
        await self.query("select 1")
        assert self._watch is not None
        async with self._watch.transaction(force_rollback=True):
            cursor = await self._watch.execute(sql.encode())
            assert cursor.rowcount == 1, sql
            yield

    async def until(self, sql: str, *params: object, within_s: float = 40, since: float | None = None) -> float:
        """Wait until `sql` returns true, also across outages of the database; the seconds since `since` (monotonic)."""
        began = time.monotonic()
        since = began if since is None else since
        while True:
            try:
                rows = await self.query(sql, *params)
            except psycopg.OperationalError:
                rows = []
            if rows and rows[0][0] is True:
                return time.monotonic() - since
            self.clients_alive()
            if time.monotonic() - began > within_s:
                raise TimeoutError(await self._plight(f"not within {within_s} s: {sql} {params}"))
            await asyncio.sleep(0.02)

    def clients_alive(self) -> None:
        if hasattr(self, "clients"):
            self.clients.check_alive()

    async def _plight(self, what: str) -> str:
        try:
            states = await self.query("select status, waiting_kind, count(*) from runs group by 1, 2")
            errors = await self.query("select error::text from runs where error is not null limit 3")
            workers = await self.query("select pid, state, running, lease_until - clock_timestamp() from workers")
            steps = await self.query(
                "select path, status, attempt > 1, wake_at - clock_timestamp() > interval '1 s', min(errors::text), count(*)"
                " from step_runs where status not in ('SUCCEEDED', 'SKIPPED', 'PENDING') group by 1, 2, 3, 4"
            )
            breakers = await self.query(
                "select connector, state, until - clock_timestamp(), reason from connector_breakers"
            )
            sessions = await self.query(
                "select application_name, state, wait_event_type, wait_event, pg_blocking_pids(pid)::text,"
                "       clock_timestamp() - max(state_change), count(*), min(left(regexp_replace(query, '\\s+', ' ', 'g'), 90))"
                " from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
                " group by 1, 2, 3, 4, 5, case when state = 'idle' then 0 else pid end order by 1, 2"
            )
        except psycopg.Error as error:
            states, errors, workers, steps, breakers, sessions = [repr(error)], [], [], [], [], []
        at = "\n".join(map(str, sessions))
        return (
            f"{what}; runs {states}; errors {errors}; workers {workers}; steps (again, waiting) {steps};"
            f" breakers {breakers}; {self.notes.failure_counts()}; {self.notes.last_failures()}\n{at}\n{self.logs()}"
        )

    async def registered(self, pid: int, since: float | None = None, within_s: float = 40) -> float:
        return await self.until(
            "select exists (select from workers where pid = %s and state = 'live')", pid, since=since, within_s=within_s
        )

    async def flowing(self, runs: int = 10, since: float | None = None, within_s: float = 40) -> float:
        """Wait until `runs` more runs than now have been accepted and as many have ended; the seconds it took."""
        began = time.monotonic() if since is None else since
        give_up, accepted = time.monotonic() + within_s, len(self.notes.accepted)
        ended_before = -1
        while True:
            try:
                [(ended,)] = await self.query("select count(*) from runs where status = 'SUCCEEDED'")
            except psycopg.OperationalError:
                ended = ended_before
            ended_before = ended if ended_before < 0 else ended_before
            if ended >= ended_before + runs > runs - 1 and len(self.notes.accepted) >= accepted + runs:
                return time.monotonic() - began
            self.clients_alive()
            if time.monotonic() > give_up:
                raise TimeoutError(await self._plight(f"no flow of {runs} runs within {within_s} s"))
            await asyncio.sleep(0.02)

    async def holding(self, pid: int, runs: int = 2, path: str = "record", reading: int = 0) -> list[tuple]:
        """Wait until this worker holds at least `runs` runs at the step `path`, and so many at the one that reads;
        ids and epochs of all that it holds."""
        sql = (
            "select r.id, r.epoch, r.path from runs r join workers w on w.id = r.worker_id"
            " where w.pid = %s and r.status = 'RUNNING'"
        )
        counts = "count(*) filter (where path = %s) >= %s and count(*) filter (where path = 'rate') >= %s"
        await self.until(f"select {counts} from ({sql}) t", path, runs, reading, pid)
        return await self.query(sql, pid)

    async def taken_over(self, held: list[tuple], since: float, within_s: float = 40) -> float:
        """Wait until none of these claims is the newest of a running run any more; seconds since `since`."""
        return await self.until(
            "select bool_and(r.epoch > h.epoch or r.status <> 'RUNNING') from runs r"
            " join unnest(%s::uuid[], %s::bigint[]) as h (id, epoch) on h.id = r.id",
            [row[0] for row in held], [row[1] for row in held], since=since, within_s=within_s,
        )  # fmt: skip

    async def refused(self, since: float, count: int, within_s: float = 60) -> None:
        """Wait until so many requests have failed since this wall-clock time."""
        give_up = time.monotonic() + within_s
        while len(self.notes.failures(since)) < count:
            self.clients_alive()
            assert time.monotonic() < give_up, self.notes.failure_counts(since)
            await asyncio.sleep(0.02)

    async def noticed(self, pid: int, within_s: float = 40) -> None:
        """Wait until this worker says of itself that it is not registered."""
        give_up = time.monotonic() + within_s
        path = self.folder / "run" / f"worker-{pid}.sock"
        while b"not registered" not in (await asyncio.to_thread(ask_unix, path, "/health/ready", 5.0))[1]:
            self.clients_alive()
            if time.monotonic() > give_up:
                raise TimeoutError(await self._plight(f"worker {pid} has not noticed"))
            await asyncio.sleep(0.05)

    # --- the end

    def received(self) -> list[Received]:
        with psycopg.connect(self.register_url) as connection:
            rows = connection.execute("select id, amount, key, extract(epoch from at)::float8 from received order by n")
            return [Received(*row) for row in rows]

    async def settle(self, within_s: float = 60) -> Outcome:
        """Feed no more, let everything end, and check it."""
        try:
            await asyncio.wait_for(self.clients.stop_feeding(), within_s)
        except TimeoutError:
            raise TimeoutError(await self._plight("not everything was accepted")) from None
        await self.until(
            "select count(*) = %s and bool_and(status in ('SUCCEEDED', 'FAILED', 'CANCELLED')) from runs where parent_id is null",
            len(self.notes.accepted), within_s=within_s,
        )  # fmt: skip
        try:
            outcome = await check(self.query, self.notes, self.received())
        except AssertionError as error:
            error.add_note(self.logs())
            raise
        assert outcome.accepted > 0
        assert outcome.effects > 0
        assert outcome.refused > 0
        assert outcome.intrusions > 0
        print(f"checked: {outcome}; other answers: {self.notes.failure_counts()}")
        return outcome
