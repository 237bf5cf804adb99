"""A start costs the same statements whatever is rolled out, killed, drained or flagged: everything is asked from memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

from stanchion.artifacts import Document
from stanchion.bootstrap.web import built_routers, killable_kinds
from stanchion.controls import kills, withdrawals
from stanchion.identity import Authenticator
from stanchion.releases import draining, flags
from tests.releases.live.support import Scene, canary, scene_on
from tests.support.http import app_of, client_of
from tests.support.server_log import ServerLog
from tests.support.web import PEPPER

STARTS = 12
OTHER = Document(
    path="other.yaml",
    source="blueprint: other\nowner: casework\nsteps:\n  - id: a\n    transform: {value: 1}\noutput: ${steps.a.value}\n",
)
FLAG = Document(
    path="quick.yaml",
    source="flag: quick\nowner: casework\ntype: boolean\nvariants: {on: true, off: false}\ndefault: off\n",
)


class Nobody:
    """A worker that claims nothing: its statements would be counted too."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        await self.stopped.wait()

    async def drain(self, grace_s: float) -> None:
        self.stopped.set()


@asynccontextmanager
async def nobody(env, settings):
    yield Nobody()


async def test_a_start_adds_no_statement_for_rollouts_kills_drains_and_flags(
    cluster, fresh_database_urls, tmp_path
) -> None:
    log = ServerLog(cluster.superuser(fresh_database_urls))
    async with scene_on(fresh_database_urls, tmp_path, working=nobody) as scene:
        env = scene.env
        known = (kills.Snapshot(env, role="app"), flags.Snapshot(env), withdrawals.Snapshot(env, role="app"))
        await scene.apply(OTHER)
        switches, live_flags, withdrawn = known
        routers = built_routers(env, scene.settings, Authenticator(env, PEPPER), switches, live_flags, withdrawn)
        async with routers as built, client_of(app_of(scene.ctx, *built)) as client:
            alone = await counted(log, scene, client, known)
            for one in scene.tried.values():
                await scene.begin(one, canary(50, salt=f"count-{one.kind}", unit="run"))
            await kills.set_kill(scene.ctx, killable_kinds(), "blueprint", "other", reason="It is wrong.")
            await scene.apply(FLAG)
            await scene.apply(Document(path=OTHER.path, source=OTHER.source.replace("value: 1", "value: 2")))
            await draining.drain(scene.ctx, "blueprint", "other", 1, reason="It is old.")
            assert await counted(log, scene, client, known) == alone
            refused = await client.post("/api/blueprints/other/runs", json={})
            assert (refused.status_code, refused.json()["code"]) == (403, "kill.active")
        dealt = [
            record["extra"]["assigned"]
            for record in await scene.records("run.started")
            if "assigned" in record["extra"]
        ]
        assert len(dealt) == (STARTS + 1) * sum(not one.asked for one in scene.tried.values())
        assert {made["arm"] for one in dealt for made in one} == {"stable", "candidate"}


async def counted(log: ServerLog, scene: Scene, client, known) -> Counter[str]:
    """The statements of so many starts of every Blueprint, one after the other. Looks for changes go by time: one is made
    before, and then time stands still. Telling the workers is throttled by time, so it is not counted."""
    scene.clock.stopped_at = scene.clock.monotonic()
    await scene.later()
    for snapshot in known:
        await snapshot.refresh()
    paths = [f"/api/blueprints/{one.blueprint}/runs" for one in scene.tried.values() if not one.asked]
    for path in paths:
        assert (await client.post(path, json={})).status_code == 202
    with log.counted() as found:
        for path in paths * STARTS:
            assert (await client.post(path, json={})).status_code == 202
    starts = [text for text in found if "insert into runs" in text]
    assert [found[text] for text in starts] == [STARTS * len(paths)]
    return Counter({text: n for text, n in found.items() if "from quick, unnest(" not in text})
