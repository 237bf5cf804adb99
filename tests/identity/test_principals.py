"""Who somebody is now: what a role grant or a disabling changes counts within a second, and nobody is taken for somebody else."""

from __future__ import annotations

import pytest

from stanchion.base import Denied
from stanchion.db import Database
from stanchion.identity import PrincipalsNow
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.flags.support import Clock


@pytest.fixture
async def env(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        made = make_env(db, clock=Clock())
        await add_tenants(made, "acme", "beta")
        async with made.db.tenant_tx("acme") as tx:
            await tx.execute(
                "insert into principals (tenant, id, kind, name, display_name, roles) values"
                " ('acme', gen_random_uuid(), 'user', 'ada', 'Ada', '{analyst}')"
            )
        yield made


async def change(env, statement: str) -> None:
    async with env.db.tenant_tx("acme") as tx:
        await tx.execute(statement)


@pytest.mark.parametrize("role", ["app", "engine"])
async def test_roles_are_those_held_now_within_a_second(env, role: str) -> None:
    now = PrincipalsNow(env, role=role)
    assert (await now.actor("acme", "ada")).roles == {"analyst"}
    await change(env, "update principals set roles = '{viewer, system}'")
    assert (await now.actor("acme", "ada")).roles == {"analyst"}  # remembered
    env.clock.passed_s += 1.0
    changed = await now.actor("acme", "ada")
    assert (changed.roles, changed.tenant, changed.kind) == (
        {"viewer"},
        "acme",
        "user",
    )  # `system` is granted to nobody
    await change(env, "update principals set disabled_at = now()")
    env.clock.passed_s += 1.0
    with pytest.raises(Denied, match="is disabled"):
        await now.actor("acme", "ada")


async def test_a_name_of_another_tenant_is_nobody_here(env) -> None:
    now = PrincipalsNow(env)
    for name in ("ada", "system:root", "system:"):
        with pytest.raises(Denied, match="does not exist"):
            await now.actor("beta", name)
    engine = await now.actor("beta", "system:engine")
    assert (engine.kind, engine.tenant, engine.roles) == ("system", "beta", {"system"})
