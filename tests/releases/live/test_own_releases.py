"""Whoever releases something over HTTP and then starts a run gets what they released, without waiting."""

from __future__ import annotations

import pytest

from tests.releases.live.support import Scene, scene_on, who
from tests.releases.live.test_statements import nobody


@pytest.fixture
async def scene(fresh_database_urls, tmp_path):
    async with scene_on(fresh_database_urls, tmp_path, working=nobody, only=("policy",)) as scene:
        yield scene


async def started(scene: Scene) -> int:
    one = scene.tried["policy"]
    answer = await scene.client.post(f"/api/blueprints/{one.blueprint}/runs", json={"input": {}})
    assert answer.status_code == 202, answer.text
    run = (await scene.client.get(f"/api/runs/{answer.json()['run_id']}")).json()
    return {(pin["kind"], pin["name"]): pin["version"] for pin in run["pins"]}[one.target.key]


async def test_a_run_that_is_started_after_an_apply_and_a_rollback_gets_what_is_live_then(scene: Scene) -> None:
    who.set(scene.ctx)
    one = scene.tried["policy"]
    assert await started(scene) == 1
    body = {"documents": [{"path": one.second.path, "source": one.second.source}]}
    assert (await scene.client.post("/api/artifacts/apply", json=body)).status_code == 200
    assert await started(scene) == 2
    kind, name = one.target.key
    back = await scene.client.post(f"/api/releases/{kind}/{name}/rollback", json={"reason": "not good"})
    assert back.status_code == 200, back.text
    assert await started(scene) == 1
