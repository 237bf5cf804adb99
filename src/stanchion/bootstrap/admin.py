"""The first tenant, its admin, and how they get in."""

from __future__ import annotations

from dataclasses import dataclass

from stanchion.base import Problem
from stanchion.base.settings import Settings
from stanchion.bootstrap.env import HOME_TENANT, build_env, opened
from stanchion.context import Ctx, Env, system_actor
from stanchion.db import DatabaseUrls
from stanchion.identity import Authenticator, Pepper, bootstrap_admin, create_key

FIRST_ADMIN = "admin"


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
