"""Calls decided by Cedar: the shipped policy, a tenant's own beside it, and what an attacker would send."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stanchion.base import Denied, Json, Unavailable
from stanchion.context import Actor, Environment, system_actor
from stanchion.identity import (
    ROLES,
    AuthorizationPolicy,
    CallQuestion,
    CedarCalls,
    call_schema,
    faults_in,
    role_matrix,
)
from stanchion.identity.cedar_facts import FACTS_MAX, facts_of

LIMIT = """
// Small postings; a `;` in a comment ends nothing.
@id("small")
permit (principal in Stanchion::Role::"service", action, resource in Stanchion::Connector::"erp")
when { context.decimals.hasTag("amount") && context.decimals.getTag("amount").lessThan(decimal("1000.0")) };
"""


class Source:
    """Policies as they are live; None: nobody could read them."""

    def __init__(self, *policies: AuthorizationPolicy, unread: bool = False) -> None:
        self.live = policies
        self.unread = unread

    def policies(self, tenant: str, *, strict: bool) -> tuple[AuthorizationPolicy, ...]:
        if self.unread:
            raise Unavailable("policy.unread", f"Nothing is known of {tenant}.", hint="Later.", strict=strict)
        return self.live


def policy(cedar: str, name: str = "own", digest: str = "sha256:1") -> AuthorizationPolicy:
    return AuthorizationPolicy(name=name, version=1, digest=digest, cedar=cedar)


def actor(role: str, tenant: str = "acme") -> Actor:
    return Actor(
        tenant=tenant, principal=f"{role}-1", principal_id="p1", kind="user", roles=frozenset({role}), credential="x"
    )


def question(
    who: Actor,
    effect: str = "write",
    *,
    production: bool = True,
    arguments: dict[str, Json] | None = None,
    tool: str = "",
    tenant: str = "acme",
) -> CallQuestion:
    return CallQuestion(
        tenant=tenant,
        actor=who,
        effect=effect,  # type: ignore[arg-type]
        verb="fetch" if effect == "read" else "push",
        connector="erp",
        resource="postings",
        operation="fetch" if effect == "read" else "push",
        connector_environment="production",
        connector_digest="sha256:c",
        environment=Environment(name="production" if production else "local", production=production),
        arguments=arguments or {},
        tool=tool,
        tool_digest="sha256:t" if tool else "",
    )


@pytest.mark.parametrize("production", [True, False])
@pytest.mark.parametrize("effect", ["read", "write", "destructive"])
def test_by_default_who_may_start_runs_reads_everywhere_and_writes_outside_production(
    effect: str, production: bool
) -> None:
    may_start = role_matrix()["runs.start"]
    for role in ROLES:
        verdict = CedarCalls(Source()).judge_call(question(actor(role), effect, production=production))
        assert verdict.permitted == (may_start[role] and (effect == "read" or not production)), role
    system = system_actor("scheduler", "acme")
    assert CedarCalls(Source()).judge_call(question(system, "read")).permitted


def test_a_person_with_the_role_system_is_refused() -> None:
    verdict = CedarCalls(Source()).judge_call(question(actor("system"), "read"))
    assert (verdict.permitted, verdict.because) == (False, ("built-in/limit.system",))


def test_another_tenants_connector_is_behind_a_wall_whatever_its_policies_permit() -> None:
    calls = CedarCalls(Source(policy('@id("all") permit (principal, action, resource);')))
    assert calls.judge_call(question(actor("viewer"))).permitted
    verdict = calls.judge_call(question(actor("admin", tenant="other"), tenant="acme"))
    assert (verdict.permitted, verdict.because) == (False, ("built-in/wall.tenant",))


@pytest.mark.parametrize(
    ("amount", "permitted"),
    [
        (999, True), (999.99, True), ("999.99", True), ("0999.9900", True), (1000, False), ("5000", False), (None, False),
        ({"amount": 5}, False), ([5], False), (True, False), ("5 ", False), ("5e-400", False), (1.00001, False),
        (2**63 - 1, False), ("٥", False), ("NaN", False), ("-Infinity", False), ("0x5", False), ("", False),
    ],
)  # fmt: skip
def test_a_permit_with_a_limit_holds_for_numbers_within_it_and_for_nothing_else(amount: Json, permitted: bool) -> None:
    calls = CedarCalls(Source(policy(LIMIT)))
    assert calls.judge_call(question(actor("service"), arguments={"amount": amount})).permitted == permitted


def test_a_tool_is_one_of_its_connector_and_has_permits_of_its_own() -> None:
    only = policy(
        '@id("only") permit (principal, action, resource == Stanchion::Tool::"post-cost")'
        ' when { context.tool_digest == "sha256:t" };'
    )
    calls = CedarCalls(Source(only))
    assert calls.judge_call(question(actor("service"), tool="post-cost")).because == ("own/only",)
    assert not calls.judge_call(question(actor("service"), tool="other")).permitted
    assert not calls.judge_call(question(actor("service"))).permitted
    whole = CedarCalls(Source(policy(LIMIT)))
    assert whole.judge_call(question(actor("service"), tool="post-cost", arguments={"amount": 1})).permitted


@pytest.mark.parametrize(
    ("effect", "name", "said"),
    [
        ("write", "production", "may not write through erp.postings.push: no policy permits a write in production."),
        (
            "destructive",
            "live",
            "may not make a destructive call through erp.postings.push: no policy permits a destructive call in live, a production environment.",
        ),
    ],
)
def test_a_denial_says_what_and_where_and_leads_to_a_page_that_is_there(effect: str, name: str, said: str) -> None:
    asked = replace(question(actor("admin"), effect), environment=Environment(name=name, production=True))
    with pytest.raises(Denied) as caught:
        CedarCalls(Source()).authorize_call(asked)
    assert caught.value.message.endswith(said)
    [page] = [word.rstrip(".") for word in caught.value.hint.split() if word.startswith("docs/")]
    assert (Path(__file__).parents[2] / page).is_file()


def test_forbid_wins_over_the_shipped_permit_and_is_named() -> None:
    calls = CedarCalls(Source(policy('@id("stop") forbid (principal, action, resource);', name="freeze")))
    with pytest.raises(Denied) as caught:
        calls.authorize_call(question(actor("admin"), "read", production=False))
    assert caught.value.code == "auth.denied"
    assert "freeze/stop" in caught.value.message
    assert caught.value.fields["policies"] == ["freeze/stop"]


@pytest.mark.parametrize(
    "unreadable",
    ["", "// nothing", "permit(", '@id("x") permit (principal, action, resource) when { context.no == 1 };'],
)
def test_a_policy_that_cannot_be_read_denies_every_call_of_its_tenant(unreadable: str) -> None:
    everything = policy('@id("all") permit (principal, action, resource);', name="all")
    calls = CedarCalls(Source(everything, policy(unreadable, name="broken", digest="sha256:2")))
    verdict = calls.judge_call(question(actor("admin"), "read", production=False))
    assert not verdict.permitted
    assert "broken@1 cannot be read" in verdict.refusals[0]


def test_unread_policies_deny() -> None:
    with pytest.raises(Unavailable) as caught:
        CedarCalls(Source(unread=True)).authorize_call(question(actor("admin"), "read"))
    assert caught.value.code == "policy.unread"


def test_a_policy_cannot_pass_for_a_shipped_one_nor_push_it_aside() -> None:
    forged = policy('@id("wall.tenant") permit (principal, action, resource);', name="other")
    calls = CedarCalls(Source(forged))
    assert not calls.judge_call(question(actor("admin", tenant="other"), tenant="acme")).permitted
    assert calls.judge_call(question(actor("viewer"))).because == ("other/wall.tenant",)


def test_a_change_of_policy_counts_at_once_and_unequal_texts_are_never_taken_for_one_another() -> None:
    source = Source(policy(LIMIT))
    calls = CedarCalls(source)
    asked = question(actor("service"), arguments={"amount": 500})
    before = calls.judge_call(asked)
    source.live = (policy(LIMIT.replace("1000.0", "100.0"), digest="sha256:2"),)
    after = calls.judge_call(asked)
    assert (before.permitted, after.permitted) == (True, False)
    assert before.policies != after.policies


def test_more_arguments_than_policy_looks_at_are_denied() -> None:
    calls = CedarCalls(Source(policy('@id("all") permit (principal, action, resource);')))
    arguments: dict[str, Json] = {f"a{n}": n for n in range(FACTS_MAX + 1)}
    assert not calls.judge_call(question(actor("admin"), arguments=arguments)).permitted
    arguments.popitem()
    assert calls.judge_call(question(actor("admin"), arguments=arguments)).permitted


def test_a_key_with_a_dot_cannot_pass_for_a_member_of_an_object() -> None:
    facts = facts_of({"line.amount": 5, "line": {"amount": 5000, "x.y": 1}, "rows": [1, 2]})
    assert facts.numbers == {"line.amount": 5000, "rows.count": 2}
    assert facts.unmeasured == {"line.amount", "line.x.y", "rows"}


def test_what_has_no_exact_form_is_unmeasured_and_a_forbid_can_say_so() -> None:
    rule = '@id("all") permit (principal, action, resource); @id("odd") forbid (principal, action, resource) when { context.unmeasured.contains("amount") };'
    calls = CedarCalls(Source(policy(rule)))
    assert calls.judge_call(question(actor("service"), arguments={"amount": "12.50"})).permitted
    for odd in (1.000001, "1.000001", 10**18, [1], "x" * 3000):
        assert not calls.judge_call(question(actor("service"), arguments={"amount": odd})).permitted


@pytest.mark.parametrize(
    ("text", "at", "code", "said"),
    [
        ("permit (principal, action, resource);", "permit", "policy.cedar_id", "@id"),
        ('@id("a") permit (principal, action, resource) when { context.efect == "x" };', "efect", "policy.cedar_schema", "'effect'"),
        ('@id("a") permit (principal, action == Stanchion::Action::"tools.cal", resource);', 'Stanchion::Action::"tools.cal', "policy.cedar_schema", "tools.cal"),
        ('@id("a") permit (principal, action, resource);\n@id("a") forbid (principal, action, resource);', '@id("a") forbid', "policy.cedar_id", "two statements"),
        ('@id("a") permit (principal, action, resource); @id("b") permit (principal action, resource);', "action, resource);", "policy.cedar_syntax", "not Cedar"),
        ('@id("a") permit (principal == ?principal, action, resource);', "?principal", "policy.cedar_template", "template"),
        ('@id("a") permit (principal, action, resource) when { context.decimals.getTag("x") == decimal("1.0") };', "x", "policy.cedar_schema", "hasTag"),
        ("// only a comment", "//", "policy.cedar_empty", "no statement"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_text_is_told_at_its_place(text: str, at: str, code: str, said: str) -> None:
    found = faults_in(text, call_schema())
    assert [fault.code for fault in found] == [code]
    assert said in f"{found[0].message} {found[0].hint}"
    assert found[0].offset == (text.rfind(at) if code == "policy.cedar_syntax" else text.find(at))


def test_a_text_without_faults_has_none() -> None:
    assert faults_in(LIMIT, call_schema()) == []
