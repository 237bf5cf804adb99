"""Watching runs: one watcher per process hears and polls for everybody who watches; streams are built on it.

A stream is "all with rev > Last-Event-ID": `runs.rev` rises with each change and stands on every StepRun the change
touched, so nothing is kept per client but the last revision sent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import psycopg

from stanchion.base import Problem
from stanchion.context import Ctx, Env
from stanchion.queue import hear
from stanchion.runs import rules, store
from stanchion.runs.tasks import end_tasks
from stanchion.runs.types import BlueprintRun, ItemSummary, StepRun

# How often watched runs are looked at when no wake-up comes, and how often an idle stream says that it lives.
POLL_S: Final = 1.0
# How long the process goes on listening when nobody watches: the next watcher need not wait for a connection (4 ms).
LINGER_S: Final = 60.0
HEARTBEAT_S: Final = 15.0
# Runs that were told of while nobody watched them, for who begins to watch just then.
_TOLD_MAX: Final = 1024
_Key = tuple[str, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is new of a run since a revision: changed StepRuns in order, the run if it changed, its items if they did."""

    run: BlueprintRun
    changed: bool
    steps: list[StepRun]
    items: ItemSummary | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.run.status in rules.ENDED


class Watcher:
    """Tells subscribers that a run changed. Works while somebody is subscribed, and a minute longer.

    Attributes:
        hears: whether it listens now. Of a run that is started while it does, nothing is missed by who subscribes as soon
            as he knows the run's id.
    """

    def __init__(self, env: Env) -> None:
        self._env = env
        self._events: dict[_Key, set[asyncio.Event]] = {}
        self._seen: dict[_Key, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._idle_since = 0.0
        self._told: OrderedDict[str, None] = OrderedDict()
        self._all_told_at = float("-inf")
        self.hears = False

    @asynccontextmanager
    async def watch(self, tenant: str, run_id: UUID) -> AsyncGenerator[asyncio.Event]:
        """An event that is set whenever the run may have changed; the caller clears it."""
        key, event = (tenant, run_id), asyncio.Event()
        self._events.setdefault(key, set()).add(event)
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._hearing()), asyncio.create_task(self._poll())]
        if self._told.pop(str(run_id), "") is None or self._env.clock.monotonic() - self._all_told_at < POLL_S:
            event.set()
        try:
            yield event
        finally:
            self._events[key].discard(event)
            if not self._events[key]:
                del self._events[key]
                self._seen.pop(key, None)
            if not self._events:
                self._idle_since = self._env.clock.monotonic()

    async def close(self) -> None:
        """Stop hearing and polling."""
        tasks, self._tasks = self._tasks, []
        await end_tasks(tasks)

    def _rest(self) -> None:
        """Nobody has watched for a while: stop hearing; this, the poll, ends by itself."""
        hear, _ = self._tasks
        self._tasks = []
        hear.cancel()

    async def _hearing(self) -> None:
        await hear(self._env, "app", ("stanchion_runs",), self._tell, retry_s=POLL_S, stands=self._stands)

    def _stands(self, standing: bool) -> None:
        self.hears = standing

    def _tell(self, payload: str) -> None:
        if payload == "*":
            self._all_told_at = self._env.clock.monotonic()
        ids = dict.fromkeys(payload.split(","))
        for (_, run_id), events in self._events.items():
            if payload == "*" or ids.pop(str(run_id), "") is None:
                _set(events)
        self._told.update(ids)
        while len(self._told) > _TOLD_MAX:
            self._told.popitem(last=False)

    async def _poll(self) -> None:
        while True:
            await self._env.clock.sleep(POLL_S)
            if not self._events:
                if self._env.clock.monotonic() - self._idle_since > LINGER_S:
                    self._rest()
                    return
                continue
            by_tenant: dict[str, list[UUID]] = defaultdict(list)
            for tenant, run_id in self._events:
                by_tenant[tenant].append(run_id)
            for tenant, ids in by_tenant.items():
                try:
                    async with self._env.db.tenant_tx(tenant) as tx:
                        revisions = await store.select_revisions(tx, tenant, ids)
                except (psycopg.Error, Problem):
                    continue  # the database is away: streams stay open and go on when it is back
                for found in revisions:
                    self._look((tenant, found.id), (found.rev, found.below))

    def _look(self, key: _Key, now: tuple[int, int]) -> None:
        if self._seen.get(key) != now and key in self._events:
            self._seen[key] = now
            _set(self._events[key])


def _set(events: set[asyncio.Event]) -> None:
    for event in events:
        event.set()


async def changes(ctx: Ctx, run_id: UUID, after: int) -> Change:
    """What is new since revision `after`. Raises NotFound `run.unknown`."""
    async with ctx.tx() as tx:
        # The run first: StepRuns up to its revision are then complete, later ones are the next change's.
        run = await store.select_run(tx, ctx.tenant, run_id)
        steps = await store.select_changed_steps(tx, ctx.tenant, run_id, after, run.rev)
        items = await store.count_items(tx, ctx.tenant, [run_id])
    return Change(run=run, changed=run.rev > after, steps=steps, items=items[0] if items else None)


async def follow(ctx: Ctx, watcher: Watcher, run_id: UUID, after: int = 0) -> AsyncGenerator[Change | None]:
    """Changes of a run as they come, until its end; None now and then where nothing happens.

    Raises NotFound `run.unknown`, Denied.
    """
    ctx.require("runs.read")
    items: ItemSummary | None = None
    async with watcher.watch(ctx.tenant, run_id) as event:
        while True:
            event.clear()
            change = await changes(ctx, run_id, after)
            if change.changed or change.items != items:
                yield change
            after, items = max(after, change.run.rev), change.items
            if change.ended:
                return
            if not await _heard(event, HEARTBEAT_S):
                yield None


async def ended_within(ctx: Ctx, watcher: Watcher, run_id: UUID, seconds: float, *, heard: bool = False) -> bool:
    """Whether the run ends within `seconds`. `heard`: it was started while the watcher was hearing (`Watcher.hears`), so
    there is nothing to look at before it is told of."""
    deadline = ctx.env.clock.monotonic() + seconds
    async with watcher.watch(ctx.tenant, run_id) as event:
        while True:
            if heard and not event.is_set():
                heard = False
            else:
                event.clear()
                async with ctx.env.db.connection("app") as tx:
                    if await store.select_status(tx, ctx.tenant, run_id) in rules.ENDED:
                        return True
                if ctx.env.clock.monotonic() >= deadline:
                    return False
            await _heard(event, deadline - ctx.env.clock.monotonic())


async def _heard(event: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
