"""What moves and what does not: every verb, on a real database, with the shipped authorization policy."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import psycopg
import pytest

from stanchion.base import Conflict, Denied, Invalid, NotFound
from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.releases import store as releases_store
from stanchion.releases.gates import (
    EvalReport,
    Review,
    Subject,
    Verdict,
    Which,
    approve,
    checks,
    list_broken_glass,
    list_evidence,
    list_prepared,
    refuse_forward,
    report_eval,
    review,
    withdraw,
)
from stanchion.releases.gates.preparing import examine
from stanchion.releases.gates.rules import subject_of
from stanchion.releases.rollouts import (
    Plan,
    State,
    Step,
    Strategy,
    Target,
    advance,
    history,
    rollback,
    service,
    show_rollout,
    watch,
)
from stanchion.releases.rollouts import store as rollouts_store
from tests.releases.gates.support import SUITE, GateStage, canary, document, gate_policy, second

APPROVED = "kinds: [blueprint], needs: [{gate: approval}]"
WHY = "There is no other way tonight."


@pytest.fixture
async def stage(fresh_database_urls, tmp_path):
    async with Database(fresh_database_urls) as db:
        yield await GateStage.make(db, tmp_path)


def gates_of(caught) -> dict[str, str]:
    assert caught.value.code == "release.gated", caught.value
    return {finding["gate"]: finding["verdict"] for finding in caught.value.fields["gates"]}


async def refused(stage: GateStage, *documents, by: str = "ada", **more) -> dict[str, str]:
    """Apply, be refused, and change nothing by it."""
    before = await stage.versions_live()
    with pytest.raises(Conflict) as caught:
        await stage.applied(*documents, by=by, **more)
    assert await stage.versions_live() == before
    assert caught.value.hint
    for finding in caught.value.fields["gates"]:
        assert finding["why"]
        assert finding["rule"]
        assert finding["verdict"] == "PASS" or finding["way_out"]
    return gates_of(caught)


# --- without a policy


async def test_without_a_policy_nothing_is_asked_outside_production(stage: GateStage) -> None:
    done = await stage.applied(second("blueprint"), changelog="")
    assert (done.ruling.policy, done.ruling.findings) == ("built-in", ())
    entry = (await history(stage.ctx, "blueprint", "case-triage", PageParams())).items[0]
    assert entry.evidence is None
    assert (await stage.records("release.applied"))[-1]["extra"].get("gate_policy") is None


async def test_without_a_policy_production_needs_another_person(fresh_database_urls, tmp_path) -> None:
    async with Database(fresh_database_urls) as db:
        stage = await GateStage.make(db, tmp_path, production=True)
        said = await refused(stage, second("blueprint"), changelog="")
        assert said == {"approval": "INCONCLUSIVE", "required_fields": "FAIL", "schema": "PASS", "rollback": "PASS"}
        made = await stage.prepared(second("blueprint"))
        await stage.approve(made)
        done = await stage.applied(second("blueprint"))
        assert done.ruling.verdict is Verdict.PASS
        assert (await stage.live())["blueprint"] == 2
        record = (await stage.records("release.applied"))[-1]["extra"]
        assert record["gate_policy"] == done.ruling.policy_digest
        assert record["version_before"] == 1
        entry = (await history(stage.ctx, "blueprint", "case-triage", PageParams())).items[0]
        assert entry.evidence["gates"]["policy_digest"] == done.ruling.policy_digest


async def test_what_no_rule_covers_falls_to_the_built_in_policy_in_production_only(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    await stage.applied(second("connector"), changelog="")
    production = stage.in_production()
    assert (await refused(production, document("connector"), second("policy")))["approval"] == "INCONCLUSIVE"


# --- approvals


async def test_the_exact_set_that_somebody_else_approved_moves(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}
    made = await stage.prepared(second("blueprint"))
    assert [p.id for p in (await list_prepared(stage.ctx, PageParams())).items] == [made.prepared.id]
    assert (await stage.live())["blueprint"] == 1
    given = await stage.approve(made, subject=made.ruling.subject)
    done = await stage.applied(second("blueprint"))
    assert done.ruling.findings[0].evidence == (given.id,)
    assert (await list_prepared(stage.ctx, PageParams())).items == []
    assert (await list_prepared(stage.ctx, PageParams(), moved=True)).items[0].moved_by == "ada"


async def test_a_rejection_is_not_pushed_out_by_many_approvals(
    stage: GateStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "_RECORDS_MAX", 3)
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made, by="otto", verdict=Verdict.FAIL)
    for _ in range(4):  # each takes the place of the one before
        await stage.approve(made)
    assert await refused(stage, second("blueprint")) == {"approval": "FAIL"}


async def test_an_approval_of_another_digest_does_not_count(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    await stage.approve(await stage.prepared(second("blueprint")))
    assert await refused(stage, document("blueprint", ("first", "third"))) == {"approval": "INCONCLUSIVE"}


async def test_a_set_with_more_or_less_in_it_is_another_set(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    await stage.approve(await stage.prepared(second("blueprint")))
    assert await refused(stage, second("blueprint"), second("policy")) == {"approval": "INCONCLUSIVE"}
    await stage.approve(await stage.prepared(second("blueprint"), second("connector")))
    assert await refused(stage, second("blueprint"), second("policy")) == {"approval": "INCONCLUSIVE"}
    await stage.applied(second("blueprint"), second("connector"))


async def test_nobody_approves_what_they_wrote(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"), by="ben")
    with pytest.raises(Denied) as caught:
        await stage.approve(made, by="ben")
    assert caught.value.code == "release.own_approval"
    # Nor does it help that another prepares it, or applies it.
    again = await stage.prepared(second("blueprint"), by="ada")
    with pytest.raises(Denied):
        await stage.approve(again, by="ben")
    assert await refused(stage, second("blueprint"), by="ada") == {"approval": "INCONCLUSIVE"}
    await stage.approve(made, by="olga")
    await stage.applied(second("blueprint"), by="ben")


@pytest.mark.parametrize("by", ["ada", "opal", "ci"])
async def test_only_people_with_the_permission_approve(stage: GateStage, by: str) -> None:
    made = await stage.prepared(second("blueprint"), by="ben")
    with pytest.raises(Denied):
        await stage.approve(made, by=by)


async def test_an_admin_that_is_a_service_is_no_person(stage: GateStage) -> None:
    made = await stage.prepared(second("blueprint"))
    root = stage.by("root")
    service = dataclasses.replace(root, actor=dataclasses.replace(root.actor, kind="service"))
    with pytest.raises(Denied) as caught:
        await approve(service, Which(id=made.prepared.id), reason="Automatically approved.")
    assert caught.value.code == "release.not_a_person"


async def test_a_withdrawn_approval_does_not_count_and_only_its_author_withdraws(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    given = await stage.approve(made)
    with pytest.raises(Denied) as caught:
        await withdraw(stage.by("otto"), given.id, reason="I disagree with her.")
    assert caught.value.code == "evidence.not_yours"
    await withdraw(stage.by("olga"), given.id, reason="I read the wrong one.")
    with pytest.raises(Conflict) as twice:
        await withdraw(stage.by("olga"), given.id, reason="I read the wrong one.")
    assert twice.value.code == "evidence.withdrawn"
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}


async def test_an_expired_approval_does_not_count(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    given = await stage.approve(made)
    stage.clock.at = given.expires_at
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}
    await stage.approve(made)
    await stage.applied(second("blueprint"))


async def test_max_age_of_the_policy_holds_before_the_expiry(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], needs: [{gate: approval, max_age: 2h}]")
    await stage.approve(await stage.prepared(second("blueprint")))
    stage.clock.at += timedelta(hours=2)
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}


async def test_a_rejection_stands_until_its_author_says_otherwise(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made, by="otto")
    await stage.approve(made, by="olga", verdict=Verdict.FAIL)
    assert await refused(stage, second("blueprint")) == {"approval": "FAIL"}
    await stage.approve(made, by="olga")
    await stage.applied(second("blueprint"))


async def test_two_approvals_are_of_two_people(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], needs: [{gate: approval, count: 2}]")
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made)
    await stage.approve(made)
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}
    standing = [e for e in (await list_evidence(stage.ctx, PageParams())).items if e.withdrawn_at is None]
    assert len(standing) == 1
    await stage.approve(made, by="otto")
    await stage.applied(second("blueprint"))


async def test_an_approver_needs_the_role_that_the_policy_names(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], needs: [{gate: approval, roles: [auditor]}]")
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made, by="olga")
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}
    await stage.approve(made, by="otto")
    await stage.applied(second("blueprint"))


@pytest.mark.parametrize("how", [{"disabled": True}, {"roles": ["viewer"]}])
async def test_who_may_not_approve_any_more_has_not_approved(stage: GateStage, how) -> None:
    await stage.rule(APPROVED)
    await stage.approve(await stage.prepared(second("blueprint")))
    await stage.change_person("olga", **how)
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}


async def test_an_approval_is_spent_when_its_version_was_taken_back(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made)
    await stage.applied(second("blueprint"))
    stage.clock.at += timedelta(minutes=1)
    await rollback(stage.ctx, Target(kind="blueprint", name="case-triage"), kinds=stage.kinds, reason="It is bad.")
    stage.clock.at += timedelta(minutes=1)
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE"}
    target = Target(kind="blueprint", name="case-triage", version=2)
    with pytest.raises(Conflict) as caught:
        await rollback(stage.ctx, target, kinds=stage.kinds, reason="Forward, by the back door.")
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}
    await stage.approve(made)
    await stage.applied(second("blueprint"))


async def test_what_was_approved_is_what_was_seen(stage: GateStage) -> None:
    made = await stage.prepared(second("blueprint"))
    with pytest.raises(Conflict) as caught:
        await stage.approve(made, subject="sha256:" + "0" * 64)
    assert caught.value.code == "release.other_set"


async def test_another_environments_approval_is_not_this_ones(stage: GateStage) -> None:
    one = [Subject(kind="policy", name="p", digest="sha256:1")]
    assert subject_of("staging", one) != subject_of("production", one)


# --- evals


EVALS = "kinds: [blueprint], needs: [{gate: eval, suite: answers, cases_min: 50, passed_percent_min: 90}]"


async def test_an_eval_of_exactly_these_digests_lets_them_pass(stage: GateStage) -> None:
    await stage.rule(EVALS)
    made = await stage.prepared(second("blueprint"))
    assert await refused(stage, second("blueprint")) == {"eval": "INCONCLUSIVE"}
    await stage.report(made)
    assert await refused(stage, document("blueprint", ("first", "third"))) == {"eval": "INCONCLUSIVE"}
    await stage.applied(second("blueprint"))


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ({"verdict": Verdict.FAIL}, "FAIL"),
        ({"verdict": Verdict.INCONCLUSIVE}, "INCONCLUSIVE"),
        ({"cases": 49, "passed": 49}, "INCONCLUSIVE"),
        ({"cases": 100, "passed": 89}, "FAIL"),
    ],
)
async def test_an_eval_is_held_to_what_the_policy_asks(stage: GateStage, said, verdict: str) -> None:
    await stage.rule(EVALS)
    await stage.report(await stage.prepared(second("blueprint")), **said)
    assert await refused(stage, second("blueprint")) == {"eval": verdict}


async def test_the_newest_eval_counts(stage: GateStage) -> None:
    await stage.rule(EVALS)
    made = await stage.prepared(second("blueprint"))
    await stage.report(made)
    stage.clock.at += timedelta(seconds=1)
    await stage.report(made, report_id="r2", verdict=Verdict.FAIL, passed=10)
    assert await refused(stage, second("blueprint")) == {"eval": "FAIL"}


async def test_the_same_report_twice_is_one_and_another_under_its_id_is_refused(stage: GateStage) -> None:
    made = await stage.prepared(second("blueprint"))
    first = await stage.report(made)
    stage.clock.at += timedelta(hours=1)
    assert await stage.report(made) == first
    assert len(await stage.records("evidence.given")) == 1
    with pytest.raises(Conflict) as caught:
        await stage.report(made, passed=100)
    assert caught.value.code == "evidence.other_content"


async def test_ten_at_once_are_one_report(stage: GateStage) -> None:
    made = await stage.prepared(second("blueprint"))
    found = await asyncio.gather(*(stage.report(made) for _ in range(10)))
    assert len({record.id for record in found}) == 1


async def test_only_a_service_that_wrote_none_of_it_reports(stage: GateStage) -> None:
    await stage.rule(EVALS)
    made = await stage.prepared(second("blueprint"))
    with pytest.raises(Denied):
        await stage.report(made, by="ada")
    with pytest.raises(Denied) as caught:
        await stage.report(made, by="root")
    assert caught.value.code == "release.not_a_service"


async def test_a_policy_can_name_whose_evals_count(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], needs: [{gate: eval, suite: answers, by: [cron]}]")
    made = await stage.prepared(second("blueprint"))
    await stage.report(made, by="ci")
    assert await refused(stage, second("blueprint")) == {"eval": "INCONCLUSIVE"}
    await stage.report(made, by="cron")
    await stage.applied(second("blueprint"))


async def test_an_eval_beside_other_versions_than_runs_would_get_does_not_count(stage: GateStage) -> None:
    await stage.rule(EVALS)
    both = await stage.prepared(second("blueprint"), second("policy"))
    await stage.report(both)
    assert await refused(stage, second("blueprint")) == {"eval": "INCONCLUSIVE"}
    await stage.applied(second("blueprint"), second("policy"))


async def test_a_report_without_words_or_with_a_version_twice_is_refused(stage: GateStage) -> None:
    made = await stage.prepared(second("blueprint"))
    one = [(m.kind, m.name, m.digest) for m in made.members]
    report = EvalReport(suite="answers", suite_digest=SUITE, cases=1, passed=1, failed=0, errored=0)
    for members, why, code in [(one, " \n ", "evidence.bad_eval"), (one * 2, "As measured.", "release.empty_set")]:
        with pytest.raises(Invalid) as caught:
            await report_eval(stage.by("ci"), members, report, report_id="r-1", verdict=Verdict.PASS, why=why)
        assert caught.value.code == code


@pytest.mark.parametrize("counts", [{"cases": 10, "passed": 11}, {"cases": 0, "passed": 0}])
async def test_a_report_that_contradicts_itself_is_refused(stage: GateStage, counts) -> None:
    with pytest.raises(Invalid) as caught:
        await stage.report(await stage.prepared(second("blueprint")), **counts)
    assert caught.value.code == "evidence.bad_eval"


async def test_an_expired_or_withdrawn_eval_does_not_count(stage: GateStage) -> None:
    await stage.rule(EVALS)
    made = await stage.prepared(second("blueprint"))
    first = await stage.report(made, expires_at=stage.clock.at + timedelta(hours=1))
    stage.clock.at += timedelta(hours=1)
    assert await refused(stage, second("blueprint")) == {"eval": "INCONCLUSIVE"}
    fresh = await stage.report(made, report_id="r2")
    assert fresh.id != first.id
    await withdraw(stage.by("ci"), fresh.id, reason="The suite was broken.")
    assert await refused(stage, second("blueprint")) == {"eval": "INCONCLUSIVE"}


async def test_evidence_of_another_tenant_is_not_there(stage: GateStage, tmp_path) -> None:
    other = await GateStage.make(stage.env.db, tmp_path / "other", tenant="umbra")
    for one in (stage, other):
        await one.rule("kinds: [blueprint], needs: [{gate: approval}, {gate: eval, suite: answers}]")
    theirs = await other.prepared(second("blueprint"))
    given = await other.approve(theirs)
    await other.report(theirs)
    ours = await stage.prepared(second("blueprint"))
    assert ours.ruling.subject == theirs.ruling.subject
    assert await refused(stage, second("blueprint")) == {"approval": "INCONCLUSIVE", "eval": "INCONCLUSIVE"}
    assert (await list_evidence(stage.ctx, PageParams())).items == []
    with pytest.raises(NotFound):
        await withdraw(stage.by("olga"), given.id, reason="It is not mine to see.")
    with pytest.raises(NotFound):
        await approve(stage.by("olga"), Which(id=theirs.prepared.id), reason="Not mine either.")
    await other.applied(second("blueprint"))


# --- strategies, fields, schema, authorization, rollback


async def test_a_strategy_that_is_not_permitted(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], strategies: [canary, rings]")
    assert await refused(stage, second("blueprint")) == {"strategy": "FAIL"}
    whole = Plan(strategy=Strategy.CANARY, steps=(Step(share=100),))
    for plan in (whole, Plan(strategy=Strategy.ALL_AT_ONCE, steps=()), Plan(strategy=Strategy.BLUE_GREEN, steps=())):
        with pytest.raises(Conflict) as caught:
            await stage.begin(plan, documents=[second("blueprint")])
        assert gates_of(caught) == {"strategy": "FAIL"}
    assert (await stage.begin(canary(10, 100), documents=[second("blueprint")])).rollout.state is State.ACTIVE


async def test_what_is_live_for_the_first_time_may_come_at_once(stage: GateStage) -> None:
    await stage.rule("kinds: [policy], names: [other-policy], strategies: [canary]")
    made = document("policy", ("supervisor-approval", "other-policy"))
    await stage.applied(made)
    assert await refused(stage, document("policy", ("supervisor-approval", "other-policy"), ("first", "another"))) == {
        "strategy": "FAIL"
    }


async def test_lowering_the_risk_is_held_by_what_it_was(stage: GateStage) -> None:
    await stage.rule("risks: [high], needs: [{gate: approval}]")
    risky = document("policy", ("title: first", "title: first\nrisk: high"))
    assert await refused(stage, risky) == {"approval": "INCONCLUSIVE"}
    await stage.approve(await stage.prepared(risky))
    await stage.applied(risky)
    assert await refused(stage, document("policy", ("title: first", "title: first\nrisk: low"))) == {
        "approval": "INCONCLUSIVE"
    }


async def test_required_fields_and_labels(stage: GateStage) -> None:
    await stage.rule(
        "kinds: [policy], needs: [{gate: required_fields, fields: [changelog, description], labels: [team]}]"
    )
    said = await refused(stage, second("policy"), changelog="")
    assert said == {"required_fields": "FAIL"}
    whole = document("policy", ("title: first", "title: x\ndescription: All of it.\nlabels: {team: casework}"))
    await stage.applied(whole)


async def test_an_author_who_may_not_publish_any_more(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], needs: [{gate: authorization}]")
    await stage.prepared(second("blueprint"), by="ada")
    await stage.change_person("ada", disabled=True)
    assert await refused(stage, second("blueprint"), by="ben") == {"authorization": "FAIL"}


async def test_the_way_back_is_named(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint, policy], needs: [{gate: rollback}, {gate: schema}]")
    done = await stage.applied(second("blueprint"))
    back = next(f for f in done.ruling.findings if f.gate == "rollback")
    assert back.why == "blueprint/case-triage@2 returns to version 1, alone."


async def test_a_rule_with_a_condition_asks_from_there_on(stage: GateStage) -> None:
    await stage.rule("kinds: [blueprint], when: release.share > 10, needs: [{gate: approval}]")
    begun = await stage.begin(canary(10, 50, 100), documents=[second("blueprint")])
    with pytest.raises(Conflict) as caught:
        await advance(stage.ctx, begun.rollout.id, kinds=stage.kinds, reason="Go on.")
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}
    assert (await show_rollout(stage.ctx, begun.rollout.id)).step == 0
    found = await examine(stage.ctx, Which(id=begun.rollout.id), kinds=stage.kinds)
    assert found.ruling.verdict is Verdict.INCONCLUSIVE
    await approve(stage.by("olga"), Which(id=begun.rollout.id), reason="It behaves well at 10 %.")
    after = await advance(stage.ctx, begun.rollout.id, kinds=stage.kinds, reason="Go on.")
    assert after.share == 50
    done = await advance(stage.ctx, begun.rollout.id, kinds=stage.kinds, reason="All.", to=4)
    assert done.state is State.DONE
    entries = (await history(stage.ctx, "blueprint", "case-triage", PageParams())).items
    assert [e.event for e in entries[:3]] == ["release.promoted", "rollout.done", "rollout.advanced"]
    assert all(e.evidence["gates"]["policy"] == "policy/release-gates@1" for e in entries[:3])


# --- the policy itself


async def test_a_change_of_the_gate_policy_is_judged_by_the_one_that_is_live(stage: GateStage) -> None:
    await stage.rule("kinds: [policy], needs: [{gate: approval}]")
    weaker = gate_policy("kinds: [index], needs: []")
    assert await refused(stage, weaker) == {"approval": "INCONCLUSIVE"}
    assert await refused(stage, weaker, second("blueprint")) == {"approval": "INCONCLUSIVE"}
    made = await stage.prepared(weaker)
    assert made.ruling.policy == "policy/release-gates@1"
    await stage.approve(made)
    await stage.applied(weaker)
    await stage.applied(second("policy"))


async def test_the_gate_policy_has_no_way_back_but_through_its_own_gates(stage: GateStage) -> None:
    await stage.rule("kinds: [index], needs: []")
    await stage.rule("kinds: [policy], needs: [{gate: approval}]")
    with pytest.raises(Conflict) as caught:
        await rollback(stage.ctx, Target(kind="policy", name="release-gates"), kinds=stage.kinds, reason="Be weaker.")
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}


async def test_a_policy_of_another_type_cannot_take_its_name(stage: GateStage) -> None:
    other = document("policy", ("supervisor-approval", "release-gates"))
    with pytest.raises(Invalid) as caught:
        await stage.applied(other)
    assert [e["code"] for e in caught.value.fields["errors"]] == ["policy.name"]


async def test_a_body_that_is_no_gate_policy_denies_everywhere(stage: GateStage) -> None:
    await stage.rule("kinds: [index], needs: []")
    async with stage.env.db.tenant_tx("acme") as tx:
        await tx.execute(
            "insert into artifacts (tenant, kind, name, version, digest, body, refs, source, source_path, owner, author,"
            " changelog, created_at, labels, risk) values ('acme', 'policy', 'release-gates', 9, %s, %s, '[]', 'x', 'x', 'o',"
            " 'eve', '', now(), '{}', 'low')",
            ("sha256:" + "9" * 64, '{"policy": "release-gates", "type": "approval"}'),
        )
        await tx.execute(
            "update releases set version = 9, digest = %s where name = 'release-gates'", ("sha256:" + "9" * 64,)
        )
    assert (await refused(stage, second("blueprint")))["approval"] == "INCONCLUSIVE"


# --- going back


async def test_no_gate_stops_a_way_back(stage: GateStage) -> None:
    await stage.applied(second("blueprint"))
    await stage.rule("kinds: [blueprint], strategies: [canary], needs: [{gate: approval, count: 5}]")
    target = Target(kind="blueprint", name="case-triage")
    await rollback(stage.by("opal"), target, kinds=stage.kinds, reason="It is bad.")
    assert (await stage.live())["blueprint"] == 1


async def test_an_open_rollout_is_taken_back_whatever_the_gates_say(stage: GateStage) -> None:
    await stage.begin(canary(10, 100), documents=[second("blueprint")])
    await stage.rule("kinds: [blueprint], needs: [{gate: approval, count: 5}]")
    target = Target(kind="blueprint", name="case-triage")
    back = await rollback(stage.ctx, target, kinds=stage.kinds, reason="It is bad.")
    assert back.rollouts[0].state is State.ROLLED_BACK


async def test_what_was_never_live_is_no_way_back(stage: GateStage) -> None:
    await stage.prepared(second("blueprint"))
    await stage.rule(APPROVED)
    target = Target(kind="blueprint", name="case-triage", version=2)
    with pytest.raises(Conflict) as caught:
        await rollback(stage.ctx, target, kinds=stage.kinds, reason="In by the back door.")
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}
    assert (await stage.live())["blueprint"] == 1


# --- the scheduler


async def begun_with_hold(stage: GateStage):
    return (await stage.begin(canary(10, 100, hold_s=60), documents=[second("blueprint")])).rollout


async def test_the_scheduler_meets_a_fail_and_pauses_with_the_reason(stage: GateStage) -> None:
    rollout = await begun_with_hold(stage)
    await stage.rule("kinds: [blueprint], strategies: [rings]")
    stage.clock.at += timedelta(seconds=60)
    assert await watch(stage.env, stage.kinds) == 1
    now = await show_rollout(stage.ctx, rollout.id)
    assert (now.state, now.step) == (State.PAUSED, 0)
    entry = (await history(stage.ctx, "blueprint", "case-triage", PageParams())).items[0]
    assert entry.event == "rollout.paused"
    assert "may not move by canary" in entry.reason


async def test_the_scheduler_waits_for_what_is_missing_and_goes_on_when_it_is_there(stage: GateStage) -> None:
    rollout = await begun_with_hold(stage)
    await stage.rule(APPROVED)
    stage.clock.at += timedelta(seconds=60)
    assert await watch(stage.env, stage.kinds) == 0
    assert (await show_rollout(stage.ctx, rollout.id)).state is State.ACTIVE
    await approve(stage.by("olga"), Which(id=rollout.id), reason="It behaves well at 10 %.")
    assert await watch(stage.env, stage.kinds) == 1
    assert (await show_rollout(stage.ctx, rollout.id)).share == 100


async def test_a_policy_that_changes_between_approval_and_promote_counts(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made)
    rollout = await begun_with_hold(stage)
    await stage.rule("kinds: [blueprint], needs: [{gate: approval, count: 2}]")
    with pytest.raises(Conflict) as caught:
        await advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="Go on.")
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}


# --- broken glass


async def test_glass_is_broken_aloud_and_reviewed_by_another(stage: GateStage) -> None:
    await stage.rule(APPROVED, more="review_within: 4h\n")
    with pytest.raises(Denied):
        await stage.applied(second("blueprint"), by="ada", break_glass=WHY)
    with pytest.raises(Invalid) as caught:
        await stage.applied(second("blueprint"), by="root", break_glass="now")
    assert caught.value.code == "release.no_reason"
    done = await stage.applied(second("blueprint"), by="root", break_glass=WHY)
    assert done.ruling.verdict is Verdict.INCONCLUSIVE
    found = [b for b in (await list_broken_glass(stage.ctx, PageParams())).items if b.id == done.ruling.broken_glass]
    assert (found[0].by, found[0].reason, found[0].review_due_at) == ("root", WHY, stage.clock.at + timedelta(hours=4))
    record = (await stage.records("release.glass_broken"))[-1]
    assert record["extra"]["gates"] == ["approval: INCONCLUSIVE"]
    entry = (await history(stage.ctx, "blueprint", "case-triage", PageParams())).items[0]
    assert entry.evidence["gates"]["broken_glass"] == str(found[0].id)
    with pytest.raises(Denied) as own:
        await review(stage.by("root"), found[0].id, finding=Review.JUSTIFIED, reason="I was right.")
    assert own.value.code == "release.own_review"
    for who in ("ada", "opal", "ci"):
        with pytest.raises(Denied):
            await review(stage.by(who), found[0].id, finding=Review.JUSTIFIED, reason="It was right.")
    after = await review(stage.by("olga"), found[0].id, finding=Review.UNJUSTIFIED, reason="It could have waited.")
    assert (after.reviewed_by, after.review) == ("olga", Review.UNJUSTIFIED)
    with pytest.raises(Conflict) as twice:
        await review(stage.by("otto"), found[0].id, finding=Review.JUSTIFIED, reason="It was right.")
    assert twice.value.code == "broken_glass.reviewed"
    left = (await list_broken_glass(stage.ctx, PageParams())).items
    assert found[0].id not in {b.id for b in left}


async def test_glass_is_not_broken_where_the_gates_pass(stage: GateStage) -> None:
    await stage.rule("kinds: [index], needs: []")
    before = len((await list_broken_glass(stage.ctx, PageParams())).items)
    done = await stage.applied(second("blueprint"), by="ada", break_glass=WHY)
    assert done.ruling.broken_glass is None
    assert len((await list_broken_glass(stage.ctx, PageParams())).items) == before


async def test_glass_is_broken_for_one_move_of_a_rollout_at_a_time(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    begun = await service.begin(
        stage.by("root"), canary(10, 50, 100), documents=[second("blueprint")], kinds=stage.kinds, reason=WHY,
        break_glass=True,
    )  # fmt: skip
    with pytest.raises(Conflict):
        await advance(stage.by("root"), begun.rollout.id, kinds=stage.kinds, reason=WHY)
    with pytest.raises(Denied):
        await advance(stage.by("ada"), begun.rollout.id, kinds=stage.kinds, reason=WHY, break_glass=True)
    await advance(stage.by("opal"), begun.rollout.id, kinds=stage.kinds, reason=WHY, break_glass=True)
    found = (await list_broken_glass(stage.ctx, PageParams(), rollout_id=begun.rollout.id)).items
    assert [(b.by, b.move) for b in found] == [("opal", "advance"), ("root", "begin")]


# --- preparing


async def test_a_plan_and_a_dry_run_say_what_the_gates_say_and_refuse_nothing(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    dry = await stage.applied(second("blueprint"), dry_run=True)
    assert dry.ruling.verdict is Verdict.INCONCLUSIVE
    planned = await stage.begin(canary(10, 100), documents=[second("blueprint")], dry_run=True)
    assert planned.ruling.verdict is Verdict.INCONCLUSIVE
    made = await stage.prepared(second("blueprint"))
    assert made.ruling.subject == dry.ruling.subject == planned.ruling.subject
    assert (await stage.prepared(second("blueprint"))).prepared.id == made.prepared.id
    with pytest.raises(Invalid):
        await stage.prepared(document("blueprint"))


async def test_evidence_is_immutable_for_the_roles_that_write_it(stage: GateStage) -> None:
    await stage.approve(await stage.prepared(second("blueprint")))
    for change in ("verdict = 'FAIL'", "subject = 'x'", "expires_at = now() + interval '9 years'", "by = 'otto'"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with stage.env.db.tenant_tx("acme") as tx:
                await tx.execute(f"update release_evidence set {change}")
    for table in ("release_evidence", "broken_glass", "prepared_releases"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with stage.env.db.tenant_tx("acme") as tx:
                await tx.execute(f"delete from {table}")


async def test_a_withdrawal_and_an_apply_at_once_are_one_after_the_other(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    for number in range(8):
        doc = document("blueprint", ("first", f"change {number}"))
        given = await stage.approve(await stage.prepared(doc))
        results = await asyncio.gather(
            stage.applied(doc), withdraw(stage.by("olga"), given.id, reason="No, wait a moment."), return_exceptions=True
        )  # fmt: skip
        applied, withdrawn = results
        assert not isinstance(withdrawn, BaseException)
        if isinstance(applied, BaseException):
            assert applied.code == "release.gated"
        else:
            assert applied.ruling.verdict is Verdict.PASS


async def test_what_an_apply_of_the_older_text_took_back_is_no_way_back(stage: GateStage) -> None:
    """Version 2 came by broken glass and was repaired by applying version 1 again; a rollback asks nobody, so it may not lead
    there again."""
    await stage.rule(APPROVED)
    for text in (second("blueprint"), document("blueprint")):
        await stage.applied(text, by="root", break_glass=WHY)
    with pytest.raises(Conflict) as caught:
        await rollback(stage.by("root"), Target(kind="blueprint", name="case-triage"), kinds=stage.kinds, reason=WHY)
    assert caught.value.code == "release.gated"
    assert "blueprint/case-triage@2 was taken back here" in caught.value.message


async def test_what_was_never_live_gets_into_no_run_by_another_pin(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    async with stage.env.db.tenant_tx("acme") as tx:
        version = await rollouts_store.version_of(tx, "acme", "blueprint", "case-triage", 2)
        first = await rollouts_store.version_of(tx, "acme", "blueprint", "case-triage", 1)
        live = {(row.kind, row.name): row for row in await releases_store.live(tx, "acme", "local")}
        ask = {"live": live, "kinds": stage.kinds, "keeps": False}
        assert await refuse_forward(tx, stage.ctx, {("blueprint", "case-triage"): first}, **ask) is None
        with pytest.raises(Conflict) as caught:
            await refuse_forward(tx, stage.ctx, {("blueprint", "case-triage"): version}, **ask)
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}
    assert "blueprint/case-triage@2 was never live here: that is no way back" in caught.value.message
    await stage.approve(made)
    async with stage.env.db.tenant_tx("acme") as tx:
        ruling = await refuse_forward(tx, stage.ctx, {("blueprint", "case-triage"): version}, **ask)
    assert ruling.verdict is Verdict.PASS
    assert (await list_prepared(stage.ctx, PageParams())).items[0].moved_at is None


async def test_an_approval_is_spent_when_its_rollout_was_taken_back(stage: GateStage) -> None:
    await stage.rule(APPROVED)
    made = await stage.prepared(second("blueprint"))
    await stage.approve(made)
    await stage.begin(canary(10, 100), documents=[second("blueprint")])
    stage.clock.at += timedelta(minutes=1)
    await rollback(stage.ctx, Target(kind="blueprint", name="case-triage"), kinds=stage.kinds, reason="It is bad.")
    stage.clock.at += timedelta(minutes=1)
    with pytest.raises(Conflict) as caught:
        await stage.begin(canary(10, 100), documents=[second("blueprint")])
    assert gates_of(caught) == {"approval": "INCONCLUSIVE"}
