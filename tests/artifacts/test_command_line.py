"""`stanchion artifact` against a server that answers as scripted: what is asked, and how the answer is shown."""

from __future__ import annotations

import dataclasses
import json

import pytest

from stanchion.artifacts import diff_of
from stanchion.artifacts.routes import DiffReply
from stanchion.cli.nouns.artifact_diff import render
from tests.artifacts.test_diff import version
from tests.cli.conftest import at, clean, cli, server  # noqa: F401 - fixtures

BEFORE = """\
# Who asks.
policy: limits
description: Ask a supervisor about every fine that is high enough to matter to anybody at all.
steps:
  - {id: one, wait: 1s}
  - {id: two, wait: 1s}
"""
AFTER = """\
policy: limits
# Since May.
description: Ask a supervisor about each fine that is high enough to matter to anybody at all.
risk: high
steps:
  - {id: two, wait: 2s}
  - {id: one, wait: 1s}
"""
DIFF = DiffReply.model_validate(
    dataclasses.replace(diff_of(version(1, BEFORE), version(2, AFTER)), name="limits")
).model_dump(mode="json")


def test_a_diff_is_shown_a_line_per_change(cli, at) -> None:  # noqa: F811
    at.routes["GET /api/artifacts/policy/limits/diff"] = (200, DIFF, {})
    shown = cli("artifact", "diff", "policy/limits", "--from", "1", "--to", "2")
    assert shown.code == 0
    assert at.seen[-1][1] == "from=1&to=2"
    assert shown.out.splitlines() == [
        "policy limits  v1 by ada → v2 by ada",
        "~ description",
        "    Ask a supervisor about [-every-]{+each+} fine that is high enough to matter to anybody at all.",
        "> steps[one]  moved from place 1 to place 2",
        "~ steps[two].wait  1s → 2s",
        "+ risk  high",
        "- # Who asks.  (comment, line 1)",
        "+ # Since May.  (comment, line 2)",
    ]
    assert "\x1b" not in shown.out
    assert json.loads(cli("artifact", "diff", "policy", "limits", "-o", "json").out) == DIFF
    assert "risk" in cli("artifact", "diff", "policy/limits", "-o", "id").out.splitlines()


def test_on_a_terminal_it_is_coloured() -> None:
    lines = "\n".join(render(DIFF))
    assert "\x1b[31m[-every-]\x1b[0m\x1b[32m{+each+}\x1b[0m" in lines
    assert "\x1b[32m+ risk\x1b[0m" in lines


def test_no_change_a_large_value_and_a_cut_are_said() -> None:
    same = {**DIFF, "changes": [], "order": ["facts"], "comments_added": [], "comments_removed": [], "cut": True}
    said = "\n".join(render(same))
    assert "No change of meaning." in said
    assert "order of keys only: facts" in said
    assert "more than is shown" in said
    large = {"op": "added", "path": "facts", "before": None, "after": {f"k{n}": n for n in range(40)}, "words": []}
    assert '      "k7": 7,' in "\n".join(render({**same, "changes": [large]})).replace("\x1b[32m", "").replace(
        "\x1b[0m", ""
    )


def test_a_file_is_sent_and_compared(cli, at, tmp_path) -> None:  # noqa: F811
    (tmp_path / "limits.yaml").write_text(AFTER)
    at.routes["POST /api/artifacts/diff"] = (200, {**DIFF, "before": None}, {})
    assert cli("artifact", "diff", "--file", "limits.yaml", "--from", "1").out.startswith("policy limits  nothing → v2")
    assert at.seen[-1][2] == {"document": {"path": "limits.yaml", "source": AFTER}, "version": 1}


@pytest.mark.parametrize(
    "arguments",
    [("diff",), ("diff", "limits"), ("show", "limits"), ("usage", "a/b/c"), ("retire", "policy/limits", "--reason", "why"), ("history", "/")],
)  # fmt: skip
def test_what_is_asked_wrongly_is_usage(cli, at, arguments) -> None:  # noqa: F811
    assert cli("artifact", *arguments).code == 2
    assert at.seen == []


def test_a_file_and_a_version_to_compare_to_exclude_each_other(cli, at, tmp_path) -> None:  # noqa: F811
    (tmp_path / "limits.yaml").write_text(AFTER)
    assert cli("artifact", "diff", "--file", "limits.yaml", "--to", "2").code == 2


USAGE = {
    "kind": "policy",
    "name": "limits",
    "version": None,
    "live": [{"environment": "local", "version": 2, "standing": "live"}],
    "referrers": [{"environment": "local", "kind": "blueprint", "name": "case-triage", "version": 3, "digest": "x"}],
    "runs": {"RUNNING": 2, "SUCCEEDED": 140},
    "runs_cut": True,
    "newest": ["01a20133-bb93-7061-a222-41b34a2bc8b2"],
}


def test_usage_is_shown(cli, at) -> None:  # noqa: F811
    at.routes["GET /api/artifacts/policy/limits/usage"] = (200, USAGE, {})
    shown = cli("artifact", "usage", "policy/limits", "--version", "2")
    for said in ("v2 in local", "blueprint case-triage v3 in local", "2 RUNNING, 140 SUCCEEDED", USAGE["newest"][0]):
        assert said in shown.out
    assert "counted" in shown.err
    assert cli("artifact", "usage", "policy/limits", "-o", "id").out == USAGE["newest"][0] + "\n"
    assert cli("artifact", "usage", "policy/limits", "-o", "json").json == USAGE


def test_a_version_is_retired_and_listed_with_its_labels(cli, at) -> None:  # noqa: F811
    one = {"kind": "policy", "name": "limits", "version": 1, "digest": "sha256:x", "owner": "casework", "author": "ada"}
    one |= {"changelog": "First.", "created_at": "2026-11-20T10:00:00Z", "labels": {"team": "casework", "tier": "one"}}
    one |= {"risk": "high", "retired_at": "2026-11-21T10:00:00Z", "source": "policy: limits\n"}
    at.routes["POST /api/artifacts/policy/limits/retire"] = (200, one, {})
    shown = cli("artifact", "retire", "policy/limits", "--version", "1", "--reason", "Superseded.")
    assert at.seen[-1][2] == {"version": 1, "reason": "Superseded."}
    for said in ("team: casework, tier: one", "high", "2026-11-21 10:00:00Z"):
        assert said in shown.out
    at.routes["GET /api/artifacts"] = (200, {"items": [one], "next": None}, {})
    assert "team: casework, tier: one" in cli("artifact", "list").out


def test_apply_says_what_it_expects_to_be_live(cli, at, tmp_path) -> None:  # noqa: F811
    (tmp_path / "limits.yaml").write_text(AFTER)
    at.routes["POST /api/artifacts/apply"] = (200, {"environment": "local", "changes": [], "warnings": []}, {})
    assert cli("apply", "-f", "limits.yaml", "--expect", "policy/limits=2").code == 0
    assert at.seen[-1][2]["expected"] == {"policy/limits": 2}
    assert cli("apply", "-f", "limits.yaml", "--expect", "limits").code == 2
