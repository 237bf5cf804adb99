"""What one process knows of kill switches: how it learns of them, how old that may be, what asking costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from stanchion.base import Denied, Unavailable
from stanchion.controls import kills
from stanchion.controls.kills import NO_KILLS, Snapshot, kept
from stanchion.db import Database, DatabaseUrls
from tests.conftest import make_env
from tests.controls.kills.support import KINDS, Clock, make_tenants, person
from tests.support.deployment import said, within_promise

ROUNDS = 10


@pytest.fixture(autouse=True)
def tenants(database_urls) -> None:
    make_tenants(database_urls.owner)


async def until(condition, what: str, timeout_s: float = 60.0) -> float:
    """Seconds until `condition()` holds."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        assert loop.time() - began < timeout_s, what
        await asyncio.sleep(0.002)
    return loop.time() - began


@pytest.mark.parametrize("role", ["app", "engine"])
@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
async def test_a_kill_is_known_within_a_second(
    env, cluster, database_urls, role: str, notified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga, took = person(env), []
    since = datetime.now(UTC)
    if notified:  # and by nothing else
        monkeypatch.setattr(Snapshot, "every_s", 60.0)
    async with kept(env, role=role, notified=notified) as snapshot:
        if notified:
            with psycopg.connect(cluster.superuser(database_urls), autocommit=True) as server:
                await until(lambda: listens(server, since), "the process listens")
        for _ in range(ROUNDS):
            made = await kills.set_kill(olga, KINDS, "widget", "left", reason="It leaks.")
            took.append(await until(lambda: snapshot.blocked("acme", "widget", "left", None), "known"))
            await kills.lift_kill(olga, made.id, reason="Mended.")
            took.append(await until(lambda: not snapshot.blocked("acme", "widget", "left", None), "lifted"))
    print(f"\nknown after ({role}, {'notified' if notified else 'looks alone'}): {said(took)}")
    assert within_promise(took)


def listens(server: psycopg.Connection, since: datetime) -> bool:
    """Not the connection of the test before, which PostgreSQL may not have taken down yet."""
    query = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and query ilike 'listen %%kills%%' and backend_start > %s"
    )
    return server.execute(query, (since,)).fetchone() == (1,)


async def test_before_the_first_read_nobody_knows_so_everything_waits(env) -> None:
    snapshot = Snapshot(env, role="app")
    assert snapshot.any is True
    assert snapshot.age_s is None
    blocked = snapshot.blocked("acme", "blueprint", "triage", None)
    assert blocked is not None
    assert blocked.ref == "unread"
    with pytest.raises(Unavailable) as caught:
        snapshot.admit("acme", "blueprint", "triage", None)
    assert caught.value.code == "kill.unread"
    await snapshot.refresh()
    assert snapshot.blocked("acme", "blueprint", "triage", None) is None
    snapshot.admit("acme", "blueprint", "triage", None)


async def test_a_snapshot_that_is_too_old_begins_nothing_and_sends_nothing(db) -> None:
    clock = Clock()
    snapshot = Snapshot(make_env(db, clock=clock), role="app")
    await snapshot.refresh()
    clock.passed_s = kills.AGE_S_MAX
    snapshot.admit("acme", "blueprint", "triage", None)
    assert snapshot.blocked("acme", "connector", "casebook", None, strict=True) is None
    clock.passed_s = kills.AGE_S_MAX + 0.1
    with pytest.raises(Unavailable) as caught:
        snapshot.admit("acme", "blueprint", "triage", None)
    assert "5.1 s" in caught.value.message
    blocked = snapshot.blocked("acme", "connector", "casebook", None, strict=True)
    assert blocked is not None
    assert blocked.ref == "unread"
    assert snapshot.blocked("acme", "connector", "casebook", None) is None  # a read goes on with what is known
    await snapshot.refresh()
    snapshot.admit("acme", "blueprint", "triage", None)


async def test_a_slow_look_does_not_undo_what_a_later_one_learned(env, db, monkeypatch) -> None:
    """Found in CI: a look that had begun before another ended after it, and left its older state and its greater age."""
    olga, clock = person(env), Clock()
    snapshot = Snapshot(make_env(db, clock=clock), role="app")
    reads, open_ = asyncio.Event(), asyncio.Event()
    read = Snapshot._read

    async def held(self, tenant: str, rev: int):
        found = await read(self, tenant, rev)
        if not reads.is_set():
            reads.set()
            await open_.wait()
        return found

    monkeypatch.setattr(Snapshot, "_read", held)
    left = await kills.set_kill(olga, KINDS, "widget", "left", reason="It leaks.")
    slow = asyncio.create_task(snapshot.refresh())
    await reads.wait()
    await kills.lift_kill(olga, left.id, reason="Mended.")
    clock.passed_s = 60.0
    later = asyncio.create_task(snapshot.refresh())
    await asyncio.wait([later], timeout=0.2)  # it waits for the one before, or would end first
    open_.set()
    await asyncio.gather(slow, later)
    assert snapshot.age_s == 0.0
    assert snapshot.blocked("acme", "widget", "left", None) is None


async def test_while_the_database_is_away_the_snapshot_ages_and_says_so(database_urls) -> None:
    clock = Clock()
    async with Database(database_urls) as database:
        env = make_env(database, clock=clock)
        snapshot = Snapshot(env, role="app")
        await snapshot.look()
        nowhere = DatabaseUrls(app="postgresql://nobody@127.0.0.1:1/x", engine="postgresql://nobody@127.0.0.1:1/x")
        async with Database(nowhere, acquire_timeout_s=0.2) as away:
            snapshot._env = replace(env, db=away)
            clock.passed_s = 6.0
            await snapshot.look()
            assert b"stanchion_kills_age_seconds 6.0" in env.telemetry.expose()
            with pytest.raises(Unavailable):
                snapshot.admit("acme", "blueprint", "triage", None)
        snapshot._env = env
        await snapshot.look()
        assert b"stanchion_kills_age_seconds 0.0" in env.telemetry.expose()
        snapshot.admit("acme", "blueprint", "triage", None)


async def test_asking_costs_no_query_and_looking_costs_one(env, monkeypatch) -> None:
    olga = person(env)
    made = await kills.set_kill(olga, KINDS, "widget", "left", reason="It leaks.")
    snapshot = Snapshot(env, role="app")
    await snapshot.refresh()
    asked: list[str] = []
    connection = env.db.connection

    def counted(role: str):
        asked.append(role)
        return connection(role)

    monkeypatch.setattr(env.db, "connection", counted)
    for _ in range(100):
        with pytest.raises(Denied):
            snapshot.admit("acme", "widget", "left", None)
        snapshot.admit("beta", "widget", "left", None)
        assert snapshot.blocked("acme", "widget", "left", None, strict=True) is not None
    assert asked == []
    await snapshot.refresh()
    assert asked == ["app"]
    await kills.lift_kill(olga, made.id, reason="Mended.")
    asked.clear()
    await snapshot.refresh()
    assert asked == ["app", "app"]  # the number, and the one tenant in which something changed


async def test_a_look_that_runs_out_of_time_goes_on_where_it_was(env, monkeypatch) -> None:
    snapshot, both = Snapshot(env, role="engine"), (person(env), person(env, "bob", "beta"))
    made = [await kills.set_kill(one, KINDS, "widget", "left", reason="It leaks.") for one in both]
    in_force, left = kills.store.in_force, 0

    async def slow(tx, tenant: str):
        nonlocal left
        left -= 1
        if left < 0:
            raise TimeoutError
        return await in_force(tx, tenant)

    async def looks(known: bool) -> None:
        nonlocal left
        for _ in range(10):  # time for one tenant each
            left = 1
            await snapshot.look()
        assert snapshot.age_s is not None
        assert all(bool(snapshot.blocked(one.tenant, "widget", "left", None)) is known for one in both)

    monkeypatch.setattr(kills.store, "in_force", slow)
    await looks(True)
    for one, kill in zip(both, made, strict=True):
        await kills.lift_kill(one, kill.id, reason="Mended.")
    await looks(False)


async def test_without_switches_nothing_is_killed() -> None:
    assert NO_KILLS.any is False
    assert NO_KILLS.blocked("acme", "blueprint", "triage", None, strict=True) is None
    NO_KILLS.admit("acme", "blueprint", "triage", None)


async def test_a_look_that_meets_a_defect_of_ours_is_told_and_looks_go_on(
    env, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task that ended unseen would leave what is known to age, and every write to be refused, without a word."""
    monkeypatch.setattr(Snapshot, "every_s", 0.01)
    looks = 0

    async def breaks(_: Snapshot) -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise KeyError("a defect")

    monkeypatch.setattr(Snapshot, "refresh", breaks)
    async with kept(env, role="engine", notified=False):
        await until(lambda: looks > 3, "it looks again")
    assert "a defect" in capsys.readouterr().out
