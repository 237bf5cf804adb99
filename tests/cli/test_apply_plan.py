"""`stanchion apply` shows its plan before a person, asks, and keeps plans; scripts are served as before."""

from __future__ import annotations

import io
import json

import pytest

DIGEST = "sha256:" + "7" * 64
EDIT = {"op": "changed", "path": "when", "before": "a > 1", "after": "a > 2", "words": []}
SIDE = {"version": 1, "digest": DIGEST, "source_path": "a.yaml", "author": "ada", "changelog": "", "created_at": None}
CHANGE = {"kind": "policy", "name": "limits", "version": 2, "digest": DIGEST, "change": "updated"}
PLAN = {
    "environment": "production",
    "production": True,
    "changes": [
        {
            **CHANGE,
            "live_version": 1,
            "reaches": ["triage"],
            "diff": {
                "kind": "policy", "name": "limits", "before": SIDE, "after": {**SIDE, "version": None}, "changes": [EDIT],
                "order": [], "comments_added": [], "comments_removed": [], "cut": False,
            },
        },
        {**CHANGE, "name": "new", "version": 1, "change": "created", "live_version": 0, "reaches": [], "diff": None},
        {**CHANGE, "name": "old", "change": "unchanged", "live_version": 2, "reaches": [], "diff": None},
    ],
    "warnings": [],
    "gates": {
        "policy": "built-in", "policy_digest": DIGEST, "subject": DIGEST, "verdict": "INCONCLUSIVE", "broken_glass": None,
        "findings": [
            {"gate": "approval", "verdict": "INCONCLUSIVE", "why": "0 of 1.", "way_out": "Ask.", "rule": "", "about": [], "evidence": []}
        ],
    },
    "expected": {"policy/limits": 1, "blueprint/triage": 3},
}  # fmt: skip
APPLIED = {"environment": "production", "changes": [CHANGE], "warnings": [], "gates": None}


class Terminal(io.StringIO):
    """A person at a terminal who answers so."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def served(at, tmp_path):
    at.routes["POST /api/artifacts/plan"] = (200, PLAN, {})
    at.routes["POST /api/artifacts/apply"] = (200, APPLIED, {})
    (tmp_path / "a.yaml").write_text("policy: limits\n")
    return at


@pytest.fixture
def person(monkeypatch):
    """Someone at the terminal who gives this answer."""

    def there(answer: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        monkeypatch.setattr("stanchion.cli.nouns.apply_plan.is_asked", lambda: True)

    return there


def sent(at, what: str) -> list:
    return [body for route, _, body, _ in at.seen if route == f"POST /api/artifacts/{what}"]


def test_scripts_are_served_as_before(served, cli):
    assert cli("apply", "-f", "a.yaml", "-o", "id").out == "limits\n"
    assert sent(served, "plan") == []
    document = {"path": "a.yaml", "source": "policy: limits\n"}
    assert sent(served, "apply") == [{"documents": [document], "dry_run": False, "changelog": ""}]
    assert cli("apply", "-f", "a.yaml", "--dry-run").code == 0
    assert sent(served, "plan") == []


def test_a_person_sees_the_plan_and_gets_that_or_nothing(served, cli, person):
    person("y\n")
    done = cli("apply", "-f", "a.yaml", "--expect", "policy/limits=1")
    assert done.code == 0
    for line in (
        "Plan for environment production, which is production",
        "~ policy/limits 1 → 2  new runs of triage",
        "    ~ when  a > 1 → a > 2",
        "+ policy/new 1, new",
        "  1 unchanged",
        "Gates (built-in): INCONCLUSIVE",
        "      Ask.",
        "Make these 2 live in production?",
    ):
        assert line in done.err
    assert sent(served, "apply")[0]["expected"] == PLAN["expected"]


def test_no_applies_nothing(served, cli, person):
    person("n\n")
    done = cli("apply", "-f", "a.yaml")
    assert (done.code, "Nothing was changed." in done.err) == (1, True)
    assert sent(served, "apply") == []
    assert cli("apply", "-f", "a.yaml", "--yes").code == 0
    assert len(sent(served, "plan")) == 1


def test_a_dry_run_shows_a_person_the_plan_and_says_the_gates_once(served, cli, person):
    served.routes["POST /api/artifacts/apply"] = (200, {**APPLIED, "gates": PLAN["gates"]}, {})
    for said in ((), ("--environment", "production")):
        person("")
        done = cli("apply", "-f", "a.yaml", "--dry-run", *said)
        assert (done.code, "~ policy/limits 1 → 2" in done.err) == (0, True)
        assert done.err.count("approval") == 1
    assert [body["dry_run"] for body in sent(served, "apply")] == [True, True]


def test_nobody_is_asked_about_nothing(served, cli, person):
    person("")
    unchanged = {**PLAN, "changes": [PLAN["changes"][2]], "gates": None}
    served.routes["POST /api/artifacts/plan"] = (200, unchanged, {})
    assert cli("apply", "-f", "a.yaml").code == 0


def test_the_environment_is_a_guard(served, cli):
    done = cli("apply", "-f", "a.yaml", "--environment", "staging")
    assert (done.code, sent(served, "apply")) == (5, [])
    assert "the environment production, not staging" in done.err
    assert cli("apply", "-f", "a.yaml", "--environment", "production").code == 0
    assert sent(served, "apply")[0]["environment"] == "production"


def test_a_plan_is_kept_and_applied_as_it_was(served, cli, tmp_path):
    done = cli("apply", "-f", "a.yaml", "--dry-run", "--out", "p.json", "--changelog", "Why.")
    assert done.code == 0
    kept = json.loads((tmp_path / "p.json").read_text())
    assert [change["version"] for change in kept["changes"]] == [2, 1, 2]
    assert cli("apply", "--plan", "p.json").code == 0
    assert sent(served, "apply")[-1] == {
        "documents": [{"path": "a.yaml", "source": "policy: limits\n"}],
        "dry_run": False,
        "changelog": "Why.",
        "expected": PLAN["expected"],
        "environment": "production",
    }
    assert cli("apply", "-f", "a.yaml", "--dry-run", "--out", "no/such/folder").code == 5


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": "stanchion.apply-plan/2"}', '{"format": "stanchion.apply-plan/1"}', "[" * 9999],
)
def test_what_is_no_plan_is_said(served, cli, tmp_path, content: str):
    (tmp_path / "p.json").write_text(content)
    assert cli("apply", "--plan", "p.json").code == 2
    assert sent(served, "apply") == []


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("-f", "a.yaml", "--plan", "a.yaml"),
        ("-f", "a.yaml", "--out", "p"),
        ("--plan", "a.yaml", "--dry-run"),
        ("--plan", "a.yaml", "--changelog", "x"),
    ],
)
def test_what_does_not_go_together_is_said(served, cli, wrong):
    assert cli("apply", *wrong).code == 2
