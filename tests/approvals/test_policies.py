from __future__ import annotations

import pytest

from stanchion.approvals import policy_of
from stanchion.base import Internal, Invalid
from stanchion.blueprints import config_scope
from stanchion.expressions import FaultyExpression
from tests.approvals.support import POLICY, body_of, parse


def issues_of(source: str) -> list[tuple[str, int, int]]:
    return [(i.code, i.line, i.column) for i in parse(source).issues]


def no_config(kind: str, name: str) -> None:
    """No config is there: the policy names none."""


def test_a_policy_is_read() -> None:
    parsed = parse()
    assert parsed.issues == ()
    assert (parsed.name, parsed.owner, parsed.references) == ("supervisor-approval", "casework", ())
    policy = policy_of(parsed.body, no_config)
    assert (policy.roles, policy.principals, policy.forbid_self) == (("approver",), ("cfo",), True)
    assert policy.expires_s == 72 * 3600
    assert policy.asks({"fine_eur": 100000.5}, {})
    assert not policy.asks({"fine_eur": 100000.0}, {})
    assert policy.title_for({"fine_eur": 5.5}, {}, "x") == "Fine of 5.5 euros"


def test_the_defaults_ask_an_approver_other_than_the_requester_for_three_days() -> None:
    policy = policy_of(body_of("policy: p\ntype: approval\nowner: o\nwhen: 'true'\n"), no_config)
    assert (policy.roles, policy.principals, policy.forbid_self) == (("approver",), (), True)
    assert policy.expires_s == 72 * 3600
    assert policy.asks({}, {})
    assert policy.title_for({}, {}, "case-triage asks at approval") == "case-triage asks at approval"


def test_named_principals_alone_ask_no_role() -> None:
    policy = policy_of(
        body_of("policy: p\ntype: approval\nowner: o\nwhen: 'true'\nask: {principals: [cfo]}\n"), no_config
    )
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
    policy = policy_of(body_of(), no_config)
    policy.check_facts({"fine_eur": 5, "country": "ES"})
    for facts in ({}, {"fine_eur": "5"}, {"fine_eur": -1}, {"fine_eur": 5, "other": 1}, [], None):
        with pytest.raises(Invalid) as caught:
            policy.check_facts(facts)
        assert caught.value.code == "approval.facts"
        assert "supervisor-approval" in caught.value.message


def test_an_absent_fact_fails_and_asks_nobody_silently() -> None:
    policy = policy_of(body_of(POLICY.replace("  required: [fine_eur]\n", "")), no_config)
    with pytest.raises(Invalid) as caught:
        policy.asks({"country": "ES"}, {})
    assert caught.value.code == "expression.failed"


def test_a_policy_of_another_type_is_not_compiled() -> None:
    with pytest.raises(Internal):
        policy_of({"policy": "p", "type": "gate"}, no_config)


def test_a_title_is_one_bounded_line() -> None:
    policy = policy_of(body_of(POLICY.replace("Fine of ${facts.fine_eur} euros", "${facts.country}")), no_config)
    assert policy.title_for({"fine_eur": 1, "country": "a\n b"}, {}, "") == "a b"
    assert len(policy.title_for({"fine_eur": 1, "country": "x" * 999}, {}, "")) == 300


LIMITS = {
    "config": "limits",
    "owner": "o",
    "values": {"fine_eur": 100},
    "environments": {"production": {"fine_eur": 9}},
}
READING = """\
policy: p
type: approval
owner: o
facts: {type: object, required: [fine_eur], properties: {fine_eur: {type: integer}}}
when: facts.fine_eur > config.limits.fine_eur
title: More than ${config.limits.fine_eur} euros
"""


def lookup(kind: str, name: str):
    return LIMITS if (kind, name) == ("config", "limits") else None


def test_a_policy_reads_a_config_and_refers_to_it() -> None:
    parsed = parse(READING, lookup=lookup)
    assert (parsed.issues, parsed.references) == ((), (("config", "limits"),))
    policy = policy_of(parsed.body, lookup)
    assert policy.configs == ("limits",)
    here, there = (config_scope({"limits": LIMITS}, environment) for environment in ("local", "production"))
    assert [policy.asks({"fine_eur": 50}, config) for config in (here, there)] == [False, True]
    assert policy.title_for({"fine_eur": 50}, there, "") == "More than 9 euros"


def test_a_policy_is_checked_against_the_types_of_the_config() -> None:
    def typed(kind: str, name: str):
        return {**LIMITS, "values": {"fine_eur": "a lot"}, "environments": {}}

    def lacking(kind: str, name: str):
        return {**LIMITS, "values": {"fine": 1}, "environments": {}}

    assert [(i.code, i.pointer) for i in parse(READING, lookup=typed).issues] == [("expression.invalid", "/when")]
    missing = parse(READING, lookup=lacking).issues
    assert [(i.pointer, i.hint) for i in missing] == [
        ("/when", "Did you mean fine?"),
        ("/title", "Did you mean fine?"),
    ]
    unknown = parse(READING).issues
    assert [(i.code, i.line, i.column) for i in unknown] == [("config.unknown_artifact", 5, 24)]
    # The same body beside configs of other types is another policy.
    number = {**LIMITS, "values": {"fine_eur": "9.5"}, "schema": {"properties": {"fine_eur": {"type": "string"}}}}
    with pytest.raises(FaultyExpression):
        policy_of(body_of(READING, lookup=lookup), lambda kind, name: number)
