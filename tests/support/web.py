"""The web application over a real database, with a tenant, people and their keys: for tests of routes end to end."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from stanchion import identity
from stanchion.audit import routes as audit_routes
from stanchion.context import Ctx, Env, system_actor
from stanchion.identity import Authenticator, NewKey, Pepper
from stanchion.identity import routes as identity_routes
from stanchion.web import WebSettings, create_app

PEPPER = Pepper(bytes(range(32)))


@dataclass(kw_only=True)
class Stage:
    """A tenant on the stage: `admin_key` is its first key; `key(role)` makes a principal of that role and its key."""

    env: Env
    authenticator: Authenticator
    tenant: str
    admin_key: str

    def system(self) -> Ctx:
        return Ctx(env=self.env, actor=system_actor("bootstrap", self.tenant))

    async def admin(self) -> Ctx:
        return Ctx(env=self.env, actor=await self.authenticator.by_key(self.admin_key))

    async def made_key(self, *roles: str, name: str = "", **more) -> NewKey:
        name = name or "-".join(roles) or "nobody"
        ctx = await self.admin()
        await identity.create_principal(ctx, name=name, kind="user", roles=roles)
        return await identity.create_key(ctx, self.authenticator.pepper, principal=name, label="test", **more)

    async def key(self, *roles: str, **more) -> str:
        return (await self.made_key(*roles, **more)).text

    def app(self, *routers, settings: WebSettings | None = None, **more) -> FastAPI:
        own = (identity_routes.build_router(self.authenticator), audit_routes.build_router())
        return create_app(
            self.env, [*own, *routers], authenticator=self.authenticator, settings=settings or WebSettings(), **more
        )


async def set_stage(env: Env, tenant: str = "default", **more) -> Stage:
    authenticator = Authenticator(env, PEPPER, **more)
    made = await identity.bootstrap_admin(env, PEPPER, tenant=tenant)
    assert made.key is not None
    return Stage(env=env, authenticator=authenticator, tenant=tenant, admin_key=made.key.text)


def client(app, key: str | None = None, *, base_url: str = "http://test", **more) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app, **more), base_url=base_url, headers=headers, follow_redirects=False
    )
