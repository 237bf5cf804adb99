"""The one place that chooses implementations: settings → Env, verbs, kinds, resolver, routers, duties."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from stanchion.base import Problem, SystemClock, SystemIds
from stanchion.base.settings import Settings
from stanchion.context import Ctx, Env, Environment, system_actor
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import Authenticator, CedarAuthorizer, Pepper, bootstrap_admin, create_key
from stanchion.telemetry import Telemetry

HOME_TENANT = "default"
FIRST_ADMIN = "admin"


def build_env(settings: Settings, urls: DatabaseUrls, *, process: str) -> Env:
    """What a process of this name has. The pools are not open yet: `async with env.db`."""
    clock = SystemClock()
    database = Database(
        urls,
        app_max=settings.database.app_connections_max,
        engine_max=settings.database.engine_connections_max,
        acquire_timeout_s=settings.database.acquire_timeout_s,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAdmin:
    """How to get in on this machine: the admin's API key, and the path of a link that signs a browser in once."""

    key: str
    sign_in_path: str | None
    created: bool


async def first_admin(settings: Settings, urls: DatabaseUrls, *, known_key: str | None) -> FirstAdmin:
    """Make the first tenant and admin where there is none, and a one-time sign-in link.

    Args:
        settings: of this deployment.
        urls: of its database.
        known_key: the key kept on this machine; kept if it is still valid, else the admin gets another one.
    """
    async with opened(build_env(settings, urls, process="bootstrap")) as env:
        pepper = Pepper.from_file(settings.pepper_file, env.ids)
        made = await bootstrap_admin(env, pepper, tenant=HOME_TENANT, admin=FIRST_ADMIN)
        path = f"/sign-in?token={made.sign_in.token}" if made.sign_in else None
        if made.key is not None:
            return FirstAdmin(key=made.key.text, sign_in_path=path, created=True)
        if known_key is not None and await _is_valid(env, pepper, known_key):
            return FirstAdmin(key=known_key, sign_in_path=path, created=False)
        ctx = Ctx(env=env, actor=system_actor("bootstrap", HOME_TENANT))
        key = await create_key(ctx, pepper, principal=FIRST_ADMIN, label="command line of this machine")
        return FirstAdmin(key=key.text, sign_in_path=path, created=False)


async def _is_valid(env: Env, pepper: Pepper, key: str) -> bool:
    try:
        await Authenticator(env, pepper).by_key(key)
    except Problem:
        return False
    return True
