"""A tenant whose application is live, with the shipped policy of who may do what."""

from __future__ import annotations

import pytest

from stanchion.db import Database
from stanchion.identity import CedarAuthorizer
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.guarding.support import Guarded, NowClock
from tests.releases.rollouts.support import SOURCES, Stage, document


@pytest.fixture
async def guarded(fresh_database_urls, tmp_path):
    async with Database(fresh_database_urls) as db:
        env = make_env(db, clock=NowClock(), authorizer=CedarAuthorizer())
        await add_tenants(env, "acme", "umbra")
        stage = Stage(env, tmp_path)
        await stage.apply(*(document(kind) for kind in SOURCES))
        yield Guarded(stage)
