"""Planted defects: each takes away something that an invariant rests on. The checkers must see every one of them.

A mutant changes the engine's own code, or the model of one of its statements, for the length of a block. One that no
seed of the first two hundred catches would show that the checkers, the faults or the workload are blind to it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from unittest import mock

import orjson

from stanchion.approvals import rules as approval_rules
from stanchion.approvals.types import ApprovalStatus
from stanchion.runs import Starter
from stanchion.runs.engine import suspension
from stanchion.runs.engine.claiming import Claims
from stanchion.runs.engine.items import _Items
from stanchion.runs.engine.store import Written
from stanchion.runs.engine.worker import Worker
from stanchion.runs.engine.writer import CheckpointWriter
from stanchion.tools.effects import EffectPort
from stanchion.tools.effects import rules as effect_rules
from stanchion.tools.effects.ledger import Begun, Ledger
from stanchion.tools.effects.types import Next
from tests.simulation.store import replaced
from tests.simulation.store.statements import engine as engine_models

_ENGINE: Final = "stanchion.runs.engine.store"
_SWEEP: Final = "stanchion.runs.sweeping.store"
Model = Callable[[Any, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One planted defect: what it takes away, and which checkers may catch it."""

    name: str
    what: str
    caught_by: tuple[str, ...]
    plant: Callable[[], AbstractContextManager[Any]]

    @contextmanager
    def planted(self) -> Iterator[None]:
        """The defect is there within the block."""
        with self.plant():
            yield


MUTANTS: Final[dict[str, Mutant]] = {}


def mutant(what: str, *caught_by: str) -> Callable[[Callable[[], AbstractContextManager[Any]]], object]:
    """Register the decorated function, which plants the defect."""

    def register(plant: Callable[[], AbstractContextManager[Any]]) -> object:
        name = plant.__name__
        MUTANTS[name] = Mutant(name=name, what=what, caught_by=caught_by, plant=plant)
        return plant

    return register


def patched(target: Any, name: str, make: Callable[[Any], Any]) -> AbstractContextManager[Any]:
    """`target.name` is `make(original)` within the block."""
    return mock.patch.object(target, name, make(getattr(target, name)))


async def _answer(made: Any) -> Any:
    return await made if asyncio.iscoroutine(made) else made


# --- ownership (I3)


@mutant("a checkpoint does not look at the epoch", "transitions", "backwards", "results", "effects", "audit")
def no_epoch_check() -> AbstractContextManager[Any]:
    return patched(engine_models, "_owned", lambda _: lambda row, epoch: row["status"] == "RUNNING")


@mutant("a checkpoint does not look whether the run is RUNNING", "transitions", "lost", "audit", "results", "defects")
def no_status_check() -> AbstractContextManager[Any]:
    return patched(engine_models, "_owned", lambda _: lambda row, epoch: row["epoch"] == epoch)


@mutant("neither a reclaim, a hand-back nor a claim raises the epoch", "one owner", "backwards", "transitions")
def epoch_not_raised() -> AbstractContextManager[Any]:
    def kept(original: Model) -> Model:
        async def model(tx: Any, params: Any) -> Any:
            before = {row["id"]: row["epoch"] for row in tx.all("runs")}
            answer = await _answer(original(tx, params))
            for key, row in (tx.writes.get("runs") or {}).items():
                tx.writes["runs"][key] = {**row, "epoch": before[key]}
            if isinstance(answer, list):
                answer = [{**row, "epoch": before[row["id"]]} for row in answer]
            return answer

        return model

    stack = ExitStack()
    for module, name in ((_ENGINE, "claim"), (_ENGINE, "hand_back"), (_ENGINE, "hand_back_all"), (_SWEEP, "reclaim")):
        stack.enter_context(replaced(module, name, kept))
    return stack


@mutant("two workers may claim one run: the second does not see that it is taken", "one owner", "backwards")
def double_claim() -> AbstractContextManager[Any]:
    def doubled(original: Model) -> Model:
        async def model(tx: Any, params: Any) -> Any:
            rows = await _answer(original(tx, params))
            if len(rows) < params["limit"]:
                taken = [
                    row
                    for row in tx.by("runs", "status", "RUNNING")
                    if row["worker_id"] != params["worker"]
                    and row["started_at"] is not None
                    and tx.now() - row["started_at"] < timedelta(milliseconds=3)
                ]
                for run in taken[: params["limit"] - len(rows)]:
                    step = tx.get("step_runs", (run["id"], run["path"]))
                    rows.append(engine_models._claimed(tx, run, run, step, step, tx.now()))
            return rows

        return model

    return replaced(_ENGINE, "claim", doubled)


@mutant("an effect's intent and receipt are not fenced by the claim", "fenced effects")
def effects_not_fenced() -> AbstractContextManager[Any]:
    def all_held(original: Model) -> Model:
        return lambda tx, params: [{"id": row["id"]} for row in orjson.loads(params[0])]

    return replaced("stanchion.runs.store", "hold", all_held)


@mutant("leases end by the workers' clocks", "leases")
def lease_on_the_workers_clock() -> AbstractContextManager[Any]:
    @contextmanager
    def plant() -> Iterator[None]:
        clocks: dict[Any, Any] = {}

        def remember(original: Any) -> Any:
            async def register(self: Any, listener: Any) -> None:
                await original(self, listener)
                clocks[self.id] = self._env.clock

            return register

        def own(original: Model) -> Model:
            async def beat(tx: Any, params: Any) -> Any:
                answer = await _answer(original(tx, params))
                for key, row in (tx.writes.get("workers") or {}).items():
                    if key in clocks:
                        until = clocks[key].now() + timedelta(seconds=params["lease_s"])
                        tx.writes["workers"][key] = {**row, "lease_until": until}
                return answer

            return beat

        with patched(Worker, "_register", remember), replaced(_ENGINE, "beat", own):
            yield

    return plant()


# --- durability (I1, I2, I4)


@mutant("a step is acknowledged before its checkpoint is committed", "pre-flight", "defects", "audit")
def acknowledged_before_commit() -> AbstractContextManager[Any]:
    def early(original: Any) -> Any:
        async def write(self: Any, checkpoint: Any) -> Any:
            task = asyncio.create_task(original(self, checkpoint))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            return Written(checkpoint.run_id, 1, checkpoint.run["status"], None, 0.0)

        return write

    return patched(CheckpointWriter, "write", early)


@mutant("a step begins before its own row is committed", "pre-flight")
def next_step_not_carried() -> AbstractContextManager[Any]:
    def without(original: Model) -> Model:
        def model(tx: Any, params: Any) -> Any:
            steps = [step for step in orjson.loads(params["steps"]) if not step.get("started")]
            return original(tx, {**params, "steps": orjson.dumps(steps).decode()})

        return model

    return replaced(_ENGINE, "checkpoint", without)


@mutant("a wake-up that came before the suspension is not looked at", "lost", "drained")
def wakes_not_looked_at() -> AbstractContextManager[Any]:
    def deaf(original: Any) -> Any:
        return lambda run, c, now: original({**run, "wakes": ()}, c, now)

    return patched(engine_models, "_checkpointed", deaf)


@mutant("nobody looks after a fan-out when an item of it ends", "lost", "drained")
def childs_end_unheard() -> AbstractContextManager[Any]:
    stack = ExitStack()
    stack.enter_context(patched(Worker, "_item_ended", lambda _: lambda self, tenant, parent: None))
    stack.enter_context(replaced("stanchion.runs.fanout.store", "waiting_parents", lambda _: lambda tx, params: []))
    return stack


@mutant("runs whose database was away are not handed back", "lost", "drained")
def orphans_forgotten() -> AbstractContextManager[Any]:
    async def nothing(self: Any) -> None:
        self._orphans.clear()

    return patched(Claims, "release_orphans", lambda _: nothing)


@mutant("an idempotency key is not looked at", "lost", "effects")
def start_key_ignored() -> AbstractContextManager[Any]:
    def keyless(original: Any) -> Any:
        async def start(self: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs.pop("idempotency_key", None)
            return await original(self, *args, **kwargs)

        return start

    return patched(Starter, "start", keyless)


@mutant("the sweep takes living workers for dead ones", "leases")
def living_workers_swept() -> AbstractContextManager[Any]:
    def marked(original: Model) -> Model:
        def model(tx: Any, params: Any) -> Any:
            for row in tx.all("workers"):
                if row["state"] == "live" and tx.lock_or_skip("workers", row["id"]) is not None:
                    tx.update("workers", row, {"lease_until": tx.now() - timedelta(seconds=1)})
            return original(tx, params)

        return model

    return replaced(_SWEEP, "mark_lost", marked)


@mutant("a deadlock while a run suspends fails the run", "defects", "results")
def suspension_fails_of_a_deadlock() -> AbstractContextManager[Any]:
    return patched(suspension, "_blames_nobody", lambda _: lambda error: False)


@mutant("a cancelled for_each leaves its items open", "audit")
def items_left_open() -> AbstractContextManager[Any]:
    return patched(_Items, "_close", lambda _: lambda self, problem: None)


# --- effects (I5)


@mutant("an effect is performed without an intent", "audit")
def no_intent() -> AbstractContextManager[Any]:
    async def begin(self: Any, call: Any, wanted: Any, record_digest: str) -> Begun:
        return Begun(next=Next.CALL, effect=wanted)

    return patched(Ledger, "begin", lambda _: begin)


@mutant("the idempotency key is one per attempt", "effects")
def key_per_attempt() -> AbstractContextManager[Any]:
    def own(original: Any) -> Any:
        def wanted(self: Any, call: Any, target: Any, record: Any) -> Any:
            effect = original(self, call, target, record)
            return dataclasses.replace(effect, key=f"{effect.key}-{call.attempt}")

        return wanted

    return patched(EffectPort, "_wanted", own)


@mutant("an attempt whose outcome is unknown is repeated at a target that cannot recognise it", "effects")
def unknown_is_repeated() -> AbstractContextManager[Any]:
    def blind(original: Any) -> Any:
        def next_of(effect: Any, idempotency: str, arguments: str) -> Any:
            found = original(effect, idempotency, arguments)
            return Next.CALL if found is Next.ASK_PERSON else found

        return next_of

    return patched(effect_rules, "next_of", blind)


@mutant("a repetition that was not sent makes an unknown effect a failed one", "known effects")
def unsent_repetition_fails() -> AbstractContextManager[Any]:
    def forgets(original: Any) -> Any:
        async def called(self: Any, *args: Any, asked: bool) -> Any:
            return await original(self, *args, asked=False)

        return called

    return patched(EffectPort, "_called", forgets)


# --- approvals (I8)


@mutant("a decision is not bound to the arguments it was made about", "approvals")
def decision_not_bound() -> AbstractContextManager[Any]:
    def loose(original: Any) -> Any:
        def decide(approval: Any, verdict: Any, **kwargs: Any) -> Any:
            return original(approval, verdict, **{**kwargs, "args_digest": approval.args_digest})

        return decide

    return patched(approval_rules, "decide", loose)


@mutant("whoever started a run may approve it", "approvals")
def self_approval() -> AbstractContextManager[Any]:
    return patched(approval_rules, "_check_person", lambda _: lambda approval, by: None)


@mutant("a second decision overwrites the first", "approvals", "audit")
def decided_twice() -> AbstractContextManager[Any]:
    def always(original: Model) -> Model:
        async def settle(tx: Any, params: Any) -> Any:
            row = await tx.lock("approvals", params["id"])
            tx.update(
                "approvals", row, {name: params[name] for name in ("status", "decided_by", "decided_at", "reason")}
            )
            return 1

        return settle

    stack = ExitStack()
    stack.enter_context(replaced("stanchion.approvals.store", "settle", always))
    stack.enter_context(patched(approval_rules, "_check_open", lambda _: lambda approval, at: None))
    return stack


@mutant("a rejected approval counts as a given one", "approvals", "results")
def rejection_approves() -> AbstractContextManager[Any]:
    from stanchion.approvals import store

    def turned(original: Any) -> Any:
        async def find(*args: Any) -> Any:
            found = await original(*args)
            if found is not None and found.status is ApprovalStatus.REJECTED:
                return dataclasses.replace(found, status=ApprovalStatus.APPROVED)
            return found

        return find

    stack = ExitStack()
    stack.enter_context(patched(store, "find", turned))
    stack.enter_context(patched(approval_rules, "check_covered", lambda _: lambda found, **kwargs: None))
    return stack


# --- records and walls (I6, I13)


@mutant("an effect's outcome is not recorded", "audit")
def outcome_not_recorded() -> AbstractContextManager[Any]:
    def dropped(original: Model) -> Model:
        async def insert_many(tx: Any, params: Any) -> Any:
            rows = [row for row in orjson.loads(params[0]) if row["event_type"] != "effect.completed"]
            return await _answer(original(tx, (orjson.dumps(rows).decode(),)))

        return insert_many

    return replaced("stanchion.audit.store", "insert_many", dropped)


@mutant("a batch of starts goes to one tenant", "tenants", "results", "lost")
def starts_of_one_tenant() -> AbstractContextManager[Any]:
    def mixed(original: Any) -> Any:
        async def insert(self: Any, tenant: str, starts: Any) -> Any:
            for start in starts:
                start.row["tenant"] = start.pin_set["tenant"] = "acme"
                start.audit = dataclasses.replace(start.audit, tenant="acme")
            return await original(self, "acme", starts)

        return insert

    return patched(Starter, "_insert", mixed)
