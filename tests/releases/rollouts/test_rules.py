"""What a rollout may do, and what does not fit: pure."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.artifacts import Document
from stanchion.base import Conflict, Invalid, Problem
from stanchion.blueprints import Issue, Parsed
from stanchion.releases.rollouts import TRANSITIONS, Arm, Member, Plan, Rollout, State, Step, Strategy, compat, rules
from stanchion.releases.types import Live
from stanchion.runs import Begins

AT = datetime(2026, 11, 18, 9, tzinfo=UTC)
ID = UUID("019a9f3e-2f60-7c1c-9e0e-3a1f5d1b7c10")
MEMBER = Member(kind="policy", name="p", stable_version=1, stable_digest="a", candidate_version=2, candidate_digest="b")


def rollout(*steps: Step, unit: str = "run", **more) -> Rollout:
    plan = rules.plan_of(
        Plan(strategy=Strategy.CANARY, steps=steps or (Step(share=10), Step(share=50)), unit=unit, **more)
    )
    return rules.begun(
        plan, [MEMBER], tenant="acme", environment="local", rollout_id=ID, salt="s", by="ada", at=AT, reason="r"
    )


def begins(n: int = 0, value=None, principal: str = "ada") -> Begins:
    return Begins(tenant="acme", run_id=UUID(int=n), principal=principal, value=value)


def in_state(state: State) -> Rollout:
    one = rollout()
    moves = {
        State.ACTIVE: lambda: one,
        State.PAUSED: lambda: rules.paused(one, by="ada", at=AT),
        State.DONE: lambda: rules.advanced(one, len(one.steps), by="ada", at=AT),
        State.ROLLED_BACK: lambda: rules.taken_back(one, by="ada", at=AT),
        State.ABANDONED: lambda: rules.taken_back(rollout(Step(), Step(share=10)), by="ada", at=AT),
    }
    found = moves[state]()
    assert found.state is state
    return found


VERBS = {
    State.ACTIVE: lambda one: rules.resumed(one, by="bob", at=AT),
    State.PAUSED: lambda one: rules.paused(one, by="bob", at=AT),
    State.DONE: lambda one: rules.advanced(one, len(one.steps), by="bob", at=AT),
    State.ROLLED_BACK: lambda one: rules.taken_back(one, by="bob", at=AT),
}


@pytest.mark.parametrize(("state", "to"), list(itertools.product(State, VERBS)))
def test_every_transition_and_no_other(state: State, to: State) -> None:
    before = in_state(state)
    if to in TRANSITIONS[state]:
        after = VERBS[to](before)
        assert (after.state, after.rev, after.changed_by) == (to, before.rev + 1, "bob")
        assert (after.ended_at is None) == (to in (State.ACTIVE, State.PAUSED))
    else:
        with pytest.raises(Conflict):
            VERBS[to](before)


def test_the_states_are_those_of_the_database(repo: Path) -> None:
    sql = (repo / "src/stanchion/db/migrations/0004_pre_rollouts.sql").read_text()
    for column, names in (("state", State), ("strategy", Strategy)):
        found = re.search(rf"{column} +text not null check \({column} in \(([^)]*)\)\)", sql)
        assert found
        assert set(re.findall(r"'(\w+)'", found[1])) == {one.value for one in names}


def test_holds_begin_with_their_step_and_anew_after_a_pause() -> None:
    one = rollout(Step(share=10, hold_s=60), Step(share=50), Step(share=100, hold_s=30))
    assert one.due_at == AT + timedelta(seconds=60)
    later = AT + timedelta(seconds=40)
    back = rules.resumed(rules.paused(one, by="a", at=later), by="a", at=later)
    assert rules.paused(one, by="a", at=later).due_at is None
    assert back.due_at == later + timedelta(seconds=60)
    on = rules.advanced(back, None, by="a", at=later)
    assert (on.step, on.due_at) == (1, None)
    assert rules.advanced(on, None, by="a", at=later).due_at == later + timedelta(seconds=30)


def test_it_never_goes_backwards() -> None:
    one = rules.advanced(rollout(), 1, by="a", at=AT)
    for to in (0, 1):
        with pytest.raises(Conflict) as caught:
            rules.advanced(one, to, by="a", at=AT)
        assert caught.value.code == "rollout.backwards"


def test_it_goes_to_no_step_that_is_not_there() -> None:
    one = rollout()
    last = len(one.steps)
    assert rules.advanced(one, last, by="a", at=AT).state is State.DONE
    with pytest.raises(Invalid) as caught:
        rules.advanced(one, last + 1, by="a", at=AT)
    assert caught.value.code == "rollout.bad_plan"
    assert f"{last + 1} is past the last" in caught.value.hint


@given(shares=st.lists(st.integers(0, 100), min_size=1, max_size=6).map(sorted), n=st.integers(0, 10**9))
def test_who_has_the_candidate_keeps_it(shares, n) -> None:
    one = rollout(*(Step(share=share) for share in shares), unit="input:customer")
    has = False
    for index in range(len(shares)):
        now = one if index == 0 else rules.advanced(one, index, by="a", at=AT)
        made = rules.dealt(now, begins(value={"customer": n}))
        assert made is not None
        assert not (has and made.arm is Arm.STABLE)
        has = made.arm is Arm.CANDIDATE
        assert not (now.share == 0 and has)
        assert has or now.share < 100


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ({"a": {"b": "x"}}, "x"),
        ({"a": {"b": 7}}, "7"),
        ({"a": {"b": True}}, "true"),
        ({"a": {"b": False}}, "false"),
        ({"a": {"b": ""}}, None),
        ({"a": {"b": None}}, None),
        ({"a": {"b": [1]}}, None),
        ({"a": {}}, None),
        ({"a": 1}, None),
        ([1], None),
        (None, None),
    ],
)
def test_the_unit_at_a_path(value, unit) -> None:
    one = rollout(Step(share=100), unit="input:a.b")
    found = rules.unit_of(one, begins(value=value))
    assert (found.value if found else None) == unit
    if unit is None:
        assert rules.dealt(one, begins(value=value)) is None


def test_a_long_unit_is_dealt_by_its_digest() -> None:
    one = rollout(unit="input:a")
    long, other = (rules.unit_of(one, begins(value={"a": "x" * n})) for n in (501, 502))
    assert long is not None
    assert other is not None
    assert long.value.startswith("sha256:")
    assert long != other


@pytest.mark.parametrize(
    "plan",
    [
        Plan(strategy=Strategy.CANARY, steps=()),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=101),)),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=-1),)),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=1, hold_s=-1),)),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=1),) * 21),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=10), Step(share=9))),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=10),), unit="input:"),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=10),), unit="input:a..b"),
        Plan(strategy=Strategy.CANARY, steps=(Step(share=10),), salt=""),
        Plan(strategy=Strategy.CANARY, steps=(Step(rings=("a",)),), rings={"a": ("x",)}, unit="tenant"),
        Plan(strategy=Strategy.RINGS, steps=(Step(rings=("b",)),), rings={"a": ("x",)}, unit="tenant"),
        Plan(strategy=Strategy.RINGS, steps=(Step(rings=("a",)),), rings={"a": ()}, unit="tenant"),
        Plan(strategy=Strategy.RINGS, steps=(Step(rings=("A",)),), rings={"A": ("x",)}, unit="tenant"),
        Plan(strategy=Strategy.RINGS, steps=(Step(rings=("a",)),), rings={"a": ("x",)}),
        Plan(strategy=Strategy.BLUE_GREEN, steps=(Step(share=50),)),
        Plan(strategy=Strategy.ALL_AT_ONCE, steps=(Step(share=100), Step(share=100))),
    ],
)
def test_a_plan_that_cannot_be(plan: Plan) -> None:
    with pytest.raises(Problem) as caught:
        rules.plan_of(plan)
    assert caught.value.code == "rollout.bad_plan"
    assert caught.value.hint


class Needs:
    """A kind whose document says which version of what it needs: `name@version[,version]`."""

    kind = "x"

    def parse(self, document: Document, lookup) -> Parsed:
        issues = []
        for part in filter(None, document.source.split()):
            name, _, versions = part.partition("@")
            body = lookup("x", name)
            if body is None or str(body["version"]) not in versions.split(","):
                message = f"It needs {name} {versions}."
                issues.append(
                    Issue(code="x", message=message, hint="", file="f", line=1, column=1, step=None, pointer="")
                )
        return Parsed(name="", body={}, owner="", references=(), issues=tuple(issues))


def live(name: str, version: int, needs: str = "") -> Live:
    refs = [["x", part.partition("@")[0]] for part in needs.split()]
    return Live(
        kind="x", name=name, version=version, digest=f"{name}{version}", body={"version": version}, refs=refs,
        source=needs, source_path="f",
    )  # fmt: skip


def chosen(*rows: Live) -> dict:
    return {(row.kind, row.name): row for row in rows}


KINDS = {"x": Needs()}


def test_every_combination_of_sides_is_read() -> None:
    base = chosen(live("a", 1, "b@1,2 c@1,2"), live("b", 1), live("c", 1))
    groups = [chosen(live("b", 2)), chosen(live("c", 2))]
    check = compat.Check(KINDS, base)
    assert check.misfits(base, groups, [("x", "b")]) == []
    assert check.reads >= 4
    narrow = chosen(live("a", 1, "b@1,2 c@1"), live("b", 1), live("c", 1))
    found = compat.Check(KINDS, narrow).misfits(narrow, groups, [("x", "c")])
    assert [(m.key, m.version, m.reason) for m in found] == [(("x", "a"), 1, "It needs c 1.")] * 2
    assert compat.Check(KINDS, narrow).misfits(narrow, [], [("x", "c")]) == []


def test_what_was_wrong_before_is_nobodys_fault_now() -> None:
    base = chosen(live("a", 1, "b@9"), live("b", 1))
    assert compat.Check(KINDS, base).misfits(base, [], [("x", "b")]) == []


def test_a_reference_to_what_is_not_live_does_not_fit() -> None:
    base = chosen(live("a", 1))
    (found,) = compat.Check(KINDS, base).misfits(base, [chosen(live("a", 2, "gone@1"))], [("x", "a")])
    assert (found.version, found.reason) == (2, "x gone is not live.")


def test_too_many_rollouts_around_one_artifact_are_refused() -> None:
    names = [f"n{i}" for i in range(compat.TOUCHING_MAX + 1)]
    base = chosen(live("a", 1, " ".join(f"{n}@1,2" for n in names)), *(live(n, 1) for n in names))
    groups = [chosen(live(n, 2)) for n in names]
    found = compat.Check(KINDS, base).misfits(base, groups, [("x", "n0")])
    assert any("at most 6" in m.reason for m in found)


def test_the_nearest_set_has_the_fewest_changes() -> None:
    base = chosen(live("a", 3, "b@3 c@3"), live("b", 1), live("c", 3))
    versions = {
        ("x", "a"): [live("a", 3, "b@3 c@3"), live("a", 2, "b@1 c@3"), live("a", 1, "b@1 c@1")],
        ("x", "c"): [live("c", 3), live("c", 1)],
    }

    def fits(extras) -> bool:
        now = {**base, **extras}
        return not compat.Check(KINDS, {}).misfits(now, [], [("x", "b"), *extras])

    found = compat.nearest([("x", "a"), ("x", "c")], versions, base, fits, spent=lambda: False)
    assert found is not None
    assert {key[1]: row.version for key, row in found.items()} == {"a": 2}
    versions["x", "a"].pop(1)
    found = compat.nearest([("x", "a"), ("x", "c")], versions, base, fits, spent=lambda: False)
    assert found is not None
    assert {key[1]: row.version for key, row in found.items()} == {"a": 1, "c": 1}
    assert compat.nearest([("x", "c")], versions, base, fits, spent=lambda: False) is None
    assert compat.nearest([("x", "a")], versions, base, fits, spent=lambda: True) is None
