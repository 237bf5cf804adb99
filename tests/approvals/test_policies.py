from __future__ import annotations

import pytest

from stanchion.approvals import policy_of
from stanchion.base import Internal, Invalid
from tests.approvals.support import POLICY, body_of, parse


def issues_of(source: str) -> list[tuple[str, int, int]]:
    return [(i.code, i.line, i.column) for i in parse(source).issues]


def test_a_policy_is_read() -> None:
    parsed = parse()
    assert parsed.issues == ()
    assert (parsed.name, parsed.owner, parsed.references) == ("supervisor-approval", "casework", ())
    policy = policy_of(parsed.body)
    assert (policy.roles, policy.principals, policy.forbid_self) == (("approver",), ("cfo",), True)
    assert policy.expires_s == 72 * 3600
    assert policy.asks({"fine_eur": 100000.5})
    assert not policy.asks({"fine_eur": 100000.0})
    assert policy.title_for({"fine_eur": 5.5}, "x") == "Fine of 5.5 euros"


def test_the_defaults_ask_an_approver_other_than_the_requester_for_three_days() -> None:
    policy = policy_of(body_of("policy: p\ntype: approval\nowner: o\nwhen: 'true'\n"))
    assert (policy.roles, policy.principals, policy.forbid_self) == (("approver",), (), True)
    assert policy.expires_s == 72 * 3600
    assert policy.asks({})
    assert policy.title_for({}, "case-triage asks at approval") == "case-triage asks at approval"


def test_named_principals_alone_ask_no_role() -> None:
    policy = policy_of(body_of("policy: p\ntype: approval\nowner: o\nwhen: 'true'\nask: {principals: [cfo]}\n"))
    assert (policy.roles, policy.principals) == ((), ("cfo",))


@pytest.mark.parametrize(
    ("old", "new", "code", "line", "column"),
    [
        ("type: approval", "type: gate", "document.choice", 2, 7),
        ("type: approval\n", "", "document.missing_field", 1, 1),
        ("owner: casework\n", "", "document.missing_field", 1, 1),
        ("policy: supervisor-approval", "policy: Supervisor", "document.pattern", 1, 9),
        ("when:", "wen:", "document.missing_field", 1, 1),
        ("when:", "wen:", "document.unknown_field", 11, 1),
        ("facts.fine_eur > 100000.0", "facts.fine > 100000.0", "expression.invalid", 11, 13),
        ("facts.fine_eur > 100000.0", "facts.fine_eur >", "expression.invalid", 11, 23),
        ("facts.fine_eur > 100000.0", "facts.fine_eur", "policy.when", 11, 7),
        ("facts.fine_eur > 100000.0", "facts.country > 5", "expression.invalid", 11, 21),
        ("facts.fine_eur > 100000.0", "${facts.fine_eur > 1.0}", "document.bare_expression", 11, 7),
        ("${facts.fine_eur} euros", "${facts.fin} euros", "expression.invalid", 12, 24),
        ("required: [fine_eur]", "required: [fine]", "document.schema", 7, 14),
        ("minimum: 0", "minimun: 0", "document.unknown_field", 9, 30),
        ("{type: string}", "{type: text}", "document.choice", 10, 21),
        ("facts:\n  type: object", "facts:\n  type: array", "policy.facts", 6, 9),
        ("roles: [approver]", "roles: [aprover]", "policy.role", 14, 11),
        ("roles: [approver]", "roles: [approver, operator]", "policy.role", 14, 21),
        ("  roles: [approver]\n  principals: [cfo]", "  roles: []", "policy.asks_nobody", 14, 10),
        ("expires: 72h", "expires: 3 days", "document.duration", 16, 12),
        ("expires: 72h", "expire: 72h", "document.unknown_field", 16, 3),
        ("ask:\n", "ask:\n  forbid_self: sometimes\n", "document.type", 14, 16),
    ],
)
def test_what_is_wrong_is_said_at_its_place(old: str, new: str, code: str, line: int, column: int) -> None:
    assert POLICY.count(old) == 1
    assert (code, line, column) in issues_of(POLICY.replace(old, new))


def test_all_of_it_is_said_at_once() -> None:
    source = POLICY.replace("type: approval", "type: gate").replace("72h", "never").replace("[approver]", "[boss]")
    assert {code for code, _, _ in issues_of(source)} == {"document.choice", "document.duration", "policy.role"}
    assert len(issues_of(source)) == 3


@pytest.mark.parametrize("source", ["", "[]", "policy: [", "policy: x\npolicy: y\n", "just text", "policy: \0"])
def test_what_is_no_policy_at_all_is_an_issue_and_never_an_exception(source: str) -> None:
    assert parse(source).issues


def test_facts_are_checked_before_they_are_judged() -> None:
    policy = policy_of(body_of())
    policy.check_facts({"fine_eur": 5, "country": "ES"})
    for facts in ({}, {"fine_eur": "5"}, {"fine_eur": -1}, {"fine_eur": 5, "other": 1}, [], None):
        with pytest.raises(Invalid) as caught:
            policy.check_facts(facts)
        assert caught.value.code == "approval.facts"
        assert "supervisor-approval" in caught.value.message


def test_an_absent_fact_fails_and_asks_nobody_silently() -> None:
    policy = policy_of(body_of(POLICY.replace("  required: [fine_eur]\n", "")))
    with pytest.raises(Invalid) as caught:
        policy.asks({"country": "ES"})
    assert caught.value.code == "expression.failed"


def test_a_policy_of_another_type_is_not_compiled() -> None:
    with pytest.raises(Internal):
        policy_of({"policy": "p", "type": "gate"})


def test_a_title_is_one_bounded_line() -> None:
    policy = policy_of(body_of(POLICY.replace("Fine of ${facts.fine_eur} euros", "${facts.country}")))
    assert policy.title_for({"fine_eur": 1, "country": "a\n b"}, "") == "a b"
    assert len(policy.title_for({"fine_eur": 1, "country": "x" * 999}, "")) == 300
