"""Real processes under load: how soon a revocation is effective in two web processes and two workers, also when its
notification is lost; and what becomes of the runs in flight, reinstated or re-pinned.

`.venv/bin/pytest tests/releases/revoking/test_processes.py -m slow -s` prints the figures of 20 revocations each.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import psycopg
import pytest

from stanchion.base.errors import Conflict
from stanchion.cli.client import Api
from stanchion.processes.sockets import ask_unix
from tests.support.deployment import CONNECTOR, WORST_S, Deployment, deployed, said, within_promise

# A stream must still flow when a revocation whose notification is lost arrives: up to a second, of writes of a few ms.
ITEMS = 100
STREAM = """\
blueprint: stream
owner: tests
input: {type: object, required: [numbers], properties: {numbers: {type: array, items: {type: integer}}}}
steps:
  - id: post
    for_each: {in: input.numbers, as: number, concurrency: 1}
    push: {connector: ledger, resource: postings, record: {number: "${number}"}}
"""
SECOND = CONNECTOR.replace("owner: tests", "owner: tests\ndescription: second")


@pytest.fixture(scope="module")
def deployment(cluster, tmp_path_factory):
    with deployed(cluster, tmp_path_factory.mktemp("revoked")) as made:
        made.apply(stream=STREAM)
        # The tenant has a revision, so that a revocation by hand only has to raise it.
        reinstate(made, revoke(made, "blueprint", "idle"))
        yield made


def digest_of(deployment: Deployment, kind: str, name: str) -> str:
    return deployment.apis[0].get(f"/api/releases/{kind}/{name}")["digest"]


def revoke(deployment: Deployment, kind: str, name: str, *, notified: bool = True) -> str:
    """Revoke the live version over HTTP; or, as if the notification were lost, by what that does in the database without it."""
    digest = digest_of(deployment, kind, name)
    if notified:
        deployment.apis[0].post("/api/revocations", {"digest": digest, "reason": "A test."})
        return digest
    with psycopg.connect(deployment.superuser) as connection:
        connection.execute("update withdrawal_revisions set rev = rev + 1 where tenant = 'default'")
        connection.execute(
            "insert into withdrawals (tenant, id, mode, kind, name, version, digest, reason, set_by)"
            " values ('default', %s, 'revoke', %s, %s, 1, %s, 'A test.', 'ada')",
            (uuid4(), kind, name, digest),
        )
    return digest


def reinstate(deployment: Deployment, digest: str) -> None:
    deployment.apis[0].post(f"/api/revocations/{digest}/reinstate", {"reason": "A test."})


def revoked_at(deployment: Deployment, digest: str) -> float:
    query = "select extract(epoch from set_at)::float8 from withdrawals where digest = %s and lifted_at is null"
    return deployment.rows(query, digest)[0][0]


def refused_after(deployment: Deployment, digest: str) -> list[float]:
    """Of each web process, seconds from the revocation of `idle` until it refuses to start it."""
    began = revoked_at(deployment, digest)

    def refuses(api: Api) -> float:
        while True:
            try:
                api.post("/api/blueprints/idle/runs", {"input": {}, "queue": deployment.queues[0]})
            except Conflict:
                return time.time() - began
            assert time.time() - began < WORST_S

    with ThreadPoolExecutor(len(deployment.apis)) as pool:
        return list(pool.map(refuses, deployment.apis))


class Streams:
    """Runs that write number after number through the connector, one for each worker; each number is another one."""

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self.runs: list[UUID] = []
        self.numbers: list[int] = []

    def begin(self) -> list[UUID]:
        """Start one more per worker, and wait until each writes."""
        begun: list[UUID] = []
        for queue in self.deployment.queues:
            numbers = list(range(len(self.numbers), len(self.numbers) + ITEMS))
            self.numbers += numbers
            asked = {"input": {"numbers": numbers}, "queue": queue}
            begun.append(self._started(asked))
        self.runs += begun
        query = "select count(distinct run_id) from effects where run_id = any(%s) and state = 'DONE'"
        self.deployment.until(lambda: self.deployment.rows(query, begun) == [(len(begun),)], "every stream flows")
        return begun

    def _started(self, asked: dict[str, object]) -> UUID:
        """A start, as soon as the process knows that the last revocation was taken back."""
        began = time.monotonic()
        while True:
            try:
                return UUID(self.deployment.apis[0].post("/api/blueprints/stream/runs", asked)["run_id"])
            except Conflict:
                if time.monotonic() - began > WORST_S:
                    raise

    def stopped_after(self, digest: str, runs: list[UUID]) -> list[float]:
        """Of each of these runs, seconds from the revocation until it stopped. It wrote nothing after that."""
        query = """
            select extract(epoch from r.waiting_since - w.set_at)::float8,
                   (select count(*) from effects e where e.run_id = r.id and e.state = 'DONE'
                    and e.intent_at > r.waiting_since)
            from runs r join withdrawals w on w.digest = r.waiting_ref and w.lifted_at is null
            where r.id = any(%s) and r.waiting_kind = 'revoked' and r.waiting_ref = %s"""

        def all_stopped() -> bool:
            ended = self.deployment.rows("select id from runs where id = any(%s) and status = 'SUCCEEDED'", runs)
            assert not ended, f"{len(ended)} of the streams had written all before the revocation was known"
            return len(self.deployment.rows(query, runs, digest)) == len(runs)

        self.deployment.until(all_stopped, "every stream stops")
        found = self.deployment.rows(query, runs, digest)
        assert [late for _, late in found] == [0] * len(runs)
        return [took for took, _ in found]

    def ended(self) -> None:
        """Wait until all have ended, and see that each number was written, once."""
        query = "select count(*) from runs where id = %s and status = 'SUCCEEDED'"
        for run in self.runs:  # each has its own time: there may be thousands of writes to go
            self.deployment.until(lambda run=run: self.deployment.rows(query, run) == [(1,)], "every stream ends")
        assert self.deployment.written() == self.numbers


@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
def test_a_revocation_reaches_every_process(deployment: Deployment, notified: bool) -> None:
    show(deployment, 2, notified=notified)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
def test_twenty_revocations_reach_every_process(deployment: Deployment, notified: bool) -> None:
    show(deployment, 20, notified=notified)


def show(deployment: Deployment, changes: int, *, notified: bool) -> None:
    deployment.clear()
    streams, web, workers = Streams(deployment), [], []
    for _ in range(changes):
        idle = revoke(deployment, "blueprint", "idle", notified=notified)
        web += refused_after(deployment, idle)
        begun = streams.begin()
        ledger = revoke(deployment, "connector", "ledger", notified=notified)
        workers += streams.stopped_after(ledger, begun)
        for digest in (idle, ledger):
            reinstate(deployment, digest)
    streams.ended()
    for what, took in (("two web processes", web), ("two workers", workers)):
        print(f"\n{what}, {'notified' if notified else 'notifications lost'}: a revocation is effective after {said(took)};"
              f" {len(streams.numbers)} writes, none lost or doubled")  # fmt: skip
        assert within_promise(took)


def test_all_that_stopped_go_on_with_another_version_in_one_action(deployment: Deployment) -> None:
    deployment.clear()
    streams = Streams(deployment)
    begun = streams.begin()
    digest = revoke(deployment, "connector", "ledger")
    streams.stopped_after(digest, begun)
    deployment.apply(ledger=SECOND)
    answer = deployment.apis[1].post(f"/api/revocations/{digest}/repin", {"reason": "A test."})
    assert (answer["repinned"], answer["left"]) == (2, [])
    streams.ended()
    assert {str(row[0]) for row in deployment.rows("select run_id from repins")} == {str(run) for run in begun}
    by_version = (
        "select connector_digest = %s, count(*) > 0 from effects where run_id = any(%s) and state = 'DONE' group by 1"
    )
    assert dict(deployment.rows(by_version, digest, begun)) == {True: True, False: True}


def test_every_process_tells_how_old_what_it_knows_is(deployment: Deployment) -> None:
    found = {d["name"]: d for d in deployment.apis[0].get("/health/dependencies")["items"]}["withdrawn versions"]
    assert (found["state"], found["serving"]) == ("up", False)
    assert found["age_s"] <= 10
    for worker in deployment.workers:
        _, text = ask_unix(worker, "/metrics")
        age = next(line for line in text.decode().splitlines() if line.startswith("stanchion_withdrawals_age_seconds "))
        assert float(age.split()[1]) <= 10
