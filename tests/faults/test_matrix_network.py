"""A network cut between one worker and the database, under load (docs/explanation/faults.md)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.conftest import Cluster
from tests.faults.network import FAR, can_route, entering, network
from tests.faults.scene import Scene
from tests.faults.servers import OwnServer, need


@pytest.mark.slow
async def test_a_worker_behind_a_cut_loses_its_runs_and_comes_back(
    cluster: Cluster, short_folder: Path, tmp_path: Path
) -> None:
    """Every packet vanishes, nothing is reset. Web and the other worker reach the database another way."""
    need(can_route(), "a network of its own takes root and iproute2")
    with network() as net:
        server = OwnServer(
            folder=short_folder / "server", data=short_folder / "data", under=entering(net.far), host=FAR
        )
        try:
            server.start()
            scene = Scene(
                urls=server.make_database(), watch_url=server.url("admin"), register_url=cluster.guest("register"),
                folder=tmp_path / "data", call_s=0.2,
            )  # fmt: skip
            async with scene.playing(workers=1):
                other = scene.workers[0]
                far = server.urls(host=FAR)
                remote = scene.spawn_worker(
                    entering(net.near), STANCHION_DATABASE_URL=far.app, STANCHION_DATABASE_ENGINE_URL=far.engine
                )
                await scene.registered(remote)
                assert net.passes()
                await scene.flowing()
                held = await scene.holding(remote, 3)
                cut = time.monotonic()
                net.cut()
                assert not net.passes()
                recovery = await scene.taken_over(held, cut)
                assert await scene.query("select state from workers where pid = %s", remote) == [("lost",)]
                assert scene.metric(other, "stanchion_workers_lost_total", 'how="lease"') == 1
                await scene.flowing()
                # It has noticed by itself: its connections have timed out, and it has dropped what it held.
                await scene.noticed(remote)
                healed = time.monotonic()
                net.heal()
                back = await scene.registered(remote, since=healed)
                await scene.holding(remote, 1, path="rate")
                await scene.flowing()
                outcome = await scene.settle()
                assert scene.notes.failures() == []
        finally:
            server.stop()
    print(f"network cut: recovery {recovery:.2f} s; back {back:.2f} s after it healed; {outcome}")
    assert recovery <= 11.0
    assert back <= 10.0
