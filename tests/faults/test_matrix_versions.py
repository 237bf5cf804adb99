"""Old and new versions side by side on one database, and a rolling replacement under load (docs/explanation/faults.md)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.builds import next_build, stanchion_v
from tests.faults.scene import BLUEPRINT, Scene

STAMPED = BLUEPRINT.replace("blueprint: posting", "blueprint: stamped-posting").replace(
    "steps:\n", 'steps:\n  - id: stamp\n    stamp: {text: "${input.id}"}\n', 1
)


@pytest.mark.slow
async def test_old_and_new_versions_share_a_database_and_take_turns(scene: Scene, tmp_path: Path) -> None:
    """The new one raises `engine_v` and knows one more verb. Web and workers are replaced one by one."""
    old_v, new_v = stanchion_v(), stanchion_v() + 1
    new = {"PYTHONPATH": str(next_build(tmp_path / "next"))}
    async with scene.playing(workers=2):
        old_workers = scene.workers
        [old_web] = [pid for pid in scene.processes if pid not in old_workers and pid != scene.broker]
        await scene.flowing()
        # A new web process first, and no new worker: what it starts waits for one, and no old worker touches it.
        old_url = scene.web_url
        new_web = scene.spawn_web(**new)
        await scene.web_ready()
        scene.clients.url = scene.web_url
        answer, said = await scene.clients.call(
            "POST", "/api/artifacts/apply", "admin", {"documents": [{"path": "stamped.yaml", "source": STAMPED}]}
        )
        assert answer.status == 200, said
        scene.clients.blueprint = "stamped-posting"
        accepted = len(scene.notes.accepted)
        await scene.until(
            "select count(*) >= 10 and bool_and(status = 'PENDING' and epoch = 0) from runs where engine_v = %s", new_v
        )
        await scene.until("select not exists (select from runs where engine_v = %s and status = 'RUNNING')", old_v)
        ticks = await scene.query("select max(beat_at) from workers")
        await scene.until("select min(beat_at) > %s from workers", ticks[0][0])  # each has looked around meanwhile
        assert await scene.query("select count(*) from runs where engine_v = %s and epoch > 0", new_v) == [(0,)]
        assert len(scene.notes.accepted) > accepted
        # The old web process refuses what it does not know, and says so.
        answer, said = await scene.clients.call(
            "POST",
            "/api/blueprints/stamped-posting/runs",
            "analyst",
            {"input": {"id": "p-x", "amount": 1}},
            url=old_url,
        )
        assert (answer.code, answer.problem) == ("blueprint.unreadable", True), said
        assert "stamp" in said["detail"]
        # A new broker before them, for it reads what they run: an old one does not know the verb. No call fails of that.
        old_broker = scene.broker
        scene.spawn_broker(**new)
        scene.signal(old_broker, signal.SIGTERM)
        assert await scene.ended(old_broker) == 0
        # New workers in, old ones out, one by one.
        for old in old_workers:
            await scene.registered(scene.spawn_worker(**new))
            await scene.flowing()
            scene.signal(old, signal.SIGTERM)
            assert await scene.ended(old) == 0
            await scene.flowing()
        # The old web process is left: what it starts, the new workers run.
        scene.clients.url, scene.clients.blueprint = old_url, "posting"
        [(before,)] = await scene.query("select count(*) from runs where engine_v = %s", old_v)
        await scene.flowing()
        await scene.until(
            "select count(*) >= %s from runs where engine_v = %s and status = 'SUCCEEDED'", before + 10, old_v
        )
        scene.clients.url = scene.web_url
        await scene.flowing()
        scene.signal(old_web, signal.SIGTERM)
        assert await scene.ended(old_web) == 0
        await scene.flowing()
        outcome = await scene.settle()
        stamps = await scene.query(
            "select s.output->>'engine_v', count(*) from step_runs s where s.path = 'stamp' group by 1"
        )
        assert [row[0] for row in stamps] == [str(new_v)]
        assert await scene.query("select count(*) from workers where state = 'lost'") == [(0,)]
        refused = [answer for answer in scene.notes.failures() if "stamped-posting" not in answer.what]
        assert refused == []
        assert new_web in scene.processes
    print(f"versions: {stamps[0][1]} runs of the new version, 0 of them touched by the old one; {outcome}")
