"""A step that kills its worker three times becomes a dead letter `poison`; the runs beside it are not touched."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from stanchion import releases
from stanchion.artifacts import Document
from stanchion.db import DatabaseUrls
from tests.conftest import Cluster
from tests.faults.harness import World

STEPS = "\n".join(f"  - {{id: s{n}, transform: {{value: '${{input.how}}'}}}}" for n in range(6))
BLUEPRINT = f"""
blueprint: disaster
owner: tests
input: {{type: object, required: [how], properties: {{how: {{type: string}}}}}}
steps:
{STEPS}
"""
RSS_MAX_BYTES = 600 << 20
SITE = Path(__file__).with_name("poisonous")


class PoisonWorld(World):
    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": str(SITE)}


def children_of(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task")
    try:
        return [int(child) for task in tasks.iterdir() for child in (task / "children").read_text().split()]
    except OSError:
        return []


def rss_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


async def supervise(world: World, deaths: list[str]) -> None:
    """Restart the worker when it dies, and kill what eats too much memory, as a supervisor and a kernel would."""
    while True:
        for pid, process in list(world.workers.items()):
            for victim in (pid, *children_of(pid)):
                if rss_bytes(victim) > RSS_MAX_BYTES:
                    os.kill(victim, signal.SIGKILL)
                    deaths.append("out of memory")
            if process.poll() is not None:
                deaths.append(f"exit {process.returncode}")
                del world.workers[pid]
                world.spawn()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["exit", "hoard"])
async def test_a_poisonous_step_is_a_dead_letter_and_others_go_on(
    how: str, cluster: Cluster, fresh_database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    world = PoisonWorld(urls=fresh_database_urls, register_url=cluster.guest("register"), folder=tmp_path, cases=[])
    deaths: list[str] = []
    async with world.open():
        author = world.ctx("author", "admin")
        await releases.apply(author, [Document(path="d.yaml", source=BLUEPRINT)], kinds=world.parts.kinds)
        await world.registered(world.spawn())
        watch = asyncio.create_task(supervise(world, deaths))
        others = [(await world.starter.start(author, "disaster", {"how": "slow"})).run_id for _ in range(8)]
        poison = (await world.starter.start(author, "disaster", {"how": how})).run_id
        await world.until("select status = 'FAILED' from runs where id = %s", poison)
        [(reason, strikes, error)] = await world.query(
            "select dead_reason, strikes, error from runs where id = %s", poison
        )
        assert (reason, strikes, error["code"], error["step"]) == ("poison", 3, "poison", "s0")
        await world.until("select bool_and(status = 'SUCCEEDED' and attempt = 1) from runs where id = any(%s)", others)
        late = (await world.starter.start(author, "disaster", {"how": "slow"})).run_id
        await world.until("select status = 'SUCCEEDED' from runs where id = %s", late)
        watch.cancel()
        [(steps, once)] = await world.query(
            "select count(*), count(*) filter (where status = 'SUCCEEDED' and attempt = 1) from step_runs"
            " where run_id = any(%s)", others,
        )  # fmt: skip
        assert (steps, once) == (48, 48)
    assert len([d for d in deaths if d.startswith("exit")]) == 2, deaths  # the third death is the probation child's


def test_the_site_is_loaded() -> None:
    """Positive control: without it the test above would test nothing."""
    import subprocess

    out = subprocess.run(
        [sys.executable, "-c", "import stanchion.runs; print(stanchion.runs.TransformHandler.execute.__module__)"],
        env={"PYTHONPATH": str(SITE), "PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert out.stdout.strip() == "sitecustomize"
