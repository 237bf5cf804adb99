"""Waiting for a run's end: looked at once it is told of, and found also when nobody told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from stanchion.queue import Notifier
from stanchion.runs import store, watching
from stanchion.runs.watching import Watcher, ended_within
from tests.runs.test_flow import one_probe


@pytest.fixture
async def watcher(world, monkeypatch) -> AsyncIterator[Watcher]:
    """One that hears already, as that of a process which serves, and does not look by itself while a test lasts."""
    monkeypatch.setattr(watching, "POLL_S", 60.0)
    monkeypatch.setattr("stanchion.queue.notifier.PROGRESS_S", 60.0)  # nor is it told of a slow run's progress
    watcher = Watcher(world.env)
    async with watcher.watch(world.ctx.tenant, uuid4()):
        await world.eventually(lambda: watcher.hears)
    yield watcher
    await watcher.close()


@pytest.fixture
def looks(monkeypatch) -> list[UUID]:
    """The runs whose state was asked for."""
    asked: list[UUID] = []
    select = store.select_status

    async def counted(tx, tenant, run_id):
        asked.append(run_id)
        return await select(tx, tenant, run_id)

    monkeypatch.setattr(watching.store, "select_status", counted)
    return asked


async def test_a_run_that_was_started_while_the_process_hears_is_looked_at_when_it_is_told_of(world, watcher, looks):
    name = world.resolver.add(one_probe("heard"))
    async with world.worker():
        run_id = await world.start(name)
        assert await ended_within(world.ctx, watcher, run_id, 30, heard=True)
    assert looks == [run_id]


async def test_what_is_told_before_anybody_watches_is_not_missed(world, watcher, looks):
    name = world.resolver.add(one_probe("told-before"))
    async with world.worker():
        run_id = await world.ended(await world.start(name))
        await world.eventually(lambda: str(run_id["id"]) in watcher._told)
    assert await ended_within(world.ctx, watcher, run_id["id"], 30, heard=True)
    assert looks == [run_id["id"]]


async def test_a_run_of_which_nobody_told_is_found_all_the_same(world, looks):
    watcher = Watcher(world.env)
    watcher._tell = lambda payload: None
    async with watcher.watch(world.ctx.tenant, uuid4()):
        await world.eventually(lambda: watcher.hears)
    run_id = await world.start(world.resolver.add(one_probe("untold")))
    async with world.worker():
        assert await ended_within(world.ctx, watcher, run_id, 30, heard=True)
    await watcher.close()
    assert run_id in looks


async def test_the_last_look_is_at_the_deadline_and_says_what_is_so(world, watcher, looks):
    run_id = await world.start(world.resolver.add(one_probe("nobody-works")))
    assert not await ended_within(world.ctx, watcher, run_id, 0.01, heard=True)
    assert not await ended_within(world.ctx, watcher, run_id, 0)
    assert looks.count(run_id) >= 2


async def test_look_at_all_is_remembered_for_who_begins_to_watch(world, watcher):
    notifier = Notifier(world.env, role="app")
    for _ in range(300):  # more than a message may name
        notifier.changed(uuid4(), ended=True)
    await notifier.flush()
    await world.eventually(lambda: watcher._all_told_at > float("-inf"))
    async with watcher.watch(world.ctx.tenant, uuid4()) as event:
        assert event.is_set()


async def test_a_listener_says_when_it_stands_and_when_no_more(world):
    said: list[bool] = []

    watcher = Watcher(world.env)
    watcher._stands = said.append
    async with watcher.watch(world.ctx.tenant, uuid4()):
        await world.eventually(lambda: said == [True])
        async with world.env.db.connection("app") as tx:
            await tx.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen stanchion_runs'"
                " and pid <> pg_backend_pid() and usename = current_user"
            )
        await world.eventually(lambda: said[:2] == [True, False])
        await world.eventually(lambda: said[:3] == [True, False, True])
    await watcher.close()
