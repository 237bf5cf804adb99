"""The same random calls on both sides, compared answer by answer and then table by table.

A sequence is about 40 calls. Most stand alone in autocommit mode or in a transaction of a tenant. Now and then a second
process holds a transaction open over a few calls (and its locks with it), so that the calls meanwhile skip, or wait and
then look again; whoever waits is let go by that transaction's end, committed or rolled back.

Times that the server made are compared by the call during which they were made (and the offset that the statement adds),
times that callers passed in exactly. Which times a call that waited made, before its wait or after it, is left open.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import random
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from stanchion.base import Problem, SystemClock
from tests.simulation.contract.calls import Calls
from tests.simulation.contract.choosing import OFFSETS_S, Call
from tests.simulation.contract.sides import TENANTS, Model, Real, Side

CALLS = 40
_WAIT_S = 60.0
_CLOCK = SystemClock()
# Statements whose rows have no order: their answers are compared as sets.
_UNORDERED = frozenset(
    {
        *("engine.load_ancestors", "engine.load_outputs", "engine.checkpoint", "engine.tick", "runs.select_keys"),
        *("runs.count_items", "runs.request_cancel", "runs.select_revisions", "fanout.cancel_queued"),
        *("sweeping.mark_lost", "sweeping.wake_due", "sweeping.queue_states", "sweeping.dead_states"),
        *("deadletters.revive", "deadletters.select_states", "approvals.cancel_of_runs", "approvals.dominating"),
        *("runs.load_steps",),
    }
)


class Difference(AssertionError):  # noqa: N818 - what it is
    """The two sides disagree."""


class _Undo(Exception):  # noqa: N818 - rolls a transaction back
    pass


@dataclass
class Sequence:
    """One sequence of calls on both sides."""

    seed: int
    real: Real
    model: Model

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.chooser = Calls(self.rng, self.model)
        self.starts: list[datetime] = []
        self.groups: list[int] = []
        self.told: list[str] = []
        self.counts: dict[str, int] = {}
        self.waits = 0

    async def play(self, calls: int = CALLS) -> None:
        """Play it. Raises Difference with the calls up to it."""
        self._mark("wipe")
        await self.real.wipe()
        await self.model.wipe()
        try:
            while len(self.starts) < calls:
                if self.chooser.drawn > 8 and self.rng.random() < 0.2:
                    await self._held()
                else:
                    await self._alone(self.chooser.call())
                if self.rng.random() < 0.06:
                    await self._backdate()
            self._mark("end")
            await self._compare_tables()
        except Difference as difference:
            history = "\n".join(f"{n}: {line[:1500]}" for n, line in enumerate(self.told))
            raise Difference(f"sequence {self.seed}: {difference}\n{history}") from None

    # --- one call

    def _mark(self, told: str) -> None:
        self.starts.append(_CLOCK.now())
        self.groups.append(len(self.groups))
        self.told.append(told)

    def _begin(self, call: Call) -> None:
        self._mark(f"{call.name} [{call.role}] {call.told}")
        self.counts[call.name] = self.counts.get(call.name, 0) + 1

    async def _alone(self, call: Call) -> None:
        self._begin(call)
        if call.limited:
            await self._same_order()
        told = await _outcome(self.model, call)
        said = await asyncio.wait_for(_outcome(self.real, call), _WAIT_S)
        self._compare(call, said, told)

    async def _same_order(self) -> None:
        """Rows that one statement made ready have an order among themselves that no ORDER BY gives: take PostgreSQL's."""
        cursor = await self.real.admin.execute("select id, ready_at, wake_at from runs")
        table = self.model.server.tables["runs"]
        for row in await cursor.fetchall():
            mine = table.rows.get(row["id"])
            if mine is not None:
                table.put(row["id"], {**mine, "ready_at": row["ready_at"], "wake_at": row["wake_at"]})

    # --- calls beside an open transaction

    async def _held(self) -> None:
        """A transaction of another process, with calls beside it."""
        role = self.rng.choice(("engine", *TENANTS))
        holders = [_Holder(side, role) for side in (self.model, self.real)]
        self._mark(f"begin [{role}]")
        for holder in holders:
            await holder.begin()
        alive = True
        for _ in range(self.rng.randint(1, 3)):
            if alive:
                alive = await self._inside(holders, role)
        self.chooser.focus = [key for name, key in self.model.server.locks.names() if name == "runs"]
        waiting = None
        for _ in range(self.rng.randint(2, 4)):
            if waiting is None:
                waiting = await self._beside(self.chooser.locking())
        self.chooser.focus = []
        commit = self.rng.random() < 0.6
        self._mark("commit" if commit else "rollback")
        for holder in holders:
            if alive:
                await holder.end(commit=commit)
        if waiting is not None:
            await self._resume(*waiting)

    async def _inside(self, holders: list[_Holder], role: str) -> bool:
        call = self.chooser.locking()
        for _ in range(10):
            if call.role == role:
                break
            call = self.chooser.locking()
        else:
            return True
        self._begin(call)
        self.told[-1] += " (inside)"
        if call.limited:
            await self._same_order()
        told, said = [await asyncio.wait_for(holder.run(call), _WAIT_S) for holder in holders]
        self._compare(call, said, told)
        return told[0] == "ok"

    async def _beside(self, call: Call) -> tuple[Call, int, list[asyncio.Task[Any]]] | None:
        """A call that may have to wait for the open transaction; None if it did not."""
        self._begin(call)
        self.told[-1] += " (beside)"
        if call.limited:
            await self._same_order()
        tasks = [asyncio.create_task(_outcome(side, call)) for side in (self.model, self.real)]
        waits = await self.model.blocked(tasks[0])
        if waits != await self.real.blocked(tasks[1]):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            raise Difference(f"{call.name}: {'only the model' if waits else 'only PostgreSQL'} waits for a lock")
        if waits:
            self.waits += 1
            return call, len(self.starts) - 1, tasks
        told, said = [await task for task in tasks]
        self._compare(call, said, told)
        return None

    async def _resume(self, call: Call, since: int, tasks: list[asyncio.Task[Any]]) -> None:
        told, said = [await asyncio.wait_for(task, _WAIT_S) for task in tasks]
        self.groups[since:] = [self.groups[since]] * (len(self.groups) - since)
        self._compare(call, said, told)

    async def _backdate(self) -> None:
        """Time passes: some lease, wake-up or key is older than it was."""
        table, column, by = self.rng.choice(
            (("workers", "lease_until", 5000.0), ("idempotency_keys", "created_at", 90_000.0))
        )
        rows = list(self.model.server.tables[table].rows.values())
        if rows:
            row = self.rng.choice(rows)
            if row[column] < self.starts[0]:
                return
            key = {column_: row[column_] for column_ in self.model.server.tables[table].key}
            for side in (self.real, self.model):
                await side.backdate(table, column, by, **key)
            self.told[-1] += f"; backdated {table} {key}"

    # --- comparing

    def _compare(self, call: Call, said: Any, told: Any) -> None:
        real, model = self._plain(said), self._plain(told)
        if call.name in _UNORDERED:
            real, model = _sorted(real), _sorted(model)
        if real != model:
            raise Difference(f"{call.name}:\nPostgreSQL says {real}\nthe model says {model}")

    async def _compare_tables(self) -> None:
        real, model = await self.real.dump(), await self.model.dump()
        for name, rows in real.items():
            mine = model[name]
            if rows.keys() != mine.keys():
                raise Difference(f"table {name}: PostgreSQL has {list(rows)}\nthe model has {list(mine)}")
            for key, row in rows.items():
                plain, other = self._plain(row), self._plain(mine[key])
                if plain != other:
                    differ = {c: (plain.get(c), other.get(c)) for c in plain if plain.get(c) != other.get(c)}
                    raise Difference(f"table {name}, row {key}: (PostgreSQL, the model) = {differ}")
        # One statement's notifications have no order among themselves where their rows have none.
        heard, said = sorted(await self.real.heard()), sorted(await self.model.heard())
        if heard != said:
            raise Difference(f"notifications: PostgreSQL {heard}\nthe model {said}")

    def _plain(self, value: Any) -> Any:
        """A value with server-made times and durations normalised."""
        if isinstance(value, datetime):
            return self._time(value)
        if is_dataclass(value) and not isinstance(value, type):
            plain = {f.name: getattr(value, f.name) for f in fields(value)}
            for name in ("duration_s", "waited_s", "oldest_s"):
                if isinstance(plain.get(name), float):
                    plain[name] = round(plain[name], -2)
            return self._plain(plain)
        if isinstance(value, dict):
            return {key: self._plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(item) for item in value]
        return value

    def _time(self, value: datetime) -> Any:
        value = value.astimezone(UTC)
        for offset in (*OFFSETS_S, OFFSETS_S[1] - 5000.0, -90_000.0):
            at = value - timedelta(seconds=offset)
            if self.starts[0] <= at <= _CLOCK.now():
                return (self.groups[bisect.bisect_right(self.starts, at) - 1], offset)
        return value.isoformat()


class _Holder:
    """An open transaction on one side, of its second process."""

    def __init__(self, side: Side, role: str) -> None:
        self._block: AbstractAsyncContextManager[Any] = (
            side.other.engine_tx() if role == "engine" else side.other.tenant_tx(role)
        )
        self._tx: Any = None

    async def begin(self) -> None:
        self._tx = await self._block.__aenter__()

    async def run(self, call: Call) -> tuple[str, Any]:
        outcome = await _answer(call.run(self._tx))
        if outcome[0] != "ok":
            await self.end(commit=False)
        return outcome

    async def end(self, *, commit: bool) -> None:
        if commit:
            await self._block.__aexit__(None, None, None)
            return
        with contextlib.suppress(_Undo):
            await self._block.__aexit__(_Undo, _Undo(), None)


async def _outcome(side: Side, call: Call) -> tuple[str, Any]:
    """What a call comes to by itself."""

    db = side.db

    async def alone() -> Any:
        if call.role == "session":
            return await call.run(side.listener)
        if call.role in ("engine", "app"):
            async with db.connection(call.role) as tx:
                return await call.run(tx)
        async with db.tenant_tx(call.role) as tx:
            return await call.run(tx)

    return await _answer(alone())


async def _answer(answer: Awaitable[Any]) -> tuple[str, Any]:
    try:
        return "ok", await answer
    except psycopg.Error as error:
        return "error", type(error).__name__
    except Problem as problem:
        return "problem", problem.code


def _sorted(outcome: list[Any]) -> list[Any]:
    kind, value = outcome
    if isinstance(value, list):
        return [kind, sorted(value, key=repr)]
    if isinstance(value, dict):
        return [kind, {k: sorted(v, key=repr) if isinstance(v, list) else v for k, v in value.items()}]
    return [kind, value]
