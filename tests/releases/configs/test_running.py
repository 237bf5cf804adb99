"""Configs in runs: pinned, per environment, by canary, in every place of an expression, and at no cost where none is read."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from stanchion.base import Conflict, Invalid
from stanchion.context import Environment
from stanchion.db import Database
from stanchion.releases import MAX_AGE_S
from stanchion.releases.rollouts import Plan, Strategy, Target, advance, rollback
from tests.approvals.support import FrozenClock
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.configs.support import PLAIN, SOURCES, Stage, canary, changed
from tests.releases.rollouts.support import Statements

SECOND = (("fine_eur: 100 ", "fine_eur: 50 "), ("high: first", "high: second"), ("FR: 2", "FR: 7"))


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        clock = FrozenClock()
        env = make_env(db, clock=clock)
        await add_tenants(env, "acme")
        stage = Stage(env)
        stage.clock = clock
        await stage.apply(*(changed(kind) for kind in SOURCES))
        yield stage


@pytest.fixture
async def real(fresh_database_urls):
    """The same on the real clock, so that a worker can run."""
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme")
        stage = Stage(env)
        await stage.apply(*(changed(kind) for kind in SOURCES))
        yield stage


def later(stage: Stage) -> None:
    stage.clock.at += timedelta(seconds=MAX_AGE_S)


async def test_a_run_keeps_the_config_it_began_with_and_a_new_one_gets_the_new(real: Stage) -> None:
    old = await real.start(fine=80)
    await real.apply(changed("config", *SECOND))
    while (await real.resolver.resolve(real.ctx, "triage")).pins.of("config", "risk-limits").version == 1:
        await real.env.clock.sleep(0.05)
    new = [await real.start(fine=80), await real.start(fine=20)]
    assert [p["config"] for p in await real.versions(old, *new)] == [1, 2, 2]
    async with real.working():
        assert (await real.settled(old))["output"] == {"said": "first", "factors": [1.5, 2]}
        # By the second version 80 is high, for the Blueprint and for the policy that it names.
        assert (await real.settled(new[0]))["waiting_on"] == "approval"
        assert (await real.settled(new[1]))["output"] == {"said": "second", "factors": [1.5, 7]}
    async with real.env.db.engine_tx() as tx:
        titles = await (await tx.execute("select title from approvals")).fetchall()
    assert titles == [("More than 50",)]


async def test_the_overlay_of_the_environment_holds_and_the_digest_is_the_same(fresh_database_urls) -> None:
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme")
        digests = set()
        for name in ("local", "staging"):
            there = Stage(dataclasses.replace(env, environment=Environment(name=name, production=False)))
            applied = await there.apply(*(changed(kind) for kind in SOURCES))
            digests.add(next(c.digest for c in applied.changes if c.kind == "config"))
            run = await there.start(fine=80)
            async with there.working():
                row = await there.settled(run)
            assert row["waiting_on"] == ("approval" if name == "staging" else None)
            if name == "staging":
                async with env.db.engine_tx() as tx:
                    steps = await (
                        await tx.execute("select output from step_runs where run_id = %s and path = 'high'", (run,))
                    ).fetchone()
                assert steps[0] == {"value": "first over 5"}
        assert len(digests) == 1


async def test_a_canary_deals_a_config_and_each_unit_keeps_its_side(stage: Stage) -> None:
    rollout = (
        await stage.begin(canary(50, 100, unit="input:customer"), documents=[changed("config", *SECOND)])
    ).rollout
    assert [(m.kind, m.stable_version, m.candidate_version) for m in rollout.members] == [("config", 1, 2)]
    later(stage)
    customers = [f"c{n}" for n in range(200)]
    half = [p["config"] for p in await stage.versions(*[await stage.start(customer=c) for c in customers])]
    # 200 draws at a half: 4.5 standard deviations are 32.
    assert abs(half.count(2) - 100) < 32
    again = [p["config"] for p in await stage.versions(*[await stage.start(customer=c) for c in customers[:40]])]
    assert again == half[:40]
    pins = await stage.versions(await stage.start())
    assert (pins[0]["blueprint"], pins[0]["policy"]) == (1, 1), "what the rollout does not move stays"
    said = (await stage.records("run.started"))[0]["extra"]["assigned"]
    assert [(one["rollout"], one["unit"]) for one in said] == [(str(rollout.id), "input:customer")]
    await advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="on")
    later(stage)
    assert {p["config"] for p in await stage.versions(*[await stage.start(customer=c) for c in customers[:20]])} == {2}
    await rollback(stage.ctx, Target(kind="config", name="risk-limits"), kinds=stage.kinds, reason="no")
    later(stage)
    assert (await stage.versions(await stage.start()))[0]["config"] == 1


LACKING = (("  words: {high: first}\n", ""),)


async def test_a_version_that_lacks_what_is_read_is_refused_with_the_way_out(stage: Stage) -> None:
    with pytest.raises(Invalid) as caught:
        await stage.apply(changed("config", *LACKING))
    errors = caught.value.fields["errors"]
    assert {error["code"] for error in errors} == {"release.incompatible"}
    assert "The live blueprint triage (version 1) would no longer fit config risk-limits" in errors[0]["message"]
    assert "config.risk_limits.words: no such property" in errors[0]["message"]
    assert errors[0]["hint"].startswith("Keep what blueprint triage uses in config risk-limits")
    # The policy reads it too, and says so for itself.
    with pytest.raises(Invalid) as caught:
        await stage.apply(changed("config", ("fine_eur: 100 ", "fine: 100 "), ("{fine_eur: 5}", "{fine: 5}")))
    assert {e["message"].split(" (")[0] for e in caught.value.fields["errors"]} == {
        "The live blueprint triage",
        "The live policy ask-high",
    }
    # Together with a Blueprint that does without it, it fits.
    fits = changed(
        "blueprint",
        ("${config.risk_limits.words.high} over ", "over "),
        ("steps.high.value : config.risk_limits.words.high", "steps.high.value : 'low'"),
    )
    applied = await stage.apply(changed("config", *LACKING), fits)
    assert [(c.kind, c.version) for c in applied.changes] == [("blueprint", 2), ("config", 2)]
    # Alone, neither goes back: the nearest set that fits is both.
    with pytest.raises(Conflict) as refused:
        await rollback(stage.ctx, Target(kind="blueprint", name="triage"), kinds=stage.kinds, reason="no")
    assert refused.value.code == "rollout.incompatible"
    assert {(one["kind"], one["version"]) for one in refused.value.fields["nearest"]} == {
        ("blueprint", 1),
        ("config", 1),
    }


async def test_a_canary_of_a_version_that_does_not_fit_is_refused(stage: Stage) -> None:
    with pytest.raises((Conflict, Invalid)) as caught:
        await stage.begin(canary(50), documents=[changed("config", *LACKING)])
    assert "config.risk_limits.words" in str(caught.value.fields)


async def test_a_missing_config_is_said_where_it_is_named(stage: Stage) -> None:
    with pytest.raises(Invalid) as caught:
        await stage.apply(changed("blueprint", ("in: config.risk_limits", "in: config.risk_limts")))
    (error,) = caught.value.fields["errors"]
    assert (error["code"], error["line"], error["column"]) == ("config.unknown_artifact", 12, 11)
    # One that is there and has errors is not called missing: its own errors are told.
    with pytest.raises(Invalid) as caught:
        await stage.apply(
            changed("config", ("fine_eur: 100 ", "fine_eur: null "), ("risk-limits", "more-limits")),
            changed("blueprint", ("in: config.risk_limits", "in: config.more_limits")),
        )
    assert {error["code"] for error in caught.value.fields["errors"]} == {"config.untyped"}


async def test_what_holds_for_every_kind_holds_for_configs(stage: Stage) -> None:
    with pytest.raises(Invalid) as caught:
        await stage.apply(changed("config", ("high: first", "high: AKIAQ3EGLTUJXCRHWZNB")))
    (error,) = caught.value.fields["errors"]
    assert (error["code"], error["line"]) == ("artifact.secret", 8)
    plan = Plan(strategy=Strategy.ALL_AT_ONCE, steps=())
    await stage.begin(plan, documents=[changed("config", *SECOND)])
    records = [r for r in await stage.records("artifact.published") if r["extra"]["kind"] == "config"]
    assert [r["extra"]["version"] for r in records] == [1, 2]


async def test_who_reads_no_config_pays_nothing_for_it(stage: Stage) -> None:
    from stanchion.artifacts import Document

    await stage.apply(Document(path="plain.yaml", source=PLAIN))
    later(stage)
    for blueprint in ("plain", "triage"):
        await stage.start(blueprint=blueprint)

    async def counted(blueprint: str) -> dict[str, int]:
        with Statements() as statements:
            for _ in range(20):
                await stage.start(blueprint=blueprint)
        return {text: n for text, n in statements.seen.items() if "pg_notify" not in text}

    plain = await counted("plain")
    assert await counted("triage") == plain, "starting a run that reads configs asks for nothing more"
