"""Real processes under load: how soon a kill is effective in two web processes and a worker, also when its notification
is lost; and what becomes of the runs in flight."""

from __future__ import annotations

import asyncio
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from stanchion.base.errors import Denied, Problem
from stanchion.base.settings import Settings
from stanchion.bootstrap import first_admin
from stanchion.cli.client import Api
from stanchion.processes.sockets import ask_unix
from tests.controls.kills.support import p99
from tests.processes.instance import clean_environment, until

KILLS = 20
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
input: {type: object, required: [number], properties: {number: {type: integer}}}
steps:
  - id: post
    push: {connector: ledger, resource: postings, record: {number: "${input.number}"}}
output: "${steps.post.applied}"
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
    """Two web processes, a worker and a scheduler on a database of their own, with an admin's key."""

    def __init__(self, urls, superuser: str, data: Path) -> None:
        self.superuser = superuser
        self.data = data
        (data / "connectors").mkdir(parents=True)
        self.target = data / "connectors" / "ledger.sqlite"
        with sqlite3.connect(self.target) as target:
            target.execute("pragma journal_mode = wal")
            # A number that was written twice would stand there twice: nothing here forbids it.
            target.execute("create table postings (number integer, idempotency_key text)")
        settings = replace(Settings(), data=data)
        self.key = asyncio.run(first_admin(settings, urls, known_key=None)).key
        environment = {"STANCHION_DATABASE_URL": urls.app, "STANCHION_DATABASE_ENGINE_URL": urls.engine}
        self.ports = [free_port(), free_port()]
        self.processes = [
            *(
                serve("web", data / f"web-{n}", data, STANCHION_WEB_PORT=str(port), **environment)
                for n, port in enumerate(self.ports)
            ),
            serve("worker", data, data, **environment),
            serve("scheduler", data, data, **environment),
        ]
        for port in self.ports:
            until(lambda port=port: answers(port), "web")
        until(lambda: any((data / "run").glob("worker-*.sock")), "worker")
        self.worker = next((data / "run").glob("worker-*.sock"))
        until(lambda: ask_unix(self.worker, "/health/ready")[0] == 200, "worker ready")

        self.apis = [self.api(0), self.api(1)]

    def api(self, number: int) -> Api:
        return Api(f"http://127.0.0.1:{self.ports[number]}", self.key)

    def close(self) -> None:
        for api in self.apis:
            api.close()
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.communicate(timeout=40)

    def rows(self, query: str, *params) -> list[tuple]:
        with psycopg.connect(self.superuser, autocommit=True) as connection:
            cursor = connection.execute(query, params)
            return cursor.fetchall() if cursor.description else []

    def kill(self, target: tuple[str, str], *, notified: bool) -> str:
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(kind: str, data: Path, connectors: Path, **environment: str) -> subprocess.Popen[str]:
    # A data folder each for the two web processes' sockets; one pepper and one folder of connectors for all.
    shared = {
        "STANCHION_IDENTITY_PEPPER_FILE": str(connectors / "pepper"),
        "STANCHION_TOOLS_CONNECTORS_ROOT": str(connectors / "connectors"),
        "STANCHION_TELEMETRY_LOG_LEVEL": "error",
        "STANCHION_WEB_PRINCIPAL_REQUESTS_PER_S": "10000",
        "STANCHION_WEB_PRINCIPAL_BURST": "10000",
        "STANCHION_WEB_ADDRESS_REQUESTS_PER_S": "10000",
        "STANCHION_WEB_ADDRESS_BURST": "10000",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "stanchion", "serve", kind, "--data", str(data)],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=clean_environment(**environment, **shared),
    )  # fmt: skip


def answers(port: int) -> bool:
    api = Api(f"http://127.0.0.1:{port}", None)
    try:
        return api.get("/health/ready") == {"status": "ready"}
    except Problem:
        return False
    finally:
        api.close()


@pytest.fixture(scope="module")
def deployment(cluster, tmp_path_factory) -> Iterator[Deployment]:
    urls = cluster.clone()
    made = Deployment(urls, cluster.superuser(urls), tmp_path_factory.mktemp("kills"))
    try:
        documents = [
            {"path": f"{name}.yaml", "source": source}
            for name, source in (("ledger", CONNECTOR), ("posting", POSTING), ("idle", IDLE))
        ]
        made.apis[0].post("/api/artifacts/apply", {"documents": documents})
        # The tenant has a revision, so that a kill by hand only has to raise it.
        made.lift(made.kill(("blueprint", "idle"), notified=True))
        yield made
    finally:
        made.close()


class Load:
    """Starts postings in a row, over one of the web processes, until it is stopped."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.started: list[str] = []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        api = self.deployment.api(1)
        while not self.stopping.is_set():
            run = api.post("/api/blueprints/posting/runs", {"input": {"number": len(self.started)}})
            self.started.append(run["run_id"])
            self.stopping.wait(0.005)
        api.close()

    def stop(self) -> None:
        self.stopping.set()
        self.thread.join()


def refused_after(deployment: Deployment, kill_id: str, number: int) -> float:
    """Seconds from the kill until that web process refuses a start."""
    began = deployment.killed_at(kill_id).timestamp()
    while True:
        try:
            deployment.apis[number].post("/api/blueprints/idle/runs", {"input": {}})
        except Denied:
            return time.time() - began
        assert time.time() - began < 10


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
def test_a_kill_is_effective_everywhere_within_a_second_and_nothing_is_lost_or_doubled(deployment, notified) -> None:
    with sqlite3.connect(deployment.target) as target:
        target.execute("delete from postings")
    load, web, worker = Load(deployment), [], []
    try:
        for _ in range(KILLS):
            time.sleep(0.3)  # the load flows
            blueprint = deployment.kill(("blueprint", "idle"), notified=notified)
            web += [refused_after(deployment, blueprint, number) for number in (1, 0)]
            connector = deployment.kill(("connector", "ledger"), notified=notified)
            time.sleep(1.2)
            # What the worker still sent, and when its outcome was known at the latest.
            late = deployment.rows(
                "select max(extract(epoch from e.outcome_at - k.set_at))::float8 from effects e, kills k"
                " where k.id = %s and e.connector = 'ledger' and e.state = 'DONE' and e.outcome_at > k.set_at",
                UUID(connector),
            )[0][0]
            worker.append(late or 0.0)
            waiting = deployment.rows("select count(*) from runs where waiting_kind = 'killed'")[0][0]
            assert waiting > 0
            for kill_id in (blueprint, connector):
                deployment.lift(kill_id)
    finally:
        load.stop()
    until(
        lambda: (
            deployment.rows("select count(*) from runs where blueprint = 'posting' and status <> 'SUCCEEDED'") == [(0,)]
        ),
        "all runs finish after the last lift",
    )
    with sqlite3.connect(deployment.target) as target:
        written = sorted(row[0] for row in target.execute("select number from postings"))
    assert written == list(range(len(load.started)))
    for what, took in (("two web processes", web), ("worker", worker)):
        print(
            f"\n{what}, {'notified' if notified else 'notifications lost'}: effective after"
            f" median {sorted(took)[len(took) // 2] * 1000:.0f} ms, p99 {p99(took) * 1000:.0f} ms,"
            f" worst {max(took) * 1000:.0f} ms ({len(took)} kills seen, {len(load.started)} runs, none lost or doubled)"
        )
        assert max(took) <= 1.0


def test_every_process_tells_how_old_what_it_knows_is(deployment) -> None:
    api = deployment.apis[0]
    found = {d["name"]: d for d in api.get("/health/dependencies")["items"]}["kill switches"]
    assert found["state"] == "up"
    assert found["serving"] is False
    assert found["age_s"] <= 1.5
    _, said = ask_unix(deployment.worker, "/metrics")
    age = next(line for line in said.decode().splitlines() if line.startswith("stanchion_kills_age_seconds "))
    assert float(age.split()[1]) <= 2.0
