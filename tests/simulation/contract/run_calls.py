"""Calls that read and steer runs, and those of dead letters."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from stanchion.base import dumps
from stanchion.runs import store as runs
from stanchion.runs.deadletters import store as deadletters
from stanchion.runs.simulated import store as simulated
from tests.simulation.contract.choosing import QUEUES, Call, Chooser
from tests.simulation.contract.sides import TENANTS


async def _sorted(counting: Awaitable[list[simulated.Simulated]]) -> list[simulated.Simulated]:
    """The statement promises no order."""
    return sorted(await counting, key=lambda found: found.run_id)


class RunCalls(Chooser):
    """Calls that read and steer runs, and those of dead letters."""

    def select_status(self) -> Call:
        row = self.run()
        tenant = self.tenant(row)
        return Call("runs.select_status", "app", lambda tx: runs.select_status(tx, tenant, row["id"]), tenant)

    def select_keys(self) -> Call:
        tenant = self.rng.choice(TENANTS)
        return Call("runs.select_keys", tenant, lambda tx: runs.select_keys(tx, tenant, ["a", "b", "z"]), tenant)

    def select_retry_causes(self) -> Call:
        ids = [row["id"] for row in self.some(waiting_kind="retry")]
        tenant = self.rng.choice(TENANTS)
        return Call("runs.select_retry_causes", tenant, lambda tx: runs.select_retry_causes(tx, tenant, ids), str(ids))

    def load_steps(self) -> Call:
        ids = [row["id"] for row in self.some()]
        role = self.rng.choice(("engine", *TENANTS))
        return Call("runs.load_steps", role, lambda tx: runs.load_steps(tx, ids), f"{role} {ids}")

    def count_own(self) -> Call:
        ids = [row["id"] for row in self.some()]
        tenant = self.rng.choice(TENANTS)
        return Call("simulated.count_own", tenant, lambda tx: _sorted(simulated.count_own(tx, tenant, ids)), str(ids))

    def count_whole(self) -> Call:
        row = self.run()
        tenant = self.tenant(row)
        return Call("simulated.count_whole", tenant, lambda tx: simulated.count_whole(tx, tenant, row["id"]), tenant)

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
