"""A worker's life: register, hear, tick, claim, drain.

A worker is a session: a connection of its own that holds a session lock (its death is known at once), hears wake-ups and
renews the lease, and a row with that lease on the database's clock (a partition is known after it). When the connection is lost
or the row says `lost`, everything in hand is abandoned, which is safe because every write is fenced (I3), and the
worker registers anew under a new id.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

import psycopg

from stanchion.base import Internal, Problem, Unavailable
from stanchion.blueprints import VerbSpec
from stanchion.context import Env
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.db import Tx
from stanchion.queue import Listener, Notifier
from stanchion.runs import fanout, sweeping
from stanchion.runs.engine import store
from stanchion.runs.engine.claiming import Claims
from stanchion.runs.engine.host import Host
from stanchion.runs.engine.plan import Plans
from stanchion.runs.engine.writer import CheckpointWriter
from stanchion.runs.tasks import end_tasks
from stanchion.runs.types import ENGINE_V, PinResolver, RunEndHook, StepHandler

# The lease, its renewal, and how often an idle worker looks around (reference/engine.md §3: recovery of a partition
# within the lease plus a second).
LEASE_S: Final = 10.0
BEAT_S: Final = 3.0
TICK_S: Final = 1.0
# Without an answer to any tick for as long as this, though the lease is renewed, a worker begins anew: it holds what it
# cannot execute. Longer than even a busy pool keeps a tick waiting.
DEAF_S: Final = 30.0
# Fan-outs that nobody looks after are the dearest question of a tick: ask each fifth time.
FANS_EVERY: Final = 5
# Sessions that met a defect within a lease of their beginning, one after the other, after which the process ends.
DEFECTS_MAX: Final = 5
_RECONNECT_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)
# Retries whose due time a worker remembers; the sweep finds the others within a second.
_TIMERS_MAX: Final = 1000

# What the database says where a duty can be done again in a moment: no connection is free, somebody else was in the way, or
# the database is away, which the connection of the session will tell.
_NOT_NOW: Final = (Unavailable, psycopg.OperationalError)
_AGAIN_S: Final = 0.1

SpawnProbation = Callable[[UUID], Awaitable[int]]


class SessionLost(Exception):  # noqa: N818 - an event, answered by registering anew
    """This worker's session ended, or the sweep declared it lost."""


class Worker:
    """Claims and executes runs of some queues until drained.

    Args:
        env: the process's Env; its database pool should allow 6 connections of role engine.
        handlers: verb -> handler. `specs`: of the same verbs; a verb whose effect is `write` is not broken off.
        resolver: loads pinned programs.
        queues: which queues to serve. `capacity`: runs held at once.
        hook: told when runs end by cancel or poison.
        spawn_probation: starts a child process that executes one run on probation for this worker (its id is passed)
            and returns the child's exit code. Without it such runs are executed here like any other.
        probation_of: in that child: the parent's id. Such a worker claims only runs on probation, one at a time, and
            `run` returns when there is none left.
        kills: the kill switches; a run whose Blueprint is killed waits before its next step.
        withdrawals: the revoked versions; a run waits before a step that would use one.
    """

    def __init__(
        self,
        env: Env,
        handlers: Mapping[str, StepHandler],
        resolver: PinResolver,
        *,
        queues: Sequence[str] = ("default",),
        capacity: int = 256,
        specs: Iterable[VerbSpec] = (),
        name: str = "worker",
        hook: RunEndHook | None = None,
        spawn_probation: SpawnProbation | None = None,
        probation_of: UUID | None = None,
        kills: Kills = NO_KILLS,
        withdrawals: Withdrawals = NO_WITHDRAWALS,
    ) -> None:
        self._env = env
        self._queues = tuple(queues)
        self._capacity = 1 if probation_of is not None else capacity
        self._name = name
        self._hook = hook
        self._spawn = spawn_probation
        self._probation_of = probation_of
        self._probation: asyncio.Task[None] | None = None
        self.notifier = Notifier(env, role="engine")
        self._host = Host(
            env=env,
            writer=CheckpointWriter(env, self.notifier.within),
            plans=Plans(handlers, specs),
            resolver=resolver,
            item_ended=self._item_ended,
            retry_in=self._retry_in,
            changed=self.notifier.changed,
            hook=hook,
            kills=kills,
            withdrawals=withdrawals,
        )
        self._claims = Claims(
            self._host,
            queues=self._queues,
            capacity=self._capacity,
            probation=probation_of is not None,
            any_strikes=probation_of is None and spawn_probation is None,
            hook=hook,
        )
        self._parents: dict[UUID, None] = {}
        self._parents_poke = asyncio.Event()
        self._timers: list[float] = []
        self._timers_poke = asyncio.Event()
        self._due = asyncio.Event()
        # Runs dropped since the last registration because the database went away, not they: id -> epoch of our claim.
        self._innocent: dict[UUID, int] = {}
        self._failures = 0
        self._defects = 0
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self.registered = asyncio.Event()

    @property
    def id(self) -> UUID:
        """This worker's id while it is registered; it changes with each registration."""
        return self._host.worker_id

    @property
    def running(self) -> int:
        """How many runs it holds."""
        return self._claims.running

    async def run(self) -> None:
        """Serve until `drain` is called (or, on probation, until there is nothing left to do).

        A session that is lost, or that meets a defect, is begun anew. Raises the defect if DEFECTS_MAX sessions in a
        row meet one at once: then another process may do better.
        """
        try:
            while not self._stopping.is_set():
                began = self._env.clock.monotonic()
                try:
                    await self._session()
                except (SessionLost, psycopg.OperationalError, Unavailable) as error:
                    self._failures = 0 if self.registered.is_set() else self._failures + 1
                    self._env.telemetry.emit("duty.failed", duty="worker session", error=repr(error))
                    await self._pause(self._failures, innocent=not isinstance(error, SessionLost))
                except Exception as error:  # a defect of one duty must not end the others for good
                    at_once = self._env.clock.monotonic() - began < LEASE_S
                    self._defects = self._defects + 1 if at_once else 1
                    self._env.telemetry.emit("defect", duty="worker session", error=repr(error))
                    if self._defects >= DEFECTS_MAX:
                        await self._give_up()
                        raise
                    await self._pause(self._defects)
        finally:
            await self._claims.abandon()
            self._stopped.set()

    async def _pause(self, failures: int, *, innocent: bool = False) -> None:
        """Drop everything in hand, and wait a little before the next session.

        `innocent`: the database or the way to it was lost, and no run in hand is to blame. Another worker may take us
        for dead meanwhile; the strikes that it then leaves are taken back with the next registration. (A run that
        holds up the whole process past its lease is not innocent: nothing was wrong with the database.)
        """
        self.registered.clear()
        dropped = await self._claims.abandon()
        if innocent:
            self._innocent |= dropped
        await self._env.clock.sleep(_RECONNECT_S[min(failures, len(_RECONNECT_S) - 1)])

    async def _give_up(self) -> None:
        """Hand back what can be handed back: the runs in hand are not to blame."""
        await self._claims.abandon()
        with contextlib.suppress(psycopg.Error, Problem):
            await self._close(self._host.worker_id)

    async def _close(self, worker: UUID) -> None:
        async with self._env.db.engine_tx() as tx:
            await retire(tx, worker)

    async def drain(self, grace_s: float = 20.0) -> None:
        """Stop claiming, finish or hand back what is in hand, and end the session, within `grace_s`.

        A step in hand may finish for 60 % of the grace; then it is broken off and its run handed back, PENDING at the
        same step; steps that write get another 20 %. Returns when `run` has returned.
        """
        self._host.draining = True
        self._drain_grace_s = grace_s
        self._stopping.set()
        await self._stopped.wait()

    # --- a session

    _drain_grace_s = 20.0

    async def _session(self) -> None:
        listener = await Listener.open(self._env, "engine", ("stanchion_ready", "stanchion_cancel"))
        try:
            await self._register(listener)
            duties = [
                asyncio.create_task(duty)
                for duty in (
                    self._hear(listener),
                    self._ticks(),
                    self._claims.loop(),
                    self._sweeps(),
                    self._advances(),
                    self._wakes(),
                    self._stopping.wait(),
                )
            ]
            try:
                done, _ = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if task.cancelled():
                        raise Internal("engine.defect", "A duty of the worker was cancelled, and not by the worker.")
                    task.result()
                # The claim loop must be gone before runs are handed back, fan-outs must go on until they are.
                await end_tasks([duties[2]])
                await self._leave()
            finally:
                await end_tasks(duties)
        finally:
            await listener.close()

    async def _register(self, listener: Listener) -> None:
        before = self._host.worker_id
        worker = self._env.ids.new()
        key = worker.int & ((1 << 63) - 1)
        if not await store.try_session_lock(listener.connection, key):
            raise SessionLost
        async with self._env.db.engine_tx() as tx:
            await store.register(
                tx,
                worker=worker,
                name=self._name,
                host=socket.gethostname(),
                pid=os.getpid(),
                engine_v=ENGINE_V,
                queues=self._queues,
                capacity=self._capacity,
                lock_key=key,
                probation_of=self._probation_of,
                lease_s=LEASE_S,
            )
            if before.int:
                await store.take_strikes_back(tx, list(self._innocent), list(self._innocent.values()))
                await retire(tx, before)
        self._innocent.clear()
        self._host.worker_id = worker
        self._env.telemetry.emit("worker.capacity", float(self._capacity))
        await self._sweep()
        self.registered.set()
        self._claims.poke()

    async def _leave(self) -> None:
        """Hand back, flush, and say so: the orderly end of a session."""
        worker = self._host.worker_id
        async with self._env.db.connection("engine") as tx:
            await store.set_worker_state(tx, worker, "draining")
        await self._claims.drained(self._drain_grace_s)
        await self._claims.abandon()
        await self._host.writer.flush()
        if self._probation is not None:
            await end_tasks([self._probation])
        await self._close(worker)
        for queue in self._queues:
            self.notifier.ready(queue)
        await self.notifier.flush()
        self.registered.clear()

    # --- duties of a session

    async def _hear(self, listener: Listener) -> None:
        """Hear wake-ups, and renew the lease between them, by a connection that nothing else asks for.

        A look around can take long (connections of the pool are waited for, and a sweep may have much to do), and a worker
        that is busy is not dead: measured, a sweep of 110 s.
        """
        while True:
            async for channel, payload in listener.messages(BEAT_S):
                if channel == "stanchion_cancel":
                    with contextlib.suppress(ValueError):  # anyone with the database's password may say anything here
                        self._claims.interrupt(UUID(payload), "cancel")
                elif payload in self._queues:
                    self._claims.poke()
            worker, running = self._host.worker_id, self._claims.running
            if not await store.beat(listener.connection, worker, running=running, lease_s=LEASE_S):
                raise SessionLost

    async def _ticks(self) -> None:
        count, heard = 0, self._env.clock.monotonic()
        while True:
            try:
                await self._tick(fans=count % FANS_EVERY == 0)
                heard = self._env.clock.monotonic()
            except Unavailable:
                if self._env.clock.monotonic() - heard > DEAF_S:
                    raise
            count += 1
            await self._env.clock.sleep(TICK_S)

    async def _tick(self, *, fans: bool) -> None:
        await self._claims.release_orphans()
        async with self._env.db.connection("engine") as tx:
            tick = await store.tick(
                tx,
                worker=self._host.worker_id,
                queues=self._queues,
                engine_v=ENGINE_V,
                fans=fans,
            )
        if tick.state not in ("live", "draining"):
            raise SessionLost
        self._env.telemetry.emit("worker.running", float(self._claims.running))
        for run_id in tick.cancels:
            self._claims.interrupt(run_id, "cancel")
        if tick.due:
            self._due.set()
        if self._probation_of is not None:
            self._end_probation(tick)
        elif tick.claimable or (tick.probation and self._spawn is None):
            self._claims.poke()
        if tick.probation and self._spawn is not None and self._probation is None:
            self._probation = asyncio.create_task(self._on_probation(self._spawn, self._host.worker_id))

    def _end_probation(self, tick: store.Tick) -> None:
        if tick.probation:
            self._claims.poke()
        elif self._claims.idle:
            self._host.draining = True
            self._stopping.set()

    async def _on_probation(self, spawn: SpawnProbation, worker: UUID) -> None:
        """Have runs that killed two workers executed apart, and testify if the child dies by itself."""
        try:
            if await spawn(worker) != 0:
                async with self._env.db.connection("engine") as tx:
                    await store.confirm_crash(tx, worker)
                await self._sweep()
        except Exception as error:  # noqa: BLE001 - a task of its own: begun again with the next tick
            self._env.telemetry.emit("duty.failed", duty="probation", error=repr(error))
        finally:
            self._probation = None

    async def _sweeps(self) -> None:
        """Sweep when a tick has seen something due; what cannot be done now, the next tick sees again."""
        while True:
            await self._due.wait()
            self._due.clear()
            with contextlib.suppress(*_NOT_NOW):
                await self._sweep()

    async def _sweep(self) -> None:
        """Sweep, unless another process is at it, and tell where something became ready."""
        for queue in await sweeping.sweep(self._env, self._hook):
            self._ready(queue)

    def _ready(self, queue: str) -> None:
        if queue in self._queues:
            self._claims.poke()
        self.notifier.ready(queue)

    async def _advances(self) -> None:
        """Look after fan-outs in which something ended or began to wait; many ends of one fan-out are one look."""
        while True:
            while self._parents:
                parent = next(iter(self._parents))
                del self._parents[parent]
                try:
                    queue = await fanout.advance(self._env, parent)
                except _NOT_NOW:
                    self._parents[parent] = None
                    await self._env.clock.sleep(_AGAIN_S)
                    continue
                if queue is not None:
                    self._ready(queue)
            self._parents_poke.clear()
            await self._parents_poke.wait()

    async def _wakes(self) -> None:
        """Wake suspended runs of ours at their due time; the sweep would find them within a second."""
        while True:
            self._timers_poke.clear()
            if not self._timers:
                await self._timers_poke.wait()
                continue
            pause = self._timers[0] - self._env.clock.monotonic()
            if pause > 0:
                await _first(self._env.clock.sleep(pause), self._timers_poke.wait())
                continue
            while self._timers and self._timers[0] <= self._env.clock.monotonic():
                heapq.heappop(self._timers)
            with contextlib.suppress(*_NOT_NOW):
                for queue in await sweeping.wake_due(self._env):
                    self._ready(queue)

    # --- what executions report

    def _item_ended(self, _tenant: str, parent: UUID) -> None:
        self._parents[parent] = None
        self._parents_poke.set()

    def _retry_in(self, seconds: float) -> None:
        if seconds <= 0:
            self._claims.poke()
        elif len(self._timers) < _TIMERS_MAX:
            # A hair later than the database's clock says, so that one look finds it due.
            heapq.heappush(self._timers, self._env.clock.monotonic() + seconds + 0.002)
            self._timers_poke.set()


async def _first(*waits: Awaitable[object]) -> None:
    """Return when the first of `waits` does."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end_tasks(tasks)


async def retire(tx: Tx, worker: UUID) -> int:
    """End the registration of a worker that lives, and give back what is still in its name.

    In this order: a claim of it that is still on its way in the database holds the worker's row until it has committed,
    and what it took is then seen. The other way round, such a run was left to a worker that is no more.
    """
    await store.set_worker_state(tx, worker, "stopped")
    return await store.hand_back_all(tx, worker)
