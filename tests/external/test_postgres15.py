"""The whole path on somebody else's PostgreSQL 15 over verified TLS: migrate, wall, apply, run, approve, write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stanchion.base.config import with_tls
from stanchion.base.settings import DatabaseSettings
from stanchion.db import DatabaseUrls, migrate
from tests.conftest import Cluster
from tests.faults.harness import EXAMPLE, World, load_cases, undisturbed_wall_s
from tests.support import debian_postgres

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not debian_postgres.BINARIES.exists() and not os.environ.get("CI"),
        reason="needs Debian's postgresql-15; CI installs it",
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[debian_postgres.Server]:
    folder = tmp_path_factory.mktemp("pg15")
    for parent in (folder, *folder.parents):  # the server's user must reach its folder
        if parent.stat().st_uid == os.geteuid() and parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)
    started = debian_postgres.start(folder)
    yield started
    debian_postgres.stop(started)


def urls(server: debian_postgres.Server) -> DatabaseUrls:
    return DatabaseUrls(
        app=server.url("stanchion_app"), engine=server.url("stanchion_engine"), owner=server.url("stanchion_owner")
    )


def test_tls_parameters_of_the_settings_are_used_and_a_wrong_authority_is_refused(
    server: debian_postgres.Server, tmp_path: Path
) -> None:
    bare = f"postgresql://stanchion_app:pw-stanchion_app@localhost:{server.port}/stanchion"
    verified = DatabaseSettings(sslmode="verify-full", sslrootcert=server.folder / "root.crt")
    with psycopg.connect(with_tls(bare, verified)) as connection:
        assert connection.execute("select ssl from pg_stat_ssl where pid = pg_backend_pid()").fetchone() == (True,)
    with pytest.raises(psycopg.OperationalError, match=r"no encryption|SSL"):
        psycopg.connect(with_tls(bare, DatabaseSettings(sslmode="disable")))
    stranger = tmp_path / "stranger.crt"
    stranger.write_bytes((server.folder / "server.crt").read_bytes())
    with pytest.raises(psycopg.OperationalError, match="certificate"):
        psycopg.connect(with_tls(bare, DatabaseSettings(sslmode="verify-full", sslrootcert=stranger)))


async def test_the_whole_path_on_postgresql_15(
    server: debian_postgres.Server, cluster: Cluster, tmp_path: Path
) -> None:
    external = urls(server)
    assert external.owner
    assert migrate(external.owner)
    with psycopg.connect(external.app) as connection:
        assert connection.info.server_version // 10000 == 15
    cases = load_cases(EXAMPLE / "data" / "cases.jsonl")
    world = World(urls=external, register_url=cluster.guest("register"), folder=tmp_path / "w", cases=cases)
    async with world.open():
        await world.registered(world.spawn())
        await undisturbed_wall_s(world)
