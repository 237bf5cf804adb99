"""What real PostgreSQL cannot be made to do at will: commits with unknown outcome, dead clients, restarts, lost messages."""

from __future__ import annotations

import asyncio
import random
from uuid import UUID, uuid4

import psycopg
import pytest

from stanchion.base import SystemClock, Unavailable, dumps
from stanchion.db import execute
from stanchion.queue import store as queue
from stanchion.runs import store as runs
from stanchion.runs.engine import store as engine
from tests.simulation.loop import Loop
from tests.simulation.store import CalmLink, Commit, SimDatabase, SimServer, UnmodelledStatement, replaced


class Link(CalmLink):
    """A link whose next commits, requests and deliveries are told beforehand."""

    def __init__(self) -> None:
        self.commits: list[Commit] = []
        self.gate: asyncio.Future[None] | None = None
        self.refuse = self.cut_request = self.cut_reply = False
        self.delays = [0.0]

    async def connect(self) -> None:
        if self.refuse:
            raise psycopg.OperationalError("refused")

    async def request(self) -> None:
        if self.cut_request:
            raise psycopg.OperationalError("cut")

    async def commit(self) -> Commit:
        if self.gate is not None:
            await self.gate
        return self.commits.pop(0) if self.commits else Commit.OK

    async def reply(self) -> None:
        if self.cut_reply:
            raise psycopg.OperationalError("cut")

    def deliver(self, channel: str, payload: str) -> list[float]:
        return self.delays


class Process:
    """One simulated process."""

    def __init__(self, server: SimServer, **more: float) -> None:
        self.link = Link()
        self.db = SimDatabase(server, self.link, **more)  # type: ignore[arg-type]

    async def start(self, run_id: UUID) -> None:
        row = {"tenant": "acme", "id": run_id, "blueprint": "b", "version": 1, "pins": "p", "environment": "local"}
        row |= {"engine_v": 1, "queue": "default", "priority": 0, "path": "first", "verb": "push", "input": 1}
        pins = dumps([{"tenant": "acme", "digest": "p", "pins": []}])
        async with self.db.connection("app") as tx:
            await runs.insert_starts(
                tx, "acme", starts=dumps([row | {"requested_by": "ada"}]), pin_sets=pins, audits=b"[]"
            )

    async def cancel(self, run_id: UUID) -> None:
        async with self.db.tenant_tx("acme") as tx:
            await runs.request_cancel(tx, "acme", run_id, "no")


async def turns() -> None:
    """Let everything go on that does not wait for time: the simulated server knows no other wait."""
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> SimServer:
    server = SimServer(SystemClock(), random.Random(3))
    server.insert("tenants", name="acme", display_name="Acme")
    return server


@pytest.fixture
def one(server: SimServer) -> Process:
    return Process(server)


@pytest.fixture
def two(server: SimServer) -> Process:
    return Process(server)


@pytest.mark.parametrize(
    ("outcome", "stored", "error"),
    [
        (Commit.OK, True, None),
        (Commit.LOST_BEFORE, False, Unavailable),
        (Commit.LOST_AFTER, True, Unavailable),
        (Commit.REFUSED, False, psycopg.errors.SerializationFailure),
    ],
)
async def test_what_becomes_of_a_commit(server: SimServer, one: Process, outcome, stored, error) -> None:
    one.link.commits = [outcome]
    run_id = uuid4()
    if error is None:
        await one.start(run_id)
    else:
        with pytest.raises(error):
            await one.start(run_id)
    assert (server.row("runs", run_id) is not None) is stored
    await one.start(run_id)
    assert server.row("runs", run_id) is not None, "the process did not go on with a new session"


async def test_a_lost_request_did_not_run_and_a_lost_reply_did(server: SimServer, one: Process) -> None:
    first, second = uuid4(), uuid4()
    one.link.cut_request = True
    with pytest.raises(Unavailable):
        await one.start(first)
    one.link.cut_request, one.link.cut_reply = False, True
    with pytest.raises(Unavailable):
        await one.start(second)
    assert [row["id"] for row in server.rows("runs")] == [second]


async def test_a_commit_goes_on_when_its_client_has_died(server: SimServer, one: Process, two: Process) -> None:
    run_id = uuid4()
    one.link.gate = asyncio.get_running_loop().create_future()
    dying = asyncio.create_task(one.start(run_id))
    await asyncio.sleep(0)
    assert server.row("runs", run_id) is None
    one.db.kill()
    one.link.gate.set_result(None)
    with pytest.raises(Unavailable):
        await dying
    assert server.row("runs", run_id) is not None


async def test_the_death_of_a_process_frees_its_locks(server: SimServer, one: Process, two: Process) -> None:
    run_id = uuid4()
    await one.start(run_id)
    session = await one.db.dedicated("engine")
    assert await engine.try_session_lock(session, 7)
    block = one.db.tenant_tx("acme")
    tx = await block.__aenter__()
    await runs.lock_run(tx, "acme", run_id)
    waits = asyncio.create_task(two.cancel(run_id))
    await asyncio.sleep(0)
    assert not waits.done()
    one.db.kill()
    await asyncio.wait_for(waits, 60)
    other = await two.db.dedicated("engine")
    assert await engine.try_session_lock(other, 7)
    with pytest.raises(Unavailable):
        await block.__aexit__(None, None, None)


async def test_a_commit_holds_its_locks_until_it_is_applied(server: SimServer, one: Process, two: Process) -> None:
    run_id = uuid4()
    await one.start(run_id)
    one.link.gate = asyncio.get_running_loop().create_future()
    first = asyncio.create_task(one.cancel(run_id))
    await asyncio.sleep(0)
    second = asyncio.create_task(two.cancel(run_id))
    await turns()
    assert not second.done()
    assert server.row("runs", run_id)["rev"] == 1  # type: ignore[index]
    one.link.gate.set_result(None)
    await asyncio.gather(first, second)
    assert server.row("runs", run_id)["rev"] == 2, "a row that changed was not looked at again"  # type: ignore[index]


async def test_a_restart_ends_every_session_and_keeps_what_is_committed(server: SimServer, one: Process) -> None:
    run_id = uuid4()
    await one.start(run_id)
    listener = await one.db.dedicated("engine")
    await queue.listen(listener, "stanchion_ready")
    block = one.db.tenant_tx("acme")
    tx = await block.__aenter__()
    await runs.request_cancel(tx, "acme", run_id, "no")
    hears = asyncio.create_task(anext(listener.notifies()))
    await asyncio.sleep(0)
    server.restart()
    with pytest.raises(psycopg.OperationalError):
        await hears
    with pytest.raises(Unavailable):
        await block.__aexit__(None, None, None)
    assert server.row("runs", run_id)["cancel_reason"] is None  # type: ignore[index]
    await one.cancel(run_id)
    assert server.row("runs", run_id)["cancel_reason"] == "no"  # type: ignore[index]


async def test_a_commit_cut_short_by_a_restart_is_applied_or_not(server: SimServer) -> None:
    applied = set()
    for _ in range(20):
        process, run_id = Process(server), uuid4()
        process.link.gate = asyncio.get_running_loop().create_future()
        start = asyncio.create_task(process.start(run_id))
        await asyncio.sleep(0)
        server.restart()
        with pytest.raises(Unavailable):
            await start
        applied.add(server.row("runs", run_id) is not None)
    assert applied == {True, False}


async def test_a_session_that_stands_still_in_a_transaction_is_ended(server: SimServer, two: Process) -> None:
    run_id = uuid4()
    await two.start(run_id)
    session = server.connect("engine", CalmLink(), idle_s=0.02)
    session.begin()
    session.statement(("stanchion.runs.engine.store", "lock_claimed"), "", (run_id, 0))
    await asyncio.wait_for(two.cancel(run_id), 60)
    async with asyncio.timeout(60):
        while session.alive:
            await asyncio.sleep(0.01)
    assert isinstance(session.error, psycopg.errors.IdleInTransactionSessionTimeout)


def test_notifications_are_lost_late_or_doubled_by_the_link() -> None:
    """On the simulation's own loop, where a machine that stands still for a moment costs no time."""

    async def main() -> None:
        server = SimServer(SystemClock(), random.Random(3))
        server.insert("tenants", name="acme", display_name="Acme")
        one, two = Process(server), Process(server)
        listener = await two.db.dedicated("app")
        await queue.listen(listener, "stanchion_ready")

        async def told(delays: list[float]) -> list[str]:
            two.link.delays = delays
            async with one.db.connection("engine") as tx:
                await queue.notify(tx, [("stanchion_ready", "q"), ("stanchion_runs", "x")])
            return [n.payload async for n in listener.notifies(timeout=3)]

        assert await told([]) == []
        assert await told([0.0]) == ["q"]
        assert await told([0.0, 1.0]) == ["q", "q"]
        assert await told([5.0]) == []
        assert [n.payload async for n in listener.notifies(timeout=4)] == ["q"]

    Loop(random.Random(1)).run(main())


async def test_a_pool_has_its_limit_and_its_patience(server: SimServer) -> None:
    process = Process(server, engine_max=1, acquire_timeout_s=0.05)
    async with process.db.connection("engine"):
        with pytest.raises(Unavailable) as refused:
            async with process.db.connection("engine"):
                pass
        assert refused.value.code == "db.pool_exhausted"
        waits = asyncio.create_task(process.start(uuid4()))
        await waits
    async with process.db.connection("engine"):
        pass
    process.db.kill()
    process.link.refuse = True
    with pytest.raises(Unavailable):
        async with process.db.connection("engine"):
            pass


async def test_the_clients_cancel_ends_its_wait_and_not_its_commit(
    server: SimServer, one: Process, two: Process
) -> None:
    run_id = uuid4()
    await one.start(run_id)
    one.link.gate = asyncio.get_running_loop().create_future()
    commits = asyncio.create_task(one.cancel(run_id))
    await asyncio.sleep(0)
    waits = asyncio.create_task(two.cancel(run_id))
    await turns()
    for task in (waits, commits):
        task.cancel()
    await asyncio.sleep(0)
    assert waits.done()
    assert not commits.done()
    one.link.gate.set_result(None)
    for task in (waits, commits):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert server.row("runs", run_id)["rev"] == 2  # type: ignore[index]


async def test_a_client_cancelled_twice_leaves_its_connection_behind(server: SimServer, one: Process) -> None:
    run_id = uuid4()
    await one.start(run_id)
    gate = one.link.gate = asyncio.get_running_loop().create_future()
    commits = asyncio.create_task(one.cancel(run_id))
    await asyncio.sleep(0)
    for _ in range(2):
        commits.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await commits
    one.link.gate = None
    with pytest.raises(Unavailable):  # noqa: PT012 - the block is the transaction
        async with one.db.connection("app") as connection, connection.transaction():
            assert connection.session.alive
            assert connection.session.job is None, "the connection whose commit goes on was handed out again"
            one.db.kill()
    gate.set_result(None)
    await turns()
    assert server.row("runs", run_id)["cancel_reason"] == "no"  # type: ignore[index]
    assert server.locks.names() == []


async def test_a_statement_without_a_model_is_named(one: Process) -> None:
    with pytest.raises(UnmodelledStatement, match="select 42"):
        async with one.db.connection("engine") as tx:
            await execute(tx, "select 42")


async def test_a_model_can_be_replaced_for_a_while(server: SimServer, one: Process) -> None:
    with replaced("stanchion.runs.store", "insert_starts", lambda _: lambda tx, params: []):
        await one.start(uuid4())
    assert server.rows("runs") == []
    await one.start(uuid4())
    assert len(server.rows("runs")) == 1


async def test_a_watcher_sees_each_committed_row(server: SimServer, one: Process) -> None:
    seen: list[tuple[str, bool, bool]] = []
    server.watch = lambda table, before, after: seen.append((table, before is None, after is None))
    run_id = uuid4()
    await one.start(run_id)
    await one.cancel(run_id)
    assert ("runs", True, False) in seen
    assert seen[-1] == ("runs", False, False)
