"""Calls of fan-outs."""

from __future__ import annotations

from typing import Any

from stanchion.base import dumps
from stanchion.runs.fanout import store as fanout
from stanchion.runs.fanout.store import Opening
from stanchion.runs.types import Claim
from tests.simulation.contract.choosing import NOBODY, Call, Chooser


class FanoutCalls(Chooser):
    """Calls of fan-outs."""

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
            {"id": self.uuid(), "item_no": max(first, 0) + n, "value": self.value()}
            for n in range(self.rng.randint(1, 4))
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
