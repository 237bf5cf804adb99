"""A process's password of the database changes while it works: no call fails, nothing is started anew, and old sessions end."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from stanchion.base import Problem
from stanchion.base.settings import DatabaseSettings, SecretsSettings, Settings
from stanchion.db import Database, DatabaseUrls
from stanchion.processes.database import external_urls
from stanchion.queue import hear, store
from tests.conftest import Cluster, make_env, processes_url

ROLE = "stanchion_worker"
ROTATIONS = 4


class Rotating:
    """The role's password, on the server and in a file."""

    def __init__(self, administrator: psycopg.Connection, file: Path) -> None:
        self.administrator, self.file = administrator, file
        self.password = f"pw-{ROLE}"
        self.write()

    def write(self) -> None:
        # As whoever mounts secrets does: the whole file at once.
        new = self.file.with_suffix(".new")
        new.write_text(self.password + "\n")
        new.chmod(0o600)
        new.replace(self.file)

    def set(self, password: str) -> None:
        self.password = password
        self.administrator.execute(f"alter role {ROLE} password '{password}'".encode())


@pytest.fixture
def rotating(cluster: Cluster, database_urls: DatabaseUrls, tmp_path: Path) -> Iterator[Rotating]:
    (tmp_path / "db").mkdir()
    with psycopg.connect(cluster.superuser(database_urls), autocommit=True) as administrator:
        made = Rotating(administrator, tmp_path / "db" / "worker")
        try:
            yield made
        finally:
            made.set(f"pw-{ROLE}")


def of_file(database_urls: DatabaseUrls, folder: Path, **more) -> DatabaseUrls:
    """What a worker connects with, its password in a file of its own."""
    url = re.sub(r":pw-[^@]*@", "@", processes_url(database_urls))
    settings = Settings(database=DatabaseSettings(url=url, **(more or {"password_file": folder / "db" / "{process}"})))
    urls = external_urls(settings, "worker")
    assert urls is not None
    assert "pw-" not in urls.app
    return urls


async def backend(database: Database) -> int:
    async with database.connection("engine") as tx:
        row = await (await tx.execute("select pg_backend_pid()")).fetchone()
    assert row is not None
    return int(row[0])


async def test_a_rotation_under_load_fails_no_call(rotating: Rotating, database_urls, tmp_path: Path) -> None:
    done: list[int] = []
    failures: list[BaseException] = []
    heard: asyncio.Queue[str] = asyncio.Queue()
    # Sessions so short-lived that most calls meet a new one; an hour's tokens and half an hour's sessions, in small.
    async with Database(of_file(database_urls, tmp_path), engine_max=3, lifetime_s=0.05) as database:

        async def work() -> None:
            while True:
                try:
                    done.append(await backend(database))
                except Problem as problem:
                    failures.append(problem)

        workers = [asyncio.create_task(work()) for _ in range(4)]
        listening = asyncio.create_task(
            hear(make_env(database), "engine", ("stanchion_runs",), heard.put_nowait, retry_s=0.01)
        )
        try:
            for number in range(ROTATIONS):
                before, count = set(done), len(done)
                rotating.set(f"rotated-{number}")
                rotating.write()
                async with asyncio.timeout(60):  # calls on sessions that began with the new password
                    while not set(done[count:]) - before:
                        await asyncio.sleep(0.005)
            # A session of its own, that hears: it lives on, and when it ends the next one has the new password.
            rotating.administrator.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where query ilike 'listen%%' and usename = %s",
                (ROLE,),
            )
            async with asyncio.timeout(60):
                while heard.empty():
                    async with database.connection("engine") as tx:
                        await store.notify(tx, [("stanchion_runs", "yes")])
                    await asyncio.sleep(0.01)
        finally:
            for task in (*workers, listening):
                task.cancel()
            await asyncio.gather(*workers, listening, return_exceptions=True)
    assert failures == []
    assert len(set(done)) > ROTATIONS


async def test_a_session_does_not_outlive_its_age(rotating: Rotating, database_urls, tmp_path: Path) -> None:
    async with Database(of_file(database_urls, tmp_path), engine_max=1, lifetime_s=0.05) as database:
        first = await backend(database)
        async with asyncio.timeout(60):
            while await backend(database) == first:
                await asyncio.sleep(0.01)
        alive = rotating.administrator.execute("select 1 from pg_stat_activity where pid = %s", (first,)).fetchone()
        assert alive is None


async def test_a_token_that_has_run_out_is_refused_until_the_file_has_another(
    rotating: Rotating, database_urls, tmp_path: Path
) -> None:
    async with Database(of_file(database_urls, tmp_path), lifetime_s=0.05) as database:
        rotating.set("renewed")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            await database.dedicated("engine")
        rotating.write()
        await (await database.dedicated("engine")).close()


async def test_a_file_that_others_may_write_is_not_believed(rotating: Rotating, database_urls, tmp_path: Path) -> None:
    rotating.file.chmod(0o622)
    async with Database(of_file(database_urls, tmp_path)) as database:
        with pytest.raises(
            psycopg.OperationalError, match=r"no password for the database: .*others may write"
        ) as caught:
            await database.dedicated("engine")
        assert rotating.password not in str(caught.value)


@pytest.mark.parametrize("provider", ["file", "env"])
async def test_a_reference_is_read_again_for_each_connection(
    rotating: Rotating, database_urls, tmp_path: Path, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`0-deployment` stands where a tenant's name would: no tenant is called so."""
    (tmp_path / "0-deployment" / "db").mkdir(parents=True)
    os.link(rotating.file, tmp_path / "0-deployment" / "db" / "worker")
    monkeypatch.setenv("KEEP_0_DEPLOYMENT__DB__WORKER", rotating.password)
    settings = Settings(
        database=DatabaseSettings(
            url=re.sub(r":pw-[^@]*@", "@", processes_url(database_urls)), password=f"secret://{provider}/db/{{process}}"
        ),
        secrets=SecretsSettings(files=tmp_path, env_prefix="KEEP_"),
    )
    urls = external_urls(settings, "worker")
    assert urls is not None
    async with Database(urls) as database:
        await backend(database)
        if provider == "file":
            rotating.set("by reference")
            rotating.file = tmp_path / "0-deployment" / "db" / "worker"
            rotating.write()
        await (await database.dedicated("engine")).close()
    off = replace(settings, secrets=SecretsSettings())
    with pytest.raises(Problem) as caught:
        external_urls(off, "worker")
    assert caught.value.code == "secret.provider_off"
