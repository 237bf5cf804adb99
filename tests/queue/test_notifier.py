"""Wake-ups are coalesced, throttled, and never fail their sender."""

from __future__ import annotations

import asyncio

import psycopg

from stanchion.queue import Listener, Notifier


async def heard(listener, n, timeout_s=60.0):
    got = []
    async for message in listener.messages(timeout_s):
        got.append(message)
        if len(got) == n:
            break
    return got


async def test_what_is_said_at_once_is_said_once(env):
    listener = await Listener.open(env, "app", ("stanchion_ready", "stanchion_runs", "stanchion_cancel"))
    notifier = Notifier(env, role="engine")
    run_id = env.ids.new()
    for _ in range(100):
        notifier.ready("default")
        notifier.changed(run_id, True)
    notifier.ready("other")
    notifier.cancelled(run_id)
    await notifier.flush()
    assert await heard(listener, 4) == [
        ("stanchion_ready", "default"),
        ("stanchion_ready", "other"),
        ("stanchion_runs", str(run_id)),
        ("stanchion_cancel", str(run_id)),
    ]
    await listener.close()


async def test_too_many_changes_are_told_as_all(env):
    listener = await Listener.open(env, "app", ("stanchion_runs",))
    notifier = Notifier(env, role="engine")
    for _ in range(500):
        notifier.changed(env.ids.new(), True)
    await notifier.flush()
    assert await heard(listener, 1) == [("stanchion_runs", "*")]
    await listener.close()


async def test_a_database_that_is_away_is_no_error_here(env, monkeypatch):
    from stanchion.queue import store

    async def fail(tx, messages):
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(store, "notify", fail)
    notifier = Notifier(env, role="engine")
    notifier.ready("default")
    await asyncio.wait_for(notifier.flush(), 60)
