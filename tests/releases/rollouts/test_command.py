"""What `stanchion release` asks the server: the words of a person as the API takes them."""

from __future__ import annotations

import pytest
from click import BadParameter

from stanchion.base import Invalid
from stanchion.cli.nouns import release

SAID = {
    "artifacts": ({"kind": "policy", "name": "p", "version": 2},), "files": (), "also": (), "strategy": None, "steps": None, "unit": "run", "rings": (), "salt": None,
    "reason": "why",
}  # fmt: skip


def body(**more):
    return release._body(**(SAID | more))


@pytest.mark.parametrize(
    ("steps", "rings", "expected"),
    [
        ("10:1h,50:30m,100", (), [(10, 3600), (50, 1800), (100, None)]),
        (" 5% , 100:2d", (), [(5, None), (100, 172_800)]),
        ("pilot:90s,100", ("pilot=a, b",), [(["pilot"], 90), (100, None)]),
    ],
)
def test_steps(steps: str, rings, expected) -> None:
    made = body(steps=steps, rings=rings)
    assert [(s.get("share", s.get("rings")), s["hold_s"]) for s in made["steps"]] == expected
    assert made["strategy"] == ("rings" if rings else "canary")
    assert made["rings"] == ({"pilot": ["a", "b"]} if rings else {})


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"steps": "10:soon"},
        {"steps": "ten"},
        {"steps": "pilot"},
        {"steps": ""},
        {"steps": "1", "rings": ("pilot",)},
        {"steps": "10,100", "artifacts": ()},
    ],
)
def test_what_is_no_plan_is_said_before_anything_is_sent(more) -> None:
    with pytest.raises(Invalid) as caught:
        body(**more)
    assert caught.value.hint


def test_strategies_that_need_no_steps() -> None:
    one = {"kind": "policy", "name": "p", "version": 2}
    made = body(strategy="blue_green", artifacts=(one,), also=({"kind": "blueprint", "name": "b"},))
    assert (made["steps"], made["members"]) == ([], [one, {"kind": "blueprint", "name": "b"}])


def test_an_artifact_is_named_by_kind_and_name() -> None:
    read = release._ARTIFACT.convert
    assert read("policy/fines", None, None) == {"kind": "policy", "name": "fines"}
    assert read("policy/fines@3", None, None) == {"kind": "policy", "name": "fines", "version": 3}
    for wrong in ("fines", "policy/", "policy/Fines", "policy/fines@0", "policy/fines@", "a b/c"):
        with pytest.raises(BadParameter):
            read(wrong, None, None)


def test_where_what_is_live_counts_a_version_is_not_passed_over() -> None:
    read = release.NAME.convert
    assert read("policy/fines", None, None) == {"kind": "policy", "name": "fines"}
    with pytest.raises(BadParameter, match="artifact show policy/fines --version 3"):
        read("policy/fines@3", None, None)


def test_who_has_the_candidate_when_it_is_done() -> None:
    after = {"state": "ACTIVE", "rings": ["pilot"], "share": 50}
    assert release._where(after) == "ACTIVE pilot 50 %"
    assert release._where(after | {"state": "DONE"}) == "DONE 100 %"


def test_holds_are_said_in_their_largest_unit() -> None:
    steps = [{"share": 10, "rings": [], "hold_s": s} for s in (0, 90, 120, 7200, 86_400)]
    assert release._steps(steps) == "10 % (0s), 10 % (90s), 10 % (2m), 10 % (2h), 10 % (1d)"
    assert release._steps([{"share": 5, "rings": ["pilot"], "hold_s": None}]) == "pilot and 5 %"
