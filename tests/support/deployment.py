"""A deployment of real processes on a database of its own: a broker, web processes, a worker for each queue, a scheduler; and a load
on it that writes each number once."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles
from uuid import UUID, uuid4

import psycopg

from stanchion.base.errors import Denied, Problem
from stanchion.base.settings import Settings
from stanchion.bootstrap.admin import first_admin
from stanchion.cli.client import Api
from stanchion.processes.sockets import ask_unix
from tests.conftest import processes_url
from tests.processes.instance import clean_environment, until

# What is promised is a second. On a machine that is busy with other things half of the changes must still keep to it, and
# none may take as long as a process that has stopped listening and looking would.
PROMISED_S = 1.0
WORST_S = 10.0
CONNECTOR = """\
connector: ledger
owner: tests
adapter: sql
environment: local
database: {driver: sqlite, path: ledger.sqlite}
resources:
  postings:
    key: number
    fields:
      number: {type: integer}
    push:
      statement: insert into postings (number, idempotency_key) values (:number, :idempotency_key)
      idempotency: probe
      probe: select 1 from postings where idempotency_key = :idempotency_key
"""
POSTING = """\
blueprint: posting
owner: tests
input: {type: object, required: [number, by], properties: {number: {type: integer}, by: {type: integer}}}
steps:
  - id: words
    transform: {value: first}
  - id: post
    push: {connector: ledger, resource: postings, record: {number: "${input.number}"}}
output: "${steps.words.value}"
"""
IDLE = """\
blueprint: idle
owner: tests
steps:
  - id: nothing
    transform: {value: 1}
output: "${steps.nothing.value}"
"""


class Deployment:
    """The processes, an admin's client of each web process, and a way to look behind."""

    def __init__(
        self, urls, superuser: str, data: Path, *, webs: int = 2, queues: Sequence[str] = ("left", "right")
    ) -> None:
        self.superuser = superuser
        self.data = data
        self.queues = tuple(queues)
        (data / "connectors").mkdir(parents=True)
        self.target = data / "connectors" / "ledger.sqlite"
        with sqlite3.connect(self.target) as target:
            target.execute("pragma journal_mode = wal")
            # A number that was written twice would stand there twice: nothing here forbids it.
            target.execute("create table postings (number integer, idempotency_key text)")
        settings = replace(Settings(), data=data)
        self.key = asyncio.run(first_admin(settings, urls, known_key=None)).key
        environment = {"STANCHION_DATABASE_URL": processes_url(urls)}
        self.ports = [_free_port() for _ in range(webs)]
        self.processes: list[subprocess.Popen[bytes]] = []
        self.apis: list[Api] = []
        environment["STANCHION_BROKER_SOCKET"] = str(data / "broker" / "calls")
        try:
            self._serve("broker", data / "broker", data, **environment)
            for n, port in enumerate(self.ports):
                self._serve("web", data / f"web-{n}", data, STANCHION_WEB_PORT=str(port), **environment)
            for queue in queues:
                self._serve("worker", data / queue, data, STANCHION_WORKER_QUEUES=queue, **environment)
            self._serve("scheduler", data / "scheduler", data, **environment)
            for port in self.ports:
                self.until(lambda port=port: _answers(port), "web")
            self.workers = [self._worker(data / queue / "run") for queue in queues]
        except BaseException:
            self.close()
            raise
        self.apis = [self.api(n) for n in range(webs)]

    def _serve(self, kind: str, data: Path, shared: Path, **environment: str) -> None:
        # A data folder each, for the sockets; one pepper and one folder of connectors for all.
        common = {
            "STANCHION_IDENTITY_PEPPER_FILE": str(shared / "pepper"),
            "STANCHION_TOOLS_CONNECTORS_ROOT": str(shared / "connectors"),
            "STANCHION_TELEMETRY_LOG_LEVEL": "error",
            "STANCHION_WEB_PRINCIPAL_REQUESTS_PER_S": "10000",
            "STANCHION_WEB_PRINCIPAL_BURST": "10000",
            "STANCHION_WEB_ADDRESS_REQUESTS_PER_S": "10000",
            "STANCHION_WEB_ADDRESS_BURST": "10000",
        }
        data.mkdir(exist_ok=True)
        with (data / "said.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "stanchion", "serve", kind, "--data", str(data)],
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                    env=clean_environment(**environment, **common),
                )
            )

    def until(self, found: Callable[[], object], what: str) -> None:
        """Wait for it, as long as all processes live."""

        def alive() -> object:
            ended = [process.args for process in self.processes if process.poll() is not None]
            assert not ended, f"{ended} ended: {[log.read_text()[-2000:] for log in self.data.glob('*/said.log')]}"
            return found()

        until(alive, what)

    def _worker(self, folder: Path) -> Path:
        self.until(lambda: any(folder.glob("worker-*.sock")), "worker")
        (found,) = folder.glob("worker-*.sock")
        self.until(lambda: ask_unix(found, "/health/ready")[0] == 200, "worker ready")
        return found

    def api(self, number: int) -> Api:
        return Api(f"http://127.0.0.1:{self.ports[number]}", self.key)

    def apply(self, **sources: str) -> None:
        documents = [{"path": f"{name}.yaml", "source": source} for name, source in sources.items()]
        self.apis[0].post("/api/artifacts/apply", {"documents": documents})

    def close(self) -> None:
        for api in self.apis:
            api.close()
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=40)

    def rows(self, query: str, *params) -> list[tuple]:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def kill(self, target: tuple[str, str], *, notified: bool = True) -> str:
        """Kill over HTTP; or, as if the notification were lost, by what that does in the database without it."""
        if notified:
            said = {"kind": target[0], "name": target[1], "reason": "A test."}
            return self.apis[0].post("/api/kills", said)["id"]
        kill_id = str(uuid4())
        with psycopg.connect(self.superuser) as connection:
            connection.execute("update kill_revisions set rev = rev + 1 where tenant = 'default'")
            connection.execute(
                "insert into kills (tenant, id, kind, name, reason, set_by) values ('default', %s, %s, %s, 'A test.', 'ada')",
                (kill_id, *target),
            )
        return kill_id

    def lift(self, kill_id: str) -> None:
        self.apis[0].post(f"/api/kills/{kill_id}/lift", {"reason": "A test."})

    def killed_at(self, kill_id: str):
        return self.rows("select set_at from kills where id = %s", UUID(kill_id))[0][0]

    def waiting_for(self, kill_id: str) -> dict[str, int]:
        """Of each worker's queue, how many runs wait for the kill."""
        query = "select queue, count(*) from runs where waiting_kind = 'killed' and waiting_ref = %s group by 1"
        return dict.fromkeys(self.queues, 0) | dict(self.rows(query, kill_id))

    def held_after(self, kill_id: str) -> list[float]:
        """Of each worker, seconds from the kill of its connector until it first held a run up before it. No call that it
        began after that was made."""
        self.until(
            lambda: min(self.waiting_for(kill_id).values()) > 0, "every worker stands still before the connector"
        )
        query = """
            with held as (
                select r.queue, min(r.waiting_since) as at from runs r
                where r.waiting_kind = 'killed' and r.waiting_ref = %s group by 1
            )
            select extract(epoch from h.at - k.set_at)::float8,
                   (select count(*) from effects e join runs r on r.id = e.run_id
                    where r.queue = h.queue and e.connector = k.name and e.state = 'DONE' and e.intent_at > h.at)
            from held h join kills k on k.id = %s"""
        found = self.rows(query, kill_id, UUID(kill_id))
        assert [late for _, late in found] == [0] * len(self.queues)
        return [took for took, _ in found]

    def refused_after(self, kill_id: str) -> list[float]:
        """Of each web process, seconds from the kill of `idle` until it refuses to start it."""
        began = self.killed_at(kill_id).timestamp()

        def refuses(api: Api) -> float:
            while True:
                try:
                    api.post("/api/blueprints/idle/runs", {"input": {}, "queue": self.queues[0]})
                except Denied:
                    return time.time() - began
                assert time.time() - began < WORST_S

        with ThreadPoolExecutor(len(self.apis)) as pool:
            return list(pool.map(refuses, self.apis))

    def written(self) -> list[int]:
        """What the target received, in order."""
        with sqlite3.connect(self.target) as target:
            return sorted(row[0] for row in target.execute("select number from postings"))

    def clear(self) -> None:
        with sqlite3.connect(self.target) as target:
            target.execute("delete from postings")


class Load:
    """Starts of postings in a row, by one client of each web process, for each queue in turn, until it is stopped."""

    def __init__(self, deployment: Deployment, *, pause_s: float = 0.02) -> None:
        self.deployment = deployment
        self.pause_s = pause_s
        self.started: list[list[str]] = [[] for _ in deployment.ports]
        self.refused = [0 for _ in deployment.ports]
        self.failed: list[BaseException] = []
        self.began = time.monotonic()
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(n,)) for n in range(len(deployment.ports))]
        for thread in self.threads:
            thread.start()

    def _run(self, web: int) -> None:
        api, number = self.deployment.api(web), web
        try:
            while not self.stopping.wait(self.pause_s):
                queue = self.deployment.queues[len(self.started[web]) % len(self.deployment.queues)]
                try:
                    run = api.post(
                        "/api/blueprints/posting/runs", {"input": {"number": number, "by": web}, "queue": queue}
                    )
                except Denied:
                    self.refused[web] += 1
                    continue
                self.started[web].append(run["run_id"])
                number += len(self.deployment.ports)
        except BaseException as error:  # a thread's own end is seen by whoever waits for it
            self.failed.append(error)
        finally:
            api.close()

    @property
    def numbers(self) -> list[int]:
        """Every number that was accepted, once."""
        step = len(self.started)
        return sorted(n for web, runs in enumerate(self.started) for n in range(web, web + len(runs) * step, step))

    def flows(self) -> None:
        """Wait until each web process has accepted some starts more, and each worker has finished some."""
        query = "select queue, count(*) from runs where blueprint = 'posting' and status = 'SUCCEEDED' group by 1"
        had, done = [len(runs) for runs in self.started], dict(self.deployment.rows(query))

        def flowed() -> bool:
            assert not self.failed, self.failed
            more = all(len(runs) >= n + 3 for runs, n in zip(self.started, had, strict=True))
            now = dict(self.deployment.rows(query)) if more else {}
            return more and all(now.get(queue, 0) >= done.get(queue, 0) + 3 for queue in self.deployment.queues)

        self.deployment.until(flowed, "the load flows")

    def stop(self) -> float:
        """Stop it, and wait until every run has ended; the starts per second there were."""
        took = time.monotonic() - self.began
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        query = "select count(*) from runs where blueprint = 'posting' and status <> 'SUCCEEDED'"
        self.deployment.until(lambda: self.deployment.rows(query) == [(0,)], "every run ends")
        return sum(map(len, self.started)) / took


def said(took: Sequence[float]) -> str:
    """Measured seconds, as a line for people."""
    return (
        f"median {median(took) * 1000:.0f} ms, p99 {p99(took) * 1000:.0f} ms, worst {max(took) * 1000:.0f} ms"
        f" ({len(took)} measured)"
    )


def p99(took: Sequence[float]) -> float:
    """The 99th percentile of what was measured."""
    return quantiles(took, n=100, method="inclusive")[98]


def within_promise(took: Sequence[float]) -> bool:
    return median(took) <= PROMISED_S and max(took) <= WORST_S


@contextmanager
def deployed(cluster, folder: Path, **more) -> Iterator[Deployment]:
    urls = cluster.clone()
    made = Deployment(urls, cluster.superuser(urls), folder, **more)
    try:
        made.apply(ledger=CONNECTOR, posting=POSTING, idle=IDLE)
        # The tenant has a revision, so that a kill by hand only has to raise it.
        made.lift(made.kill(("blueprint", "idle")))
        yield made
    finally:
        made.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _answers(port: int) -> bool:
    api = Api(f"http://127.0.0.1:{port}", None)
    try:
        return api.get("/health/ready") == {"status": "ready"}
    except Problem:
        return False
    finally:
        api.close()
