from __future__ import annotations

import pytest

from stanchion.db import DatabaseUrls
from tests.runs.support import World


@pytest.fixture
def database_urls(fresh_database_urls: DatabaseUrls) -> DatabaseUrls:
    """A database per test: a kill of a tenant would stop the tests after it."""
    return fresh_database_urls


@pytest.fixture
def world(env, database_urls) -> World:
    return World(env, database_urls.owner)
