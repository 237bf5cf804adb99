"""A candidate of any kind under which runs fail is taken back by the deployment itself, and nothing else is touched."""

from __future__ import annotations

import dataclasses

import pytest

from stanchion.bootstrap.duties import build_duties
from stanchion.releases.rollouts import State, show_rollout
from tests.releases.live.support import Scene, canary, registered, scene_on, tried

# A guard counts what runs did.
SPECIMENS = sorted(kind for kind, one in tried(registered()).items() if not one.asked)
BATCH = 40
BATCHES_MAX = 25
ERRORS = {"guards": [{"metric": "error_rate", "samples_min": 10}]}


@pytest.fixture
async def scene(fresh_database_urls, tmp_path):
    async with scene_on(fresh_database_urls, tmp_path) as scene:
        yield scene


@pytest.mark.parametrize("kind", SPECIMENS)
async def test_a_planted_regression_takes_itself_back(scene: Scene, kind: str) -> None:
    one, mine = scene.tried[kind], "/".join(scene.tried[kind].target.key)
    (duty,) = [duty for duty in build_duties(scene.env, scene.settings) if duty.name == "rollouts.watch"]
    before = await scene.standing()
    plan = dataclasses.replace(canary(10, 50, 100, salt=f"worse-{kind}", hold_s=3600), guards=ERRORS)
    rollout = (await scene.begin(one, plan)).rollout
    failed = runs = 0
    for batch in range(BATCHES_MAX):
        await scene.later()
        started = await scene.start(one.blueprint, [f"person-{batch}-{n}" for n in range(BATCH)], strict=True)
        await scene.until(started, "SUCCEEDED", "FAILED")
        runs, failed = runs + BATCH, failed + (await scene.of(started, "status")).count("FAILED")
        await duty.run(scene.env)
        rollout = await show_rollout(scene.ctx, rollout.id)
        if rollout.state is not State.ACTIVE:
            break
    print(f"\n{kind}: taken back after {runs} runs, {failed} of which the candidate broke")
    assert (rollout.state, rollout.changed_by, rollout.step) == (State.ROLLED_BACK, "system:scheduler", 0)
    assert 0 < failed < runs / 3
    after = await scene.standing()
    told = after[mine]["release_history"][-1]
    assert (told["event"], told["by"]) == ("rollout.rolled_back", "system:scheduler")
    assert told["reason"].startswith("Its guards say FAIL: ")
    assert told["evidence"]["guards"][0]["verdict"] == "fail"
    (record,) = await scene.records("rollout.rolled_back")
    assert record["extra"]["evidence"].startswith("sha256:")
    await scene.later()
    assert (
        await scene.said(await scene.start(one.blueprint, [f"later-{n}" for n in range(BATCH)], strict=True))
        == ["first"] * BATCH
    )
    assert after[mine]["releases"] == before[mine]["releases"]
    assert {name: rows for name, rows in after.items() if name != mine} == {
        name: rows for name, rows in before.items() if name != mine
    }
