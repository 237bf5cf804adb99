"""The scheduler's duty: count the runs of open rollouts that have ended, and what was reported of them.

A run's arm stands in the record of its start. Runs are found by the pins that a rollout's versions are in, in the order of
their ids: *fresh* ones each time, a few seconds back from the newest; and by a *patrol* that walks all of them in turns,
since an id is older than its commit and a start may come to light late. A run that was found is kept in `rollout_runs`
until it has ended: the newest are looked at each time, all of them in turns. Whoever holds the lock of the rollout's watch
finds, counts, and writes what is known in one transaction: a row that says "counted" commits with its evidence, or neither does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final, cast
from uuid import UUID

from stanchion.base import Json, Problem
from stanchion.context import Env
from stanchion.db import Tx
from stanchion.releases.guarding import rules, store
from stanchion.releases.guarding.types import EndedRun, Watch
from stanchion.releases.watching import Guards, begin, comparison_json, observe, parse_guards, read_comparison

_WATCHES: Final = 200
# Runs that one look passes or asks about, per rollout: what a busy second brings, and some milliseconds of a transaction.
FRESH_MAX: Final = 10_000
PATROL_MAX: Final = 2_000
NEWEST_MAX: Final = 4_000
TURN_MAX: Final = 2_000
_REPORTED_MAX: Final = 4_000
_FORGET_MAX: Final = 5_000

# Tells the time by which is counted.
Moment = Callable[[Tx], Awaitable[datetime]]


async def collect(env: Env, moment: Moment = store.now) -> int:
    """Count what has come since the last look, for every rollout of the environment that has guards; return how much.

    Two at once do no harm: a rollout is counted by one of them, and the other leaves it. `moment` is the database's clock.
    """
    counted = 0
    past: UUID | None = None
    while True:
        async with env.db.engine_tx() as tx:
            found = await store.open_watches(tx, env.environment.name, past=past, limit=_WATCHES)
        for one in found:
            try:
                async with env.db.engine_tx() as tx:
                    counted += await collect_one(tx, one.tenant, one.rollout_id, moment)
            except Problem as problem:  # of this rollout, and no reason to leave the others
                env.telemetry.emit("duty.failed", 1.0, duty="guards.collect", error=f"{one.rollout_id}: {problem}")
        if len(found) < _WATCHES:
            if counted:
                env.telemetry.emit("guards.counted", float(counted))
            return counted
        past = found[-1].rollout_id


async def collect_one(tx: Tx, tenant: str, rollout_id: UUID, moment: Moment) -> int:
    """Count for one rollout, in the caller's transaction: lock, find, observe, save."""
    watch = await store.lock(tx, tenant, rollout_id)
    if watch is None:
        return 0
    if watch.is_over:
        if not await store.forget(tx, tenant, rollout_id, limit=_FORGET_MAX):
            await store.close(tx, tenant, rollout_id)
        return 0
    at = await moment(tx)
    guards = parse_guards(dict(watch.guards))
    watch = await _find(tx, watch, at)
    waiting, turn_id = await _waiting(tx, watch)
    runs = await _ended(tx, watch, waiting, guards, at)
    reported = await store.count_measurements(tx, tenant, rollout_id, limit=_REPORTED_MAX, at=at)
    known: dict[str, Json] = {}
    for guard in guards.guards:
        stored = (watch.comparisons or {}).get(guard.name)
        comparison = begin(guard, at) if stored is None else read_comparison(stored)
        seen = rules.observations(guard, runs, reported)
        known[guard.name] = cast("Json", comparison_json(observe(guard, comparison, seen)))
    counted = len(runs) + len(reported)
    await store.save(tx, replace(watch, turn_id=turn_id, counted=watch.counted + counted), known, at)
    return counted


async def _find(tx: Tx, watch: Watch, at: datetime) -> Watch:
    """Take in new runs, and those that came to light late."""
    first = rules.before(watch.rollout_id, rules.SKEW_MS)
    fresh_id = watch.fresh_id or first
    fresh = await store.scan(tx, watch.tenant, watch.rollout_id, after=fresh_id, limit=FRESH_MAX, at=at)
    patrol = await store.scan(
        tx, watch.tenant, watch.rollout_id, after=watch.patrol_id or first, limit=PATROL_MAX, at=at
    )
    return replace(
        watch,
        fresh_id=rules.fresh_after(fresh_id, fresh, FRESH_MAX),
        patrol_id=rules.patrol_after(patrol, PATROL_MAX),
    )


async def _waiting(tx: Tx, watch: Watch) -> tuple[list[UUID], UUID | None]:
    """The runs to ask about now, and where the turn of those that wait for long goes on."""
    newest = await store.waiting(tx, watch.tenant, watch.rollout_id, newest=NEWEST_MAX)
    if len(newest) < NEWEST_MAX:
        return newest, None
    turn = await store.waiting_past(tx, watch.tenant, watch.rollout_id, past=watch.turn_id, limit=TURN_MAX)
    return list({*newest, *turn}), turn[-1] if len(turn) == TURN_MAX else None


async def _ended(tx: Tx, watch: Watch, waiting: Sequence[UUID], guards: Guards, at: datetime) -> Sequence[EndedRun]:
    if not waiting:
        return ()
    metrics: Mapping[str, object] = {guard.metric: guard for guard in guards.guards}
    return await store.count_ended(
        tx,
        watch.tenant,
        watch.rollout_id,
        waiting,
        denials=rules.DENIALS if "denial_rate" in metrics else None,
        overrides="override_rate" in metrics,
        at=at,
    )
