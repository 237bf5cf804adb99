"""The gate's points, each from evidence alone: one thing taken away, and exactly that point falls."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from uuid import UUID

import pytest

from stanchion.base import Invalid
from stanchion.context import Environment
from stanchion.identity import CallVerdict
from stanchion.tools.catalogue import PointName, rules
from stanchion.tools.catalogue.types import (
    AuthorizationCase,
    CaseResult,
    ExampleCase,
    ToldApproval,
    Tool,
    ToolState,
    ToolVersion,
    Trial,
)

AT = datetime(2026, 11, 22, tzinfo=UTC)
RUN = UUID(int=7)
HERE = Environment(name="local", production=False)
EFFECT = ("e1", "DONE", True, True, True)
TOOL = Tool(
    name="post-cost", digest="sha256:t", owner="finance", description="", model_name="post_cost", model_description="Posts.",
    connector="erp", verb="push", called="postings", narrowed={}, required=(), effect="write", idempotency="key",
    approval="large", no_approval="", facts=None, fallback="By hand.", limit=1, cases=(), examples=(ExampleCase(name="one", arguments={}),),
)  # fmt: skip
VERSION = ToolVersion(
    tool=TOOL, version=2, author="ada", live=True, retired=False, connector_version=3, connector_digest="sha256:c",
    input_schema={"type": "object"}, told="sha256:told", state=None,
)  # fmt: skip


def case(permit: bool, *, environment: str = "local", production: bool = False) -> AuthorizationCase:
    return AuthorizationCase(
        name=f"{'permit' if permit else 'deny'} in {environment}", principal="p", principal_kind="user", roles=("analyst",),
        arguments={}, environment=environment, production=production, permit=permit,
    )  # fmt: skip


def judged(one: AuthorizationCase, permitted: bool | None = None, *refusals: str) -> CaseResult:
    found = one.permit if permitted is None else permitted
    return CaseResult(case=one, verdict=CallVerdict(permitted=found, because=("own/x",), refusals=refusals))


def trial(point: str, run_id: UUID | None = None) -> Trial:
    return Trial(
        id=UUID(int=1), name="post-cost", version=2, digest="sha256:t", connector_digest="sha256:c", point=point, run_id=run_id,
        detail="it was tried", by="otto", at=AT,
    )  # fmt: skip


def shown(**change) -> rules.TrialRun:
    said = {
        "status": "SUCCEEDED",
        "dry_run": True,
        "pinned": True,
        "started": True,
        "ended": True,
        "effects": (EFFECT,),
    }
    return rules.TrialRun(run_id=RUN, **{**said, **change})


def evidence(**change) -> rules.Evidence:
    said = {
        "version": VERSION,
        "environment": HERE,
        "schema_faults": (),
        "cases": (judged(case(True)), judged(case(False))),
        "approval_version": 1,
        "trials": (trial("dry_run", RUN), trial("idempotency", RUN), trial("disable_path")),
        "runs": {RUN: shown()},
        "approvals": (ToldApproval(name="post-cost", told="sha256:told", by="olga", reason="", at=AT),),
    }
    return rules.Evidence(**{**said, **change})


def of_tool(**change) -> ToolVersion:
    return dataclasses.replace(VERSION, tool=dataclasses.replace(TOOL, **change))


def failing(**change) -> list[int]:
    points = rules.judge(evidence(**change))
    assert [point.number for point in points] == list(range(1, 9))
    assert [point.name for point in points] == list(PointName)
    assert all(point.evidence for point in points)
    assert all(bool(point.way_out) != point.holds for point in points)
    return [point.number for point in points if not point.holds]


def test_with_everything_there_all_eight_hold() -> None:
    assert failing() == []


APPROVED = ToldApproval(name="post-cost", told="sha256:told", by="ada", reason="", at=AT)


@pytest.mark.parametrize(
    ("change", "falls"),
    [
        ({"schema_faults": ("/effect: it is a write",)}, 1),
        ({"version": dataclasses.replace(VERSION, input_schema=None)}, 1),
        ({"cases": ()}, 2),
        ({"cases": (judged(case(True), False), judged(case(False)))}, 2),
        ({"cases": (judged(case(True)), judged(case(False), True))}, 2),
        ({"cases": (judged(case(True)),)}, 2),
        ({"cases": (judged(case(False)),)}, 2),
        ({"cases": (judged(case(True, production=True)), judged(case(False)))}, 2),
        ({"cases": (judged(case(True, environment="staging")), judged(case(False)))}, 2),
        ({"cases": (judged(case(True)), judged(case(False), False, "policy x cannot be read"))}, 2),
        ({"cases": (judged(case(True)), CaseResult(case=case(False), verdict=None, unread="away"))}, 2),
        ({"approval_version": None}, 3),
        ({"version": of_tool(approval=None)}, 3),
        ({"version": of_tool(approval=None, no_approval="it is small")}, 3),
        ({"trials": (trial("idempotency"), trial("disable_path"))}, 4),
        ({"runs": {}}, 4),
        ({"runs": {RUN: shown(status="FAILED")}}, 4),
        ({"runs": {RUN: shown(dry_run=False)}}, 4),
        ({"runs": {RUN: shown(pinned=False)}}, 4),
        ({"runs": {RUN: shown(started=False)}}, 4),
        ({"runs": {RUN: shown(ended=False)}}, 4),
        ({"runs": {RUN: shown(effects=())}}, 4),
        ({"runs": {RUN: shown(effects=(EFFECT, EFFECT))}}, 4),
        ({"runs": {RUN: shown(effects=(("e", "UNKNOWN", True, True, True),))}}, 4),
        ({"runs": {RUN: shown(effects=(("e", "DONE", False, True, True),))}}, 4),
        ({"runs": {RUN: shown(effects=(("e", "DONE", True, False, True),))}}, 4),
        ({"runs": {RUN: shown(effects=(("e", "DONE", True, True, False),))}}, 4),
        ({"trials": (trial("dry_run", RUN), trial("disable_path"))}, 5),
        ({"version": of_tool(effect="destructive", idempotency="none")}, 5),
        ({"trials": (trial("dry_run", RUN), trial("idempotency"))}, 6),
        ({"approvals": ()}, 7),
        ({"approvals": (APPROVED,)}, 7),
        ({"approvals": (dataclasses.replace(APPROVED, by="olga", told="sha256:other"),)}, 7),
        ({"version": of_tool(examples=())}, 8),
    ],
)
def test_each_thing_that_is_missing_fails_its_point_and_no_other(change, falls: int) -> None:
    assert failing(**change) == [falls]


def test_a_read_needs_no_approval_if_it_says_why_and_leaves_no_effect() -> None:
    reads = of_tool(effect="read", approval=None, no_approval="every clerk may")
    assert failing(version=reads, approval_version=None, runs={RUN: shown(effects=())}) == []
    assert failing(version=reads, approval_version=None) == [4]
    silent = of_tool(effect="read", approval=None)
    assert failing(version=silent, approval_version=None, runs={RUN: shown(effects=())}) == [3]


def test_the_gates_no_names_every_failing_point_with_its_way_out() -> None:
    points = rules.judge(evidence(approvals=(), cases=()))
    problem = rules.gated(VERSION, points)
    assert problem.code == "tool.gated"
    assert [one["place"] for one in problem.fields["errors"]] == [
        f"2 {PointName.AUTHORIZATION}", f"7 {PointName.DESCRIPTION}"
    ]  # fmt: skip
    assert all(one["hint"] for one in problem.fields["errors"])


@pytest.mark.parametrize("effect", ["read", "write", "destructive"])
@pytest.mark.parametrize("production", [True, False])
def test_what_may_be_used(effect: str, production: bool) -> None:
    here = Environment(name="local", production=production)
    version = of_tool(effect=effect)
    assert rules.stays_usable(version, here) == (effect == "read" and not production)
    state = ToolState(
        name="post-cost",
        version=2,
        digest="sha256:t",
        connector_digest="sha256:c",
        enabled=True,
        reason="r",
        by="otto",
        at=AT,
    )
    assert rules.stays_usable(dataclasses.replace(version, state=state), here)
    for other in (
        dataclasses.replace(state, enabled=False),
        dataclasses.replace(state, connector_digest="sha256:newer"),
    ):
        assert not rules.stays_usable(dataclasses.replace(version, state=other), here)


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_change_has_a_reason(reason: str) -> None:
    with pytest.raises(Invalid):
        rules.check_reason(reason)
    assert rules.check_reason(" because ") == "because"
