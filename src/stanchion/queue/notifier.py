"""Sending wake-ups, throttled. Nothing waits for it and nothing fails by it."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

import psycopg

from stanchion.base import Problem
from stanchion.context import Env
from stanchion.queue import store

# Wake-ups per process: a few at once (a lone run must not wait for the throttle), then one per 5 ms, since every NOTIFY
# costs every listener a look. Progress of runs, which people watch, is told less often.
THROTTLE_S: Final = 0.005
BURST: Final = 4
PROGRESS_S: Final = 0.25
# A payload may have 8000 bytes; 200 ids of 36 characters and a comma fit. More changes are told as `*`.
IDS_MAX: Final = 200
# A process that told nothing for so long may tell within the transaction itself, which saves a round trip. Commits that
# NOTIFY follow one another through a lock of the whole server; under load nobody is alone, and nobody takes it.
QUIET_S: Final = THROTTLE_S


class Notifier:
    """Coalesces wake-ups of one process. `role` is the database role whose connections it may use."""

    def __init__(self, env: Env, *, role: str) -> None:
        self._env = env
        self._role = role
        self._queues: set[str] = set()
        self._runs: set[UUID] = set()
        self._progress: set[UUID] = set()
        self._progress_due = 0.0
        self._cancels: set[UUID] = set()
        self._free_at = float("-inf")
        self._told_at = float("-inf")
        self._poke = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def ready(self, queue: str) -> None:
        """Something became ready in `queue`."""
        self._queues.add(queue)
        self._start()

    def changed(self, run_id: UUID, ended: bool) -> None:
        """Run `run_id` changed; `ended` (or began to wait) is told at once, progress a little later."""
        if ended:
            self._progress.discard(run_id)
            self._runs.add(run_id)
            self._start()
        elif run_id not in self._progress:
            if not self._progress:
                self._progress_due = self._env.clock.monotonic() + PROGRESS_S
            self._progress.add(run_id)
            if self._task is None:
                self._start()

    def cancelled(self, run_id: UUID) -> None:
        """Run `run_id` is to be broken off by whichever worker holds it."""
        self._cancels.add(run_id)
        self._start()

    def within(self, run_id: UUID | None = None) -> bool:
        """Whether the caller may tell within its own transaction now (`pg_notify`), and need not call `ready` or
        `changed` then: only when nothing else is to be told and nothing was for QUIET_S. `run_id` is the run whose
        end is told so."""
        now = self._env.clock.monotonic()
        if self._urgent() or now - self._told_at < QUIET_S:
            return False
        self._told_at = now
        if run_id is not None:
            self._progress.discard(run_id)
        return True

    async def flush(self) -> None:
        """Wait until everything said so far is sent or given up."""
        while self._task is not None:
            self._progress_due = 0.0
            self._poke.set()
            await asyncio.wait([self._task])

    def _urgent(self) -> bool:
        return bool(self._queues or self._runs or self._cancels)

    def _start(self) -> None:
        self._poke.set()
        if self._task is None:
            self._task = asyncio.create_task(self._drain())

    async def _drain(self) -> None:
        clock = self._env.clock
        try:
            while self._urgent() or self._progress:
                self._poke.clear()
                now = clock.monotonic()
                if self._progress and now >= self._progress_due:
                    self._runs |= self._progress
                    self._progress.clear()
                if not self._urgent():
                    await self._rest(self._progress_due - now)
                    continue
                # A bucket of BURST: `_free_at` is when the next wake-up would be due if they came evenly.
                self._free_at = max(self._free_at, now - BURST * THROTTLE_S)
                if self._free_at > now:
                    await clock.sleep(self._free_at - now)
                self._free_at += THROTTLE_S
                self._told_at = clock.monotonic()
                await self._send(self._take())
        finally:
            self._task = None

    async def _rest(self, seconds: float) -> None:
        """Return after `seconds`, or as soon as something more pressing than progress was said."""
        waits = {asyncio.ensure_future(self._env.clock.sleep(seconds)), asyncio.ensure_future(self._poke.wait())}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _take(self) -> list[tuple[str, str]]:
        messages = [("stanchion_ready", queue) for queue in sorted(self._queues)]
        if self._runs:
            ids = ",".join(map(str, self._runs)) if len(self._runs) <= IDS_MAX else "*"
            messages.append(("stanchion_runs", ids))
        messages += [("stanchion_cancel", str(run_id)) for run_id in self._cancels]
        self._queues.clear()
        self._runs.clear()
        self._cancels.clear()
        return messages

    async def _send(self, messages: list[tuple[str, str]]) -> None:
        if not messages:
            return
        try:
            async with self._env.db.connection(self._role) as tx:
                await store.notify(tx, messages)
        except (psycopg.Error, Problem):
            return  # a lost wake-up costs at most the second until the next look
