"""`stanchion serve worker`: claims and executes BlueprintRuns.

A run that killed two workers is executed alone in a child process of the worker (probation), so that a third death
blames exactly one run and takes no other with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from uuid import UUID

from stanchion.bootstrap.env import build_env, opened
from stanchion.bootstrap.worker import built_worker, calls_by
from stanchion.context import Env
from stanchion.controls import kills, withdrawals
from stanchion.processes.boot import Boot, boot_said, write_boot
from stanchion.processes.calling import calling
from stanchion.processes.database import overrides_for, required_urls
from stanchion.processes.health import HealthServer, Needs
from stanchion.processes.isolation import confine
from stanchion.processes.lifecycle import calm_collector, keep_secrets, run_process
from stanchion.processes.logs import configure_logs
from stanchion.processes.needs import database_and
from stanchion.runs import Worker


def main(boot: Boot) -> int:
    """Serve until asked to stop (on probation: until nothing is left); the exit code."""
    confine(boot.settings)
    configure_logs(boot.settings.telemetry)

    async def serve(stop: asyncio.Event) -> int:
        return await _serve(boot, stop)

    return run_process(serve, grace_s=boot.settings.worker.grace_s)


async def _serve(boot: Boot, stop: asyncio.Event) -> int:
    settings = boot.settings

    async def probation(worker: UUID) -> int:
        return await _spawn_probation(boot, worker)

    async with opened(build_env(settings, required_urls(settings, "worker"), process=boot.name)) as env:
        spawn = None if boot.probation_of else probation
        async with (
            calling(env, settings, boot.private.ticket) as broker,
            kills.kept(env, role="engine") as switches,
            withdrawals.kept(env, role="engine") as withdrawn,
            built_worker(
                env,
                settings,
                name=boot.name,
                spawn=spawn,
                probation_of=boot.probation_of,
                switches=switches,
                withdrawn=withdrawn,
                adapters=calls_by(broker),
            ) as worker,
            HealthServer(boot.socket_path, env.telemetry, _needs(env, worker)),
        ):
            keep_secrets()
            calm_collector()
            serving = asyncio.create_task(worker.run())
            env.telemetry.emit("process.started")
            asked = asyncio.create_task(stop.wait())
            await asyncio.wait({serving, asked}, return_when=asyncio.FIRST_COMPLETED)
            asked.cancel()
            if stop.is_set():
                env.telemetry.emit("process.stopping")
                await worker.drain(settings.worker.grace_s)
            await serving
    return 0


def _needs(env: Env, worker: Worker) -> Needs:
    def registered() -> Mapping[str, str]:
        return {"registration": "" if worker.registered.is_set() else "the worker is not registered"}

    return database_and(env, "engine", registered)


async def _spawn_probation(boot: Boot, worker: UUID) -> int:
    """Run one child of this worker on probation; its exit code (negative: the signal that killed it)."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stanchion", "serve", "worker", "--supervised",
        stdin=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    overrides = overrides_for(required_urls(boot.settings, "worker"), str(boot.settings.data))
    said = boot_said(overrides, config=boot.config, name=f"{boot.name}-probation", probation_of=worker)
    try:
        if child.stdin is not None:
            child.stdin.write(write_boot(said, boot.private.ticket))
        return await child.wait()
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            await child.wait()
