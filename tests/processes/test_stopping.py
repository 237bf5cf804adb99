"""SIGTERM, the same for every process type: no new work, what is in hand finishes, receipts are written or the outcome is
known to be unknown, connections close, exit code 0 within grace."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any

import pytest

from stanchion.base import Problem
from stanchion.processes.scheduler import LEADER_LOCK
from stanchion.processes.sockets import ask_unix
from tests.processes.instance import until
from tests.processes.stage import KINDS, Stage


@pytest.fixture(scope="module")
def stage(cluster, tmp_path_factory):
    urls = cluster.clone()
    made = Stage(urls, cluster.superuser(urls), tmp_path_factory.mktemp("stage") / "data")
    yield made
    made.close()


class Web:
    """In hand: a request that waits for a target. New work: a connection."""

    grace_s = 15.0

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.answers: list[Any] = []
        self.second = None

    def begin(self) -> None:
        before = self.stage.target.asked
        self.thread = threading.Thread(
            target=lambda: self.answers.append(self.stage.api.post("/api/connectors/register/test", {}))
        )
        self.thread.start()
        until(lambda: self.stage.target.asked > before, "the target is asked")

    def refuses(self) -> None:
        def refused() -> bool:
            try:
                self.stage.api.get("/health/live")
            except Problem as problem:
                return problem.code == "cli.unreachable"
            return False

        until(refused, "a new connection is refused")
        assert self.answers == []

    def finishes(self) -> None:
        self.thread.join(30)
        assert [answer["ok"] for answer in self.answers] == [True], self.answers

    def goes_on(self) -> None:
        assert self.stage.api.get("/health/ready")["status"] == "ready"


class Worker:
    """In hand: a PUSH whose target has not answered. New work: a run that is started."""

    grace_s = 20.0

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.second: str | None = None

    def begin(self) -> None:
        self.first = self.stage.post(f"{type(self).__name__}-1")
        until(lambda: f"{type(self).__name__}-1" in self.stage.target.cases, "the target has the write")

    def refuses(self) -> None:
        self.second = self.stage.post(f"{type(self).__name__}-2")
        time.sleep(1.5)  # a worker looks for work at least once a second
        assert self.stage.rows("select status from runs where id = %s", self.second) == [("PENDING",)]

    def finishes(self) -> None:
        found = self.stage.rows("select state, receipt ->> 'applied' from effects where run_id = %s", self.first)
        assert found == [("DONE", "true")]
        assert self.stage.rows("select count(*) from workers where state = 'live'") == [(0,)]

    def goes_on(self) -> None:
        assert [self.stage.settled(run) for run in (self.first, self.second)] == ["SUCCEEDED", "SUCCEEDED"]
        for n in "12":
            assert self.stage.target.cases.count(f"{type(self).__name__}-{n}") == 1


class Broker(Worker):
    """In hand: the call of a PUSH. New work: a call, which waits for the successor and is lost to nobody."""

    grace_s = 20.0

    def refuses(self) -> None:
        self.second = self.stage.post("Broker-2")
        time.sleep(1.0)
        assert "Broker-2" not in self.stage.target.cases
        assert not self.stage.metric("worker", "stanchion_step_retries_total")

    def finishes(self) -> None:
        query = "select state, receipt ->> 'applied' from effects where run_id = %s"
        until(lambda: self.stage.rows(query, self.first) == [("DONE", "true")], "the receipt is written")
        assert self.stage.settled(self.first) == "SUCCEEDED"
        assert not (self.stage.data / "run" / "broker.calls").exists()


class Scheduler:
    """In hand: the lead. New work: a duty."""

    grace_s = 5.0

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.second = None

    def leaders(self) -> int:
        query = "select count(*) from pg_locks where locktype = 'advisory' and objid = %s and database = (select oid from pg_database where datname = current_database())"
        return self.stage.rows(query, LEADER_LOCK & 0xFFFFFFFF)[0][0]

    def begin(self) -> None:
        until(lambda: self.leaders() == 1, "it leads")

    def refuses(self) -> None:
        until(lambda: self.leaders() == 0, "it leads no more")

    def finishes(self) -> None:
        return None

    def goes_on(self) -> None:
        until(lambda: self.leaders() == 1, "its successor leads")


UNKNOWN = 'stanchion_effects_total{adapter="http",state="UNKNOWN"}'
CONTRACTS: dict[str, type] = {"web": Web, "worker": Worker, "scheduler": Scheduler, "broker": Broker}


def test_every_process_type_has_its_contract():
    assert set(CONTRACTS) == set(KINDS)


@pytest.mark.parametrize("kind", CONTRACTS)
def test_sigterm(kind, stage):
    contract = CONTRACTS[kind](stage)
    process, health = stage.processes[kind], stage.socket_of(kind)
    stage.target.open.clear()
    contract.begin()
    stage.signal(kind)
    asked = time.monotonic()
    until(lambda: "process.stopping" in stage.events(kind), "it stops")
    contract.refuses()
    if kind != "scheduler":
        assert process.poll() is None, "it did not wait for what is in hand"
    stage.target.open.set()
    assert process.wait(timeout=contract.grace_s + 5) == 0, stage.said(kind)
    assert time.monotonic() - asked < contract.grace_s
    contract.finishes()
    assert [event for event in stage.events(kind) if event.startswith("process.")] == [
        "process.started",
        "process.stopping",
    ]
    assert '"level":"error"' not in stage.said(kind), stage.said(kind)
    assert not health.exists()
    assert ask_unix(health, "/health/live")[0] == 0
    assert {state for state, _ in stage.effects(of_others_than=contract.second)} <= {"DONE", "UNKNOWN"}
    stage.start(kind)
    contract.goes_on()


def test_a_call_that_outlasts_the_brokers_grace_is_known_to_be_unknown_and_asked_for_again(cluster, tmp_path):
    urls = cluster.clone()
    stage = Stage(urls, cluster.superuser(urls), tmp_path / "data", STANCHION_BROKER_GRACE_S="0.5")
    try:
        stage.target.open.clear()
        run = stage.post("slow")
        until(lambda: stage.target.cases == ["slow"], "the target has the write")
        stage.signal("broker")
        assert stage.processes["broker"].wait(timeout=5.5) == 0
        until(lambda: stage.metric("worker", UNKNOWN) == 1, "the ledger says that it is not known")
        stage.target.open.set()
        stage.start("broker")
        assert stage.settled(run) == "SUCCEEDED"
        assert stage.target.cases == ["slow"]
        assert stage.effects() == [("DONE", True)]
    finally:
        stage.close()


def test_a_broker_that_is_killed_loses_no_write_and_makes_none_twice(cluster, tmp_path):
    urls = cluster.clone()
    stage = Stage(urls, cluster.superuser(urls), tmp_path / "data")
    try:
        stage.target.open.clear()
        runs = [stage.post(f"case-{n}") for n in range(8)]
        until(lambda: len(stage.target.cases) == 8, "the target has the writes")
        stage.signal("broker", signal.SIGKILL)
        stage.processes["broker"].wait()
        runs += [stage.post(f"case-{n}") for n in range(8, 12)]
        until(lambda: stage.metric("worker", UNKNOWN) == 8, "the ledger says that nobody knows")
        stage.target.open.set()
        stage.start("broker")
        assert {stage.settled(run) for run in runs} == {"SUCCEEDED"}
        assert sorted(stage.target.cases) == sorted(f"case-{n}" for n in range(12))
        assert stage.effects() == [("DONE", True)] * 12
    finally:
        stage.close()
