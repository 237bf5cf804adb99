"""The web application on the stage of one tenant."""

from __future__ import annotations

import pytest

from stanchion.db import Database
from stanchion.identity import CedarAuthorizer
from tests.conftest import make_env
from tests.support.web import set_stage


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as database:
        yield await set_stage(make_env(database, authorizer=CedarAuthorizer()))


@pytest.fixture(scope="module")
def complete_app():
    """Makes the application that the fuzzer runs over, from a stage: every router there is."""

    async def make(stage):
        return stage.app()

    return make
