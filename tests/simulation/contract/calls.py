"""Random calls of the stores' functions, chosen to fit the rows there are (and now and then not to).

Every call stands for one store function with its arguments; both sides get the very same ones. What to choose from is
read in the model's tables: that only steers the choice, the answers are compared.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from stanchion.approvals import store as approvals
from stanchion.approvals.types import Approval, ApprovalStatus
from stanchion.audit import store as audit
from stanchion.base import SystemClock, dumps
from stanchion.queue import store as queue
from stanchion.runs import store as runs
from stanchion.runs.deadletters import store as deadletters
from stanchion.runs.engine import store as engine
from stanchion.runs.fanout import store as fanout
from stanchion.runs.fanout.store import Opening
from stanchion.runs.sweeping import store as sweeping
from stanchion.runs.types import Claim
from stanchion.tools.effects import store as effects
from stanchion.tools.effects.types import Effect, EffectState
from tests.simulation.contract.sides import TENANTS, Model

# Offsets by which times are made from the clock; far enough from each other to be told apart afterwards.
LEASE_S = 1000.0
DELAYS_S = (-300.0, 0.0, 5000.0)
OFFSETS_S = (0.0, LEASE_S, -300.0, 5000.0)
QUEUES = ("default", "slow")
PATHS = ("first", "second", "third")
PROBATION_STRIKES = 2
NOBODY = UUID(int=0)

Run = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Call:
    """`role` is a tenant's name (a transaction of that tenant), `app` or `engine` (autocommit)."""

    name: str
    role: str
    run: Run
    told: str
    limited: bool = False


class Chooser:
    """Draws calls. `now` is the moment that stands for the present in times that callers make."""

    def __init__(self, rng: random.Random, model: Model) -> None:
        self.rng = rng
        self.model = model
        # Before anything either side makes, so that it stays apart from their own times.
        self.now = SystemClock().now()
        self.workers: list[UUID] = []
        self.repeat: Call | None = None

    # --- drawing arguments

    def uuid(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        found = self.model.server.tables[table].rows.values()
        return [row for row in found if all(row[key] == value for key, value in where.items())]

    def run(self, **where: Any) -> dict[str, Any]:
        """A run that fits, or any, or one that does not exist."""
        rows = self.rows("runs", **where) or self.rows("runs")
        if rows and self.rng.random() < 0.95:
            return self.rng.choice(rows)
        return {"tenant": "acme", "id": self.uuid(), "epoch": 1, "cursor": 0, "path": "first", "status": "PENDING"} | {
            "waiting_kind": None,
            "waiting_ref": None,
            "parent_id": None,
            "root_id": self.uuid(),
        }

    def some(self, **where: Any) -> list[dict[str, Any]]:
        return [self.run(**where) for _ in range(self.rng.randint(1, 3))]

    def tenant(self, row: dict[str, Any]) -> str:
        """The row's tenant, rarely another one."""
        return row["tenant"] if self.rng.random() < 0.95 else self.rng.choice(TENANTS)

    def epoch(self, row: dict[str, Any]) -> int:
        return row["epoch"] if self.rng.random() < 0.85 else row["epoch"] - 1

    def worker(self) -> UUID:
        return self.rng.choice(self.workers) if self.workers and self.rng.random() < 0.95 else self.uuid()

    def moment(self) -> datetime:
        """A time a caller might pass, around `now`."""
        return self.now + timedelta(minutes=self.rng.choice((-90, -30, 0, 30, 90)))

    def value(self) -> Any:
        return self.rng.choice((None, 1, 2.5, "text", "Ü\u2028", [], {}, {"a": [1, {"b": None}]}, True))

    def error(self) -> dict[str, Any]:
        return {"code": self.rng.choice(("a", "b")), "message": "m"}

    def limit(self) -> int:
        return self.rng.choice((1, 2, 50))

    def audits(self, ids: list[UUID], tenant: str) -> bytes:
        return dumps([self.audit(run_id, tenant) for run_id in ids if self.rng.random() < 0.8])

    def audit(self, run_id: UUID | None, tenant: str) -> dict[str, Any]:
        return {
            "tenant": tenant,
            "id": self.uuid(),
            "recorded_at": "2026-11-22T12:00:00.123456Z",
            "event_type": self.rng.choice(("run.started", "run.ended")),
            "actor": self.rng.choice(("00000000-0000-4000-8000-000000000000", "system:engine")),
            "target_kind": "run",
            "target_id": str(run_id),
            "run_id": run_id,
            "record": '{"x":1}',
            "leaf": "00ff",
        }

    # --- drawing calls

    def call(self) -> Call:
        """The next call. The pipeline that makes runs and moves them comes first, so that there is something to look at."""
        if not self.rows("runs") or not self.workers:
            return self.rng.choice((self.starts, self.register))()
        if self.repeat is not None and self.rng.random() < 0.2:
            return self.repeat
        group = self.rng.choices((_PIPELINE, _SWEEP, _FAN, _PEOPLE, _READS), (9, 3, 4, 4, 3))[0]
        name = self.rng.choice(group)
        return getattr(self, name)()

    def starts(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        rows = []
        for _ in range(self.rng.randint(1, 3)):
            row = {
                "tenant": tenant if self.rng.random() < 0.98 else "globex",
                "id": self.uuid(),
                "blueprint": self.rng.choice(("triage", "post")),
                "version": 1,
                "pins": "sha256:p",
                "environment": "local",
                "engine_v": self.rng.choice((1, 1, 1, 2)),
                "queue": self.rng.choices(QUEUES, (5, 1))[0],
                "priority": self.rng.choice((0, 0, 5)),
                "path": self.rng.choice(("first", "first", "first", "")),
                "verb": "govern",
                "input": self.value(),
                "requested_by": "ada",
                "traceparent": self.rng.choice((None, "00-1")),
            }
            if self.rng.random() < 0.3:
                row |= {"key": self.rng.choice("abc"), "request_digest": self.rng.choice(("x", "y"))}
            if self.rng.random() < 0.02:
                row["input"] = "nul \0"
            rows.append(row)
        pins = [{"tenant": tenant, "digest": "sha256:p", "pins": [{"kind": "blueprint", "name": "triage"}]}]
        audits = self.audits([row["id"] for row in rows], tenant)

        async def run(tx: Any) -> None:
            await runs.insert_starts(tx, tenant, starts=dumps(rows), pin_sets=dumps(pins), audits=audits)

        self.repeat = Call("runs.insert_starts", "app", run, f"again: {rows}")
        return Call("runs.insert_starts", "app", run, str(rows))

    def register(self) -> Call:
        worker = self.uuid()
        self.workers.append(worker)
        fields: dict[str, Any] = {
            "worker": worker,
            "name": "w",
            "host": "h",
            "pid": 7,
            "engine_v": 1,
            "queues": QUEUES if self.rng.random() < 0.5 else ("default",),
            "capacity": 8,
            "lock_key": worker.int & ((1 << 63) - 1),
            "probation_of": self.rng.choice((None, None, self.worker())),
            "lease_s": LEASE_S,
        }
        return Call("engine.register", "engine", lambda tx: engine.register(tx, **fields), str(worker))

    def claim(self) -> Call:
        limit = self.rng.choice((1, 2, 50, 50))
        arguments: dict[str, Any] = {
            "worker": self.worker(),
            "queues": self.rng.choice((QUEUES, ("default",), ("default", "default"))),
            "engine_v": self.rng.choice((1, 1, 2)),
            "limit": limit,
            "probation": self.rng.random() < 0.2,
            "any_strikes": self.rng.random() < 0.4,
        }
        return Call("engine.claim", "engine", lambda tx: engine.claim(tx, **arguments), str(arguments), limited=True)

    def checkpoint(self) -> Call:
        chosen: dict[UUID, dict[str, Any]] = {row["id"]: row for row in self.some(status="RUNNING")}
        heads: list[dict[str, Any]] = []
        steps: list[dict[str, Any]] = []
        for row in chosen.values():
            head, its = self._checkpointed(row)
            heads.append(head)
            steps += its
        if steps and self.rng.random() < 0.03:
            steps.append(steps[0])
        by_tenant = next(iter(chosen.values()))["tenant"]
        arguments = {"runs": dumps(heads), "steps": dumps(steps), "audits": self.audits(list(chosen), by_tenant)}
        call = Call("engine.checkpoint", "engine", lambda tx: engine.checkpoint(tx, **arguments), f"{heads} {steps}")
        self.repeat = call
        return call

    def _checkpointed(self, row: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        rng = self.rng
        at = rng.choice(PATHS)
        head: dict[str, Any] = {"id": row["id"], "epoch": self.epoch(row), "cursor": PATHS.index(at), "path": at}
        step: dict[str, Any] = {"run_id": row["id"], "path": row["path"] or "first", "position": row["cursor"]}
        step |= {"verb": "govern", "attempt": rng.choice((1, 2)), "status": "SUCCEEDED", "ended": True}
        step |= rng.choice(({}, {"first_attempt": 2}, {"output": {"decision": "approved"}}, {"output": self.value()}))
        steps = [step]
        kind = rng.choice(("go", "go", "retry", "wait", "child", "end", "fail", "broken"))
        if kind == "go":
            head["status"] = "RUNNING"
            steps.append({"run_id": row["id"], "path": at, "position": PATHS.index(at), "verb": "push"})
            steps[-1] |= {"status": "RUNNING", "attempt": 1, "started": True, "item_no": rng.choice((None, 3))}
            if at == step["path"]:
                steps.pop()
        elif kind == "retry":
            delay = rng.choice(DELAYS_S)
            head |= {"status": "SUSPENDED", "waiting_kind": "retry", "waiting_ref": at, "delay_s": delay}
            step |= {"status": "SUSPENDED", "ended": False, "delay_s": delay, "errors": [self.error()]}
            step["error"] = self.error()
        elif kind == "wait":
            head |= {"status": "SUSPENDED", "waiting_kind": rng.choice(("approval", "effect"))}
            head |= {"waiting_ref": rng.choice(("r1", "r2")), "wake_at": rng.choice((None, self.moment()))}
            step |= {"status": rng.choice(("SUSPENDED", "UNKNOWN")), "ended": False, "wake_at": head["wake_at"]}
        elif kind == "child":
            head |= {"status": "SUSPENDED", "waiting_kind": "child", "path": step["path"]}
            fan_out = {"total": 4, "concurrency": 2, "on_item_error": "stop", "max_failures": None}
            step |= {"status": "SUSPENDED", "ended": False, "fan_out": rng.choice((fan_out, fan_out, None))}
        elif kind == "end":
            head |= {"status": rng.choice(("SUCCEEDED", "CANCELLED")), "output": self.value()}
        elif kind == "fail":
            # Where it stands: a new attempt begins there.
            head |= {"status": "FAILED", "error": self.error(), "dead_reason": rng.choice((None, "code"))}
            head |= {"cursor": step["position"], "path": step["path"]}
            step |= {"status": "FAILED", "error": self.error()}
        else:
            head["status"] = rng.choice(("SUSPENDED", "NONSENSE"))
        return head, steps

    def set_worker_state(self) -> Call:
        worker, state = self.worker(), self.rng.choice(("draining", "stopped"))
        return Call("engine.set_worker_state", "engine", lambda tx: engine.set_worker_state(tx, worker, state), state)

    def hand_back_all(self) -> Call:
        worker = self.worker()
        return Call("engine.hand_back_all", "engine", lambda tx: engine.hand_back_all(tx, worker), str(worker))

    def hand_back(self) -> Call:
        chosen = self.some(status="RUNNING")
        worker = chosen[0].get("worker_id") or self.worker()
        ids = [row["id"] for row in chosen]
        return Call("engine.hand_back", "engine", lambda tx: engine.hand_back(tx, worker, ids), str(ids))

    def confirm_crash(self) -> Call:
        worker = self.worker()
        return Call("engine.confirm_crash", "engine", lambda tx: engine.confirm_crash(tx, worker), str(worker))

    def tick(self) -> Call:
        arguments: dict[str, Any] = {
            "worker": self.worker(),
            "queues": self.rng.choice((QUEUES, ("default",))),
            "engine_v": 1,
            "running": self.rng.randint(0, 3),
            "beat_s": self.rng.choice((0.0, 2.9)),
            "lease_s": LEASE_S,
            "fans": self.rng.random() < 0.7,
        }
        return Call("engine.tick", "engine", lambda tx: engine.tick(tx, **arguments), str(arguments))

    def lock_claimed(self) -> Call:
        row = self.run(status="RUNNING")
        run_id, epoch = row["id"], self.epoch(row)
        return Call("engine.lock_claimed", "engine", lambda tx: engine.lock_claimed(tx, run_id, epoch), str(run_id))

    def load_ancestors(self) -> Call:
        ids = [row["id"] for row in self.some()]
        return Call("engine.load_ancestors", "engine", lambda tx: engine.load_ancestors(tx, ids), str(ids))

    def load_outputs(self) -> Call:
        ids = [row["id"] for row in self.some()]
        return Call("engine.load_outputs", "engine", lambda tx: engine.load_outputs(tx, ids, PATHS[:2]), str(ids))

    def try_session_lock(self) -> Call:
        # In autocommit mode of a pooled connection; that it is freed with the session is a scenario of its own.
        key = self.rng.choice((1, 2))
        return Call("engine.try_session_lock", "engine", lambda tx: engine.try_session_lock(tx, key), str(key))

    # runs

    def select_status(self) -> Call:
        row = self.run()
        tenant = self.tenant(row)
        return Call("runs.select_status", tenant, lambda tx: runs.select_status(tx, tenant, row["id"]), tenant)

    def select_keys(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        return Call("runs.select_keys", tenant, lambda tx: runs.select_keys(tx, tenant, ["a", "b", "z"]), tenant)

    def load_steps(self) -> Call:
        ids = [row["id"] for row in self.some()]
        role = self.rng.choice(("engine", *TENANTS))
        return Call("runs.load_steps", role, lambda tx: runs.load_steps(tx, ids), f"{role} {ids}")

    def lock_cancelling(self) -> Call:
        limit = self.limit()
        return Call("runs.lock_cancelling", "engine", lambda tx: runs.lock_cancelling(tx, limit), str(limit))

    def end_runs(self) -> Call:
        ends = [
            {"id": row["id"], "status": self.rng.choice(("FAILED", "CANCELLED")), "error": self.error()}
            | {"dead_reason": self.rng.choice((None, "poison"))}
            for row in {row["id"]: row for row in self.some()}.values()
        ]
        role = self.rng.choice(("engine", "engine", *TENANTS))
        return Call("runs.end_runs", role, lambda tx: runs.end_runs(tx, ends=dumps(ends)), f"{role} {ends}")

    def hold(self) -> Call:
        claims = [{"id": row["id"], "epoch": self.epoch(row)} for row in self.some(status="RUNNING")]
        return Call("runs.hold", "engine", lambda tx: runs.hold(tx, dumps(claims)), str(claims))

    def wake(self) -> Call:
        row = self.run(status=self.rng.choice(("SUSPENDED", "RUNNING")))
        tenant = self.tenant(row)
        kind = row["waiting_kind"] if row["waiting_kind"] and self.rng.random() < 0.8 else "approval"
        ref = row["waiting_ref"] if self.rng.random() < 0.8 else self.rng.choice((None, "r2"))
        role = self.rng.choice(("engine", tenant))
        told = f"{role} {row['id']} {kind} {ref}"
        return Call("runs.wake", role, lambda tx: runs.wake(tx, tenant, row["id"], kind, ref), told)

    def select_run(self) -> Call:
        row = self.run()
        tenant = self.tenant(row)
        return Call("runs.select_run", tenant, lambda tx: runs.select_run(tx, tenant, row["id"]), str(row["id"]))

    def lock_run(self) -> Call:
        row = self.run()
        tenant = self.tenant(row)
        return Call("runs.lock_run", tenant, lambda tx: runs.lock_run(tx, tenant, row["id"]), str(row["id"]))

    def select_pins(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        digest = self.rng.choice(("sha256:p", "sha256:q"))
        return Call("runs.select_pins", tenant, lambda tx: runs.select_pins(tx, tenant, digest), digest)

    def count_workers(self) -> Call:
        name = self.rng.choice(QUEUES)
        return Call("runs.count_workers", "acme", lambda tx: runs.count_workers(tx, name), name)

    def select_workers(self) -> Call:
        return Call("runs.select_workers", "acme", runs.select_workers, "")

    def select_runs(self) -> Call:
        rng, row = self.rng, self.run()
        arguments: dict[str, Any] = {
            "status": rng.choice((None, None, row["status"])),
            "blueprint": rng.choice((None, "triage")),
            "waiting_on": rng.choice((None, None, "retry", "worker_lost")),
            "since": rng.choice((None, self.now)),
            "parent": rng.choice((None, row["parent_id"])),
            "after": rng.choice((None, row["id"])),
            "limit": self.limit(),
        }
        tenant = self.tenant(row)
        return Call("runs.select_runs", tenant, lambda tx: runs.select_runs(tx, tenant, **arguments), str(arguments))

    def select_items(self) -> Call:
        row = self.parent()
        status, after, limit = self.rng.choice((None, "SUSPENDED")), self.rng.choice((-1, 0)), self.limit()
        tenant = self.tenant(row)

        async def run(tx: Any) -> Any:
            return await runs.select_items(tx, tenant, row["id"], status=status, after=after, limit=limit)

        return Call("runs.select_items", tenant, run, str(row["id"]))

    def count_items(self) -> Call:
        ids = [self.parent()["id"] for _ in range(2)]
        tenant = self.rng.choice(TENANTS)
        return Call("runs.count_items", tenant, lambda tx: runs.count_items(tx, tenant, ids), str(ids))

    def request_cancel(self) -> Call:
        row = self.rng.choice((self.run(), self.parent()))
        tenant = self.tenant(row)
        told = str(row["id"])
        return Call("runs.request_cancel", tenant, lambda tx: runs.request_cancel(tx, tenant, row["id"], "no"), told)

    def lock_cancelled_below(self) -> Call:
        row = self.rng.choice((self.run(), self.parent()))
        tenant, limit = self.tenant(row), self.limit()

        async def run(tx: Any) -> Any:
            return await runs.lock_cancelled_below(tx, tenant, row["id"], limit)

        return Call("runs.lock_cancelled_below", tenant, run, str(row["id"]))

    def select_changed_steps(self) -> Call:
        row = self.run()
        tenant, after = self.tenant(row), self.rng.randint(0, 3)

        async def run(tx: Any) -> Any:
            return await runs.select_changed_steps(tx, tenant, row["id"], after, after + 3)

        return Call("runs.select_changed_steps", tenant, run, str(row["id"]))

    def select_revisions(self) -> Call:
        ids = [self.run()["id"], self.parent()["id"]]
        tenant = self.rng.choice(TENANTS)
        return Call("runs.select_revisions", tenant, lambda tx: runs.select_revisions(tx, tenant, ids), str(ids))

    # fan-outs

    def parent(self) -> dict[str, Any]:
        """A run that has items, or one that waits for some, or any."""
        parents = {row["parent_id"] for row in self.rows("runs") if row["parent_id"] is not None}
        found = [row for row in self.rows("runs") if row["id"] in parents]
        return self.rng.choice(found) if found and self.rng.random() < 0.8 else self.run(waiting_kind="child")

    def path_of(self, parent: dict[str, Any]) -> str:
        paths = [row["parent_path"] for row in self.rows("runs", parent_id=parent["id"])]
        return self.rng.choice(paths) if paths and self.rng.random() < 0.9 else parent["path"]

    def counts(self) -> Call:
        row = self.parent()
        path, most = self.path_of(row), self.rng.choice((1, 2, 9))

        async def run(tx: Any) -> Any:
            return await fanout.counts(tx, row["id"], path, concurrency=most, failures=most)

        return Call("fanout.counts", "engine", run, f"{row['id']} {path}")

    def last_item(self) -> Call:
        row = self.parent()
        path = self.path_of(row)
        return Call("fanout.last_item", "engine", lambda tx: fanout.last_item(tx, row["id"], path), path)

    def insert_items(self) -> Call:
        row = self.run(status="RUNNING")
        path = row["path"] or "first"
        numbers = [r["item_no"] for r in self.rows("runs", parent_id=row["id"], parent_path=path)]
        first = max(numbers, default=-1) + self.rng.choice((1, 1, 1, 1, 0))
        items = [
            {"id": self.uuid(), "item_no": max(first, 0) + n, "value": self.value()} for n in range(self.rng.randint(1, 4))
        ]
        claim = Claim(tenant=row["tenant"], run_id=row["id"], epoch=self.epoch(row))
        opening = self._opening(row["tenant"])
        audits = self.audits([item["id"] for item in items], row["tenant"])

        async def run(tx: Any) -> Any:
            return await fanout.insert_items(tx, claim, path, opening, items=dumps(items), audits=audits)

        self.repeat = Call("fanout.insert_items", "engine", run, f"again: {items}")
        return Call("fanout.insert_items", "engine", run, f"{claim} {path} {items}")

    def _opening(self, tenant: str) -> Opening:
        empty = self.rng.random() < 0.2
        return Opening(
            tenant=tenant,
            environment="local",
            blueprint="triage",
            version=1,
            pins="sha256:p",
            queue="default",
            traceparent=None,
            block="each",
            path="" if empty else "first",
            verb="" if empty else "push",
            empty=empty,
        )

    def select_ended(self) -> Call:
        row = self.parent()
        path = self.path_of(row)
        return Call("fanout.select_ended", "engine", lambda tx: fanout.select_ended(tx, row["id"], path), path)

    def cancel_queued(self) -> Call:
        row = self.parent()
        claim = Claim(tenant=row["tenant"], run_id=row["id"], epoch=self.epoch(row))
        path, limit = self.path_of(row), self.rng.choice((1, 100))

        async def run(tx: Any) -> Any:
            return await fanout.cancel_queued(tx, claim, path, "for_each.stopped", limit)

        return Call("fanout.cancel_queued", "engine", run, f"{claim} {path} {limit}")

    def lock_parent(self) -> Call:
        row = self.parent()
        role = self.rng.choice(("engine", row["tenant"]))
        return Call("fanout.lock_parent", role, lambda tx: fanout.lock_parent(tx, row["id"]), str(row["id"]))

    def release(self) -> Call:
        row = self.parent()
        path, n = self.path_of(row), self.rng.choice((1, 2))
        return Call("fanout.release", "engine", lambda tx: fanout.release(tx, row["id"], path, n), f"{row['id']} {n}")

    def wake_parent(self) -> Call:
        row = self.parent()
        return Call("fanout.wake_parent", "engine", lambda tx: fanout.wake_parent(tx, row["id"]), str(row["id"]))

    def waiting_parents(self) -> Call:
        limit = self.limit()
        return Call("fanout.waiting_parents", "engine", lambda tx: fanout.waiting_parents(tx, NOBODY, limit), "")

    # sweeping

    def try_lock(self) -> Call:
        return Call("sweeping.try_lock", "engine", sweeping.try_lock, "")

    def mark_lost(self) -> Call:
        return Call("sweeping.mark_lost", "engine", sweeping.mark_lost, "")

    def lock_stranded(self) -> Call:
        limit = self.limit()
        return Call("sweeping.lock_stranded", "engine", lambda tx: sweeping.lock_stranded(tx, limit), str(limit))

    def reclaim(self) -> Call:
        ids = [row["id"] for row in self.some(status="RUNNING")]
        return Call("sweeping.reclaim", "engine", lambda tx: sweeping.reclaim(tx, ids, PROBATION_STRIKES), str(ids))

    def mark_reclaimed(self) -> Call:
        return Call("sweeping.mark_reclaimed", "engine", sweeping.mark_reclaimed, "")

    def wake_due(self) -> Call:
        limit = self.limit()
        return Call("sweeping.wake_due", "engine", lambda tx: sweeping.wake_due(tx, limit), str(limit), limited=True)

    def delete_old_keys(self) -> Call:
        hours, limit = self.rng.choice((24.0, 0.0)), self.limit()

        async def run(tx: Any) -> Any:
            return await sweeping.delete_old_keys(tx, hours, limit)

        return Call("sweeping.delete_old_keys", "engine", run, f"{hours} {limit}")

    def queue_states(self) -> Call:
        return Call("sweeping.queue_states", "engine", sweeping.queue_states, "")

    def dead_states(self) -> Call:
        return Call("sweeping.dead_states", "engine", sweeping.dead_states, "")

    # dead letters

    def count_dead(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        return Call("deadletters.count_dead", tenant, lambda tx: deadletters.count_dead(tx, tenant), tenant)

    def select_dead(self) -> Call:
        rng, row = self.rng, self.run(status="FAILED")
        arguments: dict[str, Any] = {
            "reason": rng.choice((None, "code")),
            "blueprint": rng.choice((None, "triage")),
            "since": rng.choice((None, self.now)),
            "after": rng.choice((None, row["id"])),
            "limit": self.limit(),
        }
        tenant = self.tenant(row)

        async def run(tx: Any) -> Any:
            return await deadletters.select_dead(tx, tenant, **arguments)

        return Call("deadletters.select_dead", tenant, run, str(arguments))

    def select_one(self) -> Call:
        row = self.run(status="FAILED")
        tenant = self.tenant(row)
        return Call("deadletters.select_one", tenant, lambda tx: deadletters.select_one(tx, tenant, row["id"]), "")

    def select_states(self) -> Call:
        ids = [row["id"] for row in self.some()]
        tenant = self.rng.choice(TENANTS)
        return Call("deadletters.select_states", tenant, lambda tx: deadletters.select_states(tx, tenant, ids), "")

    def lock_dead(self) -> Call:
        ids = [row["id"] for row in self.some(status="FAILED")]
        tenant = self.rng.choice(TENANTS)
        return Call("deadletters.lock_dead", tenant, lambda tx: deadletters.lock_dead(tx, tenant, ids), str(ids))

    def discard(self) -> Call:
        ids = [row["id"] for row in self.some(status="FAILED")]
        tenant = self.rng.choice(TENANTS)
        return Call("deadletters.discard", tenant, lambda tx: deadletters.discard(tx, tenant, ids), str(ids))

    def revive(self) -> Call:
        # A parent and its own item at once would be joined twice, and which of the two counts is left open by SQL.
        row = self.run(status="FAILED")
        tenant = self.tenant(row)
        told = f"{tenant} {row['id']}"
        return Call("deadletters.revive", tenant, lambda tx: deadletters.revive(tx, tenant, [row["id"]]), told)

    # approvals

    def approval(self, **where: Any) -> dict[str, Any]:
        rows = self.rows("approvals", **where) or self.rows("approvals")
        if rows and self.rng.random() < 0.95:
            return self.rng.choice(rows)
        run = self.run()
        return {"tenant": run["tenant"], "id": self.uuid(), "run_id": run["id"], "root_id": run["root_id"]} | {
            "path": "first",
            "attempt": 1,
            "args_digest": "d1",
        }

    def insert_approval(self) -> Call:
        row = self.run(status="RUNNING")
        made = Approval(
            tenant=row["tenant"],
            id=self.uuid(),
            run_id=row["id"],
            root_id=row["root_id"],
            path=self.rng.choice(PATHS[:2]),
            attempt=self.rng.choice((1, 2)),
            blueprint="triage",
            policy="p",
            policy_digest="sha256:q",
            requested_by="ada",
            title="t",
            facts=self.value(),
            shown=[self.value()],
            args_digest=self.rng.choice(("d1", "d2")),
            bound=["b1", "b2"],
            nonce="n",
            may_decide={"roles": ["approver"], "principals": []},
            forbid_self=True,
            on_reject="fail",
            on_expire="skip",
            status=ApprovalStatus.PENDING,
            decided_by=None,
            decided_at=None,
            reason=None,
            created_at=self.now,
            expires_at=self.moment(),
        )
        role = self.rng.choice(("engine", self.tenant(row)))
        call = Call("approvals.insert", role, lambda tx: approvals.insert(tx, made), f"{role} {made}")
        self.repeat = call
        return call

    def get(self) -> Call:
        row = self.approval()
        tenant = self.tenant(row)
        return Call("approvals.get", tenant, lambda tx: approvals.get(tx, tenant, row["id"]), str(row["id"]))

    def find(self) -> Call:
        row = self.approval()

        async def run(tx: Any) -> Any:
            return await approvals.find(tx, row["tenant"], row["run_id"], row["path"], row["attempt"])

        return Call("approvals.find", "engine", run, str(row["id"]))

    def settle(self) -> Call:
        row = self.approval(status="PENDING")
        if "policy" not in row:
            return self.get()
        digest = row["args_digest"] if self.rng.random() < 0.8 else "other"
        verdict = self.rng.choice((ApprovalStatus.APPROVED, ApprovalStatus.REJECTED))
        changes = {"status": verdict, "decided_by": "bob", "decided_at": self.now, "reason": "r", "args_digest": digest}
        after = Approval(**{**row, **changes})
        tenant = self.tenant(row)
        return Call("approvals.settle", tenant, lambda tx: approvals.settle(tx, after), f"{tenant} {after}")

    def expire_one(self) -> Call:
        row, now = self.approval(status="PENDING"), self.moment()

        async def run(tx: Any) -> Any:
            return await approvals.expire_one(tx, row["tenant"], row["id"], now)

        return Call("approvals.expire_one", "engine", run, f"{row['id']} {now}")

    def due(self) -> Call:
        now = self.moment()
        return Call("approvals.due", "engine", lambda tx: approvals.due(tx, now, 50), str(now))

    def cancel_of_runs(self) -> Call:
        row = self.approval(status="PENDING")
        ids = [row["run_id"], self.run()["id"]]

        async def run(tx: Any) -> Any:
            return await approvals.cancel_of_runs(tx, row["tenant"], ids, self.now)

        return Call("approvals.cancel_of_runs", self.rng.choice(("engine", row["tenant"])), run, str(ids))

    def select_approvals(self) -> Call:
        rng, row = self.rng, self.approval()
        arguments: dict[str, Any] = {
            "status": rng.choice((None, "PENDING")),
            "run_id": rng.choice((None, row["run_id"], row["root_id"])),
            "after": rng.choice((None, row["id"])),
            "limit": self.limit(),
        }
        tenant = self.tenant(row)
        return Call("approvals.select", tenant, lambda tx: approvals.select(tx, tenant, **arguments), str(arguments))

    def waiting(self) -> Call:
        return Call("approvals.waiting", "engine", approvals.waiting, "")

    def count_pending(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        return Call("approvals.count_pending", tenant, lambda tx: approvals.count_pending(tx, tenant), tenant)

    def dominating(self) -> Call:
        row = self.rng.choice((self.run(), {"tenant": "acme", **self.approval()}))
        run_id = row.get("run_id", row["id"])

        async def run(tx: Any) -> Any:
            return await approvals.dominating(tx, row["tenant"], run_id, PATHS[:2])

        return Call("approvals.dominating", "engine", run, str(run_id))

    def queue_of(self) -> Call:
        row = self.run()
        tenant = self.tenant(row)
        return Call("approvals.queue_of", tenant, lambda tx: approvals.queue_of(tx, tenant, row["id"]), tenant)

    # effects

    def effect(self) -> Effect | None:
        rows = self.rows("effects")
        if not rows or self.rng.random() < 0.05:
            return None
        row = dict(self.rng.choice(rows))
        row["effect_class"] = row.pop("class")
        return Effect(**row)

    def insert_intent(self) -> Call:
        row = self.run(status="RUNNING")
        made = Effect(
            tenant=row["tenant"],
            id=self.uuid(),
            run_id=row["id"],
            path=self.rng.choice(PATHS),
            key=self.rng.choice((f"k-{row['id']}", str(self.uuid()))),
            connector=self.rng.choice(("erp", "mail")),
            connector_digest="c",
            operation="post",
            effect_class=self.rng.choice(("write", "destructive", "read")),  # type: ignore[arg-type]
            idempotency=self.rng.choice(("key", "natural", "probe", "none")),
            args_digest="a",
            state=EffectState.INTENT,
            epoch=row["epoch"],
            receipt=None,
            error=None,
            resolved_by=None,
            evidence=None,
            intent_at=self.now,
            outcome_at=None,
        )
        call = Call("effects.insert_intent", "engine", lambda tx: effects.insert_intent(tx, made), str(made))
        self.repeat = call
        return call

    def lock_of_step(self) -> Call:
        found = self.effect()
        if found is None:
            return self.insert_intent()
        path = found.path if self.rng.random() < 0.8 else "none"

        async def run(tx: Any) -> Any:
            return await effects.lock_of_step(tx, found.tenant, found.run_id, path)

        return Call("effects.lock_of_step", "engine", run, str(found.id))

    def lock_effect(self) -> Call:
        found = self.effect()
        id_, tenant = (self.uuid(), "acme") if found is None else (found.id, found.tenant)
        tenant = self.tenant({"tenant": tenant})
        return Call("effects.lock", tenant, lambda tx: effects.lock(tx, tenant, id_), str(id_))

    def by_id(self) -> Call:
        found = self.effect()
        id_, tenant = (self.uuid(), "acme") if found is None else (found.id, found.tenant)
        tenant = self.tenant({"tenant": tenant})
        return Call("effects.by_id", tenant, lambda tx: effects.by_id(tx, tenant, id_), str(id_))

    def renew_intent(self) -> Call:
        found = self.effect()
        if found is None:
            return self.insert_intent()
        return Call("effects.renew_intent", "engine", lambda tx: effects.renew_intent(tx, found), str(found))

    def set_outcome(self) -> Call:
        found = self.effect()
        if found is None:
            return self.insert_intent()
        outcome: dict[str, Any] = {"state": self.rng.choice((EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN))}
        outcome |= {"at": self.moment(), "receipt": self.rng.choice((None, {"rows": 1})), "evidence": "e"}
        outcome |= {"error": self.rng.choice((None, self.error())), "resolved_by": self.rng.choice((None, "bob"))}
        told = f"{found.id} {outcome}"
        return Call("effects.set_outcome", "engine", lambda tx: effects.set_outcome(tx, found, **outcome), told)

    def select_effects(self) -> Call:
        rng, found = self.rng, self.effect()
        arguments: dict[str, Any] = {
            "state": rng.choice((None, "INTENT")),
            "run_id": rng.choice((None, None if found is None else found.run_id)),
            "connector": rng.choice((None, "erp")),
            "before": rng.choice((None, None if found is None else found.id)),
            "limit": self.limit(),
        }
        tenant = rng.choice(TENANTS)
        return Call("effects.select", tenant, lambda tx: effects.select(tx, tenant, **arguments), str(arguments))

    def count_unknown(self) -> Call:
        return Call("effects.count_unknown", "engine", effects.count_unknown, "")

    # audit, queue

    def select_audit(self) -> Call:
        rng, row = self.rng, self.run()
        records = self.rows("audit_records")
        arguments: dict[str, Any] = {
            "target_kind": rng.choice((None, "run")),
            "target_id": rng.choice((None, str(row["id"]))),
            "run_id": rng.choice((None, row["id"])),
            "event_type": rng.choice((None, "run.ended")),
            "after": rng.choice((None, rng.choice(records)["id"] if records else None)),
            "limit": self.limit(),
        }
        tenant = self.tenant(row)
        return Call("audit.select", tenant, lambda tx: audit.select(tx, tenant, **arguments), str(arguments))

    def notify(self) -> Call:
        told = [
            (f"stanchion_{self.rng.choice(('ready', 'runs', 'cancel'))}", self.rng.choice(("x", "y")))
            for _ in range(self.rng.randint(1, 4))
        ]
        role = self.rng.choice(("engine", "app"))
        return Call("queue.notify", role, lambda tx: queue.notify(tx, told), str(told))


_PIPELINE = (
    *("starts", "claim", "claim", "checkpoint", "checkpoint", "checkpoint", "insert_items", "tick", "register"),
    *("wake", "end_runs", "wake_due"),
)
_SWEEP = (
    *("try_lock", "mark_lost", "lock_stranded", "reclaim", "mark_reclaimed", "wake_due", "delete_old_keys"),
    *("queue_states", "dead_states", "set_worker_state", "hand_back_all", "hand_back", "confirm_crash"),
    *("lock_claimed", "lock_cancelling", "try_session_lock"),
)
_FAN = (
    *("insert_items", "insert_items", "counts", "last_item", "select_ended", "cancel_queued", "lock_parent", "release"),
    *("release", "wake_parent", "waiting_parents", "select_items", "count_items", "load_ancestors", "load_outputs"),
)
_PEOPLE = (
    *("insert_approval", "insert_approval", "get", "find", "settle", "expire_one", "due", "cancel_of_runs"),
    *("select_approvals", "waiting", "count_pending", "dominating", "queue_of", "insert_intent", "insert_intent"),
    *("lock_of_step", "lock_effect", "by_id", "renew_intent", "set_outcome", "select_effects", "count_unknown"),
    *("request_cancel", "lock_cancelled_below", "revive", "revive", "lock_dead", "discard", "hold"),
)
_READS = (
    *("select_status", "select_keys", "load_steps", "select_run", "lock_run", "select_pins", "count_workers"),
    *("select_workers", "select_runs", "select_changed_steps", "select_revisions", "count_dead", "select_dead"),
    *("select_one", "select_states", "select_audit", "notify"),
)
