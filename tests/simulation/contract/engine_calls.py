"""Calls of starting, of the engine's hot path and of the sweep."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from stanchion.base import dumps
from stanchion.runs import store as runs
from stanchion.runs.engine import store as engine
from stanchion.runs.sweeping import store as sweeping
from tests.simulation.contract.choosing import DELAYS_S, LEASE_S, PATHS, PIN, PROBATION_STRIKES, QUEUES, Call, Chooser
from tests.simulation.contract.sides import TENANTS


class EngineCalls(Chooser):
    """Calls of starting, of the engine's hot path and of the sweep."""

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
        pins = [{"tenant": tenant, "digest": "sha256:p", "pins": [PIN]}]
        audits = self.audits([row["id"] for row in rows], tenant)

        tell = self.rng.random() < 0.5

        async def run(tx: Any) -> None:
            await runs.insert_starts(tx, tenant, starts=dumps(rows), pin_sets=dumps(pins), audits=audits, tell=tell)

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
            "engine_v": self.rng.choice((1, 2, 2)),
            "limit": limit,
            "probation": self.rng.random() < 0.2,
            "any_strikes": self.rng.random() < 0.5,
        }
        return Call("engine.claim", "engine", lambda tx: engine.claim(tx, **arguments), str(arguments), limited=True)

    def claim_all(self) -> Call:
        """Everything that may be had, by the first worker."""
        arguments: dict[str, Any] = {"worker": self.workers[0], "queues": QUEUES, "engine_v": 2, "limit": 50}
        arguments |= {"probation": False, "any_strikes": False}
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
        arguments: dict[str, Any] = {"runs": dumps(heads), "steps": dumps(steps), "tell": self.rng.random() < 0.3}
        arguments["audits"] = self.audits(list(chosen), by_tenant)
        call = Call("engine.checkpoint", "engine", lambda tx: engine.checkpoint(tx, **arguments), f"{heads} {steps}")
        self.repeat = call
        return call

    def _checkpointed(self, row: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        rng = self.rng
        at = rng.choice(PATHS)
        head: dict[str, Any] = {"id": row["id"], "epoch": self.epoch(row), "cursor": PATHS.index(at), "path": at}
        step: dict[str, Any] = {"run_id": row["id"], "path": row["path"] or "first", "position": row["cursor"]}
        step |= {"verb": "govern", "attempt": rng.choice((1, 2)), "status": "SUCCEEDED", "ended": True}
        pretended = {"verb": "push", "output": {"receipt": {"simulated": rng.choice((True, False))}}}
        said = {"output": {"decision": "approved"}}
        step |= rng.choice(({}, {"first_attempt": 2}, said, {"output": self.value()}, pretended))
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

    def beat(self) -> Call:
        worker, running = self.worker(), self.rng.randint(0, 3)

        async def run(tx: Any) -> bool:
            return await engine.beat(tx, worker, running=running, lease_s=LEASE_S)

        return Call("engine.beat", "engine", run, f"{worker} {running}")

    def tick(self) -> Call:
        arguments: dict[str, Any] = {
            "worker": self.worker(),
            "queues": self.rng.choice((QUEUES, ("default",))),
            "engine_v": 1,
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
        """A worker's session lives; that the lock is free when the session ends is a scenario of its own."""
        key = self.worker().int & ((1 << 63) - 1)
        return Call("engine.try_session_lock", "session", lambda tx: engine.try_session_lock(tx, key), str(key))

    def take_strikes_back(self) -> Call:
        chosen = self.some(status=self.rng.choice(("PENDING", "RUNNING")))
        by_id = {row["id"]: row["epoch"] - self.rng.choice((1, 2)) for row in chosen}
        ids, epochs = list(by_id), list(by_id.values())
        told = f"{ids} {epochs}"
        return Call("engine.take_strikes_back", "engine", lambda tx: engine.take_strikes_back(tx, ids, epochs), told)

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
