"""`stanchion tool`: the gate's points and its exit code, what is asked before something changes, arguments by their types."""

from __future__ import annotations

import json

import pytest

RUN = "01990000-0000-7000-8000-00000000abcd"
TOLD = "sha256:" + "5d" * 32
MODEL = {
    "name": "post_cost",
    "description": "Posts one cost line.",
    "input_schema": {"type": "object", "properties": {"number": {"type": "string"}, "lines": {"type": "integer"}}},
    "annotations": {"readOnlyHint": False},
}
TOOL = {
    "name": "post-cost", "version": 2, "digest": "sha256:3c", "live": True, "owner": "finance", "author": "ada",
    "operation": "erp.postings.push", "effect": "write", "enabled": False, "flag": "tool.post-cost.v2.enabled", "state": None,
}  # fmt: skip
DETAIL = {
    **TOOL, "description": "", "model": MODEL, "told": TOLD, "idempotency": "key", "approval": "large", "fallback": "By hand.",
    "versions": [TOOL],
}  # fmt: skip
HOLDS = {"number": 1, "point": "schema validated", "holds": True, "evidence": "it fits", "way_out": ""}
FAILS = {
    "number": 7, "point": "description approved by another", "holds": False, "evidence": "nobody approved it",
    "way_out": "Let somebody read it.",
}  # fmt: skip


def gate(*points, **more):
    passes = all(one["holds"] for one in points)
    return {"name": "post-cost", "version": 2, "passes": passes, "enabled": False, "points": list(points), **more}


@pytest.fixture
def tools(at):
    at.routes["GET /api/tools"] = (200, {"items": [TOOL], "next": None}, {})
    at.routes["GET /api/tools/post-cost"] = (200, DETAIL, {})
    at.routes["GET /api/tools/post-cost/check"] = (200, gate(HOLDS, FAILS), {})
    at.routes["POST /api/tools/post-cost/try"] = (200, gate(HOLDS), {})
    at.routes["POST /api/tools/post-cost/enable"] = (200, gate(HOLDS, enabled=True), {})
    at.routes["POST /api/tools/post-cost/approve"] = (200, {"name": "post-cost", "told": TOLD, "by": "olga"}, {})
    return at


def posts(at) -> list:
    return [(route, body) for route, _, body, _ in at.seen if route.startswith("POST")]


def test_each_point_is_printed_and_one_that_fails_is_exit_code_6(tools, cli) -> None:
    result = cli("tool", "check", "post-cost@2")
    assert result.code == 6
    assert "7  fails  description approved by another: nobody approved it" in result.out
    assert "Let somebody read it." in result.out
    assert "1 of 2 points do not hold" in result.err
    assert cli("tool", "check", "post-cost", "--try").code == 0


def test_a_refused_enabling_tells_every_failing_point_and_is_exit_code_6(tools, cli) -> None:
    problem = {
        "code": "tool.gated", "status": 409, "title": "Conflict", "detail": "1 of 8 points do not hold.", "hint": "See check.",
        "errors": [{"place": "7 description", "message": "nobody approved it", "hint": "Let somebody read it."}],
    }  # fmt: skip
    tools.routes["POST /api/tools/post-cost/enable"] = (409, problem, {})
    result = cli("tool", "enable", "post-cost", "--reason", "now")
    assert result.code == 6
    assert "nobody approved it" in result.err
    assert "Let somebody read it." in result.err


def test_an_approval_is_of_what_was_shown_and_needs_yes_without_a_terminal(tools, cli) -> None:
    refused = cli("tool", "approve", "post-cost", "--reason", "read")
    assert refused.code == 2
    assert posts(tools) == []
    done = cli("tool", "approve", "post-cost", "--reason", "read", "--yes")
    assert done.code == 0, done.err
    assert "Posts one cost line." in done.err
    assert posts(tools) == [("POST /api/tools/post-cost/approve", {"version": 2, "told": TOLD, "reason": "read"})]


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 1), ("PENDING", 0)])
def test_a_call_sends_typed_arguments_and_ends_as_its_run(tools, cli, status: str, code: int) -> None:
    said = {
        "run_id": RUN,
        "status": status,
        "tool": "post-cost",
        "version": 2,
        "dry_run": True,
        "output": 1,
        "error": None,
    }
    tools.routes["POST /api/tools/post-cost/calls"] = (200, said, {})
    result = cli(
        "tool",
        "call",
        "post-cost",
        "-a",
        "number=7",
        "-a",
        "lines=7",
        "--dry-run",
        "--idempotency-key",
        "k",
        "-o",
        "json",
    )
    assert result.code == code, result.err
    assert json.loads(result.out)["status"] == status
    [(_, body)] = posts(tools)
    assert body == {"arguments": {"number": "7", "lines": 7}, "version": None, "dry_run": True}
    headers = next(headers for route, _, _, headers in tools.seen if route.startswith("POST"))
    assert headers["idempotency-key"] == "k"


def test_a_tool_is_shown_with_what_models_are_told(tools, cli) -> None:
    shown = cli("tool", "show", "post-cost")
    assert shown.code == 0, shown.err
    assert "Posts one cost line." in shown.out
    assert "tool.post-cost.v2.enabled" in shown.out
    assert "post-cost" in cli("tool", "list").out
    assert cli("tool", "show", "Post Cost").code == 2
