from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest

from stanchion.approvals import (
    ApprovalStatus,
    GovernHandler,
    GovernVerb,
    PendingApprovals,
    Verdict,
    decide,
    expire_due,
    show,
)
from stanchion.base import Conflict, Denied, Invalid, Json
from stanchion.blueprints import BlueprintKind, Document
from stanchion.context import Env
from stanchion.db import Database
from stanchion.runs import StepFailed, WaitingKind
from tests.approvals.support import POLICY, FrozenClock, add_run, ask, audit_of, body_of, call_of, suspended
from tests.artifacts.support import ctx_of
from tests.conftest import make_env

REASON = "The fine matches the gravity."
NOBODY = {"approval_id": None, "decided_by": None, "decided_at": None, "reason": None}


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def env(database_urls, clock: FrozenClock):
    async with Database(database_urls) as db:
        yield make_env(db, clock=clock)


async def execute(env: Env, **call: object):
    return await GovernHandler().execute(env, call_of(**call))


async def decided(env: Env, run_id: UUID, verdict: Verdict = Verdict.APPROVE, **call: object) -> UUID:
    approval_id = await ask(env, call_of(run_id=run_id, **call))
    ctx = ctx_of(env, principal="bo", roles=("approver",))
    approval = await show(ctx, approval_id)
    await decide(ctx, approval_id, verdict, reason=REASON, args_digest=approval.args_digest)
    return approval_id


async def test_a_policy_that_asks_nobody_ends_the_step_at_once(env: Env) -> None:
    result = await execute(env, run_id=UUID(int=1), facts={"fine_eur": 100000.0})
    assert result.output == {"decision": "not_required", "policy": "supervisor-approval", **NOBODY}
    assert result.exit is None


async def test_asking_suspends_until_the_policy_s_expiry_or_a_shorter_one(env: Env, clock: FrozenClock) -> None:
    run_id = await add_run(env)
    wish = await suspended(env, call_of(run_id=run_id))
    assert (wish.kind, wish.wake_at) == (WaitingKind.APPROVAL, clock.at + timedelta(hours=72))
    shorter = await suspended(env, call_of(run_id=run_id, expires="1h"))
    assert shorter.wake_at == clock.at + timedelta(hours=1)
    longer = await suspended(env, call_of(run_id=run_id, expires="90d"))
    assert longer.wake_at == clock.at + timedelta(hours=72)
    # Nothing is there before the suspension commits.
    async with env.db.engine_tx() as tx:
        row = await (await tx.execute("select count(*) from approvals where run_id = %s", (run_id,))).fetchone()
    assert row == (0,)


async def test_approved_it_goes_on_and_says_who_and_when(env: Env) -> None:
    run_id = await add_run(env)
    approval_id = await decided(env, run_id)
    result = await execute(env, run_id=run_id, resumed=True)
    assert result.exit is None
    assert result.output == {
        "decision": "approved",
        "approval_id": str(approval_id),
        "decided_by": "bo",
        "decided_at": "2026-11-18T09:00:00Z",
        "reason": REASON,
        "policy": "supervisor-approval",
    }


async def test_rejected_it_fails_for_good_and_is_no_dead_letter(env: Env) -> None:
    run_id = await add_run(env)
    await decided(env, run_id, Verdict.REJECT)
    with pytest.raises(StepFailed) as caught:
        await execute(env, run_id=run_id, resumed=True)
    assert (caught.value.dead, caught.value.problem.code) == (False, "approval.rejected")
    assert isinstance(caught.value.problem, Conflict)
    result = await execute(env, run_id=run_id, resumed=True, exits={"rejected": 4})
    assert result.exit == "rejected"
    assert isinstance(result.output, dict)
    assert (result.output["decision"], result.output["reason"]) == ("rejected", REASON)


@pytest.mark.parametrize("swept", [True, False])
async def test_expired_it_fails_or_goes_its_own_way(env: Env, clock: FrozenClock, swept: bool) -> None:
    run_id = await add_run(env)
    approval_id = await ask(env, call_of(run_id=run_id))
    clock.at += timedelta(hours=72)
    if swept:
        await expire_due(env)
    with pytest.raises(StepFailed) as caught:
        await execute(env, run_id=run_id, resumed=True)
    assert (caught.value.dead, caught.value.problem.code) == (False, "approval.expired")
    result = await execute(env, run_id=run_id, resumed=True, exits={"expired": 4})
    assert result.exit == "expired"
    ctx = ctx_of(env, principal="bo", roles=("approver",))
    assert (await show(ctx, approval_id)).status is ApprovalStatus.EXPIRED
    assert [event for event, _ in await audit_of(env, approval_id)] == ["approval.requested", "approval.expired"]


async def test_woken_for_nothing_it_waits_on_and_asks_no_second_time(env: Env, clock: FrozenClock) -> None:
    run_id = await add_run(env)
    approval_id = await ask(env, call_of(run_id=run_id))
    clock.at += timedelta(hours=1)
    wish = await suspended(env, call_of(run_id=run_id, resumed=True))
    assert (wish.ref, wish.also) == (str(approval_id), None)
    assert wish.wake_at == clock.at + timedelta(hours=71)


async def test_interrupted_before_it_asked_it_asks(env: Env) -> None:
    run_id = await add_run(env)
    wish = await suspended(env, call_of(run_id=run_id, resumed=True))
    assert wish.also is not None


async def test_a_redriven_step_asks_anew(env: Env) -> None:
    run_id = await add_run(env)
    first = await decided(env, run_id, Verdict.REJECT)
    second = await ask(env, call_of(run_id=run_id, attempt=2))
    assert first != second
    wish = await suspended(env, call_of(run_id=run_id, attempt=2, resumed=True))
    assert wish.ref == str(second)
    ctx = ctx_of(env, principal="bo", roles=("approver",))
    one, two = await show(ctx, first), await show(ctx, second)
    assert one.args_digest != two.args_digest
    assert one.nonce != two.nonce


async def test_an_approval_does_not_carry_over_to_other_values(env: Env) -> None:
    run_id = await add_run(env)
    await decided(env, run_id)
    for changed in ({"show": [{"case_id": "ES-1", "outcome": "drop"}]}, {"policy": {**body_of(), "description": "v2"}}):
        with pytest.raises(StepFailed) as caught:
            await execute(env, run_id=run_id, resumed=True, **changed)
        assert caught.value.problem.code == "approval.arguments_changed"
        assert isinstance(caught.value.problem, Denied)


async def test_what_is_cancelled_ends_the_step(env: Env) -> None:
    run_id = await add_run(env)
    await ask(env, call_of(run_id=run_id))
    async with env.db.engine_tx() as tx:
        await PendingApprovals(env).runs_ended(tx, "acme", [run_id])
    with pytest.raises(StepFailed) as caught:
        await execute(env, run_id=run_id, resumed=True, exits={"rejected": 1, "expired": 2})
    assert caught.value.problem.code == "approval.cancelled"


async def test_facts_that_do_not_fit_and_a_policy_that_is_none_are_refused(env: Env) -> None:
    for call, code in (
        ({"facts": {"fine_eur": "high"}}, "approval.facts"),
        ({"facts": {}}, "approval.facts"),
        ({"facts": [1]}, "approval.facts"),
        ({"policy": {**body_of(), "type": "gate"}}, "approval.policy"),
    ):
        with pytest.raises(Invalid) as caught:
            await execute(env, run_id=UUID(int=1), **call)
        assert caught.value.code == code


async def test_the_request_says_who_asked_and_what_happens_on_a_no(env: Env) -> None:
    run_id = await add_run(env)
    approval_id = await ask(
        env,
        call_of(run_id=run_id, requested_by="eve", on_reject="skip", on_expire=[{"id": "x"}], facts={"fine_eur": 1e6}),
    )
    approval = await show(ctx_of(env), approval_id)
    assert (approval.on_reject, approval.on_expire, approval.requested_by) == ("skip", "block", "eve")
    assert (approval.may_decide, approval.forbid_self) == ({"roles": ["approver"], "principals": ["cfo"]}, True)
    assert len(approval.nonce) == 32


BLUEPRINT = """\
blueprint: case-triage
owner: casework
input:
  type: object
  required: [fine_eur]
  properties: {fine_eur: {type: number}}
steps:
  - id: approval
    govern:
      policy: supervisor-approval
      facts: {fine_eur: "${input.fine_eur}"}
      show: ["${input}"]
      on_reject: skip
      expires: 24h
output: ${steps.approval.decision}
"""


def issues_of(source: str = BLUEPRINT, policy: str = POLICY) -> list[tuple[str, int, int]]:
    bodies: dict[tuple[str, str], dict[str, Json]] = {("policy", "supervisor-approval"): body_of(policy)}
    kind = BlueprintKind({"govern": GovernVerb()})
    parsed = kind.parse(Document(path="b.yaml", source=source), lambda k, name: bodies.get((k, name)))
    return [(i.code, i.line, i.column) for i in parsed.issues]


def test_a_govern_step_is_checked_against_its_policy() -> None:
    assert issues_of() == []


@pytest.mark.parametrize(
    ("old", "new", "code", "line"),
    [
        ("policy: supervisor-approval", "policy: supervisor", "blueprint.unknown_artifact", 10),
        ("facts: {fine_eur:", "facts: {fine:", "govern.unknown_fact", 11),
        ("facts: {fine_eur:", "facts: {fine:", "govern.missing_fact", 11),
        ('      facts: {fine_eur: "${input.fine_eur}"}\n', "", "govern.missing_fact", 10),
        ("expires: 24h", "expires: 73h", "govern.expires", 14),
        ("expires: 24h", "expires: soon", "document.duration", 14),
        ("on_reject: skip", "on_reject: ignore", "document.choice", 13),
        ("on_reject: skip", "on_rejct: skip", "document.unknown_field", 13),
        ('      show: ["${input}"]\n', "", "document.missing_field", 9),
        ('show: ["${input}"]', "show: []", "document.range", 12),
        ("${steps.approval.decision}", "${steps.approval.verdict}", "expression.invalid", 15),
    ],
)
def test_what_is_wrong_with_a_govern_step_is_said_at_its_line(old: str, new: str, code: str, line: int) -> None:
    assert BLUEPRINT.count(old) == 1
    assert (code, line) in [found[:2] for found in issues_of(BLUEPRINT.replace(old, new))]


def test_steps_of_its_own_may_follow_a_rejection() -> None:
    own = """on_reject:
        - id: told
          transform: {value: "no"}"""
    assert issues_of(BLUEPRINT.replace("on_reject: skip", own)) == []


@pytest.mark.parametrize(
    ("config", "decisions"),
    [
        ({}, ["approved", "not_required"]),
        ({"on_reject": "fail", "on_expire": "fail"}, ["approved", "not_required"]),
        ({"on_reject": "skip"}, ["approved", "not_required", "rejected"]),
        ({"on_reject": [], "on_expire": "skip"}, ["approved", "not_required", "rejected", "expired"]),
    ],
)
def test_the_output_s_schema_names_the_decisions_that_can_follow(config, decisions) -> None:
    schema = GovernVerb().output_schema(config, lambda kind, name: None, lambda pointer: {})
    properties = schema["properties"]
    assert isinstance(properties, dict)
    assert properties["decision"] == {"type": "string", "enum": decisions}
    assert set(properties) == set(NOBODY) | {"decision", "policy"}
