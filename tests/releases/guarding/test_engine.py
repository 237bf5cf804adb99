"""A planted regression, executed by a real worker and counted by the duty as the scheduler runs it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from stanchion.base.settings import Settings
from stanchion.bootstrap.duties import build_duties
from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.identity import CedarAuthorizer
from stanchion.releases.rollouts import State, history, show_rollout
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.rollouts.support import SOURCES, Stage, Statements, canary, document

# Every run of the candidate fails: its input has no fine.
BROKEN = document("blueprint", ("transform: {value: first}", 'transform: {value: "${input.fine_eur}"}'))
RUNS = 80


async def ended(env) -> dict:
    async with env.db.engine_tx() as tx:
        rows = await (await tx.execute("select status, version, count(*) from runs group by 1, 2")).fetchall()
    return {(status, version): count for status, version, count in rows}


async def test_a_planted_regression_comes_back_by_itself(fresh_database_urls, tmp_path) -> None:
    async with Database(fresh_database_urls) as db:
        env = make_env(db, authorizer=CedarAuthorizer())
        await add_tenants(env, "acme")
        stage = Stage(env, tmp_path)
        await stage.apply(*(document(kind) for kind in SOURCES))
        (duty,) = [duty for duty in build_duties(env, Settings()) if duty.name == "rollouts.watch"]
        with Statements() as before:
            await stage.start()
        plan = replace(canary(50, 100, hold_s=86_400), guards={"guards": [{"metric": "error_rate"}]})
        rollout = (await stage.begin(plan, documents=[BROKEN])).rollout
        stage.resolver = stage.other_resolver(env)  # what a process knows that began now
        stage.starter._resolver = stage.resolver
        await stage.start()
        with Statements() as during:
            await stage.start()
        # With guards, a start asks nothing more than it did before; reading what is live is every process's own, each half second.
        assert during.total <= before.total
        for _ in range(RUNS - 3):
            await stage.start()
        worker = stage.worker()
        task = asyncio.create_task(worker.run())
        try:
            async with asyncio.timeout(60):
                while (
                    sum(n for (status, _), n in (await ended(env)).items() if status in ("SUCCEEDED", "FAILED")) < RUNS
                ):
                    await asyncio.sleep(0.02)
        finally:
            await worker.drain(5)
            await task
        await duty.run(env)  # one turn
        assert (await show_rollout(stage.ctx, rollout.id)).state is State.ROLLED_BACK
        (latest, *_) = (await history(stage.ctx, "blueprint", "case-triage", PageParams())).items
        assert (latest.event, latest.by) == ("rollout.rolled_back", "system:scheduler")
        figures = latest.evidence["guards"][0]["evidence"]
        found = await ended(env)
        assert found == {
            ("FAILED", 2): figures["candidate_count"],
            ("SUCCEEDED", 1): figures["stable_count"] + 1,  # and the run of before, which no rollout dealt
        }
        assert await stage.live() == {"blueprint": 1, "connector": 1, "policy": 1}
