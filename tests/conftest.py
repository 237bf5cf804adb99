"""One embedded PostgreSQL per session; a database per test module, cloned from a migrated template."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from stanchion.base import SystemClock, SystemIds
from stanchion.context import Env, Environment
from stanchion.db import Database, DatabaseUrls, migrate
from stanchion.db.embedded import ClusterUrls, EmbeddedPostgres
from stanchion.telemetry import Telemetry


class AllowAll:
    """For tests of domains below identity; tests of access use the Cedar authorizer."""

    def check(self, actor, action, resource) -> None:
        return None


def with_database(url: str, name: str) -> str:
    return re.sub(r"/stanchion(\?|$)", rf"/{name}\1", url, count=1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUrls]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("pg"), durable=False) as server:
        urls = server.urls
        migrate(urls.owner)
        yield urls


_counter = iter(range(1, 100_000))


def clone_database(cluster: ClusterUrls) -> DatabaseUrls:
    """A new database with the migrated schema and no rows, in about 30 ms."""
    name = f"test_{next(_counter)}"
    with psycopg.connect(with_database(cluster.owner, "postgres"), autocommit=True) as connection:
        connection.execute(f'create database "{name}" template stanchion')
    return DatabaseUrls(
        app=with_database(cluster.app, name),
        engine=with_database(cluster.engine, name),
        owner=with_database(cluster.owner, name),
    )


@pytest.fixture(scope="module")
def database_urls(cluster: ClusterUrls) -> DatabaseUrls:
    return clone_database(cluster)


@pytest.fixture
def fresh_database_urls(cluster: ClusterUrls) -> DatabaseUrls:
    return clone_database(cluster)


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
