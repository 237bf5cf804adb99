"""A rollout with guards over runs whose ends the test decides, counted by the database's clock, which the test may shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.db import Tx
from stanchion.releases import guarding
from stanchion.releases.guarding import store
from stanchion.releases.rollouts import Judgement, Plan, Rollout, show_rollout, watch
from tests.approvals.support import FrozenClock
from tests.releases.rollouts.support import Stage, canary, second

ERRORS = {"guards": [{"metric": "error_rate", "samples_min": 10}]}


class NowClock(FrozenClock):
    """The test's clock, which begins with the machine's: the database's is compared with it."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)


class Guarded:
    """A stage with a rollout of the policy, watched by guards."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.env = stage.env
        self.ctx = stage.ctx
        self.shift = timedelta()
        self.guards = guarding.Guards(self.moment)

    async def moment(self, tx: Tx) -> datetime:
        """The database's time, shifted by the test."""
        return await store.now(tx) + self.shift

    def wait(self, seconds: float) -> None:
        """Let time pass, on all clocks."""
        self.shift += timedelta(seconds=seconds)
        self.env.clock.at += timedelta(seconds=seconds)

    async def begin(self, *shares: int, guards=ERRORS, hold_s: int | None = 60, plan: Plan | None = None) -> Rollout:
        made = plan or canary(*(shares or (50, 100)), hold_s=hold_s)
        begun = await self.stage.begin(replace(made, guards=guards), documents=[second("policy")])
        self.env.clock.at += timedelta(seconds=1)  # what this process resolves by is read anew
        return begun.rollout

    async def start(self, count: int) -> dict[str, list[UUID]]:
        """Start runs; their ids by arm, as the records of their starts say."""
        for _ in range(count):
            await self.stage.start()
        return await self.arms()

    async def start_both(self, count: int) -> dict[str, list[UUID]]:
        """Start so many runs, and more until each arm has one: which arm a run gets is chance, as its id is."""
        arms = await self.start(count)
        while not all(arms.values()):
            arms = await self.start(1)
        return arms

    async def arms(self) -> dict[str, list[UUID]]:
        found: dict[str, list[UUID]] = {"candidate": [], "stable": []}
        for record in await self.stage.records("run.started"):
            for made in record["extra"].get("assigned", ()):
                found[made["arm"]].append(UUID(record["run_id"]))
        return found

    async def end(
        self, runs: Sequence[UUID], status: str = "SUCCEEDED", *, dead: str | None = None, took_ms: int = 100
    ) -> None:
        """End runs as the engine does it, without executing them."""
        async with self.env.db.engine_tx() as tx:
            await tx.execute(
                "update runs set status = %s, dead_reason = %s, started_at = clock_timestamp() - %s * interval '1 ms',"
                " ended_at = clock_timestamp() where id = any(%s)",
                (status, dead, took_ms, list(runs)),
            )

    async def fail(self, runs: Sequence[UUID]) -> None:
        await self.end(runs, "FAILED", dead="step.broken")

    async def step_error(self, run: UUID, code: str, *, earlier: bool = False) -> None:
        """Give a run a step that failed with this code, in its last attempt or an earlier one."""
        async with self.env.db.engine_tx() as tx:
            await tx.execute(
                "insert into step_runs (tenant, run_id, path, position, verb, status, error, errors, rev)"
                " values ('acme', %s, 'x', 9, 'push', 'FAILED', %s, %s, 1)",
                (run, Jsonb({"code": "other"} if earlier else {"code": code}), Jsonb([{"code": code}]) if earlier else None),
            )  # fmt: skip

    async def collect(self) -> int:
        return await guarding.collect(self.env, self.moment)

    async def judge(self, rollout: Rollout) -> Judgement:
        return await self.guards.judge(self.ctx, await self.now(rollout))

    async def now(self, rollout: Rollout) -> Rollout:
        return await show_rollout(self.ctx, rollout.id)

    async def tick(self) -> int:
        """What the scheduler does each second; how many rollouts changed."""
        await self.collect()
        return await watch(self.env, self.stage.kinds, self.guards)

    async def figures(self, rollout: Rollout, guard: int = 0) -> dict:
        judged = await self.judge(rollout)
        return judged.evidence["guards"][guard]["evidence"]

    async def counts(self, rollout: Rollout, guard: int = 0) -> tuple[int, int]:
        """How many observations of the candidate and of the stable arm a guard has seen."""
        found = await self.figures(rollout, guard)
        return found["candidate_count"], found["stable_count"]
