from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.approvals import TRANSITIONS, Approval, ApprovalStatus, Verdict, rules
from stanchion.approvals.types import Dominating
from stanchion.base import Conflict, Denied, Invalid, Problem, digest
from stanchion.context import Actor

NOW = datetime(2026, 11, 18, 9, tzinfo=UTC)
RUN = UUID(int=1)
SHOWN = [{"case_id": "ES-1", "fine_eur": 250000}]


def approval_of(**changes: object) -> Approval:
    made = Approval(
        tenant="acme",
        id=UUID(int=7),
        run_id=RUN,
        root_id=RUN,
        path="approval",
        attempt=1,
        blueprint="case-triage",
        policy="supervisor-approval",
        policy_digest=digest("policy"),
        requested_by="ada",
        title="Fine?",
        facts={"fine_eur": 250000},
        shown=SHOWN,
        args_digest=rules.args_digest(
            run_id=RUN, path="approval", attempt=1, policy_digest=digest("policy"), shown=SHOWN
        ),
        bound=rules.bound(SHOWN),
        nonce="00" * 16,
        may_decide={"roles": ["approver"], "principals": ["cfo"]},
        forbid_self=True,
        on_reject="fail",
        on_expire="fail",
        status=ApprovalStatus.PENDING,
        decided_by=None,
        decided_at=None,
        reason=None,
        created_at=NOW,
        expires_at=NOW + timedelta(hours=72),
    )
    return replace(made, **changes)


def actor(name: str = "bo", *roles: str) -> Actor:
    return Actor(
        tenant="acme", principal=name, principal_id="", kind="user", roles=frozenset(roles), credential="api_key:x"
    )


def decide(approval: Approval, *, by: Actor | None = None, at: datetime = NOW, **changes: str) -> Approval:
    given_ = {"reason": "The fine is right.", "args_digest": approval.args_digest, **changes}
    return rules.decide(approval, Verdict.APPROVE, by=by or actor("bo", "approver"), at=at, **given_)


def refused(call) -> Problem:
    with pytest.raises(Problem) as caught:
        call()
    return caught.value


def test_a_verdict_is_kept_with_who_when_and_why() -> None:
    after = decide(approval_of(), reason="  The fine is right. ")
    assert (after.status, after.decided_by, after.decided_at) == (ApprovalStatus.APPROVED, "bo", NOW)
    assert after.reason == "The fine is right."
    rejected = rules.decide(
        approval_of(),
        Verdict.REJECT,
        by=actor("cfo"),
        at=NOW,
        reason="Too high for this case.",
        args_digest=approval_of().args_digest,
    )
    assert (rejected.status, rejected.decided_by) == (ApprovalStatus.REJECTED, "cfo")


@pytest.mark.parametrize(
    ("changes", "by", "at", "said", "code", "kind"),
    [
        ({}, actor("bo", "approver"), NOW, {"reason": "fine ok"}, "approval.reason", Invalid),
        ({}, actor("bo", "approver"), NOW, {"reason": "        "}, "approval.reason", Invalid),
        ({}, actor("bo", "approver"), NOW, {"reason": "x" * 2001}, "approval.reason", Invalid),
        ({}, actor("bo", "operator", "admin"), NOW, {}, "approval.not_allowed", Denied),
        ({}, actor("ada", "approver"), NOW, {}, "approval.self", Denied),
        ({"status": "CANCELLED"}, actor("bo", "approver"), NOW, {}, "approval.cancelled", Conflict),
        ({"status": "EXPIRED"}, actor("bo", "approver"), NOW, {}, "approval.expired", Conflict),
        ({}, actor("bo", "approver"), NOW + timedelta(hours=72), {}, "approval.expired", Conflict),
        ({"status": "APPROVED", "decided_by": "cy"}, actor("bo", "approver"), NOW, {}, "approval.decided", Conflict),
        ({"status": "REJECTED", "decided_by": "cy"}, actor("bo", "approver"), NOW, {}, "approval.decided", Conflict),
        ({}, actor("bo", "approver"), NOW, {"args_digest": digest("other")}, "approval.changed", Conflict),
    ],
)
def test_every_refusal_has_its_own_code(changes, by, at, said, code, kind) -> None:
    problem = refused(lambda: decide(approval_of(**changes), by=by, at=at, **said))
    assert (problem.code, type(problem)) == (code, kind)
    assert problem.hint


def test_who_may_not_decide_learns_nothing_of_the_state() -> None:
    for status in ApprovalStatus:
        assert refused(lambda s=status: decide(approval_of(status=s), by=actor("bo"))).code == "approval.not_allowed"


def test_self_approval_is_a_matter_of_policy() -> None:
    assert decide(approval_of(forbid_self=False), by=actor("ada", "approver")).decided_by == "ada"
    named = approval_of(may_decide={"roles": [], "principals": ["ada"]})
    assert refused(lambda: decide(named, by=actor("ada"))).code == "approval.self"


def test_the_last_moment_is_the_one_before_the_expiry() -> None:
    late = approval_of()
    assert decide(late, at=late.expires_at - timedelta(microseconds=1)).status is ApprovalStatus.APPROVED
    assert not rules.is_over(late, late.expires_at - timedelta(microseconds=1))
    assert rules.is_over(late, late.expires_at)
    assert not rules.is_over(decide(late), late.expires_at)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_what_is_shown_decides_the_digest(one, other) -> None:
    same = digest(rules.as_stored(one)) == digest(rules.as_stored(other))
    ours, theirs = (
        rules.args_digest(run_id=RUN, path="a", attempt=1, policy_digest="p", shown=[value]) for value in (one, other)
    )
    assert (ours == theirs) == same


def test_each_part_of_the_context_changes_the_digest() -> None:
    base = {"run_id": RUN, "path": "a", "attempt": 1, "policy_digest": "p", "shown": [1]}
    variants = [
        base,
        {**base, "run_id": UUID(int=2)},
        {**base, "path": "b"},
        {**base, "attempt": 2},
        {**base, "policy_digest": "q"},
        {**base, "shown": [2]},
        {**base, "shown": [1, 1]},
        {**base, "shown": []},
        {**base, "shown": ["1"]},
    ]
    assert len({rules.args_digest(**v) for v in variants}) == len(variants)


@given(st.lists(JSON, max_size=4), JSON)
def test_only_what_was_shown_is_bound(shown, other) -> None:
    covered = {digest(v) for v in shown} | {digest(e) for v in shown if isinstance(v, list) for e in v}
    covered |= {digest(rules.as_stored(v)) for v in shown}
    covered |= {digest(rules.as_stored(e)) for v in shown if isinstance(v, list) for e in v}
    assert set(rules.bound(shown)) == covered
    assert (digest(other) in rules.bound(shown)) == (digest(other) in covered)


def test_a_long_list_is_bound_as_a_whole_only() -> None:
    items = [{"n": n} for n in range(rules.ELEMENTS_MAX + 1)]
    assert rules.bound([items]) == [digest(items)]
    assert digest({"n": 5}) in rules.bound([items[:-1]])


def dominating(**changes: object) -> Dominating:
    made = Dominating(
        path="approval",
        step_status="SUCCEEDED",
        decision="approved",
        approval_id=UUID(int=7),
        approval_status="APPROVED",
        bound=[digest("record")],
    )
    return replace(made, **changes)


def check(found: list[Dominating], *paths: str) -> None:
    rules.check_covered(found, path="record", paths=paths, record_digest=digest("record"))


def test_an_effect_is_covered_by_what_was_shown_or_by_a_policy_that_asked_nobody() -> None:
    check([dominating()], "approval")
    check([dominating(decision="not_required", approval_id=None, approval_status=None, bound=None)], "approval")
    check([dominating(), dominating(path="second")], "approval", "second")
    check([])


@pytest.mark.parametrize(
    ("found", "code"),
    [
        ([], "approval.missing"),
        ([dominating(path="other")], "approval.missing"),
        ([dominating(approval_status=None, approval_id=None, bound=None)], "approval.missing"),
        ([dominating(step_status="SKIPPED", decision=None, approval_status=None, bound=None)], "approval.missing"),
        ([dominating(step_status="RUNNING", decision="not_required", approval_status=None)], "approval.missing"),
        *(
            ([dominating(approval_status=s)], "approval.missing")
            for s in ("PENDING", "REJECTED", "EXPIRED", "CANCELLED")
        ),
        ([dominating(decision="rejected")], "approval.missing"),
        ([dominating(bound=[digest("other")])], "approval.arguments_changed"),
        ([dominating(bound=[])], "approval.arguments_changed"),
    ],
)
def test_anything_else_is_denied(found: list[Dominating], code: str) -> None:
    problem = refused(lambda: check(found, "approval"))
    assert (problem.code, type(problem)) == (code, Denied)


def test_one_of_two_approvals_does_not_do() -> None:
    assert refused(lambda: check([dominating()], "approval", "second")).code == "approval.missing"


def test_only_a_pending_approval_changes() -> None:
    assert set(TRANSITIONS) == set(ApprovalStatus)
    assert [s for s, after in TRANSITIONS.items() if after] == [ApprovalStatus.PENDING]


def test_a_record_of_many_bound_digests_stays_small() -> None:
    small, large = approval_of(), approval_of(bound=[digest(n) for n in range(400)])
    assert rules.facts_of(small)["bound"] == small.bound
    assert rules.facts_of(large)["bound"] == [digest(large.bound)]
    assert rules.facts_of(large)["bound_count"] == 400
