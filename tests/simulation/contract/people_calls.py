"""Calls of approvals, effects, audit and the queue."""

from __future__ import annotations

from typing import Any

from stanchion.approvals import store as approvals
from stanchion.approvals.types import Approval, ApprovalStatus
from stanchion.audit import AuditRecord
from stanchion.audit import store as audit
from stanchion.queue import store as queue
from stanchion.tools.effects import store as effects
from stanchion.tools.effects.types import Effect, EffectState
from tests.simulation.contract.choosing import PATHS, Call, Chooser
from tests.simulation.contract.sides import TENANTS


class PeopleCalls(Chooser):
    """Calls of approvals, effects, audit and the queue."""

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
        outcome: dict[str, Any] = {
            "state": self.rng.choice((EffectState.DONE, EffectState.FAILED, EffectState.UNKNOWN))
        }
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
            "digest": rng.choice((None, None, None if found is None else found.connector_digest, "sha256:none")),
            "since": rng.choice((None, None, None if found is None else found.intent_at)),
            "simulated": rng.choice((None, None, False, True)),
            "operations": (calls := rng.choice((None, None, ["erp.post", "erp.other"]))),
            "pins": None if calls is None else [{"kind": "blueprint"}, {"kind": "tool", "name": "x"}],
            "before": rng.choice((None, None if found is None else found.id)),
            "limit": self.limit(),
        }
        tenant = rng.choice(TENANTS)
        return Call("effects.select", tenant, lambda tx: effects.select(tx, tenant, **arguments), str(arguments))

    def leave(self) -> Call:
        arguments: dict[str, Any] = {
            "before": self.moment(),
            "at": self.now,
            "error": self.error(),
            "limit": self.limit(),
        }
        return Call("effects.leave", "engine", lambda tx: effects.leave(tx, **arguments), str(arguments))

    def count_unknown(self) -> Call:
        return Call("effects.count_unknown", "engine", effects.count_unknown, "")

    def count_unknown_of(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        return Call("effects.count_unknown_of", tenant, lambda tx: effects.count_unknown_of(tx, tenant), tenant)

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

    def insert_records(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        role = self.rng.choice(("engine", tenant))
        records = [
            AuditRecord(**{**row, "recorded_at": self.now, "leaf": b"\0\xff", "record": row["record"]})
            for row in [self.audit(self.rng.choice((None, self.run()["id"])), tenant) for _ in range(2)]
        ]
        call = Call("audit.insert_many", role, lambda tx: audit.insert_many(tx, records), f"{role} {records}")
        self.repeat = call
        return call

    def notify(self) -> Call:
        told = [
            (f"stanchion_{self.rng.choice(('ready', 'runs', 'cancel'))}", self.rng.choice(("x", "y")))
            for _ in range(self.rng.randint(1, 4))
        ]
        role = self.rng.choice(("engine", "app"))
        return Call("queue.notify", role, lambda tx: queue.notify(tx, told), str(told))
