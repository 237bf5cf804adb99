"""The people outside: they start runs, decide approvals, cancel, look after dead letters and unknown effects.

They live in the world and never die; what they call may, and then they do not know the outcome. What they asked and
what they were answered is noted here, and only that is what the checkers hold the engine to.
"""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import psycopg

from stanchion import approvals, runs
from stanchion.approvals import Verdict
from stanchion.base import Json, Problem
from stanchion.context import Actor, Ctx
from stanchion.runs import StepCall
from stanchion.tools import effects
from tests.simulation.machine import Gone, WebMachine
from tests.simulation.workload import Order

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

ResultT = TypeVar("ResultT")

# What a decision is answered that comes after another one, or too late.
_OVERTAKEN = frozenset({"approval.decided", "approval.expired", "approval.cancelled"})
# Codes of answers that mean "try again": nothing was decided, or it is not known.
_AGAIN = frozenset({"db.unavailable", "db.pool_exhausted"})


@dataclass(slots=True)
class Decision:
    """What somebody said about an approval. `outcome`: `ok`, a problem's code, or `info` where no answer came."""

    seq: int
    at: float
    approval_id: UUID
    run_id: UUID
    path: str
    shown: list[Json]
    verdict: Verdict
    by: Actor
    quoted: str
    outcome: str = "info"


@dataclass(slots=True)
class Told:
    """What somebody did to a run or an effect: cancelled, requeued, retried, discarded, resolved it."""

    seq: int
    what: str
    target: UUID
    outcome: str = "info"


class Clients:
    """All the people of one seed."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.rng = sim.client_rng
        self.decisions: list[Decision] = []
        self.told: list[Told] = []
        self.busy = 0
        self._seen: dict[UUID, None] = {}
        self._requeued: dict[UUID, int] = {}
        self._retried: dict[UUID, int] = {}
        self._looked: dict[tuple[str, UUID], None] = {}

    def begin(self) -> None:
        """Everybody begins."""
        for order in self.sim.workload.orders:
            self._task(self._start(order))
            if order.twice:
                self._task(self._start(order, again=True))
            if order.cancel_after is not None:
                self._task(self._cancel(order))
        self.sim.signals.on_ask.append(self._asked)
        self.sim.loop.create_task(self._watch())

    def _asked(self, call: StepCall, ref: str) -> None:
        # Called by a worker's own code: what people do about it is theirs.
        claim = call.claim
        contextvars.Context().run(self._task, self._sign(claim.tenant, claim.run_id, call.path, ref))

    def _task(self, coro: Any) -> None:
        self.busy += 1
        self.sim.loop.create_task(self._counted(coro))

    async def _counted(self, coro: Any) -> None:
        try:
            await coro
        finally:
            self.busy -= 1

    # --- calling

    async def ask(self, actor: Actor, verb: Callable[[WebMachine, Ctx], Awaitable[ResultT]]) -> ResultT:
        """Call a verb through whichever web process lives. Raises Problem, or Gone for no answer."""
        web = self.sim.web
        if web is None or not web.alive:
            await self.sim.loop.sleep(0.3)
            raise Gone
        try:
            return await web.call(actor, verb)
        except psycopg.Error as error:  # answered as an internal error: the outcome is not known
            self.sim.expected(error)
            raise Gone from error
        except Problem as problem:
            if problem.code in _AGAIN:
                raise Gone from problem
            raise

    async def insist(
        self, actor: Actor, verb: Callable[[WebMachine, Ctx], Awaitable[ResultT]], times: int = 1_000
    ) -> ResultT:
        """Call until there is an answer. Raises Problem, or Gone after `times`."""
        for left in range(times, 0, -1):
            try:
                return await self.ask(actor, verb)
            except Gone:
                if left == 1:
                    raise
                await self.sim.loop.sleep(0.1 + self.rng.random())
        raise Gone

    # --- starting and cancelling

    async def _start(self, order: Order, *, again: bool = False) -> None:
        sim = self.sim
        await sim.loop.sleep(order.at + (self.rng.choice((0.0, 0.01, 3.0)) if again else 0.0))

        async def start(web: WebMachine, ctx: Ctx) -> runs.Started:
            return await web.starter.start(
                ctx, order.blueprint, order.input, idempotency_key=order.name, priority=len(order.name) % 3
            )

        try:
            started = await self.insist(order.by, start, 1 if order.gives_up else 1_000)
        except Gone:
            return
        order.answers.append(str(started.run_id))
        sim.note("accepted", order.name, started.run_id)

    async def _cancel(self, order: Order) -> None:
        sim = self.sim
        await sim.loop.sleep(order.at)
        for _ in range(200):
            if order.answers or sim.healed:
                break
            await sim.loop.sleep(0.2)
        if not order.answers:
            return
        await sim.loop.sleep(order.cancel_after or 0.0)
        target = UUID(order.answers[0])
        if order.cancel_item:
            items = [row["id"] for row in sim.server.rows("runs") if row["parent_id"] == target]
            target = self.rng.choice(items) if items else target
        told = self._tell("cancel", target)

        async def cancel(web: WebMachine, ctx: Ctx) -> object:
            return await runs.cancel(ctx, web.notifier, target, reason="no longer wanted", hook=web.hook)

        await self._answered(told, order.by, cancel)

    def _tell(self, what: str, target: UUID) -> Told:
        told = Told(self.sim.log.next(), what, target)
        self.told.append(told)
        return told

    async def _answered(self, told: Told, actor: Actor, verb: Callable[[WebMachine, Ctx], Awaitable[object]]) -> bool:
        try:
            await self.insist(actor, verb)
            told.outcome = "ok"
        except Problem as problem:
            told.outcome = problem.code
        self.sim.note(told.what, told.target, told.outcome)
        return told.outcome == "ok"

    async def _sign(self, tenant: str, run_id: UUID, path: str, ref: str) -> None:
        """Give a sign that a run waits for, or is about to."""
        sim = self.sim
        await sim.loop.sleep(self.rng.random() * self.rng.choice((0.04, 0.04, 2.0)))
        sim.signals.given[run_id, path] = None

        async def sign(web: WebMachine, ctx: Ctx) -> bool:
            async with ctx.tx() as tx:
                return await runs.wake(tx, tenant, run_id, runs.WaitingKind.APPROVAL, ref)

        woke = await self.insist(self._operator(tenant), sign)
        sim.note("signed", run_id, path, woke)

    # --- looking around

    async def _watch(self) -> None:
        """People look at what waits for them, twice a second."""
        sim = self.sim
        while True:
            await sim.loop.sleep(0.5)
            for row in sim.server.rows("approvals"):
                if row["status"] == "PENDING" and row["id"] not in self._seen:
                    self._seen[row["id"]] = None
                    self._task(self._decide(row))
            for row in sim.server.rows("runs"):
                if row["status"] == "FAILED" and row["parent_id"] is None and row["discarded_at"] is None:
                    self._look_at_failure(row)
            for row in sim.server.rows("effects"):
                if row["state"] == "UNKNOWN" and row["idempotency"] == "none" and self._once("effect", row["id"]):
                    self._task(self._settle(row))

    def _once(self, what: str, target: UUID) -> bool:
        if (what, target) in self._looked:
            return False
        self._looked[what, target] = None
        return True

    def _operator(self, tenant: str) -> Actor:
        return self.sim.workload.people[tenant]["olga"]

    def _look_at_failure(self, row: Mapping[str, Any]) -> None:
        run_id = row["id"]
        if row["dead_reason"] is not None:
            if self._once("dead", run_id):
                self._task(self._requeue(row))
        elif self._retried.get(run_id, 0) == 0:
            self._retried[run_id] = 1
            if self.rng.random() < 0.5:
                self._task(self._retry(row))

    async def _requeue(self, row: Mapping[str, Any]) -> None:
        sim, run_id = self.sim, row["id"]
        await sim.loop.sleep(self.rng.random() * 2.0)
        times = self._requeued[run_id] = self._requeued.get(run_id, 0) + 1
        hopeless = times > 2 and row["dead_reason"] in ("work.fatal", "for_each.item_failed")
        what = "discard" if hopeless or times > 8 else "requeue"

        async def act(web: WebMachine, ctx: Ctx) -> object:
            if what == "discard":
                return await runs.discard(ctx, run_ids=[run_id], reason="cannot be helped")
            return await runs.requeue(ctx, web.notifier, run_ids=[run_id], reason="once more")

        await self._answered(self._tell(what, run_id), self._operator(row["tenant"]), act)
        self._looked.pop(("dead", run_id), None)

    async def _retry(self, row: Mapping[str, Any]) -> None:
        run_id = row["id"]
        await self.sim.loop.sleep(self.rng.random() * 3.0)

        async def retry(web: WebMachine, ctx: Ctx) -> object:
            return await runs.retry(ctx, web.notifier, run_id, reason="once more")

        await self._answered(self._tell("retry", run_id), self._operator(row["tenant"]), retry)

    async def _settle(self, row: Mapping[str, Any]) -> None:
        """Somebody asks the bank whether it happened, once nobody can still be performing it."""
        sim = self.sim
        await sim.loop.sleep(self.rng.random() * 2.0)
        while sim.bank.travelling.get(row["key"], 0) or self._performing(row):
            await sim.loop.sleep(0.5)
        happened = any(received.key == row["key"] and received.applied for received in sim.bank.ledger)

        async def resolve(web: WebMachine, ctx: Ctx) -> object:
            evidence = "the bank's own ledger"
            return await effects.resolve(ctx, row["id"], happened=happened, evidence=evidence, attempt=row["attempts"])

        await self._answered(self._tell("resolve", row["id"]), self._operator(row["tenant"]), resolve)
        self._looked.pop(("effect", row["id"]), None)

    def _performing(self, row: Mapping[str, Any]) -> bool:
        """Whether a living process is still in that step: a paused worker may yet send what it meant to."""
        alive = {machine.name for machine in self.sim.machines if machine.alive}
        return any(entry.process in alive for entry in self.sim.log.open.get((row["run_id"], row["path"]), ()))

    # --- approvals

    async def _decide(self, row: Mapping[str, Any]) -> None:
        sim, rng = self.sim, self.rng
        subject = str(row["facts"]["order"])
        order = sim.orders[subject.partition(".")[0]]
        habit = order.habits[subject] if row["attempt"] == 1 else "approve"
        team = sim.workload.people[row["tenant"]]
        others = [team[name] for name in ("ann", "bob", "cara", "dan") if team[name].principal != row["requested_by"]]
        await sim.loop.sleep(rng.random() * 3.0)
        if habit == "ignore":
            return
        if habit == "self":
            await self._say(row, Verdict.APPROVE, order.by)
        if habit == "other":
            await self._say(row, Verdict.APPROVE, rng.choice(others), quoted="sha256:" + "0" * 64)
        if habit == "twice":
            self._task(self._say(row, Verdict.REJECT, rng.choice(others)))
        await self._say(row, Verdict.REJECT if habit == "reject" else Verdict.APPROVE, rng.choice(others))

    async def _say(self, row: Mapping[str, Any], verdict: Verdict, by: Actor, quoted: str | None = None) -> None:
        sim = self.sim
        said = Decision(
            sim.log.next(), sim.loop.time(), row["id"], row["run_id"], row["path"], list(row["shown"]), verdict, by,
            quoted or row["args_digest"],
        )  # fmt: skip
        self.decisions.append(said)

        async def decide(web: WebMachine, ctx: Ctx) -> object:
            return await approvals.decide(
                ctx, row["id"], verdict, reason="looked at it closely", args_digest=said.quoted, notifier=web.notifier
            )

        unsure = False
        while True:
            try:
                await self.ask(by, decide)
                said.outcome = "ok"
            except Gone:
                unsure = True
                await sim.loop.sleep(0.1 + self.rng.random())
                continue
            except Problem as problem:
                # After an answer that did not come this one does not tell what became of that request: what is decided
                # already may be by this very person, and one whose commit is still on its way may be called expired by a
                # web process whose clock is ahead, or cancelled.
                said.outcome = "info" if unsure and problem.code in _OVERTAKEN else problem.code
            sim.note("decided", row["id"], verdict.value, by.principal, said.outcome)
            return
