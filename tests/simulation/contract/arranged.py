"""What scenarios are made of: runs, workers and claims, made by the stores' own functions."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

from stanchion.base import dumps
from stanchion.runs import store as runs
from stanchion.runs.engine import store as engine
from stanchion.runs.fanout import store as fanout
from stanchion.runs.fanout.store import Opening
from stanchion.runs.types import Claim
from tests.simulation.contract.sides import Side

QUEUES = ("default",)


class Arranged:
    """A side with shorthands. Every id is drawn anew, so that scenarios do not meet."""

    def __init__(self, side: Side) -> None:
        self.side = side
        self.db = side.db

    async def start(self, n: int = 1, *, tenant: str = "acme", **more: Any) -> list[UUID]:
        """Start `n` runs, one statement each, so that the first is the oldest."""
        ids = []
        for _ in range(n):
            run_id = more.pop("id", None) or uuid4()
            ids.append(run_id)
            await self.insert([start_row(run_id, tenant, **more)], tenant)
        return ids

    async def insert(self, rows: list[dict[str, Any]], tenant: str = "acme", audits: bytes = b"[]") -> None:
        """insert_starts."""
        pins = [{"tenant": tenant, "digest": "sha256:p", "pins": []}]
        async with self.db.connection("app") as tx:
            await runs.insert_starts(tx, tenant, starts=dumps(rows), pin_sets=dumps(pins), audits=audits)

    async def worker(self, *, locked: bool = True, **more: Any) -> UUID:
        """A registered worker; its session lock is held by the side's listening connection."""
        worker = uuid4()
        key = lock_key(worker)
        if locked:
            assert await engine.try_session_lock(self.side.listener, key)
        fields: dict[str, Any] = {"name": "w", "host": "h", "pid": 1, "engine_v": 1, "queues": QUEUES, "capacity": 9}
        fields |= {"lock_key": key, "probation_of": None, "lease_s": 1000.0}
        async with self.db.connection("engine") as tx:
            await engine.register(tx, worker=worker, **{**fields, **more})
        return worker

    async def claim(self, worker: UUID, tx: Any = None, limit: int = 50, **more: Any) -> dict[UUID, engine.Claimed]:
        """Claim; by run id."""
        wanted: dict[str, Any] = {"queues": QUEUES, "engine_v": 1, "probation": False, "any_strikes": True, **more}
        if tx is None:
            async with self.db.connection("engine") as tx:
                found = await engine.claim(tx, worker=worker, limit=limit, **wanted)
        else:
            found = await engine.claim(tx, worker=worker, limit=limit, **wanted)
        return {claimed.id: claimed for claimed in found}

    async def running(self, n: int = 1, **more: Any) -> tuple[UUID, list[UUID]]:
        """A worker that holds `n` fresh runs."""
        worker = await self.worker()
        ids = await self.start(n, **more)
        assert set(ids) <= set(await self.claim(worker))
        return worker, ids

    async def checkpoint(
        self, run_id: UUID, tx: Any = None, *, epoch: int = 1, step: dict[str, Any] | None = None, **head: Any
    ) -> list[engine.Written]:
        """One run's checkpoint with the row of its first step."""
        row = {"id": run_id, "epoch": epoch, "status": "RUNNING", "cursor": 0, "path": "first", **head}
        steps = [step_row(run_id, **(step or {}))]
        if tx is None:
            async with self.db.connection("engine") as tx:
                return await engine.checkpoint(tx, runs=dumps([row]), steps=dumps(steps), audits=b"[]")
        return await engine.checkpoint(tx, runs=dumps([row]), steps=dumps(steps), audits=b"[]")

    async def fan_out(self, n: int, *, suspended: bool = True) -> tuple[UUID, list[UUID]]:
        """A parent that waits for `n` queued items, the first of which has number 0."""
        _, (parent,) = await self.running()
        items = [uuid4() for _ in range(n)]
        await self.items(parent, items)
        if suspended:
            fan_out = {"total": n, "concurrency": 2, "on_item_error": "stop", "max_failures": None}
            step = {"status": "SUSPENDED", "fan_out": fan_out}
            await self.checkpoint(parent, step=step, status="SUSPENDED", waiting_kind="child")
        return parent, items

    async def items(self, parent: UUID, items: list[UUID], tx: Any = None, *, epoch: int = 1, first: int = 0) -> int:
        """insert_items."""
        rows = [{"id": id_, "item_no": no, "value": no} for no, id_ in enumerate(items, first)]
        claim = Claim(tenant="acme", run_id=parent, epoch=epoch)
        if tx is None:
            async with self.db.connection("engine") as tx:
                return await fanout.insert_items(tx, claim, "first", OPENING, items=dumps(rows), audits=b"[]")
        return await fanout.insert_items(tx, claim, "first", OPENING, items=dumps(rows), audits=b"[]")

    async def run(self, run_id: UUID) -> dict[str, Any]:
        """The committed row of a run."""
        return await self.side.row("runs", run_id)

    async def status(self, run_id: UUID) -> str:
        """A run's state."""
        return (await self.run(run_id))["status"]

    @asynccontextmanager
    async def other(self, role: str = "engine") -> AsyncGenerator[Any]:
        """A transaction of another process."""
        block = self.side.other.engine_tx() if role == "engine" else self.side.other.tenant_tx(role)
        async with block as tx:
            yield tx

    @asynccontextmanager
    async def undone(self, role: str = "engine") -> AsyncGenerator[Any]:
        """A transaction of another process that is rolled back at its end."""
        with contextlib.suppress(_Undo):
            async with self.other(role) as tx:
                yield tx
                raise _Undo

    @asynccontextmanager
    async def dedicated(self, role: str) -> AsyncGenerator[Any]:
        """A connection of its own."""
        connection = await self.db.dedicated(role)
        try:
            yield connection
        finally:
            await connection.close()

    async def waits(self, what: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin `what`, which must wait for a lock."""
        task = asyncio.create_task(what)
        assert await self.side.blocked(task), "it did not wait for the lock"
        return task

    async def at_once(self, what: Coroutine[Any, Any, Any]) -> Any:
        """The result of `what`, which must not wait for a lock."""
        task = asyncio.create_task(what)
        if await self.side.blocked(task):
            task.cancel()
            await asyncio.wait([task])
            raise AssertionError("it waited for a lock")
        return await task


class _Undo(Exception):  # noqa: N818 - rolls a transaction back
    """Raised inside a transaction block to undo it."""


async def result_of(task: asyncio.Task[Any]) -> Any:
    """What a task that waited comes to, now that it may go on."""
    return await asyncio.wait_for(task, 60)


def lock_key(worker: UUID) -> int:
    """The advisory key of a worker's session."""
    return worker.int & ((1 << 63) - 1)


def start_row(run_id: UUID, tenant: str = "acme", **more: Any) -> dict[str, Any]:
    """One start as insert_starts takes it."""
    row: dict[str, Any] = {"tenant": tenant, "id": run_id, "blueprint": "triage", "version": 1, "pins": "sha256:p"}
    row |= {"environment": "local", "engine_v": 1, "queue": "default", "priority": 0, "path": "first", "verb": "govern"}
    row |= {"input": {"n": 1}, "requested_by": "ada", "traceparent": None}
    return row | more


def step_row(run_id: UUID, **more: Any) -> dict[str, Any]:
    """One StepRun as checkpoint takes it."""
    row: dict[str, Any] = {"run_id": run_id, "path": "first", "position": 0, "verb": "govern", "status": "RUNNING"}
    return row | {"attempt": 1} | more


OPENING = Opening(
    tenant="acme",
    environment="local",
    blueprint="triage",
    version=1,
    pins="sha256:p",
    queue="default",
    traceparent=None,
    block="each",
    path="first",
    verb="push",
    empty=False,
)
