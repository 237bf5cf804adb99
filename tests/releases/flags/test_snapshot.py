"""What one process serves of flags: how it learns of a change, what asking costs, what an outage does to answers."""

from __future__ import annotations

import time
from dataclasses import replace
from statistics import median, quantiles

import psycopg
import pytest

from stanchion.controls import kills, withdrawals
from stanchion.controls.flags import ErrorCode, Reason, bucket
from stanchion.db import Database, DatabaseUrls
from stanchion.releases.flags import AGE_S_MAX, LOST_S, Snapshot, disable, enable, kept, rules
from stanchion.releases.revoking import revoke
from stanchion.releases.rollouts import Arm, Target, advance, pause, rollback
from stanchion.runs.killing import PinnedKind
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.flags.support import KINDS, SECOND, Clock, Stage, document, until
from tests.releases.rollouts.support import Statements
from tests.support.deployment import said, within_promise

ROUNDS = 10


@pytest.fixture
async def stage(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme", "beta")
        yield Stage(env)


def p99(took) -> float:
    return quantiles(took, n=100, method="inclusive")[98]


@pytest.mark.parametrize("notified", [True, False], ids=["notified", "notifications lost"])
async def test_a_change_is_served_within_a_second(
    stage, cluster, fresh_database_urls, notified: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = []
    await stage.apply(document())
    if notified:  # and by nothing else
        monkeypatch.setattr(Snapshot, "every_s", 60.0)
    async with kept(stage.env, notified=notified) as flags:
        stage.flags = flags
        if notified:
            with psycopg.connect(cluster.superuser(fresh_database_urls), autocommit=True) as server:
                await until(lambda: listens(server), "the process listens")
        for _ in range(ROUNDS):
            await stage.apply(SECOND)
            took.append(await until(lambda: stage.ask(team="appeals").resolution.value is True, "served"))
            await stage.back()
            took.append(await until(lambda: stage.ask(team="appeals").resolution.value is False, "taken back"))
    print(f"\nserved after ({'notified' if notified else 'looks alone'}): {said(took)}")
    assert within_promise(took)


def listens(server: psycopg.Connection) -> bool:
    query = "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen %flags%'"
    return server.execute(query).fetchone() == (1,)


async def test_a_tenant_is_served_its_own_flags_and_no_others(stage) -> None:
    other = Stage(stage.env, "beta")
    await stage.apply(document())
    await other.apply(document(('"fines"', '"audit"')))
    await stage.flags.refresh()
    assert stage.ask(team="fines").resolution.value is True
    other.flags = stage.flags
    assert other.ask(team="fines").resolution.value is False
    assert other.ask(team="audit").resolution.value is True
    nobody = stage.flags.evaluate("gamma", "new-review-flow", "mine")
    assert (nobody.resolution.value, nobody.resolution.error_code) == ("mine", ErrorCode.FLAG_NOT_FOUND)


async def test_a_tenant_with_more_flags_than_one_look_has_time_for_is_served_and_holds_up_nobody(
    stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Stage(stage.env, "beta")
    other.flags = stage.flags
    for each in (stage, other):  # whoever comes first
        await each.apply(*(document(name=f"flag-{n}") for n in range(5)))
    served, left = rules.served, 0

    def slow(row):
        nonlocal left
        left -= 1
        if left < 0:
            raise TimeoutError
        return served(row)

    monkeypatch.setattr(rules, "served", slow)
    for _ in range(5):
        left = 2
        await stage.flags.look()
    assert stage.flags.age_s is not None
    assert stage.ask("flag-4", team="fines").resolution.value is True
    assert other.ask("flag-4", team="fines").resolution.value is True


async def test_another_environments_flags_are_not_served(stage) -> None:
    staging = Stage(make_env(stage.env.db, environment="staging"))
    await staging.apply(document())
    await stage.flags.refresh()
    assert stage.ask(team="fines").resolution.error_code is ErrorCode.FLAG_NOT_FOUND
    await staging.flags.refresh()
    assert staging.ask(team="fines").resolution.value is True


async def test_a_canary_moves_units_to_the_candidate_and_back(stage) -> None:
    await stage.apply(document(("default: off", "default: off\nmetadata: {page: old}")))
    new = document(("default: off", "default: on\nmetadata: {page: new}"))
    rollout = await stage.canary(10, 50, 100, document=new, unit="input:case.id", salt="pepper")
    units = [f"case-{n}" for n in range(2000)]

    def sides() -> dict[str, bool]:
        found = {unit: stage.ask(case={"id": unit}) for unit in units}
        assert all((a.arm is Arm.CANDIDATE) == (a.version == 2) == a.resolution.value for a in found.values())
        assert {a.rollout for a in found.values()} <= {rollout.id}
        return {unit: a.version == 2 for unit, a in found.items()}

    inside: list[set[str]] = []
    for step in (1, 2, 3):
        await stage.flags.refresh()
        now = {unit for unit, moved in sides().items() if moved}
        share = {1: 10, 2: 50, 3: 100}[step]
        # Anybody can compute who is in it from the salt: flagd's bucketing over the unit.
        assert now == {u for u in units if bucket(f"pepper/input/acme/{u}", 10_000) < share * 100}
        inside.append(now)
        rollout = await advance(stage.ctx, rollout.id, kinds=KINDS, reason="on")
    assert inside[0] < inside[1] < inside[2] == set(units)
    assert 0.07 < len(inside[0]) / 2000 < 0.13
    await stage.flags.refresh()
    done = stage.ask(case={"id": "case-1"})
    assert (done.version, done.rollout, done.arm) == (2, None, None)
    await stage.back()
    await stage.flags.refresh()
    assert stage.ask(case={"id": "case-1"}).version == 1


@pytest.mark.parametrize(
    ("unit", "context", "expected"),
    [
        ("run", {"targetingKey": "u1"}, 2),
        ("run", {}, 1),
        ("run", {"targetingKey": 7}, 1),
        ("principal", {}, 2),
        ("tenant", {}, 2),
        ("input:targetingKey", {"targetingKey": "u1"}, 2),
        ("input:case.id", {"case": {"id": 7}}, 2),
        ("input:case.id", {"case": 7}, 1),
    ],
)
async def test_the_unit_is_the_targeting_key_the_caller_or_a_value_of_the_context(
    stage, unit, context, expected
) -> None:
    await stage.apply(document())
    await stage.canary(100, document=SECOND, unit=unit)
    await stage.flags.refresh()
    answer = stage.ask(**context)
    assert answer.version == expected
    assert answer.arm is (Arm.CANDIDATE if expected == 2 else Arm.STABLE)


async def test_a_paused_and_an_ended_rollout_are_heard_of_too(stage) -> None:
    await stage.apply(document(), document(name="other"))
    before = await _revision(stage)
    rollout = await stage.canary(100, document=SECOND)
    begun = await _revision(stage)
    await pause(stage.ctx, rollout.id, reason="wait")
    paused = await _revision(stage)
    await rollback(stage.ctx, Target(kind="flag", name="new-review-flow"), kinds=KINDS, reason="no")
    assert before < begun < paused < await _revision(stage)
    await stage.flags.refresh()
    answer = stage.ask(targetingKey="u1")
    assert (answer.version, answer.rollout) == (1, None)


async def _revision(stage: Stage) -> int:
    await stage.flags.refresh()
    return stage.flags.of("acme").revision


async def test_asking_costs_no_query_and_looking_costs_one(stage) -> None:
    await stage.apply(document(), document(name="other"))
    await stage.canary(50, document=SECOND)
    await stage.flags.refresh()
    with Statements() as asked:
        for n in range(200):
            assert stage.ask(targetingKey=f"u{n}", team="appeals").resolution.error_code is None
        assert asked.total == 0
        await stage.flags.refresh()
        assert asked.total == 1
    await stage.back()
    with Statements() as asked:
        await stage.flags.refresh()
    # The number, the tenants' numbers, and of the one tenant whose number rose: its wall and its flags.
    assert asked.total == 4


async def test_only_new_documents_are_compiled(stage, monkeypatch) -> None:
    from stanchion.releases.flags import rules

    compiled: list[str] = []
    real = rules.compile_flag

    def counted(body):
        compiled.append(body["flag"])
        return real(body)

    monkeypatch.setattr(rules, "compile_flag", counted)
    await stage.apply(*(document(name=f"flag-{n}") for n in range(20)))
    await stage.flags.refresh()
    assert len(compiled) == 20
    compiled.clear()
    await stage.apply(document(('"fines"', '"appeals"'), name="flag-7"))
    await stage.flags.refresh()
    assert compiled == ["flag-7"]
    assert stage.ask("flag-7", team="appeals").resolution.value is True
    assert stage.ask("flag-8", team="fines").resolution.value is True


async def test_what_is_killed_or_revoked_gives_the_callers_own_value(stage) -> None:
    await stage.apply(document(), document(name="other"))
    kinds = {"flag": PinnedKind("flag")}
    switches, withdrawn = kills.Snapshot(stage.env, role="app"), withdrawals.Snapshot(stage.env, role="app")
    stage.flags = Snapshot(stage.env, switches=switches, withdrawn=withdrawn)

    async def look() -> None:
        for one in (switches, withdrawn, stage.flags):
            await one.refresh()

    await look()
    assert stage.ask(team="fines").resolution.value is True
    killed = await kills.set_kill(stage.ctx, kinds, "flag", "new-review-flow", reason="It leaks.")
    await look()
    stopped = stage.ask(fallback="mine", team="fines").resolution
    assert (stopped.value, stopped.reason, stopped.error_code) == ("mine", Reason.ERROR, ErrorCode.GENERAL)
    assert "It leaks." in stopped.message
    assert stage.ask("other", team="fines").resolution.value is True
    await kills.lift_kill(stage.ctx, killed.id, reason="Mended.")
    await stage.canary(100, document=SECOND)
    await look()
    candidate = stage.ask(targetingKey="u1", team="appeals")
    assert (candidate.version, candidate.resolution.value) == (2, True)
    await revoke(stage.ctx, candidate.digest, reason="It leaks.")
    await look()
    live = stage.ask(targetingKey="u1", team="fines")
    assert (live.version, live.arm, live.resolution.value) == (1, Arm.STABLE, True)
    await revoke(stage.ctx, live.digest, reason="So does this.")
    await look()
    nothing = stage.ask(targetingKey="u1", team="fines", fallback=True).resolution
    assert (nothing.value, nothing.error_code) == (True, ErrorCode.GENERAL)
    assert "@2 was revoked by ada" in nothing.message
    with Statements() as asked:
        stage.ask(team="fines")
    assert asked.total == 0


async def test_a_tenant_raises_no_number_of_another(stage, fresh_database_urls) -> None:
    await stage.apply(document())
    with psycopg.connect(fresh_database_urls.app, autocommit=True) as connection:
        connection.execute("select set_config('stanchion.tenant', 'beta', false)")
        assert connection.execute("update flag_revisions set rev = 99").rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("insert into flag_revisions (tenant, environment, rev) values ('acme', 'x', 1)")


async def test_before_the_first_read_the_callers_own_value_counts(stage) -> None:
    assert stage.flags.age_s is None
    answer = stage.ask(fallback="mine")
    assert (answer.resolution.value, answer.resolution.reason) == ("mine", Reason.ERROR)
    assert answer.resolution.error_code is ErrorCode.PROVIDER_NOT_READY


async def test_in_an_outage_the_last_flags_count_then_their_defaults(stage) -> None:
    clock = Clock()
    env = replace(stage.env, clock=clock)
    await stage.apply(document(), document(("default: off", "default: null"), name="other"))
    stage.flags = Snapshot(env)
    await stage.flags.look()
    assert stage.ask(team="fines").resolution.reason is Reason.TARGETING_MATCH
    nowhere = DatabaseUrls(app="postgresql://nobody@127.0.0.1:1/x", engine="postgresql://nobody@127.0.0.1:1/x")
    async with Database(nowhere, acquire_timeout_s=0.2) as away:
        stage.flags._env = replace(env, db=away)
        clock.passed_s = AGE_S_MAX
        await stage.flags.look()
        assert stage.ask(team="fines").resolution.reason is Reason.TARGETING_MATCH
        clock.passed_s = AGE_S_MAX + 0.1
        await stage.flags.look()
        stale = stage.ask(team="fines").resolution
        assert (stale.value, stale.variant, stale.reason) == (True, "on", Reason.STALE)
        assert "5.1 s" in stale.message
        assert b"stanchion_flags_age_seconds 5.1" in env.telemetry.expose()
        clock.passed_s = LOST_S + 0.1
        lost = stage.ask(team="fines").resolution
        assert (lost.value, lost.variant, lost.reason) == (False, "off", Reason.STALE)
        assert "default variant" in lost.message
        no_default = stage.ask("other", fallback="mine", team="fines").resolution
        assert (no_default.value, no_default.variant, no_default.reason) == ("mine", None, Reason.STALE)
        wrong = stage.ask(fallback=3).resolution
        assert (wrong.value, wrong.error_code) == (3, ErrorCode.TYPE_MISMATCH)
    stage.flags._env = env
    await stage.flags.look()
    again = stage.ask(team="fines").resolution
    assert (again.value, again.reason) == (True, Reason.TARGETING_MATCH)


async def test_the_process_says_what_it_knows(stage) -> None:
    await stage.apply(document())
    await stage.flags.look()
    stage.ask(team="fines")
    stage.ask("nobody-made-it")
    said = stage.env.telemetry.expose().decode()
    assert "stanchion_flags_live 1.0" in said
    assert 'stanchion_flag_evaluations_total{reason="TARGETING_MATCH"} 1.0' in said
    assert 'stanchion_flag_evaluations_total{reason="ERROR"} 1.0' in said
    revision = f"stanchion_flags_revision {float(stage.flags.of('acme').revision)}"
    assert revision in said


async def test_disabled_and_enabled_for_all(stage) -> None:
    await stage.apply(document())
    await disable(stage.ctx, "new-review-flow", kinds=KINDS, reason="It loses citations.")
    await stage.flags.refresh()
    off = stage.ask(fallback=True, team="fines").resolution
    assert (off.value, off.variant, off.reason) == (True, None, Reason.DISABLED)
    await enable(stage.ctx, "new-review-flow", kinds=KINDS, reason="Mended.")
    await stage.flags.refresh()
    assert stage.ask(team="fines").version == 3


async def test_an_evaluation_takes_microseconds(stage) -> None:
    await stage.apply(document(), document(name="moved"))
    await stage.canary(50, document=document(('"fines"', '"appeals"'), name="moved"))
    await stage.flags.refresh()
    for name, context in (("new-review-flow", {"team": "fines"}), ("moved", {"team": "fines", "targetingKey": "u1"})):
        took = []
        for _ in range(2000):
            began = time.perf_counter()
            stage.flags.evaluate("acme", name, False, context)
            took.append(time.perf_counter() - began)
        print(f"\n{name}: median {median(took) * 1e6:.1f} µs, p99 {p99(took) * 1e6:.0f} µs")
        # A hundredth of what one query costs: an order above what is measured here, so that a slow machine passes.
        assert median(took) < 200e-6
