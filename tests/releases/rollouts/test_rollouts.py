"""Rollouts over real started runs on a real database."""

from __future__ import annotations

import asyncio
import dataclasses
import math
import time
from uuid import UUID

import psycopg
import pytest

from stanchion.base import Conflict, Invalid
from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.releases import MAX_AGE_S, apply
from stanchion.releases.rollouts import (
    Arm,
    Assignment,
    Plan,
    State,
    Step,
    Strategy,
    Target,
    Unit,
    UnitKind,
    advance,
    history,
    pause,
    reproduces,
    resume,
    rollback,
    show_release,
)
from tests.approvals.support import FrozenClock
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.rollouts.support import SOURCES, Stage, Statements, canary, document, second
from tests.support.deployment import said, within_promise

RUNS = 300


@pytest.fixture
async def stage(fresh_database_urls, tmp_path):
    async with Database(fresh_database_urls) as db:
        clock = FrozenClock()
        env = make_env(db, clock=clock)
        await add_tenants(env, "acme")
        stage = Stage(env, tmp_path)
        stage.clock = clock
        await stage.apply(*(document(kind) for kind in SOURCES))
        yield stage


def later(stage: Stage) -> None:
    from datetime import timedelta

    stage.clock.at += timedelta(seconds=MAX_AGE_S)


def within_binomial(hits: int, of: int, share: float) -> bool:
    """Whether a count is within 4.5 standard deviations (a false alarm in 150,000)."""
    return abs(hits - of * share) <= 4.5 * math.sqrt(of * share * (1 - share)) + 1e-9


async def starts(stage: Stage, count: int, values=None) -> list[UUID]:
    given = values or [{}] * count
    return list(await asyncio.gather(*(stage.start(value) for value in given)))


@pytest.mark.parametrize("kind", sorted(SOURCES))
async def test_a_canary_of_any_kind_over_real_runs(stage: Stage, kind: str) -> None:
    name = SOURCES[kind][0]
    assert set(SOURCES) == set(stage.kinds), "a kind that registers needs its two versions here"
    customers = [{"customer": f"c{n}"} for n in range(RUNS)]
    begun = await stage.begin(canary(10, 50, 100, unit="input:customer"), documents=[second(kind)])
    assert begun.blueprints == ("case-triage",)
    rollout, before = begun.rollout, dict.fromkeys(SOURCES, 1)
    inside: set[int] = set()
    for share in (10, 50, 100):
        later(stage)
        runs = await starts(stage, RUNS, customers)
        pins = await stage.versions(*runs)
        got = {n for n, pinned in enumerate(pins) if pinned[kind] == 2}
        assert within_binomial(len(got), RUNS, share / 100), f"{len(got)} of {RUNS} at {share} %"
        assert inside <= got, "who had the candidate lost it"
        assert all(pinned | {kind: 1} == before for pinned in pins), "another artifact moved"
        again = await stage.versions(*(await starts(stage, 60, customers[:60])))
        assert [p[kind] for p in again] == [p[kind] for p in pins[:60]], "not sticky"
        assert await stage.live() == before, "the pointer moved before its time"
        inside = got
        rollout = await advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="on", rev=rollout.rev)
    assert rollout.state is State.DONE
    assert await stage.live() == before | {kind: 2}
    later(stage)
    assert (await stage.versions(await stage.start()))[0] == before | {kind: 2}
    # One action takes it back, and nothing else.
    back = await rollback(stage.ctx, Target(kind=kind, name=name), kinds=stage.kinds, reason="no good")
    assert back.moved == ((kind, name, 2, 1),)
    assert await stage.live() == before
    later(stage)
    assert (await stage.versions(await stage.start()))[0] == before


@pytest.mark.parametrize(("unit", "kind"), [("run", "run"), ("principal", "principal"), ("input:customer", "input")])
async def test_an_assignment_is_reproduced_from_what_is_recorded(stage: Stage, unit: str, kind: str) -> None:
    rollout = (await stage.begin(canary(50, unit=unit), documents=[second("policy")])).rollout
    later(stage)
    for n in range(20):
        await stage.start({"customer": f"c{n}"}, stage.as_(f"p{n}"))
    records = await stage.records("run.started")
    begun = (await stage.records("rollout.begun"))[0]
    assert begun["extra"]["salt"] == rollout.salt
    async with stage.env.db.engine_tx() as tx:
        rows = await (await tx.execute("select id::text, requested_by, input from runs")).fetchall()
    runs = {run: (principal, value) for run, principal, value in rows}
    arms = set()
    for record in records:
        (said,) = record["extra"]["assigned"]
        principal, value = runs[record["run_id"]]
        units = {"run": record["run_id"], "principal": principal, "input:customer": value["customer"]}
        made = Assignment(
            rollout=said["rollout"],
            salt=begun["extra"]["salt"],
            unit=Unit(kind=UnitKind(kind), tenant="acme", value=units[said["unit"]]),
            bucket=said["bucket"],
            share=said["share"],
            ring=said["ring"],
            arm=Arm(said["arm"]),
        )
        assert reproduces(made)
        (pinned,) = await stage.versions(UUID(record["run_id"]))
        assert pinned["policy"] == (2 if made.arm is Arm.CANDIDATE else 1)
        arms.add(made.arm)
    assert arms == set(Arm)


async def test_a_start_is_dealt_without_a_query(stage: Stage) -> None:
    async def counted(count: int) -> dict[str, int]:
        """The statements of so many starts. Telling the workers is throttled by time, so it is not counted."""
        later(stage)
        await stage.start()  # notices the revision
        with Statements() as statements:
            for _ in range(count):
                await stage.start()
        seen = {text: n for text, n in statements.seen.items() if "from quick, unnest(" not in text}
        assert sum(n for text, n in seen.items() if "insert into runs" in text) == count
        return seen

    alone = await counted(40)
    await stage.begin(canary(50), documents=[second("policy")])
    await stage.begin(canary(50), documents=[second("blueprint")])
    await stage.begin(canary(50), documents=[second("connector")])
    assert await counted(40) == alone
    pins = await stage.versions(*(await starts(stage, 160)))  # one of eight is missed once in 10⁸ times
    assert len({tuple(sorted(p.items())) for p in pins}) == 8, "three independent rollouts deal eight combinations"


async def test_a_running_run_finishes_on_its_pins(fresh_database_urls, tmp_path) -> None:
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme")
        stage = Stage(env, tmp_path)
        await stage.apply(*(document(kind) for kind in SOURCES))
        old = await stage.start()
        plan = Plan(strategy=Strategy.ALL_AT_ONCE, steps=())
        assert (await stage.begin(plan, documents=[second("blueprint")])).rollout.state is State.DONE
        while (await stage.resolver.resolve(stage.ctx, "case-triage")).blueprint.version == 1:
            await asyncio.sleep(0.05)
        new = await stage.start()
        worker = stage.worker()
        task = asyncio.create_task(worker.run())
        try:
            outputs = {}
            while len(outputs) < 2:
                await asyncio.sleep(0.02)
                async with env.db.engine_tx() as tx:
                    found = await (
                        await tx.execute("select id, output from runs where status = 'SUCCEEDED'")
                    ).fetchall()
                outputs = dict(found)
        finally:
            await worker.drain(5)
            await task
        assert outputs == {old: "first", new: "second"}


async def test_rings_come_first_and_stay(stage: Stage) -> None:
    plan = Plan(
        strategy=Strategy.RINGS,
        unit="input:customer",
        rings={"pilot": ("c1", "c2"), "early": ("c3",)},
        steps=(Step(rings=("pilot",)), Step(rings=("early",)), Step(share=100)),
    )
    rollout = (await stage.begin(plan, documents=[second("connector")])).rollout
    values = [{"customer": f"c{n}"} for n in range(1, 6)] + [{}]
    seen = []
    for _ in range(3):
        later(stage)
        seen.append([p["connector"] for p in await stage.versions(*(await starts(stage, 6, values)))])
        rollout = await advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="on")
    assert seen == [[2, 2, 1, 1, 1, 1], [2, 2, 2, 1, 1, 1], [2, 2, 2, 2, 2, 1]]
    assert rollout.state is State.DONE


async def test_blue_green_moves_a_whole_set_at_once_and_back(stage: Stage) -> None:
    plan = Plan(strategy=Strategy.BLUE_GREEN, steps=())
    rollout = (await stage.begin(plan, documents=[second(kind) for kind in SOURCES])).rollout
    assert [m.name for m in rollout.members] == ["case-triage", "casebook", "supervisor-approval"]
    later(stage)
    assert await stage.versions(*(await starts(stage, 10))) == [dict.fromkeys(SOURCES, 2)] * 10
    assert await stage.live() == dict.fromkeys(SOURCES, 1)
    back = await rollback(stage.ctx, Target(kind="policy", name="supervisor-approval"), kinds=stage.kinds, reason="no")
    assert [r.state for r in back.rollouts] == [State.ROLLED_BACK]
    later(stage)
    assert await stage.versions(*(await starts(stage, 10))) == [dict.fromkeys(SOURCES, 1)] * 10


async def test_a_plan_writes_nothing(stage: Stage) -> None:
    async def counts():
        async with stage.env.db.tenant_tx("acme") as tx:
            row = await tx.execute(
                "select (select count(*) from rollouts), (select count(*) from artifacts), (select count(*) from audit_records),"
                " (select count(*) from release_history)"
            )
            return await row.fetchone()

    before = await counts()
    begun = await stage.begin(canary(10), documents=[second("policy")], dry_run=True)
    assert begun.rollout.members[0].candidate_version == 2
    assert begun.blueprints == ("case-triage",)
    assert await counts() == before


async def test_pause_resume_and_their_history(stage: Stage) -> None:
    rollout = (await stage.begin(canary(10, 50), documents=[second("policy")])).rollout
    rollout = await pause(stage.as_("bob"), rollout.id, reason="wait")
    with pytest.raises(Conflict, match="PAUSED") as caught:
        await advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="on")
    assert caught.value.code == "rollout.paused"
    later(stage)
    assert len({p["policy"] for p in await stage.versions(*(await starts(stage, 200)))}) == 2, (
        "units keep what they have"
    )
    with pytest.raises(Conflict, match="bob"):
        await pause(stage.ctx, rollout.id, reason="again")
    rollout = await resume(stage.ctx, rollout.id, reason="go on")
    rollout = await advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="on", to=3)
    assert rollout.state is State.DONE
    said = await history(stage.ctx, "policy", "supervisor-approval", PageParams())
    assert [(c.event, c.version_before, c.version, c.by, c.reason) for c in said.items] == [
        ("release.promoted", 1, 2, "ada", "on"),
        ("rollout.done", 1, 2, "ada", "on"),
        ("rollout.resumed", 1, 2, "ada", "go on"),
        ("rollout.paused", 1, 2, "bob", "wait"),
        ("rollout.begun", 1, 2, "ada", "try it"),
        ("release.applied", None, 1, "ada", "by apply"),
    ]
    for event in ("rollout.begun", "rollout.paused", "rollout.resumed", "rollout.done", "release.promoted"):
        (record,) = await stage.records(event)
        assert record["after"]
        assert record["reason"]
        assert record["before"] or event == "rollout.begun"


async def test_a_rollout_that_reached_nobody_is_abandoned(stage: Stage) -> None:
    rollout = (await stage.begin(canary(0, 10), documents=[second("policy")])).rollout
    back = await rollback(stage.ctx, Target(kind="policy", name="supervisor-approval"), kinds=stage.kinds, reason="no")
    assert [(r.id, r.state) for r in back.rollouts] == [(rollout.id, State.ABANDONED)]
    live, opened = await show_release(stage.ctx, "policy", "supervisor-approval")
    assert (live.version, opened) == (1, None)


async def test_rolling_back_twice_goes_further_back(stage: Stage) -> None:
    await stage.apply(second("policy"))
    await stage.apply(document("policy", ("first", "third")))
    target = Target(kind="policy", name="supervisor-approval")
    for expected in (2, 1):
        await rollback(stage.ctx, target, kinds=stage.kinds, reason="no")
        assert (await stage.live())["policy"] == expected
    with pytest.raises(Conflict) as caught:
        await rollback(stage.ctx, target, kinds=stage.kinds, reason="no")
    assert caught.value.code == "release.no_previous"
    await rollback(
        stage.ctx, Target(kind="policy", name="supervisor-approval", version=3), kinds=stage.kinds, reason="yes"
    )
    assert (await stage.live())["policy"] == 3


async def race(calls) -> tuple[list, list[Conflict]]:
    done = await asyncio.gather(*calls, return_exceptions=True)
    odd = [d for d in done if isinstance(d, BaseException) and not isinstance(d, Conflict)]
    assert not odd, odd
    return [d for d in done if not isinstance(d, Conflict)], [d for d in done if isinstance(d, Conflict)]


async def test_of_fifty_at_once_one_wins_and_the_losers_are_told(stage: Stage) -> None:
    won, lost = await race(
        stage.begin(canary(10, 50), documents=[second("policy")], ctx=stage.as_(f"p{n}")) for n in range(50)
    )
    assert (len(won), len(lost)) == (1, 49)
    winner = won[0].rollout
    assert all(c.code == "rollout.open" and winner.author in c.message for c in lost)
    won, lost = await race(
        advance(stage.as_(f"q{n}"), winner.id, kinds=stage.kinds, reason="on", rev=winner.rev) for n in range(50)
    )
    assert (len(won), len(lost)) == (1, 49)
    assert won[0].step == 1
    assert all(c.code == "rollout.moved" and won[0].changed_by in c.message for c in lost)
    target = Target(kind="policy", name="supervisor-approval")
    won, lost = await race(
        rollback(stage.as_(f"r{n}"), target, kinds=stage.kinds, reason="no", leaving=2) for n in range(50)
    )
    assert (len(won), len(lost)) == (1, 49)
    by = won[0].rollouts[0].changed_by
    assert all(c.code == "release.moved" and f"{by} was first" in c.message for c in lost)
    async with stage.env.db.tenant_tx("acme") as tx:
        versions = await (await tx.execute("select version from artifacts where kind = 'policy' order by 1")).fetchall()
    assert versions == [(1,), (2,)]


async def test_it_is_effective_in_every_process_within_a_second(fresh_database_urls, tmp_path) -> None:
    async with Database(fresh_database_urls) as db, Database(fresh_database_urls) as other:
        env, env_2 = make_env(db), make_env(other)
        await add_tenants(env, "acme")
        stage = Stage(env, tmp_path)
        await stage.apply(*(document(kind) for kind in SOURCES))
        await stage.publish(second("policy"))
        resolvers = [stage.resolver, stage.other_resolver(env_2)]
        target = Target(kind="policy", name="supervisor-approval")
        seen: list[float] = []

        async def until(resolver, version: int, began: float) -> None:
            while True:
                resolved = await resolver.resolve(stage.ctx, "case-triage")
                if resolved.pins.of(*target.key).version == version:
                    seen.append(time.monotonic() - began)
                    return
                await asyncio.sleep(0.005)

        for _ in range(6):
            for version in (2, 1):
                if version == 2:
                    plan = Plan(strategy=Strategy.ALL_AT_ONCE, steps=())
                    await stage.begin(plan, dataclasses.replace(target, version=2))
                else:
                    await rollback(stage.ctx, target, kinds=stage.kinds, reason="no")
                began = time.monotonic()
                await asyncio.gather(*(until(resolver, version, began) for resolver in resolvers))
        print(f"\neffective after {said(seen)}")
        assert within_promise(seen)


NARROW = document(
    "policy",
    (
        "required: [fine_eur], properties: {fine_eur: {type: number}}",
        "required: [fine], properties: {fine: {type: number}}",
    ),
    ("facts.fine_eur", "facts.fine"),
)
FITTING = document("blueprint", ('facts: {fine_eur: "${input.fine_eur}"}', 'facts: {fine: "${input.fine_eur}"}'))


async def test_a_candidate_that_does_not_fit_what_is_live_is_refused_with_the_nearest_set(stage: Stage) -> None:
    await stage.publish(NARROW, FITTING)
    with pytest.raises(Conflict) as caught:
        await stage.begin(canary(10), Target(kind="policy", name="supervisor-approval", version=2))
    assert caught.value.code == "rollout.incompatible"
    assert "blueprint case-triage 1 does not fit with" in caught.value.message
    assert caught.value.fields["nearest"] == [
        {"kind": "policy", "name": "supervisor-approval", "version": 2},
        {"kind": "blueprint", "name": "case-triage", "version": 2},
    ]
    assert "--with blueprint/case-triage@2" in caught.value.hint
    both = [
        Target(kind="policy", name="supervisor-approval", version=2),
        Target(kind="blueprint", name="case-triage", version=2),
    ]
    await stage.begin(canary(50), *both)
    later(stage)
    pins = await stage.versions(*(await starts(stage, 60)))
    assert {(p["policy"], p["blueprint"]) for p in pins} == {(1, 1), (2, 2)}


async def test_an_incompatible_rollback_names_what_must_go_back_with_it(stage: Stage) -> None:
    await stage.apply(NARROW, FITTING)
    target = Target(kind="policy", name="supervisor-approval")
    with pytest.raises(Conflict) as caught:
        await rollback(stage.ctx, target, kinds=stage.kinds, reason="no")
    assert caught.value.code == "rollout.incompatible"
    assert caught.value.hint == (
        "The nearest set that fits: policy/supervisor-approval@1, blueprint/case-triage@1. Move it together: add"
        " --with blueprint/case-triage@1."
    )
    assert await stage.live() == {"blueprint": 2, "connector": 1, "policy": 2}
    also = [Target(kind="blueprint", name="case-triage", version=1)]
    back = await rollback(stage.ctx, target, kinds=stage.kinds, reason="no", also=also)
    assert sorted(back.moved) == [("blueprint", "case-triage", 2, 1), ("policy", "supervisor-approval", 2, 1)]
    assert await stage.live() == dict.fromkeys(SOURCES, 1)


async def test_two_rollouts_whose_sides_do_not_fit_are_not_out_at_once(stage: Stage) -> None:
    await stage.publish(NARROW, FITTING)
    # A policy that takes either shape lets both Blueprints run; the narrow one does not.
    with pytest.raises(Conflict) as caught:
        await stage.begin(canary(10), Target(kind="blueprint", name="case-triage", version=2))
    assert caught.value.fields["nearest"][1] == {"kind": "policy", "name": "supervisor-approval", "version": 2}


@pytest.mark.parametrize(
    ("targets", "code"),
    [
        ([Target(kind="policy", name="supervisor-approval", version=1)], "rollout.nothing"),
        ([Target(kind="policy", name="supervisor-approval", version=9)], "artifact.unknown"),
        ([Target(kind="policy", name="nobody")], "artifact.unknown"),
        ([], "rollout.nothing"),
    ],
)
async def test_what_cannot_begin_is_said(stage: Stage, targets, code: str) -> None:
    from stanchion.base import Problem

    with pytest.raises(Problem) as caught:
        await stage.begin(canary(10), *targets)
    assert caught.value.code == code


async def test_documents_with_errors_begin_nothing(stage: Stage) -> None:
    with pytest.raises(Invalid) as caught:
        await stage.begin(canary(10), documents=[document("policy", ("when:", "wen:"))])
    assert caught.value.code == "apply.invalid"


async def test_tenants_are_walls(stage: Stage, fresh_database_urls, cluster) -> None:
    await add_tenants(stage.env, "umbra")
    rollout = (await stage.begin(canary(10), documents=[second("policy")])).rollout
    theirs = dataclasses.replace(stage.ctx, actor=dataclasses.replace(stage.ctx.actor, tenant="umbra"))
    from stanchion.base import NotFound

    for verb in (advance(theirs, rollout.id, kinds=stage.kinds, reason="x"), pause(theirs, rollout.id, reason="x")):
        with pytest.raises(NotFound):
            await verb
    with psycopg.connect(fresh_database_urls.app) as connection:
        connection.execute("select set_config('stanchion.tenant', 'umbra', false)")
        for table in ("rollouts", "rollout_members", "release_history"):
            assert connection.execute(f"select count(*) from {table}".encode()).fetchone() == (0,)


async def test_an_apply_leaves_alone_what_a_rollout_moves(stage: Stage) -> None:
    await stage.begin(canary(10), documents=[second("policy")], ctx=stage.as_("bob"))
    for dry_run in (True, False):
        with pytest.raises(Conflict, match="bob began") as caught:
            await apply(stage.ctx, [document("policy", ("first", "third"))], kinds=stage.kinds, dry_run=dry_run)
        assert caught.value.code == "rollout.open"
    assert await stage.live() == dict.fromkeys(SOURCES, 1)
    await stage.apply(second("connector"), document("policy"))
    assert await stage.live() == dict.fromkeys(SOURCES, 1) | {"connector": 2}


async def test_an_apply_has_to_fit_a_candidate_that_is_out(stage: Stage) -> None:
    roomy = document("connector", ("    fields: {number", "    lookup: {}\n    fields: {number"))
    await stage.apply(roomy)
    await stage.begin(canary(10), documents=[document("connector")])
    looks = document(
        "blueprint",
        ("fetch: {connector: casebook, resource: cases}", "lookup: {connector: casebook, resource: cases, key: 1}"),
    )
    with pytest.raises(Conflict) as caught:
        await stage.apply(looks)
    assert caught.value.code == "rollout.incompatible"
    assert "blueprint case-triage 2 does not fit with connector casebook 1" in caught.value.message
    await rollback(stage.ctx, Target(kind="connector", name="casebook"), kinds=stage.kinds, reason="no")
    await stage.apply(looks)
