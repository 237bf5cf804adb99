"""One seed: processes, people and faults around the engine's own code, and what the checkers say afterwards."""

from __future__ import annotations

import gc
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import psycopg

from stanchion.approvals import GovernVerb
from stanchion.base import Problem
from stanchion.blueprints import LOGIC_GATE, TRANSFORM
from stanchion.runs import StepCall
from stanchion.tools import LOOKUP, PUSH
from tests.simulation.checkers import Violation, check
from tests.simulation.clients import Clients
from tests.simulation.faults import Faults
from tests.simulation.loop import Loop, Stuck, current_process
from tests.simulation.machine import Machine, SchedulerMachine, SimClock, WebMachine, WorkerMachine
from tests.simulation.store import SimServer
from tests.simulation.transitions import Transitions
from tests.simulation.work import SIGNAL, WORK, Log, Signals
from tests.simulation.workload import TENANTS, Order, Workload
from tests.simulation.world import Bank

# Seconds after the faults end within which everything must have come to its end.
DRAIN_S: Final = 150.0
_SPECS: Final = (TRANSFORM, LOGIC_GATE, GovernVerb(), LOOKUP, PUSH, WORK, SIGNAL)
# Problems that our own database's absence explains.
_EXPECTED: Final = frozenset({"db.unavailable", "db.pool_exhausted"})


@dataclass(slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    violations: list[Violation]
    steps: int
    workers: int
    faults: Counter[str]
    transitions: Counter[str]
    callbacks: int
    virtual_s: float
    effects: int
    fingerprint: str
    trace: list[str] = field(default_factory=list[str])


class Simulation:
    """Everything there is in one seed."""

    def __init__(self, seed: int, *, trace: bool = False) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        draw = self.rng.getrandbits
        self.chaos_s = self.rng.uniform(12.0, 17.5)
        self.loop = Loop(random.Random(draw(64)))
        self.faults = Faults(random.Random(draw(64)), self.chaos_s)
        deadly = sum(event.kind == "run that kills its worker" for event in self.faults.events)
        self.workload = Workload(random.Random(draw(64)), self.chaos_s, deadly)
        self.client_rng = random.Random(draw(64))
        self.log = Log(self.loop.time)
        self.bank = Bank(self.loop, self.log, self.faults, random.Random(draw(64)))
        self.transitions = Transitions(self)
        self.server = SimServer(
            SimClock(self.loop),
            random.Random(draw(64)),
            context=self.faults.context,
            watch=self.transitions.changed,
        )
        for tenant in TENANTS:
            self.server.insert("tenants", name=tenant, display_name=tenant)
        self.signals = Signals()
        # How far machines' clocks may be off. Who asks, who decides and who expires an approval go by their own.
        self.skew_s = self.rng.choice((3.0, 3.0, 3.0, 3.0, 3.0, 30.0))
        self.defects: list[str] = []
        self.trace: list[str] | None = [] if trace else None
        self.machines: list[Machine] = []
        self.workers: dict[int, WorkerMachine] = {}
        self.started_workers = 0
        self.web: WebMachine | None = None
        self.capacity = self.rng.choice((3, 8, 64))
        self.specs = _SPECS
        self.orders: dict[str, Order] = {order.name: order for order in self.workload.orders}
        self.killed: Counter[str] = Counter()
        self.healed = False
        self.stopping = False
        self.drained = False
        for order in self.workload.orders:
            self.bank.orders[order.name] = {
                "order": order.name,
                "place": "payment",
                "amount": order.amounts.get(order.name, 0),
                "tenant": order.tenant,
            }
        self.clients = Clients(self)

    # --- what processes and people use

    def note(self, what: str, *facts: object) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():9.4f} {what} {' '.join(map(str, facts))}")

    @property
    def deaths(self) -> int:
        """How many workers died of a fault."""
        return sum(isinstance(m, WorkerMachine) and m.exit.done() and m.exit.result() == -9 for m in self.machines)

    def expected(self, error: BaseException) -> None:
        """Note an error that reached the edge of a process; one that no fault explains is a defect."""
        if isinstance(error, psycopg.OperationalError):
            return
        if isinstance(error, Problem) and error.code in _EXPECTED:
            return
        self.defects.append(f"unexpected at the edge: {error!r}")

    def kills(self, call: StepCall) -> bool:
        """Whether this step kills the process it runs in."""
        order = self.orders[str(call.config["order"])]
        process = current_process()
        if process is None or self.killed[order.name] >= order.deadly:
            return False
        self.killed[order.name] += 1
        self.faults.hit("run that kills its worker")
        self.loop.kill(process)
        return True

    def start_probation(self, parent: WorkerMachine, worker: UUID) -> WorkerMachine:
        """A child of a worker that executes runs on probation."""
        self.started_workers += 1
        return WorkerMachine(self, f"probation{self.started_workers}", parent=parent, probation_of=worker)

    # --- the processes

    async def _keep_worker(self, place: int) -> None:
        while not self.stopping:
            self.started_workers += 1
            machine = self.workers[place] = WorkerMachine(self, f"worker{self.started_workers}")
            self.note("started", machine.name)
            code = await machine.exit
            self.note("ended", machine.name, code)
            await self.loop.sleep(0.2 + 2.0 * self.rng.random())

    async def _keep_web(self) -> None:
        number = 0
        while not self.stopping:
            number += 1
            self.web = WebMachine(self, f"web{number}")
            await self.web.exit
            await self.loop.sleep(0.2 + self.rng.random())

    # --- faults at their times

    async def _chaos(self) -> None:
        for event in self.faults.events:
            await self.loop.sleep(max(0.0, event.at - self.loop.time()))
            if self.healed:
                return
            self._strike(event.kind)

    def _strike(self, kind: str) -> None:
        self.note("fault", kind)
        living = [w for w in self.workers.values() if w.alive and not w.process.paused and w.link.cut is None]
        rng = self.faults.rng
        if kind == "server restart":
            self.server.restart()
            self.faults.down_until = self.loop.time() + rng.uniform(0.05, 1.5)
        elif kind == "session terminated":
            if not self.server.terminate(rng, listening=rng.random() < 0.5):
                return
        elif kind == "target refuses for a while":
            self.bank.refusing_until = self.loop.time() + rng.uniform(1.0, 6.0)
            return  # counted where it is felt
        elif kind == "client process crash":
            if self.web is None or not self.web.alive:
                return
            self.web.crash()
        elif kind == "run that kills its worker" or not living:
            return
        else:
            busiest = max(living, key=lambda worker: worker.worker.running)
            self._strike_worker(kind, busiest if rng.random() < 0.6 else rng.choice(living), rng)
            return
        self.faults.hit(kind)

    def _strike_worker(self, kind: str, worker: WorkerMachine, rng: random.Random) -> None:
        if kind == "worker crash at a callback":
            # Counted when it dies: it may end before.
            worker.process.dies_at = worker.process.steps + rng.randint(1, 600)
            worker.process.on_death.append(lambda: self._died_at_callback(worker))
            return
        self.faults.hit(kind)
        if kind == "worker crash":
            worker.crash()
        elif kind == "worker paused past its lease":
            self.loop.pause(worker.process)
            self.loop.create_task(self._continue(worker, rng.uniform(9.0, 16.0)))
        elif kind == "worker drained":
            worker.drain()
        elif kind == "worker partitioned":
            worker.link.cut = self.loop.create_future()
            self.loop.create_task(self._reconnect(worker, rng.uniform(3.0, 16.0)))

    def _died_at_callback(self, worker: WorkerMachine) -> None:
        if worker.process.steps == worker.process.dies_at:
            self.faults.hit("worker crash at a callback")

    async def _continue(self, worker: WorkerMachine, seconds: float) -> None:
        await self.loop.sleep(seconds)
        self.loop.resume(worker.process)

    async def _reconnect(self, worker: WorkerMachine, seconds: float) -> None:
        await self.loop.sleep(seconds)
        self._uncut(worker)

    @staticmethod
    def _uncut(worker: WorkerMachine) -> None:
        if worker.link.cut is not None:
            worker.link.cut.set_result(None)
            worker.link.cut = None

    def _heal(self) -> None:
        self.note("healed")
        self.healed = True
        self.faults.on = False
        self.bank.refusing_until = -1.0
        for machine in self.machines:
            machine.process.dies_at = -1
            if machine.process.paused:
                self.loop.resume(machine.process)
            if isinstance(machine, WorkerMachine):
                self._uncut(machine)

    # --- the course of a seed

    async def main(self) -> None:
        """Chaos, then calm, then an orderly stop."""
        loop = self.loop
        for place in range(self.rng.choice((2, 2, 3))):
            loop.create_task(self._keep_worker(place))
        loop.create_task(self._keep_web())
        if self.rng.random() < 0.5:
            SchedulerMachine(self, "scheduler")
        self.clients.begin()
        loop.create_task(self._chaos())
        await loop.sleep(self.chaos_s)
        self._heal()
        calm, deadline = 0, loop.time() + DRAIN_S
        while calm < 3 and loop.time() < deadline:
            await loop.sleep(0.5)
            calm = calm + 1 if self._settled() else 0
        self.drained = calm >= 3
        self.note("drained" if self.drained else "not drained")
        await self._stop()

    def _settled(self) -> bool:
        if self.clients.busy:
            return False
        ended = ("SUCCEEDED", "FAILED", "CANCELLED")
        return all(row["status"] in ended for row in self.server.rows("runs"))

    async def _stop(self) -> None:
        self.stopping = True
        workers = [w for w in self.machines if isinstance(w, WorkerMachine) and w.alive]
        for worker in workers:
            worker.drain()
        for _ in range(100):
            if all(worker.exit.done() for worker in workers):
                return
            await self.loop.sleep(0.5)
        self.defects.append(f"not drained: {[w.name for w in workers if not w.exit.done()]}")

    def outcome(self) -> Outcome:
        """Run to the end and look at everything."""
        stuck = ""
        try:
            self.loop.run(self.main())
        except Stuck as error:
            stuck = str(error)
        violations = check(self, stuck)
        loop = self.loop
        fingerprint = f"{loop.steps}-{loop.time():.9f}-{self.log.next()}-{loop._rng.getrandbits(32):08x}"
        return Outcome(
            seed=self.seed,
            violations=violations,
            steps=len(self.log.entries),
            workers=sum(isinstance(machine, WorkerMachine) for machine in self.machines),
            faults=self.faults.hits,
            transitions=self.transitions.counts,
            callbacks=loop.steps,
            virtual_s=loop.time(),
            effects=sum(received.applied for received in self.bank.ledger),
            fingerprint=fingerprint,
            trace=self.trace or [],
        )

    def close(self) -> list[str]:
        """Take everything down; return what tasks of the living raised without being heard."""
        return self.loop.close([machine.process for machine in self.machines])


def simulate(seed: int, *, trace: bool = False) -> Outcome:
    """Simulate one seed. The garbage collector stands still meanwhile: what it would finish, and when, is chance."""
    gc.disable()
    sim = Simulation(seed, trace=trace)
    try:
        outcome = sim.outcome()
        outcome.violations += [Violation(checker="defects", run_id=None, reason=text) for text in sim.close()]
        return outcome
    finally:
        gc.enable()
