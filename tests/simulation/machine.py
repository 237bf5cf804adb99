"""Simulated processes: a worker, a web process, the scheduler; each with its own clock, ids, randomness and network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import psycopg

from stanchion.approvals import ApprovalCheck, GovernHandler, PendingApprovals, expire_due
from stanchion.base import Problem
from stanchion.context import Actor, Ctx, Env, Environment
from stanchion.queue import Notifier
from stanchion.runs import Starter, TransformHandler, Worker, sweeping
from stanchion.tools import EffectPort, LookupHandler, PushHandler
from tests.simulation.blueprints import resolver
from tests.simulation.faults import FaultyLink
from tests.simulation.loop import Loop, Process
from tests.simulation.store import SimDatabase
from tests.simulation.work import SignalHandler, Watched, WorkHandler
from tests.simulation.world import SimulatedAdapter, SimulatedAdapters

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

ResultT = TypeVar("ResultT")

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
GRACE_S: Final = 6.0
_NO_SPAN: Final = nullcontext()


class SimClock:
    """Virtual time as one machine's clock shows it: off by `offset_s`, fast or slow by `drift`."""

    def __init__(self, loop: Loop, offset_s: float = 0.0, drift: float = 0.0) -> None:
        self._loop = loop
        self._start = EPOCH + timedelta(seconds=offset_s)
        self._rate = 1.0 + drift
        self._seen = -1.0
        self._shown = self._start

    def now(self) -> datetime:
        now = self._loop.now
        if now != self._seen:  # it is asked far more often than time moves
            self._seen = now
            self._shown = self._start + timedelta(seconds=now * self._rate)
        return self._shown

    def monotonic(self) -> float:
        return self._loop.now * self._rate

    async def sleep(self, seconds: float) -> None:
        await self._loop.sleep(max(0.0, seconds) / self._rate)


class SimIds:
    """UUIDv7 from seeded randomness, increasing within the process."""

    def __init__(self, clock: SimClock, rng: random.Random) -> None:
        self._clock = clock
        self._bits = rng.getrandbits
        self._last = 0

    def new(self) -> UUID:
        ms = int(self._clock.now().timestamp() * 1000)
        self._last = max(self._last + 1, ms << 12)
        head = self._last
        return UUID(int=((head >> 12) << 80) | (0x7 << 76) | ((head & 0xFFF) << 64) | (0b10 << 62) | self._bits(62))

    def secret(self, n: int) -> bytes:
        return self._bits(8 * n).to_bytes(n)


class SimTelemetry:
    """Keeps what the engine calls a defect, and nothing else."""

    def __init__(self, defects: list[str]) -> None:
        self._defects = defects

    def emit(self, event: str, value: float = 1.0, /, *labels: str, **facts: object) -> None:
        if event == "defect":
            self._defects.append(f"{facts}")

    def span(self, name: str, traceparent: str | None = None, **attributes: str | int) -> Any:
        return _NO_SPAN


class AllowAll:
    """Authorisation is tested elsewhere; who may decide an approval is the approval's own rule and is in force."""

    def check(self, actor: Actor, action: str, resource: Any) -> None:
        return None


class Machine:
    """One simulated process: what it has, and how it ends."""

    def __init__(self, sim: Simulation, name: str, *, skewed: bool = False) -> None:
        self.sim = sim
        self.name = name
        self.process = Process(name)
        self.rng = random.Random(sim.rng.getrandbits(64))
        offset = drift = 0.0
        if skewed and self.rng.random() < 0.5 and sim.faults.on:
            offset = self.rng.uniform(-sim.skew_s, sim.skew_s)
            sim.faults.hit("clock skew")
        if skewed and self.rng.random() < 0.4 and sim.faults.on:
            drift = self.rng.uniform(-0.05, 0.05)
            sim.faults.hit("clock drift")
        self.clock = SimClock(sim.loop, offset, drift)
        self.link = FaultyLink(sim.loop, sim.faults, self.rng)
        self.db = SimDatabase(sim.server, self.link)
        self.link.deafen = self._deafen
        self.env = Env(
            db=self.db,
            clock=self.clock,
            ids=SimIds(self.clock, self.rng),
            rng=self.rng,
            telemetry=SimTelemetry(sim.defects),  # type: ignore[arg-type]
            authorizer=AllowAll(),
            environment=Environment(name="local", production=False),
        )
        self.exit: asyncio.Future[int] = sim.loop.create_future()
        self.process.on_death.append(self._died)
        sim.machines.append(self)

    def _deafen(self) -> bool:
        return self.sim.server.terminate(self.rng, listening=True, link=self.link)

    def begin(self, coro: Any) -> None:
        """Run the process's main task; its end is the process's."""
        task = self.sim.loop.spawn(self.process, coro)
        task.add_done_callback(self._ended, context=self.sim.faults.context)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        if self.exit.done():
            return
        failed = task.cancelled() or task.exception() is not None
        if failed and not task.cancelled():
            self.sim.defects.append(f"{self.name} ended by {task.exception()!r}")
        self.exit.set_result(1 if failed else 0)
        self.sim.loop.kill(self.process)

    def _died(self) -> None:
        self.db.kill()
        if not self.exit.done():
            self.exit.set_result(-9)

    def crash(self) -> None:
        """The process dies here and now, like by kill -9."""
        if not self.exit.done():
            self.exit.set_result(-9)
        self.sim.loop.kill(self.process)

    @property
    def alive(self) -> bool:
        return self.process.alive


class WorkerMachine(Machine):
    """`stanchion serve worker`."""

    def __init__(
        self, sim: Simulation, name: str, *, parent: WorkerMachine | None = None, probation_of: UUID | None = None
    ) -> None:
        super().__init__(sim, name, skewed=True)
        self.draining = False
        self.children: list[WorkerMachine] = []
        if parent is not None:
            parent.children.append(self)
        env = self.env
        adapters: Any = SimulatedAdapters(SimulatedAdapter(sim.bank, self.clock))
        self.effects = EffectPort(env, ApprovalCheck())
        handlers = (
            TransformHandler(),
            GovernHandler(),
            LookupHandler(adapters),
            PushHandler(adapters, self.effects),
            WorkHandler(sim.kills),
            SignalHandler(sim.signals),
        )
        self.worker = Worker(
            env,
            {handler.verb: Watched(handler, sim.log, name) for handler in handlers},
            resolver(),
            capacity=sim.capacity,
            specs=sim.specs,
            name=name,
            hook=PendingApprovals(env),
            spawn_probation=None if probation_of is not None else self._spawn,
            probation_of=probation_of,
        )
        self.begin(self._serve())

    async def _serve(self) -> None:
        await self.worker.run()
        await self.effects.flush()

    async def _spawn(self, worker: UUID) -> int:
        child = self.sim.start_probation(self, worker)
        try:
            return await asyncio.shield(child.exit)
        finally:
            if not child.exit.done():
                child.drain()
                await asyncio.shield(child.exit)

    def drain(self) -> None:
        """SIGTERM."""
        if self.alive and not self.draining:
            self.draining = True
            self.sim.loop.spawn(self.process, self.worker.drain(GRACE_S))

    def _died(self) -> None:
        super()._died()
        for child in self.children:
            child.crash()


class Gone(Exception):  # noqa: N818 - an event
    """The web process died, or its answer was lost: whoever asked does not know the outcome."""


class WebMachine(Machine):
    """`stanchion serve web`, as far as verbs are called through it."""

    def __init__(self, sim: Simulation, name: str) -> None:
        super().__init__(sim, name, skewed=True)
        self.notifier = Notifier(self.env, role="app")
        self.starter = Starter(self.env, resolver(), self.notifier)
        self.hook = PendingApprovals(self.env)

    async def call(self, actor: Actor, verb: Callable[[WebMachine, Ctx], Awaitable[ResultT]]) -> ResultT:
        """What `verb` answers to `actor`. Raises its Problem, or Gone."""
        if not self.alive:
            raise Gone
        task = self.sim.loop.spawn(self.process, self._served(verb(self, Ctx(env=self.env, actor=actor))))
        await asyncio.wait([task, self.exit], return_when=asyncio.FIRST_COMPLETED)
        if not task.done() or self.sim.faults.happens("answer to a client lost"):
            raise Gone
        answer = task.result()
        if isinstance(answer, Problem | psycopg.Error):
            raise answer
        return answer

    async def _served(self, made: Awaitable[ResultT]) -> ResultT | Problem | psycopg.Error:
        try:
            return await made
        except (Problem, psycopg.Error) as error:
            return error


class SchedulerMachine(Machine):
    """`stanchion serve scheduler`: the sweep and expiring approvals, each second."""

    def __init__(self, sim: Simulation, name: str) -> None:
        super().__init__(sim, name, skewed=True)
        self.notifier = Notifier(self.env, role="engine")
        self.begin(self._serve())

    async def _serve(self) -> None:
        hook = PendingApprovals(self.env)
        while True:
            try:
                for queue in await sweeping.sweep(self.env, hook):
                    self.notifier.ready(queue)
                await expire_due(self.env, self.notifier)
            except Exception as error:
                self.sim.expected(error)
            await self.clock.sleep(1.0)


__all__ = ["Gone", "Machine", "SchedulerMachine", "WebMachine", "WorkerMachine"]
