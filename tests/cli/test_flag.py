"""`stanchion flag`: what it sends, and what it says."""

from __future__ import annotations

import pytest

FLAG = {
    "name": "new-review-flow",
    "type": "boolean",
    "version": 2,
    "digest": "sha256:0",
    "enabled": True,
    "default": "off",
    "variants": {"on": True, "off": False},
    "targeted": True,
    "owner": "casework",
    "description": "",
    "released_at": "2026-11-22T08:00:00Z",
    "released_by": "ada",
    "candidate": 3,
    "rollout": "01990000-0000-7000-8000-00000000abcd",
}
ANSWER = {
    "flag": "new-review-flow",
    "value": {"a": "ü"},
    "variant": "on",
    "reason": "SPLIT",
    "version": 2,
    "message": "",
}


@pytest.fixture
def flags(at):
    here = {"process": "web", "revision": 7, "age_s": 0.2, "version": 2, "candidate": 3}
    at.routes["GET /api/flags"] = (200, {"items": [FLAG], "next": None}, {})
    at.routes["GET /api/flags/new-review-flow"] = (200, {**FLAG, "document": {}, "here": here}, {})
    at.routes["POST /api/flags/new-review-flow/evaluate"] = (200, ANSWER, {})
    rows = [{"version": n, "created_at": "2026-11-22T08:00:00Z", "author": "ada"} for n in (3, 2, 1)]
    at.routes["GET /api/artifacts/flag/new-review-flow/versions"] = (200, {"items": rows, "next": None}, {})
    return at


def test_list_and_show(flags, cli) -> None:
    assert cli("flag", "list", "-o", "id").out == "new-review-flow\n"
    shown = cli("flag", "show", "new-review-flow").out
    assert "on: true, off: false" in shown
    assert "served by  " in shown


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ([], {"context": {}, "fallback": None}),
        (["--key", "case-1"], {"context": {"targetingKey": "case-1"}, "fallback": None}),
        (["-c", "team=fines", "-c", "age=42", "-c", 'user={"id": 1}'], {"context": {"team": "fines", "age": 42, "user": {"id": 1}}, "fallback": None}),
        (["-c", "eq=a=b", "-c", "nan=NaN", "--fallback", "mine"], {"context": {"eq": "a=b", "nan": "NaN"}, "fallback": "mine"}),
        (["--fallback", "false"], {"context": {}, "fallback": False}),
    ],
)  # fmt: skip
def test_evaluate_sends_attributes_as_json_or_text(flags, cli, arguments, body) -> None:
    done = cli("flag", "evaluate", "new-review-flow", *arguments)
    assert done.code == 0, done.err
    assert flags.seen[-1][2] == body
    assert 'value    {"a": "ü"}' in done.out


def test_an_attribute_without_a_name_is_refused(flags, cli) -> None:
    for wrong in ("fines", "=fines"):
        done = cli("flag", "evaluate", "new-review-flow", "-c", wrong)
        assert done.code == 2
        assert "team=fines" in done.err
    assert flags.seen == []


def test_versions_say_which_is_live(flags, cli) -> None:
    found = cli("flag", "versions", "new-review-flow", "-o", "json").json
    assert [(row["version"], row["standing"]) for row in found] == [(3, "candidate"), (2, "live"), (1, None)]


@pytest.mark.parametrize(
    ("arguments", "verb", "body"),
    [
        (["enable", "new-review-flow"], "enable", {"reason": "why"}),
        (["disable", "new-review-flow"], "disable", {"reason": "why"}),
        (["set-default", "new-review-flow", "on"], "default", {"variant": "on", "reason": "why"}),
    ],
)
def test_switching_sends_a_reason_and_says_the_way_back(flags, cli, arguments, verb, body) -> None:
    changed = {"name": "new-review-flow", "version": 3, "digest": "sha256:1", "change": "updated"}
    flags.routes[f"POST /api/flags/new-review-flow/{verb}"] = (200, changed, {})
    done = cli("flag", *arguments, "--reason", "why")
    assert flags.seen[-1][2] == body
    assert "stanchion release rollback flag/new-review-flow" in done.err
    flags.routes[f"POST /api/flags/new-review-flow/{verb}"] = (200, {**changed, "change": "unchanged"}, {})
    assert "already" in cli("flag", *arguments, "--reason", "why").err
    assert cli("flag", *arguments).code == 2  # no reason, no change


@pytest.mark.parametrize("verb", [("show",), ("enable", "--reason", "x"), ("disable", "--reason", "x")])
def test_the_switch_of_a_tool_is_said_to_be_the_gates(cli, at, verb):
    result = cli("flag", verb[0], "tool.post-cost.v2.enabled", *verb[1:])
    assert (result.code, result.out, at.seen) == (2, "", [])
    assert "stanchion tool enable|disable post-cost@2" in result.err
