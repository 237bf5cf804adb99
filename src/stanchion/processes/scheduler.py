"""`stanchion serve scheduler`: periodic verbs, by one leader; the others wait to take over.

The leader holds a session advisory lock on a connection of its own: when it dies, the database frees the lock, and
whichever scheduler asks next leads. A duty that raises runs again at its next time; no duty keeps another waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import psycopg

from stanchion.bootstrap.duties import Duty, build_duties
from stanchion.bootstrap.env import build_env, opened
from stanchion.context import Env
from stanchion.processes.boot import Boot
from stanchion.processes.database import required_urls
from stanchion.processes.health import HealthServer
from stanchion.processes.isolation import confine
from stanchion.processes.lifecycle import keep_secrets, run_process
from stanchion.processes.logs import configure_logs
from stanchion.processes.needs import database_and

# The advisory lock of all schedulers of one database ("stan" in ASCII, then 2).
LEADER_LOCK = 0x7374616E_00000002
_ASK_S = 1.0
_GRACE_S = 5.0


def main(boot: Boot) -> int:
    """Serve until asked to stop; the exit code."""
    confine(boot.settings)
    configure_logs(boot.settings.telemetry)

    async def serve(stop: asyncio.Event) -> int:
        return await _serve(boot, stop)

    return run_process(serve, grace_s=_GRACE_S)


async def _serve(boot: Boot, stop: asyncio.Event) -> int:
    settings = boot.settings
    async with (
        opened(build_env(settings, required_urls(settings, "scheduler"), process=boot.name)) as env,
        HealthServer(boot.socket_path, env.telemetry, database_and(env, "engine", dict)),
    ):
        keep_secrets()
        env.telemetry.emit("process.started")
        leading = asyncio.create_task(lead(env, build_duties(env, settings)))
        await stop.wait()
        env.telemetry.emit("process.stopping")
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
    return 0


async def lead(env: Env, duties: Sequence[Duty]) -> None:
    """Become the leader and do the duties, for ever; again after the connection was lost."""
    while True:
        try:
            connection = await env.db.dedicated("engine")
        except psycopg.OperationalError as error:
            env.telemetry.emit("duty.failed", 1.0, duty="leader", error=str(error))
            await env.clock.sleep(_ASK_S)
            continue
        try:
            await _led(env, connection, duties)
        except psycopg.Error as error:
            env.telemetry.emit("duty.failed", 1.0, duty="leader", error=str(error))
        finally:
            await connection.close()
        await env.clock.sleep(_ASK_S)


async def _led(env: Env, connection: psycopg.AsyncConnection[object], duties: Sequence[Duty]) -> None:
    while True:
        cursor = await connection.execute("select pg_try_advisory_lock(%s)", (LEADER_LOCK,))
        row = await cursor.fetchone()
        if row is not None and row[0] is True:  # type: ignore[index]
            break
        await env.clock.sleep(_ASK_S)
    running = [asyncio.create_task(_repeat(env, duty)) for duty in duties]
    try:
        while True:  # as long as the connection lives, the lock is ours
            await connection.execute("select 1")
            await env.clock.sleep(_ASK_S)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _repeat(env: Env, duty: Duty) -> None:
    while True:
        began = env.clock.monotonic()
        failed = ""
        try:
            await duty.run(env)
        except Exception as error:  # noqa: BLE001 - a duty that fails must not end the others; it is reported
            failed = f"{type(error).__name__}: {error}"
        if _is_cancelled():
            # A cancel that meets a statement or a connect in flight can come out as an error, or not at all.
            raise asyncio.CancelledError
        if failed:
            env.telemetry.emit("duty.failed", 1.0, duty=duty.name, error=failed)
        await env.clock.sleep(max(0.05, duty.every_s - (env.clock.monotonic() - began)))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
