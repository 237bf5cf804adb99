"""What each role permits, whole and readable; and what no role gets round."""

from __future__ import annotations

import dataclasses
import re
import time

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Denied, Internal
from stanchion.context import Actor, system_actor
from stanchion.identity import ACTIONS, ROLES, CedarAuthorizer, role_matrix
from stanchion.identity.cedar import shipped

# Columns: viewer analyst author approver operator admin auditor service, and Stanchion's own `system`.
MATRIX = """
                     vi an au ap op ad ar se sy
runs.start           .  x  x  .  x  x  .  x  x
runs.read            x  x  x  x  x  x  x  x  x
runs.cancel          .  .  x  .  x  x  .  x  x
runs.retry           .  .  .  .  x  x  .  .  x
runs.measure         .  x  x  .  x  x  .  x  .
dlq.read             .  .  x  .  x  x  x  .  x
dlq.requeue          .  .  .  .  x  x  .  .  x
dlq.discard          .  .  .  .  x  x  .  .  .
tasks.submit         .  x  x  .  .  x  .  x  .
tasks.read           x  x  x  x  x  x  x  x  .
workers.read         x  .  .  .  x  x  x  .  x
approvals.read       x  x  x  x  x  x  x  .  x
approvals.decide     .  .  .  x  .  x  .  .  .
artifacts.read       x  x  x  x  x  x  x  .  x
artifacts.publish    .  .  x  .  .  x  .  .  .
releases.read        x  x  x  x  x  x  x  .  x
releases.apply       .  .  x  .  .  x  .  .  .
releases.begin       .  .  x  .  .  x  .  .  .
releases.promote     .  .  x  .  x  x  .  .  x
releases.pause       .  .  x  .  x  x  .  .  x
releases.rollback    .  .  x  .  x  x  .  .  x
releases.export      .  .  x  .  x  x  .  .  .
releases.import      .  .  x  .  .  x  .  .  .
releases.trust       .  .  .  .  .  x  .  .  .
releases.revoke      .  .  .  .  x  x  .  .  .
releases.reinstate   .  .  .  .  .  x  .  .  .
releases.repin       .  .  .  .  x  x  .  .  .
releases.drain       .  .  .  .  x  x  .  .  .
releases.approve     .  .  .  x  .  x  .  .  .
releases.report      .  .  .  .  .  x  .  x  .
releases.break_glass .  .  .  .  x  x  .  .  .
releases.review      .  .  .  x  .  x  .  .  .
blueprints.validate  .  .  x  .  .  x  .  .  .
connectors.read      x  .  x  .  x  x  x  .  x
connectors.test      .  .  x  .  x  x  .  .  .
effects.read         x  .  x  x  x  x  x  .  x
effects.resolve      .  .  .  .  x  x  .  .  x
tools.read           x  x  x  x  x  x  x  x  .
tools.call           .  x  x  .  x  x  .  x  .
tools.approve        .  .  .  x  .  x  .  .  .
tools.enable         .  .  .  .  x  x  .  .  .
tools.disable        .  .  .  .  x  x  .  .  .
triggers.read        x  x  x  x  x  x  x  .  .
triggers.fire        .  .  .  .  x  x  .  x  .
audit.read           .  .  .  .  .  x  x  .  .
identity.whoami      x  x  x  x  x  x  x  x  .
tenants.read         .  .  .  .  .  x  x  .  .
tenants.create       .  .  .  .  .  x  .  .  x
principals.read      .  .  .  .  .  x  x  .  .
principals.create    .  .  .  .  .  x  .  .  x
principals.grant     .  .  .  .  .  x  .  .  x
principals.disable   .  .  .  .  .  x  .  .  .
keys.read            .  .  .  .  .  x  x  .  .
keys.create          .  .  .  .  .  x  .  .  x
keys.revoke          .  .  .  .  .  x  .  .  .
signin.create        .  .  .  .  .  x  .  .  x
secrets.read         .  .  x  .  x  x  x  .  .
secrets.write        .  .  .  .  x  x  .  .  .
secrets.rekey        .  .  .  .  .  x  .  .  .
flags.read           x  x  x  x  x  x  x  .  .
flags.evaluate       .  x  x  .  x  x  .  x  .
kills.read           x  .  x  .  x  x  x  .  .
kills.set            .  .  .  .  x  x  .  .  .
kills.lift           .  .  .  .  .  x  .  .  .
operations.read      .  .  .  .  x  x  x  .  x
"""

CEDAR = CedarAuthorizer()


def actor(*roles: str, **more) -> Actor:
    facts = {
        "tenant": "default",
        "principal": "ada",
        "principal_id": "p1",
        "kind": "user",
        "roles": frozenset(roles),
        "credential": "api_key:1",
    }
    return Actor(**(facts | more))


def table() -> dict[str, dict[str, bool]]:
    columns = (*ROLES, "system")
    return {
        cells[0]: dict(zip(columns, (c == "x" for c in cells[1:]), strict=True))
        for cells in (line.split() for line in MATRIX.strip().splitlines()[1:])
    }


def test_the_matrix_of_roles_and_actions():
    assert role_matrix() == table()
    assert tuple(table()) == ACTIONS


@pytest.mark.parametrize("role", [*ROLES, "system"])
@pytest.mark.parametrize("action", ACTIONS)
def test_every_decision_of_the_matrix(role, action):
    who = system_actor("engine", "default") if role == "system" else actor(role)
    if table()[action][role]:
        CEDAR.check(who, action, {})
    else:
        with pytest.raises(Denied):
            CEDAR.check(who, action, {})


def test_the_schema_names_the_same_actions():
    named = re.findall(r'"([a-z]+\.[a-z_]+)"', shipped("schema.cedarschema"))
    assert tuple(named) == ACTIONS


def test_no_role_is_denied_everything():
    for action in ACTIONS:
        with pytest.raises(Denied):
            CEDAR.check(actor(), action, {})
        with pytest.raises(Denied):
            CEDAR.check(actor("superuser"), action, {})


def test_an_unknown_action_is_denied_to_everybody():
    for action in ("runs.delete", "", "runs.read ", 'x" || true', "RUNS.READ"):
        with pytest.raises(Denied) as refused:
            CEDAR.check(actor("admin"), action, {})
        assert refused.value.fields["permitted_roles"] == []


def test_the_denial_names_principal_action_resource_and_the_way_out():
    with pytest.raises(Denied) as refused:
        CEDAR.check(actor("viewer"), "approvals.decide", {"id": "a7"})
    problem = refused.value
    assert problem.code == "auth.denied"
    assert problem.message == "ada may not do approvals.decide a7."
    assert problem.hint == "It takes one of the roles approver, admin; an admin grants roles."
    assert problem.fields == {
        "principal": "ada",
        "action": "approvals.decide",
        "resource": "a7",
        "permitted_roles": ["approver", "admin"],
    }


def test_another_tenants_resource_is_denied_even_to_admins():
    CEDAR.check(actor("admin"), "runs.read", {"tenant": "default"})
    with pytest.raises(Denied) as refused:
        CEDAR.check(actor("admin"), "runs.read", {"tenant": "other"})
    assert refused.value.hint == "It belongs to another tenant."


def test_scopes_intersect_with_roles():
    scoped = actor("operator", scopes=frozenset({"runs.read", "artifacts.publish"}))
    CEDAR.check(scoped, "runs.read", {})
    with pytest.raises(Denied) as refused:
        CEDAR.check(scoped, "runs.cancel", {})
    assert "limited to: artifacts.publish, runs.read" in refused.value.hint
    with pytest.raises(Denied):
        CEDAR.check(scoped, "artifacts.publish", {})


def test_only_the_home_tenant_makes_tenants():
    CEDAR.check(actor("admin"), "tenants.create", {})
    with pytest.raises(Denied) as refused:
        CEDAR.check(actor("admin", tenant="acme"), "tenants.create", {})
    assert "tenant 'default' makes tenants" in refused.value.hint


def test_the_role_system_is_nobody_elses():
    for kind in ("user", "service", "schedule"):
        with pytest.raises(Denied):
            CEDAR.check(actor("system", "admin", kind=kind), "runs.read", {})


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_name_or_id_is_read_as_policy(name, resource):
    """Whatever stands in names and ids, a viewer stays a viewer and an admin an admin."""
    for principal_id in (name, ""):
        viewer = actor("viewer", principal=name, principal_id=principal_id)
        CEDAR.check(viewer, "runs.read", {"id": resource})
        with pytest.raises(Denied):
            CEDAR.check(viewer, "runs.cancel", {"id": resource})
        CEDAR.check(dataclasses.replace(viewer, roles=frozenset({"admin"})), "runs.cancel", {"id": resource})


@pytest.mark.parametrize(
    "policy",
    [
        'permit (principal, action == Stanchion::Action::"runs.destroy", resource);',
        'permit (principal, action, resource) when { principal.rolse == "x" };',
        "permit (principal, action, resource",
    ],
)
def test_a_policy_that_does_not_fit_its_schema_is_refused_whole(policy):
    with pytest.raises(Internal) as refused:
        CedarAuthorizer(policy=policy)
    assert refused.value.code == "auth.bad_policy"


def test_an_empty_policy_permits_nothing():
    empty = CedarAuthorizer(policy="")
    for action in ACTIONS:
        with pytest.raises(Denied):
            empty.check(actor("admin"), action, {})


def test_the_shipped_policy_is_formatted_by_hand_and_valid():
    assert cedarpy.validate_policies(shipped("policy.cedar"), shipped("schema.cedarschema")).validation_passed


def test_a_decision_costs_little():
    """Target 100 µs; the bound leaves room for a busy machine."""
    who = actor("operator")
    best = min(_timed(who) for _ in range(5))
    assert best < 400e-6, f"{best * 1e6:.0f} µs"


def _timed(who) -> float:
    started = time.perf_counter()
    for _ in range(200):
        CEDAR.check(who, "runs.read", {"id": "r1"})
    return (time.perf_counter() - started) / 200


def test_a_verdict_is_remembered_for_its_question_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    authorizer = CedarAuthorizer()
    asked: list[str] = []
    original = authorizer._asked

    def counted(actor: Actor, action: str, tenant: str, resource_id: str) -> tuple[str, ...] | None:
        asked.append(action)
        return original(actor, action, tenant, resource_id)

    monkeypatch.setattr(authorizer, "_asked", counted)
    viewer = dataclasses.replace(system_actor("x", "default"), kind="user", roles=frozenset({"viewer"}))
    operator = dataclasses.replace(viewer, roles=frozenset({"viewer", "operator"}))
    for round_ in range(3):
        if round_:
            asked.clear()  # the first round also asked which roles would permit, for the hint
        with pytest.raises(Denied):
            authorizer.check(viewer, "runs.start", {})
        authorizer.check(operator, "runs.start", {})
        with pytest.raises(Denied):
            authorizer.check(operator, "runs.start", {"tenant": "another"})
        with pytest.raises(Denied):
            authorizer.check(dataclasses.replace(operator, scopes=frozenset({"runs.read"})), "runs.start", {})
        assert bool(asked) == (round_ == 0)
