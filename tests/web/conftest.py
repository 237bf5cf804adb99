"""The web application on the stage of one tenant."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from stanchion.db import Database
from stanchion.identity import CedarAuthorizer
from stanchion.web import create_app
from tests.conftest import make_env
from tests.support.broker import brokered
from tests.support.fuzz import SETTINGS
from tests.support.web import set_stage


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as database:
        yield await set_stage(make_env(database, authorizer=CedarAuthorizer()))


@pytest.fixture(scope="module")
def complete_app(tmp_path_factory):
    """Makes the application that the fuzzer runs over, from a stage: every router there is."""
    from stanchion.base.settings import Settings
    from stanchion.bootstrap.web import built_routers
    from stanchion.releases import flags

    @asynccontextmanager
    async def make(stage):
        settings = Settings(data=tmp_path_factory.mktemp("data"))
        async with (
            flags.kept(stage.env) as live_flags,
            brokered(stage.env, settings) as broker,
            built_routers(stage.env, settings, stage.authenticator, live_flags=live_flags, broker=broker) as routers,
        ):
            yield create_app(stage.env, routers, authenticator=stage.authenticator, settings=SETTINGS)

    return make
