from __future__ import annotations

import pytest

from stanchion.db import Database
from tests.artifacts.support import add_tenants
from tests.conftest import make_env


@pytest.fixture
async def fresh_env(fresh_database_urls):
    """An Env on a database of the test's own."""
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme", "umbra")
        yield env
