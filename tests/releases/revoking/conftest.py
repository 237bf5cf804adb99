from __future__ import annotations

import pytest

from tests.releases.revoking.support import Stage, connector, policy


@pytest.fixture
async def stage(env, database_urls, tmp_path) -> Stage:
    made = Stage(env, database_urls.owner, tmp_path)
    await made.apply(connector(1), policy(1))
    await made.known.refresh()
    return made


@pytest.fixture
def database_urls(fresh_database_urls):
    """A database per test: revisions and what is live would stay for the tests after it."""
    return fresh_database_urls
