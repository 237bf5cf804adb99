"""Artifacts for tests, published the way releases does it."""

from __future__ import annotations

from stanchion.artifacts import Document, Parsed, publish
from stanchion.context import Actor, Ctx, Env


def ctx_of(env: Env, tenant: str = "acme", *, principal: str = "ada", roles: tuple[str, ...] = ("author",)) -> Ctx:
    return Ctx(
        env=env,
        actor=Actor(
            tenant=tenant,
            principal=principal,
            principal_id="",
            kind="user",
            roles=frozenset(roles),
            credential="api_key:test",
        ),
        request_id="req-test",
    )


async def add_tenants(env: Env, *names: str) -> None:
    async with env.db.engine_tx() as tx:
        for name in names:
            await tx.execute(
                "insert into tenants (name, display_name) values (%s, %s) on conflict do nothing", (name, name)
            )


def parsed_of(name: str, **body: object) -> Parsed:
    return Parsed(name=name, body={"policy": name, **body}, owner="casework", references=(), issues=())


async def publish_one(ctx: Ctx, name: str, *, changelog: str = "", **body: object):
    async with ctx.tx() as tx:
        return await publish(
            tx,
            ctx,
            "policy",
            parsed_of(name, **body),
            Document(path=f"{name}.yaml", source=f"policy: {name}\n"),
            changelog=changelog,
        )
