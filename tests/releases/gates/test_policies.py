"""What a gate policy may say, and how it is told what is wrong with it, at its place."""

from __future__ import annotations

import pytest

from stanchion.approvals import PolicyKind
from stanchion.artifacts import Document
from stanchion.releases.gates import GATES
from stanchion.releases.gates.policies import BUILT_IN, built_in, policy_of

KIND = PolicyKind(others=[GATES.policy_type()])
POLICY = """\
policy: release-gates
type: gate
owner: platform
rules:
  - name: risky
    kinds: [prompt, policy]
    risks: [high]
    when: release.share > 10 && artifact.labels['team'] == 'casework'
    strategies: [canary, rings]
    needs:
      - {gate: approval, count: 2, roles: [approver], max_age: 7d}
      - {gate: eval, suite: answers, cases_min: 50}
      - {gate: required_fields, fields: [owner]}
  - name: nothing
    names: [sandbox]
    needs: []
review_within: 24h
"""


def issues_of(source: str) -> list[tuple[str, int, int]]:
    return [
        (i.code, i.line, i.column) for i in KIND.parse(Document(path="p.yaml", source=source), lambda k, n: None).issues
    ]


def test_a_whole_policy_has_no_issue_and_compiles() -> None:
    assert issues_of(POLICY) == []
    parsed = KIND.parse(Document(path="p.yaml", source=POLICY), lambda k, n: None)
    policy = policy_of(parsed.body, version=3, content="sha256:x")
    assert (policy.called, policy.digest, policy.review_within.total_seconds()) == (
        "policy/release-gates@3",
        "sha256:x",
        86_400,
    )
    assert [rule.name for rule in policy.rules] == ["risky", "nothing"]
    assert policy.rest == built_in().rest


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "column"),
    [
        ("policy: release-gates", "policy: my-gates", "document.choice", 1, 9),
        ("type: gate", "type: gates", "document.choice", 2, 7),
        ("kinds: [prompt, policy]", "kinds: [promt]", "document.choice", 6, 13),
        ("risks: [high]", "risks: [highest]", "document.choice", 7, 13),
        ("release.share > 10 &&", "release.shares > 10 &&", "expression.invalid", 8, 19),
        (
            "when: release.share > 10 && artifact.labels['team'] == 'casework'",
            "when: release.share",
            "policy.when",
            8,
            11,
        ),
        ("strategies: [canary, rings]", "strategies: []", "document.range", 9, 17),
        ("{gate: approval,", "{gate: approvals,", "document.choice", 11, 16),
        ("{gate: eval, suite: answers, cases_min: 50}", "{gate: eval}", "document.missing_field", 12, 9),
        ("{gate: eval, suite: answers", "{gate: approval, suite: answers", "document.unknown_field", 12, 26),
        ("max_age: 7d", "max_age: a week", "document.duration", 11, 64),
        ("fields: [owner]", "fields: [onwer]", "document.choice", 13, 42),
        ("name: nothing", "name: risky", "policy.rule_twice", 14, 11),
        ("    needs: []\n", "", "policy.rule_empty", 14, 5),
        ("owner: platform\n", "", "document.missing_field", 1, 1),
    ],
)
def test_what_is_wrong_is_said_at_its_place(old: str, new: str, code: str, line: int, column: int) -> None:
    assert POLICY.count(old) == 1
    found = issues_of(POLICY.replace(old, new))
    assert (code, line, column) in found


def test_other_policies_are_read_as_before() -> None:
    source = "policy: p\ntype: approval\nowner: o\nwhen: 'true'\n"
    assert issues_of(source) == []
    assert [code for code, _, _ in issues_of(source.replace("policy: p", "policy: release-gates"))] == ["policy.name"]


@pytest.mark.parametrize("source", ["", "[]", "policy: [", "type: gate", "type: gate\nrules: 5\n", "type: [gate]\n"])
def test_what_is_no_policy_at_all_is_an_issue_and_never_an_exception(source: str) -> None:
    assert issues_of(source)


def test_the_built_in_policy_is_one() -> None:
    import json

    source = json.dumps(BUILT_IN)
    assert issues_of(source) == []
