"""Faults of the database and of the way to it, under load (docs/explanation/faults.md)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from stanchion.db import DatabaseUrls
from tests.conftest import Cluster
from tests.faults.scene import Scene
from tests.faults.servers import OwnServer, can, in_own_namespaces, need
from tests.processes.instance import Up, gone


@contextlib.asynccontextmanager
async def as_superuser(cluster: Cluster) -> AsyncIterator[psycopg.AsyncConnection]:
    """A connection to another database, so that it does not end itself."""
    async with await psycopg.AsyncConnection.connect(cluster.guest("other"), autocommit=True) as connection:
        yield connection


async def test_ended_sessions_are_opened_anew(scene: Scene, cluster: Cluster) -> None:
    """pg_terminate_backend of every session of web and workers, five times, the workers' session locks among them."""
    ended = 0
    async with scene.playing(workers=2), as_superuser(cluster) as other:
        await scene.flowing()
        for _ in range(5):
            cursor = await other.execute(
                "select count(pg_terminate_backend(pid)) from pg_stat_activity"
                " where datname = (select %s::text) and usename in ('stanchion_web', 'stanchion_worker')",
                (psycopg.conninfo.conninfo_to_dict(scene.watch_url)["dbname"],),
            )
            ended += (await cursor.fetchone())[0]
            await scene.flowing(runs=3)
        last = time.monotonic()
        for worker in scene.workers:
            await scene.registered(worker)
        resumed = await scene.flowing(since=last)
        registrations = (await scene.query("select count(*) from workers"))[0][0]
        await scene.settle()
    refused = scene.notes.failures()
    print(f"terminated: {ended} sessions, {registrations - 2} registrations anew, {len(refused)} of {len(scene.notes.answers)} requests to be repeated, in full flow again after {resumed:.2f} s")  # fmt: skip
    assert ended >= 10
    assert registrations > 2
    assert {answer.code for answer in refused} <= {"db.unavailable", "db.pool_exhausted"}, scene.notes.failure_counts()


async def test_a_full_pool_refuses_at_once_and_loses_nothing(scene: Scene, cluster: Cluster) -> None:
    """Two connections, both held up by a lock; fifty requests at once."""
    scene.settings = {"STANCHION_DATABASE_APP_CONNECTIONS_MAX": "2", "STANCHION_DATABASE_ACQUIRE_TIMEOUT_S": "0.5"}
    async with scene.playing(workers=1):
        await scene.flowing()
        async with await psycopg.AsyncConnection.connect(scene.watch_url) as holder:
            await holder.execute("lock table idempotency_keys, approvals in access exclusive mode")
            await scene.until(
                "select count(*) >= 2 from pg_stat_activity where wait_event_type = 'Lock' and usename = 'stanchion_web'"
            )
            at = time.time()
            # They need a connection each: starts share one, lists and single runs do not.
            some = next(iter(scene.notes.accepted.values()))
            asked = [scene.clients.call("GET", f"/api/runs/{some}", "supervisor") for _ in range(50)]
            answers = [answer for answer, _ in await asyncio.gather(*asked)]
        refused = [answer for answer in answers if answer.status == 503]
        resumed = await scene.flowing()
        await scene.settle()
    slowest = max(answer.seconds for answer in refused)
    print(f"pool: {len(refused)} of {len(answers)} requests refused, slowest {slowest:.2f} s, flow after {resumed:.2f} s; {scene.notes.failure_counts(at)}")  # fmt: skip
    assert len(refused) >= 40
    assert all(answer.code == "db.pool_exhausted" and answer.problem for answer in refused)
    assert all(answer.retry_after is not None and int(answer.retry_after) >= 1 for answer in refused)
    assert slowest <= 1.0


@contextlib.asynccontextmanager
async def small_disk(
    register_url: str, short_folder: Path, data: Path, *, wal_apart: bool
) -> AsyncIterator[tuple[OwnServer, Scene, Path]]:
    """A server whose data lie on a disk of 160 MB, a scene on it, and a path on that disk as seen from here."""
    need(can("--mount"), "a disk of its own takes root or a user namespace")
    disk = short_folder / "disk"
    disk.mkdir()
    server = OwnServer(
        folder=short_folder / "server", data=disk / "data", wal_apart=wal_apart, settings={"autovacuum": "off", "min_wal_size": "2MB"},
        under=in_own_namespaces("--mount"), prepare=f"mount -t tmpfs -o size=160m,mode=0755 tmpfs {disk}",
    )  # fmt: skip
    try:
        server.start()
        urls = server.make_database()
        yield server, Scene(urls=urls, watch_url=server.url("admin"), register_url=register_url, folder=data), disk
    finally:
        server.stop()


def fill(ballast: Path) -> None:
    """Something else takes the disk's last byte."""
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    assert os.statvfs(ballast.parent).f_bavail == 0


@pytest.mark.slow
async def test_a_full_disk_refuses_writes_and_serves_reads(
    cluster: Cluster, short_folder: Path, tmp_path: Path
) -> None:
    """The data on a disk that is full to the last byte; the log of changes on another."""
    register = cluster.guest("register")
    async with small_disk(register, short_folder, tmp_path / "data", wal_apart=True) as (server, scene, disk):
        async with scene.playing(workers=2):
            await scene.flowing()
            ballast = server.inside(disk / "ballast")
            began, accepted = time.time(), len(scene.notes.accepted)
            fill(ballast)
            await scene.refused(began, 10)
            while_full = len(scene.notes.accepted)
            # What needs no room is served: health, a run, its steps, the list of approvals.
            some = next(iter(scene.notes.accepted.values()))
            for path in (f"/api/runs/{some}", f"/api/runs/{some}/steps", "/api/approvals", "/health/ready"):
                answer, _ = await scene.clients.call("GET", path, "supervisor")
                assert answer.status == 200, (path, answer)
            answers = scene.notes.failures(began)
            ballast.unlink()
            freed = time.monotonic()
            resumed = await scene.flowing(since=freed)
            outcome = await scene.settle()
        print(
            f"disk full: {len(answers)} writes refused {scene.notes.failure_counts(began)}, {while_full - accepted} accepted"
            f" in the rest of the room, in full flow {resumed:.2f} s after room was made; {outcome}"
        )
        assert {(answer.status, answer.code) for answer in answers} <= {(503, "db.disk_full")}
        assert all(answer.problem and answer.retry_after for answer in answers)
        assert "No space left on device" in server.log()
        assert resumed <= 10


@pytest.mark.slow
async def test_a_full_disk_that_ends_the_server_loses_nothing(
    cluster: Cluster, short_folder: Path, tmp_path: Path
) -> None:
    """The log of changes on the full disk too: PostgreSQL ends itself (PANIC). Room is made, and it is started again."""
    register = cluster.guest("register")
    async with small_disk(register, short_folder, tmp_path / "data", wal_apart=False) as (server, scene, disk):
        async with scene.playing(workers=2):
            await scene.flowing()
            # The disk outlives the server in a process of its own namespace.
            with holding_mounts(server) as root:
                ballast = Path(f"{root}{disk / 'ballast'}")
                began = time.time()
                fill(ballast)
                while "PANIC" not in server.log():  # the next segment of the log finds no room
                    with contextlib.suppress(psycopg.Error):
                        await scene.query("select pg_switch_wal()")
                    await scene.refused(began, 1)
                await scene.refused(began, 10)
                answers = scene.notes.failures(began)
                ballast.unlink()
                server.stop()
                server.under, server.prepare = ["nsenter", f"--mount={root.parent}/ns/mnt"], ":"
                server.start()
                up_again = time.monotonic()
                resumed = await scene.flowing(since=up_again)
                outcome = await scene.settle()
        print(f"log disk full: {scene.notes.failure_counts(began)}, in full flow {resumed:.2f} s after the restart; {outcome}")  # fmt: skip
        assert {answer.status for answer in answers} <= {503}
        assert all(answer.problem and answer.retry_after for answer in answers)
        assert resumed <= 10


@contextlib.contextmanager
def holding_mounts(server: OwnServer) -> Iterator[Path]:
    """The root as the server sees it, kept for the block whatever becomes of the server."""
    need(os.geteuid() == 0, "starting a server again in its namespace takes root")
    assert server.process is not None
    entered = ["nsenter", f"--mount=/proc/{server.process.pid}/ns/mnt", "sh", "-c", "echo ready; exec sleep 600"]
    with subprocess.Popen(entered, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        try:
            yield Path(f"/proc/{holder.pid}/root")
        finally:
            holder.kill()


@pytest.mark.slow
async def test_the_server_is_killed_and_started_again(cluster: Cluster, short_folder: Path) -> None:
    """SIGQUIT to the postmaster (what `pg_ctl -m immediate` sends) under `stanchion up`, twice: crash recovery each time."""
    (short_folder / "stanchion.toml").write_text("[worker]\ncount = 2\n")
    up = Up(short_folder / "data", cwd=short_folder)
    resumed: list[float] = []
    down: list[float] = []
    try:
        await asyncio.to_thread(up.ready)
        scene = under_up(up, cluster.guest("register"))
        try:
            await scene.set_up()
            async with scene.with_clients():
                await scene.flowing()
                for _ in range(2):
                    postmaster = up.data / "postgres" / "cluster" / "postmaster.pid"
                    pid = int(postmaster.read_text().splitlines()[0])
                    began = time.monotonic()
                    os.kill(pid, signal.SIGQUIT)
                    assert await asyncio.to_thread(gone, pid)
                    up_again = time.monotonic() + await scene.until("select true", within_s=30)
                    down.append(up_again - began)
                    resumed.append(await scene.flowing(since=up_again))
                outcome = await scene.settle()
        finally:
            await scene.tear_down()
    finally:
        code, said = await asyncio.to_thread(up.interrupt)
    assert code == 0, said
    assert said.count("the server had ended; started it again") == 2, said
    print(f"PostgreSQL killed: away {', '.join(f'{s:.2f}' for s in down)} s, in full flow {', '.join(f'{s:.2f}' for s in resumed)} s after it was back; {outcome}; {scene.notes.failure_counts()}")  # fmt: skip
    assert max(resumed) <= 10.0
    assert {answer.status for answer in scene.notes.failures()} <= {503}


def under_up(up: Up, register_url: str) -> Scene:
    """The scene on the database and behind the web process of an `up`."""
    passwords = json.loads(next((up.data / "postgres").glob("*credentials*.json")).read_text())["passwords"]
    host = str(up.data / "postgres" / "run")

    def url(role: str) -> str:
        return f"postgresql://{role}:{passwords[role]}@/stanchion?host={host}"

    return Scene(
        urls=DatabaseUrls(app=url("stanchion_app"), engine=url("stanchion_engine")),
        watch_url=url("stanchion_super"), register_url=register_url, folder=up.data, web_url=up.url,
    )  # fmt: skip
