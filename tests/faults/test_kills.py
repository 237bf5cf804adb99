"""kill -9 of a worker at moments drawn over the run's wall time: nothing lost, nothing written twice (I2, I4, I5, I6)."""

from __future__ import annotations

import random
from pathlib import Path

import psycopg
import pytest

from stanchion.db import DatabaseUrls
from tests.conftest import Cluster
from tests.faults.harness import EXAMPLE, ORIGINAL, Kills, World, load_cases, trial, undisturbed_wall_s


def make_world(cluster: Cluster, urls: DatabaseUrls, folder: Path, cases: list[dict[str, object]]) -> World:
    return World(urls=urls, register_url=cluster.guest("register"), folder=folder, cases=cases)


async def kill_series(world: World, count: int, seed: int) -> Kills:
    async with world.open():
        # Three: while a replacement starts, the next run already has two, one to kill and one to take over.
        for pid in (world.spawn(), world.spawn(), world.spawn()):
            await world.registered(pid)
        await undisturbed_wall_s(world)  # the first is cold: connections, plans, programs
        wall_s = await undisturbed_wall_s(world)
        kills, rng = Kills(), random.Random(seed)
        # Uniform over the wall time, one kill in each of `count` equal slices, so that no stretch of it is missed.
        moments = [(n + rng.random()) / count for n in range(count)]
        rng.shuffle(moments)
        for moment in moments:
            # A run that ended before its moment says that runs are quicker than was thought: drawn over that, again.
            while (took_s := await trial(world, moment * wall_s, kills)) is not None:
                wall_s = min(wall_s, took_s)
    print(
        f"{kills.count} kills over {wall_s:.2f} s of wall time, {kills.share_running:.0%} while a step was RUNNING,"
        f" recovery p99 {kills.p99_s:.2f} s, max {max(kills.recoveries_s):.2f} s"
    )
    return kills


@pytest.mark.timeout(300)
async def test_20_kills_lose_nothing_and_write_nothing_twice(
    cluster: Cluster, fresh_database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    kills = await kill_series(
        make_world(cluster, fresh_database_urls, tmp_path, load_cases(EXAMPLE / "data" / "cases.jsonl")), 20, 1
    )
    assert kills.count == 20
    assert kills.share_running >= 0.6
    assert kills.p99_s <= 2.0


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_200_kills_lose_nothing_and_write_nothing_twice(
    cluster: Cluster, fresh_database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    kills = await kill_series(
        make_world(cluster, fresh_database_urls, tmp_path, load_cases(EXAMPLE / "data" / "cases.jsonl")), 200, 2
    )
    assert kills.count == 200
    assert kills.share_running >= 0.6
    assert kills.p99_s <= 2.0


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the original texts are not part of the repository")
async def test_the_same_blueprint_runs_on_the_original_texts(
    cluster: Cluster, fresh_database_urls: DatabaseUrls, tmp_path: Path
) -> None:
    world = make_world(cluster, fresh_database_urls, tmp_path, load_cases(ORIGINAL))
    async with world.open():
        await world.registered(world.spawn())
        await undisturbed_wall_s(world)
        with psycopg.connect(world.register_url) as connection:
            written = connection.execute("select case_id, fine_eur from casebook.outcomes").fetchall()
        assert written == []  # undisturbed_wall_s checks and clears
