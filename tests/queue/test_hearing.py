"""Hearing goes on after a lost connection, and says once that it was lost."""

from __future__ import annotations

import asyncio

from stanchion.queue import hear, store


async def test_a_lost_connection_is_made_anew_and_reported_once(env, monkeypatch) -> None:
    reports: list[str] = []
    emit = env.telemetry.emit

    def emitted(event: str, *rest: object, **facts: object) -> None:
        reports.append(event)
        emit(event, *rest, **facts)

    monkeypatch.setattr(env.telemetry, "emit", emitted)
    opened, heard = [], asyncio.Queue()
    original = env.db.dedicated

    async def dedicated(role: str):
        opened.append(role)
        if len(opened) in (2, 3):
            raise OSError("away")
        return await original(role)

    monkeypatch.setattr(env.db, "dedicated", dedicated)
    task = asyncio.create_task(hear(env, "app", ("stanchion_runs",), heard.put_nowait, retry_s=0.01))

    async def told(payload: str) -> None:
        async with asyncio.timeout(60):
            while heard.empty():
                async with env.db.connection("engine") as tx:
                    await store.notify(tx, [("stanchion_runs", payload)])
                await asyncio.sleep(0.01)
            while not heard.empty():
                assert heard.get_nowait() == payload

    try:
        await told("first")
        async with env.db.connection("app") as tx:
            await tx.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query ilike 'listen%' and usename = current_user and pid <> pg_backend_pid()"
            )
        async with asyncio.timeout(60):
            while len(opened) < 4:
                await asyncio.sleep(0.01)
        while not heard.empty():
            heard.get_nowait()
        await told("second")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert reports.count("duty.failed") == 1
