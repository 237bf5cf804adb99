"""What one process knows of withdrawn versions: how it learns of them, how old that may be, whose they are."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import psycopg
import pytest

from stanchion.base import Conflict, Unavailable
from stanchion.controls import withdrawals
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Mode, Snapshot, kept
from stanchion.db import DatabaseUrls
from stanchion.runs import Pin
from tests.conftest import make_env
from tests.controls.kills.support import Clock, make_tenants, person
from tests.support.deployment import said, within_promise

ROUNDS = 10
DIGEST = "sha256:" + "a" * 64
PIN = Pin(kind="connector", name="ledger", version=3, digest=DIGEST)


@pytest.fixture
def database_urls(fresh_database_urls: DatabaseUrls) -> DatabaseUrls:
    """A database per test: revisions stay."""
    return fresh_database_urls


@pytest.fixture(autouse=True)
def tenants(database_urls) -> None:
    make_tenants(database_urls.owner)


async def put(ctx, mode: Mode = Mode.REVOKE, digest: str = DIGEST):
    async with ctx.tx() as tx:
        return await withdrawals.put(
            tx, ctx, mode, kind="connector", name="ledger", version=3, digest=digest, reason="It is wrong."
        )


async def lift(ctx, mode: Mode = Mode.REVOKE):
    async with ctx.tx() as tx:
        return await withdrawals.lift(tx, ctx, mode, DIGEST, reason="It is right.")


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
async def test_a_revocation_is_known_within_a_second(
    env, cluster, database_urls, role: str, notified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    olga, took = person(env), []
    since = datetime.now(UTC)
    if notified:  # and by nothing else
        monkeypatch.setattr(Snapshot, "every_s", 60.0)
    async with kept(env, role=role, notified=notified) as known:
        if notified:
            with psycopg.connect(cluster.superuser(database_urls), autocommit=True) as server:
                await until(lambda: listens(server, since), "the process listens")
        for _ in range(ROUNDS):
            await put(olga)
            took.append(await until(lambda: known.stopped("acme", (DIGEST,)), "known"))
            assert await lift(olga) is not None
            took.append(await until(lambda: not known.stopped("acme", (DIGEST,)), "lifted"))
    print(f"\nknown after ({role}, {'notified' if notified else 'looks alone'}): {said(took)}")
    assert within_promise(took)


def listens(server: psycopg.Connection, since: datetime) -> bool:
    """Not the connection of the test before, which PostgreSQL may not have taken down yet."""
    query = (
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and query ilike 'listen %%withdrawals%%' and backend_start > %s"
    )
    return server.execute(query, (since,)).fetchone() == (1,)


async def test_a_snapshot_that_is_too_old_begins_nothing_and_sends_nothing(env) -> None:
    clock = Clock()
    known = Snapshot(make_env(env.db, clock=clock), role="app")
    assert (known.any, known.age_s) == (True, None)
    with pytest.raises(Unavailable):
        known.admit("acme", [PIN])
    await known.refresh()
    assert known.any is False
    clock.passed_s = withdrawals.AGE_S_MAX
    known.admit("acme", [PIN])
    assert known.stopped("acme", (DIGEST,), strict=True) is None
    clock.passed_s = withdrawals.AGE_S_MAX + 0.1
    with pytest.raises(Unavailable) as caught:
        known.admit("acme", [PIN])
    assert (caught.value.code, "5.1 s" in caught.value.message) == ("release.unread", True)
    stopped = known.stopped("acme", (DIGEST,), strict=True)
    assert stopped is not None
    assert stopped.ref == withdrawals.UNREAD
    assert known.stopped("acme", (DIGEST,)) is None  # what only reads goes on


async def test_a_look_that_fails_leaves_what_is_known_and_asks_at_every_use(env, monkeypatch) -> None:
    known = Snapshot(env, role="app")
    await known.look()
    assert known.any is False

    async def away(_) -> None:
        raise psycopg.OperationalError

    monkeypatch.setattr(withdrawals.store, "revision", away)
    await known.look()
    assert known.any is True
    assert known.stopped("acme", (DIGEST,)) is None
    monkeypatch.undo()
    await known.look()
    assert known.any is False


async def test_a_look_that_runs_out_of_time_goes_on_where_it_was(env, monkeypatch) -> None:
    known = Snapshot(env, role="engine")
    await put(person(env))
    await put(person(env, "bob", "beta"))
    in_force, left = withdrawals.store.in_force, 0

    async def slow(tx, tenant: str):
        nonlocal left
        left -= 1
        if left < 0:
            raise TimeoutError
        return await in_force(tx, tenant)

    monkeypatch.setattr(withdrawals.store, "in_force", slow)
    for _ in range(2):  # time for one tenant each
        left = 1
        await known.look()
    assert known.age_s is not None
    assert known.stopped("acme", (DIGEST,)) is not None
    assert known.stopped("beta", (DIGEST,)) is not None
    assert await lift(person(env)) is not None
    assert await lift(person(env, "bob", "beta")) is not None
    for _ in range(3):
        left = 1
        await known.look()
    assert known.stopped("acme", (DIGEST,)) is None
    assert known.stopped("beta", (DIGEST,)) is None


async def test_a_tenants_withdrawals_are_its_own(env) -> None:
    known = Snapshot(env, role="engine")
    await put(person(env, "bob", "beta"))
    await known.refresh()
    assert known.stopped("acme", (DIGEST,)) is None
    known.admit("acme", [PIN])
    assert known.stopped("beta", ("sha256:x", DIGEST)) is not None
    async with person(env).tx() as tx:
        assert await withdrawals.find(tx, "acme", Mode.REVOKE, DIGEST) is None
        assert await withdrawals.listed(tx, "acme", Mode.REVOKE, lifted=True, before=None, limit=5) == []
        await tx.execute("update withdrawals set reason = 'ours'")
        assert await (await tx.execute("select count(*) from withdrawals")).fetchone() == (0,)


async def test_what_is_drained_stops_starts_and_no_step_and_a_revocation_goes_first(env) -> None:
    olga, known = person(env), Snapshot(env, role="app")
    await put(olga, Mode.DRAIN)
    await known.refresh()
    assert known.any is True
    assert known.stopped("acme", (DIGEST,)) is None
    with pytest.raises(Conflict) as caught:
        known.admit("acme", [PIN])
    assert caught.value.code == "release.drained"
    await put(olga)
    await known.refresh()
    stopped = known.stopped("acme", (DIGEST,))
    assert stopped is not None
    assert stopped.text.startswith("connector/ledger@3 was revoked by olga")
    with pytest.raises(Conflict) as caught:
        known.admit("acme", [PIN])
    assert (caught.value.code, caught.value.fields["digest"]) == ("release.revoked", DIGEST)
    for mode in Mode:
        with pytest.raises(Conflict) as caught:
            await put(olga, mode)
        assert caught.value.code == f"release.already_{'revoked' if mode is Mode.REVOKE else 'drained'}"
        assert await lift(olga, mode) is not None
        assert await lift(olga, mode) is None


def test_without_withdrawals_nothing_stops() -> None:
    assert NO_WITHDRAWALS.any is False
    assert NO_WITHDRAWALS.stopped("acme", (DIGEST,), strict=True) is None
    NO_WITHDRAWALS.admit("acme", [PIN])
