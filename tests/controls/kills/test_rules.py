"""Pure decisions: which kill stops which use, what is said about it."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from stanchion.base import Conflict, Invalid, Kind
from stanchion.controls.kills import Kill, rules

AT = datetime(2026, 11, 22, 4, 52, 4, tzinfo=UTC)


def kill(kind: str = "blueprint", name: str = "triage", *, tenant: str = "acme", number: int = 1, **more) -> Kill:
    facts = {
        "version": None,
        "digest": None,
        "reason": "It closes cases that are open.",
        "set_by": "olga",
        "set_at": AT,
        "lifted_by": None,
        "lifted_at": None,
        "lift_reason": None,
    }
    return Kill(tenant=tenant, id=UUID(int=number), kind=kind, name=name, **(facts | more))


def test_a_kill_stops_its_thing_in_its_tenant_and_nothing_else() -> None:
    index = rules.index_of([kill()])
    assert rules.find(index, "acme", "blueprint", "triage", "sha256:1") == kill()
    for use in (
        ("beta", "blueprint", "triage"),
        ("acme", "connector", "triage"),
        ("acme", "blueprint", "other"),
    ):
        assert rules.find(index, *use, "sha256:1") is None


def test_a_kill_of_one_version_leaves_the_others() -> None:
    index = rules.index_of([kill(version=2, digest="sha256:2"), kill(version=3, digest="sha256:3", number=2)])
    assert rules.find(index, "acme", "blueprint", "triage", "sha256:1") is None
    third = rules.find(index, "acme", "blueprint", "triage", "sha256:3")
    assert third is not None
    assert third.target == "blueprint/triage v3"


def test_a_killed_tenant_stops_everything_of_it() -> None:
    index = rules.index_of([kill("tenant", "acme")])
    found = rules.find(index, "acme", "connector", "any", None)
    assert found is not None
    assert rules.told(found).startswith(
        "Everything of tenant acme was killed by olga at 2026-11-22 04:52:04 UTC: It closes"
    )
    assert rules.find(index, "beta", "connector", "any", None) is None


@pytest.mark.parametrize(("reason", "end"), [("Stop", "Stop."), ("Stop.", "Stop."), ("Stop!", "Stop!")])
def test_a_reason_without_an_end_does_not_run_into_what_follows(reason: str, end: str) -> None:
    found = kill(reason=reason)
    assert rules.told(found).endswith(f"UTC: {end}")


def test_a_denial_names_who_when_and_why_and_the_way_out() -> None:
    problem = rules.denied(kill())
    assert (problem.kind, problem.code, problem.retryable) == (Kind.DENIED, "kill.active", False)
    for said in ("blueprint/triage", "olga", "2026-11-22 04:52:04", "It closes cases that are open."):
        assert said in problem.message
    assert f"stanchion kill lift {UUID(int=1)}" in problem.hint
    assert problem.fields["kill_id"] == str(UUID(int=1))


def test_a_kill_is_lifted_once() -> None:
    lifted = rules.lift(kill(), by="ada", at=AT, reason="Mended.")
    assert (lifted.lifted_by, lifted.lifted_at, lifted.lift_reason) == ("ada", AT, "Mended.")
    with pytest.raises(Conflict) as caught:
        rules.lift(lifted, by="ben", at=AT, reason="Again.")
    assert caught.value.code == "kill.lifted"
    assert "by ada" in caught.value.message


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_kill_needs_a_reason(reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        rules.check_reason(reason)
    assert caught.value.code == "kill.no_reason"
    assert rules.check_reason("  why  ") == "why"


def test_an_unknown_kind_is_answered_with_the_nearest() -> None:
    assert "'blueprint'" in rules.unknown_kind("bluprint", ["blueprint", "connector"]).hint
    assert rules.unknown_kind("zzz", ["blueprint", "connector"]).hint == "There are: blueprint, connector."


def test_what_was_never_read_and_what_is_too_old_are_told_apart() -> None:
    assert "not been read yet" in rules.unread(None).message
    assert "for 6.0 s" in rules.unread(6.0).message
    assert rules.unread(6.0).retryable
    assert rules.unread_blocked(None).ref == "unread"
