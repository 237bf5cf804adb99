from __future__ import annotations

import pytest

from tests.runs.support import World


@pytest.fixture
def world(env, database_urls) -> World:
    return World(env, database_urls.owner)
