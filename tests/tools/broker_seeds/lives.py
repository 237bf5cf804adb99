"""One seed: a run with a few PUSHes, each attempted until it is settled, with faults that the seed draws; and what must hold then.

The engine's part (claims, retries, suspensions, requeues) is played here, so that every fault strikes where the seed says;
the ledger, the broker and the adapters are the real ones, over a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg

from stanchion import releases
from stanchion.base import Problem
from stanchion.base.settings import Settings, ToolsSettings
from stanchion.bootstrap.broker import built_broker
from stanchion.bootstrap.parts import Parts, build_parts
from stanchion.context import Ctx, Env
from stanchion.controls import kills, withdrawals
from stanchion.runs import Claim, LostClaim, StepCall, Suspend, WaitingKind
from stanchion.tools import effect_key, resolve
from tests.support.web import set_stage
from tests.tools.broker_seeds.faults import FAULTS, Attempt
from tests.tools.broker_seeds.outside import IDEMPOTENCIES, KINDS, Outside, outside, step_of
from tests.tools.broker_seeds.processes import Brokers, Crash, WorkerProcess, watched
from tests.tools.broker_seeds.stage import Stage

# Every pair of a fault and an idempotency, so that a hundred and some seeds in a row begin with each once.
PAIRS = tuple((fault, idempotency) for fault in FAULTS for idempotency in IDEMPOTENCIES)
_ATTEMPTS_MAX = 14
_PERSON = "admin"
_UNSEEN = "effect.outcome_unknown"


class ViolationError(AssertionError):
    """What must hold does not."""


@dataclass(kw_only=True)
class Push:
    """One logical write. `entry` names it in the target's log; `faults` strike its attempts one after the other."""

    path: str
    kind: str
    entry: str
    faults: list[str]
    answered: bool
    asked: int = 0

    @property
    def idempotency(self) -> str:
        return self.kind.partition("-")[2]

    @property
    def record(self) -> dict[str, Any]:
        return {"entry": self.entry, "amount": len(self.entry)}


@dataclass(kw_only=True)
class Counts:
    """What happened in all seeds together."""

    struck: Counter[tuple[str, str]] = field(default_factory=Counter)
    states: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    pushes: int = 0
    attempts: int = 0
    asked: int = 0


def drawn(seed: int) -> list[Push]:
    """The pushes of a seed. The first fault of the first is not drawn, so that none is left out."""
    rng = random.Random(seed)
    fault, idempotency = PAIRS[seed % len(PAIRS)]
    pushes: list[Push] = []
    for number in range(rng.choice((1, 2, 2, 3))):
        kind = f"{rng.choice(('http', 'sql'))}-{idempotency}" if number == 0 else rng.choice(KINDS)
        faults = rng.choices(list(FAULTS), k=rng.choice((0, 1, 1, 2, 3)))
        faults = [fault, *faults[:2]] if number == 0 else faults
        path = step_of(kind) if rng.random() < 0.5 else f"each_{step_of(kind)}[{number}]"
        if any(push.path == path for push in pushes):
            continue
        entry = f"{seed}/{number}"
        pushes.append(Push(path=path, kind=kind, entry=entry, faults=faults, answered=rng.random() < 0.8))
    return pushes


@dataclass(kw_only=True)
class World:
    """What all seeds share: a deployment with its Blueprint, the systems outside, the broker."""

    env: Env
    settings: Settings
    parts: Parts
    stage: Stage
    outside: Outside
    brokers: Brokers
    sql: psycopg.AsyncConnection[Any]
    pinned: Any
    pins: str
    person: Ctx
    counts: Counts = field(default_factory=Counts)

    def worker(self) -> WorkerProcess:
        return WorkerProcess(self.env, self.settings, self.parts, self.stage)


@asynccontextmanager
async def world(env: Env, superuser: str, folder: Path) -> AsyncIterator[World]:
    """Everything, until the block ends."""
    root = folder / "connectors"
    settings = Settings(data=folder, tools=ToolsSettings(connectors_root=root))
    parts, stage = build_parts(env, settings), Stage()
    made = await set_stage(env)
    async with (
        await psycopg.AsyncConnection.connect(superuser, autocommit=True) as sql,
        outside(root, stage) as system,
        watched(stage),
        kills.kept(env, role="engine") as switches,
        withdrawals.kept(env, role="engine") as withdrawn,
        built_broker(env, settings, {}, switches=switches, withdrawn=withdrawn) as (service, _),
    ):
        person = await made.admin()
        await releases.apply(person, system.documents(), kinds=parts.kinds)
        resolved = await parts.resolver.resolve(person, "pushes")
        pins = json.dumps(
            [{"kind": p.kind, "name": p.name, "version": p.version, "digest": p.digest} for p in resolved.pins.pins]
        )
        await sql.execute(
            "insert into pin_sets (tenant, digest, pins) values ('default', %s, %s) on conflict do nothing",
            (resolved.pins.digest, pins),
        )
        brokers = Brokers(env, settings, service)
        await brokers.now.started()
        try:
            yield World(
                env=env, settings=settings, parts=parts, stage=stage, outside=system, brokers=brokers, sql=sql,
                pinned=await parts.resolver.load("default", resolved.pins.digest), pins=resolved.pins.digest, person=person,
            )  # fmt: skip
        finally:
            await brokers.close()
            await parts.adapters.close()


class Life:
    """One seed's run."""

    def __init__(self, world: World, seed: int) -> None:
        self._world, self.seed = world, seed
        self._rng = random.Random(f"{seed} as it goes")
        self._run_id: UUID = world.env.ids.new()
        self._epoch = 0
        self._worker = world.worker()
        # Attempts that stand still, and what they wait for.
        self._late: list[tuple[asyncio.Task[Any], WorkerProcess, asyncio.Event]] = []

    async def live(self) -> None:
        """Attempt every push until it is settled. Raises ViolationError."""
        world, pushes = self._world, drawn(self.seed)
        await self._begin(pushes)
        try:
            for push in pushes:
                await self._settle(push)
            await self._thaw()
        finally:
            await self._worker.client.close()
        world.counts.pushes += len(pushes)
        await self._check(pushes)

    async def _begin(self, pushes: Sequence[Push]) -> None:
        sql, first = self._world.sql, pushes[0]
        # Of what failed in the seed before nothing is known: each is a deployment of its own.
        await sql.execute("delete from connector_breakers")
        self._world.brokers.forget()
        await sql.execute(
            "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input, requested_by,"
            " root_id, epoch, path) values ('default', %s, 'pushes', 1, %s, 'local', 1, 'RUNNING', '{}', %s, %s, 0, %s)",
            (self._run_id, self._world.pins, _PERSON, self._run_id, first.path),
        )
        for number, push in enumerate(pushes):
            await sql.execute(
                "insert into step_runs (tenant, run_id, path, position, verb, status, rev) values"
                " ('default', %s, %s, %s, 'push', 'RUNNING', 1)",
                (self._run_id, push.path, number),
            )
        await self._claim()

    async def _claim(self) -> None:
        """Another claim of the run, as the queue gives it."""
        self._epoch += 1
        await self._world.sql.execute(
            "update runs set epoch = %s, status = 'RUNNING', waiting_kind = null, waiting_ref = null where id = %s",
            (self._epoch, self._run_id),
        )

    # --- one push

    async def _settle(self, push: Push) -> None:
        seen = True  # whether the end of every attempt so far was recorded
        for number in range(1, _ATTEMPTS_MAX + 1):
            fault = push.faults.pop(0) if push.faults else None
            ended = await self._attempt(push, number, fault)
            self._world.counts.attempts += 1
            if isinstance(ended, Suspend) and ended.kind is WaitingKind.EFFECT:
                if await self._asked(push, ended):
                    return
                seen = True
                continue
            if not seen and push.idempotency == "none" and not isinstance(ended, Crash):
                raise self._wrong(push, f"was attempted again although nobody saw the end: {ended!r}")
            if not isinstance(ended, BaseException):
                return
            state = await self._state(push)
            seen = state in {None, "FAILED", "DONE"}
            await self._go_on(push, ended, seen=seen)
        raise self._wrong(push, f"is not settled after {_ATTEMPTS_MAX} attempts")

    async def _attempt(self, push: Push, number: int, fault: str | None) -> Any:
        """What became of one attempt: its result, or what it raised."""
        world, worker = self._world, self._worker
        attempt = Attempt(stage=world.stage, worker=worker, brokers=world.brokers)
        world.stage.clear()
        if fault is not None:
            FAULTS[fault](attempt)
        task = worker.execute(self._call(push, number))
        frozen = asyncio.create_task(attempt.frozen.wait())
        await asyncio.wait({task, frozen}, return_when=asyncio.FIRST_COMPLETED)
        if fault is not None and world.stage.struck:
            world.counts.struck[fault, push.idempotency] += 1
        world.stage.clear()
        frozen.cancel()
        if attempt.frozen.is_set():
            self._late.append((task, worker, attempt.thawed))
            return Crash("it stands still")
        found = (await asyncio.gather(task, return_exceptions=True))[0]
        found = Crash("killed") if isinstance(found, asyncio.CancelledError) else found
        await self._idle()
        return found

    def _call(self, push: Push, number: int) -> StepCall:
        pinned = self._world.pinned
        wanted = push.path.partition("[")[0]
        op = next(op for op in pinned.program.blocks[""].ops if op.path == wanted and op.step is not None)
        reference = ("connector", push.kind)
        return StepCall(
            claim=Claim(tenant="default", run_id=self._run_id, epoch=self._epoch),
            root_id=self._run_id,
            blueprint="pushes",
            path=push.path,
            attempt=number,
            resumed=False,
            op=op,
            config={"connector": push.kind, "resource": "entries", "record": push.record},
            bodies={reference: pinned.bodies[reference]},
            digests={reference: next(p.digest for p in pinned.pins.pins if (p.kind, p.name) == reference)},
            requested_by=_PERSON,
            facts={},
            traceparent=None,
            timeout_s=None,
        )

    async def _go_on(self, push: Push, ended: BaseException, *, seen: bool) -> None:
        """What the engine does after an attempt that did not succeed: the next is begun by this worker or by another."""
        if isinstance(ended, Problem):
            self._world.counts.codes[ended.code] += 1
            if not ended.retryable:
                raise self._wrong(push, f"failed with {ended.code}: {ended}") from ended
            if push.idempotency == "none" and not seen:
                raise self._wrong(push, f"failed with {ended.code} and nobody was asked") from ended
        elif isinstance(ended, Suspend):
            self._world.counts.codes[f"waits for {ended.kind.value}"] += 1
        elif not isinstance(ended, Crash | psycopg.DataError):
            raise self._wrong(push, f"raised {ended!r}") from ended
        if self._worker.alive and not any(worker is self._worker for _, worker, _ in self._late):
            if isinstance(ended, Problem) and self._rng.random() < 0.5:
                return  # the same worker retries under the same claim
        else:
            self._worker = self._world.worker()
        await self._claim()

    async def _asked(self, push: Push, suspend: Suspend) -> bool:
        """Nobody here can know, so a person looks into the target's own log and answers; True: nobody answers."""
        world = self._world
        push.asked += 1
        world.counts.asked += 1
        if push.idempotency != "none":
            raise self._wrong(push, "was left to a person")
        async with world.env.db.engine_tx() as tx:
            await tx.execute(
                "update runs set status = 'SUSPENDED', waiting_kind = 'effect', waiting_ref = %s where id = %s",
                (suspend.ref, self._run_id),
            )
            if suspend.also is not None:
                await suspend.also(tx)
        state = await self._state(push)
        if state != "UNKNOWN":
            raise self._wrong(push, f"waits for a person and is {state}")
        await self._thaw(only_calls=True)
        if not push.answered:
            await self._claim()  # for the other pushes of the run
            return True
        happened = push.entry in world.outside.received(str(self.seed))
        cursor = await world.sql.execute("select attempts from effects where id = %s", (suspend.ref,))
        row = await cursor.fetchone()
        assert row
        await resolve(
            world.person, UUID(str(suspend.ref)), happened=happened, evidence="The target's log.", attempt=row[0]
        )
        if self._rng.random() < 0.5:
            await self._thaw()
        await self._claim()
        return False

    async def _thaw(self, *, only_calls: bool = False) -> None:
        """What stood still goes on: it has lost its claim, and changes nothing any more.

        `only_calls`: those which the broker has begun. A person who answers for a target that recognises nothing looks
        whether any call can still be under way.
        """
        for entry in list(self._late):
            task, worker, thawed = entry
            if only_calls and worker.alive:
                continue
            self._late.remove(entry)
            performed = self._world.stage.passed["broker_entry"]
            thawed.set()
            ended = (await asyncio.gather(task, return_exceptions=True))[0]
            if worker.alive:
                await worker.client.close()
                if not isinstance(ended, LostClaim | Suspend):
                    raise ViolationError(f"seed {self.seed}: a worker that lost its claim ended with {ended!r}")
                if self._world.stage.passed["broker_entry"] != performed:
                    raise ViolationError(f"seed {self.seed}: the broker called for a worker that had lost its claim")
        await self._idle()

    async def _idle(self) -> None:
        """Calls end before the lease of who began them does; except those that a fault has stand still in the broker."""
        if all(worker.alive for _, worker, _ in self._late):
            await self._world.brokers.idle()

    async def _state(self, push: Push) -> str | None:
        cursor = await self._world.sql.execute(
            "select state from effects where run_id = %s and path = %s", (self._run_id, push.path)
        )
        row = await cursor.fetchone()
        if row is not None:
            self._world.counts.states[row[0], push.idempotency] += 1
        return None if row is None else row[0]

    # --- what must hold

    async def _check(self, pushes: Sequence[Push]) -> None:
        world = self._world
        received = Counter(world.outside.received(str(self.seed)))
        if set(received) - {push.entry for push in pushes}:
            raise ViolationError(f"seed {self.seed}: the targets have what nobody pushed: {received}")
        cursor = await world.sql.execute("select path, id, state, key from effects where run_id = %s", (self._run_id,))
        effects = {row[0]: row[1:] for row in await cursor.fetchall()}
        cursor = await world.sql.execute(
            "select target_id, event_type, record::json->'outcome'->>'status' from audit_records"
            " where run_id = %s and event_type like 'effect.%%' order by id",
            (self._run_id,),
        )
        records: dict[str, list[tuple[str, str | None]]] = {}
        for target, event, status in await cursor.fetchall():
            records.setdefault(target, []).append((event, status))
        if set(effects) != {push.path for push in pushes} or set(records) != {str(row[0]) for row in effects.values()}:
            raise ViolationError(f"seed {self.seed}: pushes, effects and audit records are not of the same")
        for push in pushes:
            effect_id, state, key = effects[push.path]
            self._check_push(push, received[push.entry], state, key)
            self._check_audit(push, state, records[str(effect_id)])

    def _check_push(self, push: Push, writes: int, state: str, key: str) -> None:
        open_question = push.idempotency == "none" and push.asked > 0 and not push.answered
        if writes > 1 or (writes == 0 and not open_question):
            raise self._wrong(push, f"was written {writes} times")
        if state != ("UNKNOWN" if open_question else "DONE"):
            raise self._wrong(push, f"is {state}")
        said = {key for key, entries in self._world.outside.keys.items() if key and push.entry in entries}
        wanted = effect_key(self._run_id, self._run_id, push.path)
        if said - {wanted} or key != wanted:
            raise self._wrong(push, f"was sent under {said}, not under {wanted}")

    def _check_audit(self, push: Push, state: str, records: list[tuple[str, str | None]]) -> None:
        done = [status for event, status in records if event != "effect.attempted" and status == "SUCCEEDED"]
        if records[0][0] != "effect.attempted" or len(done) != (state == "DONE"):
            raise self._wrong(push, f"is {state}, and its records are {records}")

    def _wrong(self, push: Push, what: str) -> ViolationError:
        return ViolationError(f"seed {self.seed}: {push.path} ({push.entry}) {what}; drawn: {drawn(self.seed)}")
