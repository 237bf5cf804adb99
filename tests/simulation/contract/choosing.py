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

from stanchion.base import SystemClock, dumps
from tests.simulation.contract.sides import TENANTS, Model

# Offsets by which times are made from the clock; far enough from each other to be told apart afterwards.
LEASE_S = 1000.0
DELAYS_S = (-300.0, 0.0, 5000.0)
OFFSETS_S = (0.0, LEASE_S, -300.0, 5000.0)
QUEUES = ("default", "slow")
PATHS = ("first", "second", "third")
PROBATION_STRIKES = 2
NOBODY = UUID(int=0)
PIN = {"kind": "blueprint", "name": "triage", "version": 1, "digest": "sha256:b"}

Run = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Call:
    """`role` is a tenant's name (a transaction of that tenant), `app` or `engine` (autocommit), `session` (the connection
    that stays). `limited`: takes the first of an order that one statement's rows need not have among themselves."""

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
        # Runs that somebody holds locks on now: calls look for them.
        self.focus: list[UUID] = []

    # --- drawing arguments

    def uuid(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    def rows(self, table: str, **where: Any) -> list[dict[str, Any]]:
        found = self.model.server.tables[table].rows.values()
        return [row for row in found if all(row[key] == value for key, value in where.items())]

    def run(self, **where: Any) -> dict[str, Any]:
        """A run that fits, or any, or one that does not exist."""
        rows = self.rows("runs", **where) or self.rows("runs")
        if self.focus and self.rng.random() < 0.7:
            rows = [row for row in self.rows("runs") if row["id"] in self.focus]
        if rows and self.rng.random() < 0.97:
            # Half of the time one of few, so that several calls meet at the same run.
            return self.rng.choice(rows[-3:] if self.rng.random() < 0.5 else rows)
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
        return row["epoch"] - (self.rng.random() < 0.1)

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
