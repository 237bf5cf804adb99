from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from stanchion.base import Conflict, Denied, Json, NotFound, digest
from stanchion.blueprints import program_from_body
from stanchion.context import Env
from stanchion.db import Database
from stanchion.releases import MAX_AGE_S, Resolver
from stanchion.releases import resolver as module
from tests.approvals.support import FrozenClock
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.support import VERBS, apply_all, blueprint, policy


class Held:
    """A transaction whose end is held back once its statements are through."""

    def __init__(self) -> None:
        self.read, self.may_end = asyncio.Event(), asyncio.Event()


class Counting:
    """A database that counts the transactions begun on it, and holds back the next one if it is told to."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._next: Held | None = None
        self.begun = 0

    def hold_next(self) -> Held:
        self._next = Held()
        return self._next

    @asynccontextmanager
    async def tenant_tx(self, tenant: str):
        self.begun += 1
        held, self._next = self._next, None
        async with self._db.tenant_tx(tenant) as tx:
            yield tx
        if held is not None:
            held.read.set()
            await held.may_end.wait()

    def engine_tx(self):
        self.begun += 1
        return self._db.engine_tx()


class Bench:
    """A resolver with a clock to move, counted queries and counted compilations."""

    def __init__(self, env: Env) -> None:
        self.clock = FrozenClock()
        self.db = Counting(env.db)
        self.compiled = 0
        self.env = make_env(self.db, clock=self.clock)
        self.resolver = Resolver(self.env, self._compile)
        self.ctx = ctx_of(env)

    def _compile(self, body, lookup):
        self.compiled += 1
        return program_from_body(body, VERBS, lookup)

    async def version(self, name: str = "case-triage") -> int:
        return (await self.resolver.resolve(self.ctx, name)).blueprint.version


@pytest.fixture
async def env(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme", "umbra")
        yield env


@pytest.fixture
def bench(env: Env) -> Bench:
    return Bench(env)


async def keep(env: Env, tenant: str, resolved) -> None:
    """Store a pin set the way a run's start does."""
    pins: list[Json] = [
        {"kind": p.kind, "name": p.name, "version": p.version, "digest": p.digest} for p in resolved.pins.pins
    ]
    assert digest(pins) == resolved.pins.digest
    async with env.db.tenant_tx(tenant) as tx:
        await tx.execute(
            "insert into pin_sets (tenant, digest, pins) values (%s, %s, %s) on conflict do nothing",
            (tenant, resolved.pins.digest, Jsonb(pins)),
        )


async def test_a_run_gets_the_live_closure_of_its_blueprint(env: Env, bench: Bench) -> None:
    applied = await apply_all(bench.ctx, policy(), blueprint(), policy("unrelated"))
    resolved = await bench.resolver.resolve(bench.ctx, "case-triage")
    assert [(p.kind, p.name, p.version) for p in resolved.pins.pins] == [
        ("blueprint", "case-triage", 1),
        ("policy", "supervisor-approval", 1),
    ]
    assert resolved.blueprint == resolved.pins.pins[0]
    assert resolved.blueprint.digest == applied.changes[0].digest
    assert resolved.program.name == "case-triage"


async def test_resolving_again_costs_no_query(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    first = await bench.resolver.resolve(bench.ctx, "case-triage")
    begun = bench.db.begun
    for _ in range(1000):
        assert await bench.resolver.resolve(bench.ctx, "case-triage") is first
    assert bench.db.begun == begun
    bench.clock.at += timedelta(seconds=MAX_AGE_S)
    assert await bench.resolver.resolve(bench.ctx, "case-triage") is first
    assert bench.db.begun == begun + 1
    assert bench.compiled == 1


async def test_a_release_is_effective_once_the_revision_is_half_a_second_old(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    assert await bench.version() == 1
    await apply_all(bench.ctx, blueprint("case-triage", ("description: Ask", "description: Do ask")))
    bench.clock.at += timedelta(seconds=MAX_AGE_S - 0.01)
    assert await bench.version() == 1
    assert bench.resolver.age_s("acme") == pytest.approx(MAX_AGE_S - 0.01)
    bench.clock.at += timedelta(seconds=0.01)
    assert await bench.version() == 2
    assert bench.resolver.age_s("acme") == 0
    assert bench.resolver.age_s("umbra") is None
    # Moving the pointer back is a release like any other, and the program is still in memory.
    await apply_all(bench.ctx, blueprint())
    bench.clock.at += timedelta(seconds=MAX_AGE_S)
    compiled = bench.compiled
    assert await bench.version() == 1
    assert bench.compiled == compiled


async def test_a_release_of_this_process_is_effective_here_at_once(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    assert await bench.version() == 1
    await apply_all(bench.ctx, blueprint("case-triage", ("description: Ask", "description: Do ask")))
    bench.resolver.look_again()
    assert await bench.version() == 2
    begun = bench.db.begun
    assert await bench.version() == 2
    assert bench.db.begun == begun


async def test_a_look_that_began_before_a_release_is_not_shared_by_who_starts_after_it(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    bench.resolver.look_again()
    held = bench.db.hold_next()
    earlier = asyncio.create_task(bench.version())
    await held.read.wait()
    await apply_all(bench.ctx, blueprint("case-triage", ("description: Ask", "description: Do ask")))
    bench.resolver.look_again()
    assert await bench.version() == 2
    held.may_end.set()
    await earlier
    assert await bench.version() == 2


async def test_a_change_of_what_it_refers_to_changes_the_pins(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    before = await bench.resolver.resolve(bench.ctx, "case-triage")
    await apply_all(bench.ctx, policy("supervisor-approval", ("100000.0", "5.0")))
    bench.clock.at += timedelta(seconds=MAX_AGE_S)
    after = await bench.resolver.resolve(bench.ctx, "case-triage")
    assert after.blueprint == before.blueprint
    assert after.pins.digest != before.pins.digest
    pin = after.pins.of("policy", "supervisor-approval")
    assert pin is not None
    assert pin.version == 2


async def test_many_that_ask_at_once_share_one_read_and_one_compilation(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    found = await asyncio.gather(*(bench.resolver.resolve(bench.ctx, "case-triage") for _ in range(100)))
    assert len({id(r) for r in found}) == 1
    assert (bench.db.begun, bench.compiled) == (2, 1)


async def test_a_caller_that_gives_up_takes_nobody_along(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    first = asyncio.create_task(bench.resolver.resolve(bench.ctx, "case-triage"))
    second = asyncio.create_task(bench.resolver.resolve(bench.ctx, "case-triage"))
    while not bench.db.begun:
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).blueprint.version == 1
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_what_is_not_live_is_said_and_asked_for_again(env: Env, bench: Bench) -> None:
    with pytest.raises(NotFound) as caught:
        await bench.version()
    assert caught.value.code == "blueprint.unknown"
    await apply_all(bench.ctx, policy(), blueprint())
    bench.clock.at += timedelta(seconds=MAX_AGE_S)
    assert await bench.version() == 1


async def test_a_misspelt_name_is_met_with_the_nearest_to_those_who_may_know_it(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    with pytest.raises(NotFound, match="There is no Blueprint case-triag in") as caught:
        await bench.resolver.resolve(bench.ctx, "case-triag")
    assert "Did you mean 'case-triage'?" in caught.value.hint

    class MayStartAlone:
        def check(self, actor, action, resource) -> None:
            if action != "runs.start":
                raise Denied("auth.denied", "No.", hint="Ask.")

    blind = replace(bench.ctx, env=replace(env, authorizer=MayStartAlone()))
    with pytest.raises(NotFound) as caught:
        await bench.resolver.resolve(blind, "case-triag")
    assert "case-triage" not in caught.value.hint


async def test_a_reference_that_is_not_live_is_named(env: Env, bench: Bench, cluster, fresh_database_urls) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    with psycopg.connect(cluster.superuser(fresh_database_urls), autocommit=True) as connection:
        connection.execute("delete from releases where kind = 'policy'")
    with pytest.raises(Conflict) as caught:
        await bench.version()
    assert caught.value.code == "release.incomplete"
    assert "policy supervisor-approval" in caught.value.message


async def test_tenants_are_walls(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    theirs = ctx_of(env, "umbra")
    ours = await bench.resolver.resolve(bench.ctx, "case-triage")
    await keep(env, "acme", ours)
    await bench.resolver.load("acme", ours.pins.digest)
    with pytest.raises(NotFound):
        await bench.resolver.resolve(theirs, "case-triage")
    with pytest.raises(NotFound) as caught:
        await bench.resolver.load("umbra", ours.pins.digest)
    assert caught.value.code == "pins.unknown"


async def test_a_worker_loads_a_pin_set_whatever_is_released_meanwhile(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    resolved = await bench.resolver.resolve(bench.ctx, "case-triage")
    await keep(env, "acme", resolved)
    await apply_all(
        bench.ctx,
        policy("supervisor-approval", ("100000.0", "5.0")),
        blueprint("case-triage", ("description: Ask", "description: Do ask")),
    )
    worker = Bench(env)
    loaded = await worker.resolver.load("acme", resolved.pins.digest)
    assert loaded.pins == resolved.pins
    assert loaded.program.description == "Ask a supervisor about high fines."
    assert loaded.bodies["policy", "supervisor-approval"]["when"] == "facts.fine_eur > 100000.0"
    begun = worker.db.begun
    assert await worker.resolver.load("acme", resolved.pins.digest) is loaded
    assert (worker.db.begun, worker.compiled) == (begun, 1)


async def test_what_is_kept_is_bounded(env: Env, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIN_SETS_MAX", 2)
    monkeypatch.setattr(module, "_TENANTS_MAX", 1)
    await apply_all(bench.ctx, policy(), blueprint("one"), blueprint("two"), blueprint("three"))
    for name in ("one", "two", "three"):
        await keep(env, "acme", await bench.resolver.resolve(bench.ctx, name))
    assert len(bench.resolver._pinned) == 2
    with pytest.raises(NotFound):
        await bench.resolver.resolve(ctx_of(env, "umbra"), "one")
    assert bench.resolver.age_s("acme") is None
    assert await bench.version("one") == 1


async def test_a_failed_look_up_is_not_remembered(env: Env, bench: Bench) -> None:
    await apply_all(bench.ctx, policy(), blueprint())
    real, broken = bench.db.tenant_tx, True

    def tenant_tx(tenant: str):
        if broken:
            raise ConnectionError("away")
        return real(tenant)

    bench.db.tenant_tx = tenant_tx  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await bench.version()
    broken = False
    assert await bench.version() == 1
