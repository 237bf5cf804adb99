"""One embedded PostgreSQL per session; a database per test module, cloned from a migrated template."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings

from stanchion.base import SystemClock, SystemIds
from stanchion.context import Env, Environment
from stanchion.db import PROCESS_TYPES, Database, DatabaseUrls, ProcessType, login, migrate
from stanchion.db.embedded import EmbeddedPostgres
from stanchion.telemetry import Telemetry

# How long an example takes says how busy the machine is, and nothing of the code: tests run side by side. What else CI's
# own profile says (the same examples each time) stays.
settings.register_profile("stanchion", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("stanchion")


class AllowAll:
    """For tests of domains below identity; tests of access use the Cedar authorizer."""

    def check(self, actor, action, resource) -> None:
        return None


class Cluster:
    """The session's server: URLs of the three roles, and databases cloned from a migrated template."""

    def __init__(self, server: EmbeddedPostgres, data: Path) -> None:
        self.urls = server.start()
        migrate(self.urls.owner)
        password = json.loads(next(data.rglob("*credentials*.json")).read_text())["passwords"]["stanchion_super"]
        self._super = re.sub("//[^@]*@/stanchion", f"//stanchion_super:{password}@/postgres", self.urls.owner, count=1)
        self._numbers = itertools.count(1)
        with psycopg.connect(self._super, autocommit=True) as connection:
            for process in PROCESS_TYPES:
                connection.execute(f"alter role {login(process)} password 'pw-{login(process)}'".encode())

    def clone(self) -> DatabaseUrls:
        """A new database with the migrated schema and no rows, in about 30 ms."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self._super, autocommit=True) as connection:
            connection.execute(f'create database "{name}" template stanchion owner stanchion_owner')
        return DatabaseUrls(**{role: self._in(getattr(self.urls, role), name) for role in ("app", "engine", "owner")})

    def guest(self, name: str) -> str:
        """The superuser's URL of a new, empty database: somebody else's system, on the same server."""
        name = f"{name}_{next(self._numbers)}"
        with psycopg.connect(self._super, autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        return self._in(self._super, name)

    def superuser(self, urls: DatabaseUrls) -> str:
        """The superuser's URL of a cloned database, for tests that look behind row-level security."""
        name = re.search(r"@/(\w+)", urls.app)
        assert name
        return self._in(self._super, name.group(1))

    @staticmethod
    def _in(url: str, name: str) -> str:
        return re.sub(r"@/\w+", f"@/{name}", url, count=1)


def processes_url(urls: DatabaseUrls) -> str:
    """The URL that process types connect by, each as itself: a setting for all of them."""
    return re.sub(r"//stanchion_app(:[^@]*)?@", "//stanchion_{process}:pw-stanchion_{process}@", urls.app, count=1)


def as_process(urls: DatabaseUrls, process: ProcessType) -> DatabaseUrls:
    """What a process of this type connects with."""
    url = processes_url(urls).replace("{process}", process)
    return DatabaseUrls(app=url, engine=url, owner=urls.owner, process=process)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = tmp_path_factory.mktemp("pg")
    with EmbeddedPostgres(data, durable=False) as server:
        yield Cluster(server, data)


@pytest.fixture(scope="module")
def database_urls(cluster: Cluster) -> DatabaseUrls:
    return cluster.clone()


@pytest.fixture
def fresh_database_urls(cluster: Cluster) -> DatabaseUrls:
    return cluster.clone()


@pytest.fixture
async def db(database_urls: DatabaseUrls) -> AsyncIterator[Database]:
    async with Database(database_urls) as database:
        yield database


def make_env(database: Database, *, clock=None, authorizer=None, environment: str = "local") -> Env:
    clock = clock or SystemClock()
    return Env(
        db=database,
        clock=clock,
        ids=SystemIds(clock),
        rng=random.Random(7),
        telemetry=Telemetry(process="test", sample=0.0),
        authorizer=authorizer or AllowAll(),
        environment=Environment(name=environment, production=False),
    )


@pytest.fixture
async def env(db: Database) -> Env:
    return make_env(db)


@pytest.fixture(scope="session")
def repo() -> Path:
    return Path(__file__).resolve().parent.parent


# Tests that measure how soon real processes do something, or look at all that runs on this machine.
_ALONE = (
    "tests/faults/",
    "tests/processes/",
    "tests/releases/live/",
    "tests/releases/revoking/test_processes.py",
    "tests/controls/kills/test_processes.py",
    "tests/secrets/planted/",
    "tests/secrets/test_rotation_under_load.py",
    "tests/db/embedded/test_users.py",
)

# Tests over real processes take long where a machine has little to give. A time limit is there to end what hangs: theirs is
# far away from what they need.
_LONG = (*_ALONE, "tests/docs/", "tests/cli/", "tests/tools/adapters/test_own.py", "tests/tools/mcp/")
_LONG_S = 480


# Files whose tests share nothing and take long: each may run in any process. Of other files one process has all.
_SPREAD = ("tests/simulation/test_mutants.py", "tests/tools/broker_seeds/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(_ALONE):
            item.add_marker(pytest.mark.alone)
        if item.nodeid.startswith(_LONG) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(_LONG_S))
        if item.get_closest_marker("xdist_group") is None and not item.nodeid.startswith(_SPREAD):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-schema", action="store_true", help="write src/stanchion/db/schema.sql anew")
