"""What every process has: settings → Env."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from stanchion.base import SystemClock, SystemIds
from stanchion.base.settings import Settings
from stanchion.context import Env, Environment
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import CedarAuthorizer
from stanchion.telemetry import Telemetry

HOME_TENANT = "default"


def build_env(settings: Settings, urls: DatabaseUrls, *, process: str) -> Env:
    """What a process of this name has. The pools are not open yet: `async with env.db`."""
    clock = SystemClock()
    database = Database(
        urls,
        app_max=settings.database.app_connections_max,
        engine_max=settings.database.engine_connections_max,
        acquire_timeout_s=settings.database.acquire_timeout_s,
        lifetime_s=settings.database.connection_lifetime_s,
    )
    return Env(
        db=database,
        clock=clock,
        ids=SystemIds(clock),
        rng=random.Random(int.from_bytes(SystemIds(clock).secret(16))),  # noqa: S311 - jitter, never a secret
        telemetry=Telemetry(process=process, sample=settings.telemetry.sample),
        authorizer=CedarAuthorizer(home_tenant=HOME_TENANT),
        environment=Environment(name=settings.environment.name, production=settings.production),
    )


@asynccontextmanager
async def opened(env: Env) -> AsyncGenerator[Env]:
    """The Env with its pools open for the block, and its spans flushed after it."""
    async with env.db:
        try:
            yield env
        finally:
            env.telemetry.provider.shutdown()
