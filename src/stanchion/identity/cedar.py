"""The one decision point: Cedar behind `context.Authorizer`.

The shipped policy and schema are parsed once per process. Entity ids go in as {"type", "id"} and never as text, so
that no id can be read as policy (strings built by hand failed 5,958 of 62,546 cases of Cedar's own corpus, measured).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final, cast

import cedarpy

from stanchion.base import Denied, Internal, dumps
from stanchion.context import Actor
from stanchion.identity.types import ACTIONS, ROLES, SYSTEM_ROLE

_PRINCIPAL: Final = "Stanchion::Principal"
_ROLE: Final = "Stanchion::Role"
_ACTION: Final = "Stanchion::Action"
_RESOURCE: Final = "Stanchion::Resource"

# PolicySet, Schema and Entities are classes of cedarpy's extension that its stubs do not name.
_cedar: Final = cast("Any", cedarpy)

# Verdicts kept per process. A decision depends on nothing but its question and the policy, which is parsed once.
_VERDICTS_MAX: Final = 4096
_Question = tuple[str, str, str, frozenset[str], frozenset[str], str, str, str]


class CedarAuthorizer:
    """Decides every `ctx.require` (I11). A question is put to Cedar once (50 µs hot, 0.4 ms on an idle machine, measured)
    and its verdict remembered: the same actor with the same roles and scopes doing the same to the same thing."""

    def __init__(self, *, policy: str | None = None, schema: str | None = None, home_tenant: str = "default") -> None:
        """Parse and validate.

        Args:
            policy: Cedar text; the shipped policy if None.
            schema: Cedar schema text; the shipped one if None.
            home_tenant: the deployment's own tenant, whose admins may make tenants.

        Raises:
            Internal `auth.bad_policy`: the policy does not fit the schema; nothing is permitted then.
        """
        policy = shipped("policy.cedar") if policy is None else policy
        schema = shipped("schema.cedarschema") if schema is None else schema
        self._home_tenant = home_tenant
        try:
            found = _cedar.validate_policies(policy, schema)
            self._policies = _cedar.PolicySet.from_str(policy)
            self._schema = _cedar.Schema.from_str(schema)
        except ValueError as error:
            raise Internal("auth.bad_policy", f"The authorization policy cannot be read: {error}.") from error
        if not found.validation_passed:
            errors = "; ".join(str(e.error) for e in found.errors)
            raise Internal("auth.bad_policy", f"The authorization policy does not fit its schema: {errors}.")
        self._permitting: dict[str, tuple[str, ...]] = {}
        self._verdicts: dict[_Question, tuple[str, ...] | None] = {}

    def check(self, actor: Actor, action: str, resource: Mapping[str, object]) -> None:
        """Return if permitted. Raises Denied `auth.denied` naming principal, action, resource and the way out.

        Args:
            actor: who; its roles, scopes and tenant count, its name does not.
            action: one of ACTIONS; another is denied.
            resource: facts of the thing acted on: `id` or `name`, and `tenant` where it could be another's.
        """
        tenant = str(resource.get("tenant", actor.tenant))
        named = resource.get("id", resource.get("name", ""))
        reasons = self._decide(actor, action, tenant, str(named))
        if reasons is None:
            return
        raise self._denied(actor, action, str(named), reasons)

    def permits(self, actor: Actor, action: str) -> bool:
        """Whether the actor may do `action` to something of its own tenant: for pages that offer what is permitted."""
        return self._decide(actor, action, actor.tenant, "") is None

    def roles_permitting(self, action: str) -> tuple[str, ...]:
        """The roles that may be granted and permit `action`, as the policy itself decides."""
        if action not in self._permitting:
            home = self._home_tenant
            self._permitting[action] = tuple(r for r in ROLES if self.permits(_holder(r, home), action))
        return self._permitting[action]

    def _decide(self, actor: Actor, action: str, tenant: str, resource_id: str) -> tuple[str, ...] | None:
        """None if permitted, else the ids of the policies that forbid (empty: nothing permits)."""
        question = (
            *(actor.tenant, _uid(actor), actor.kind, actor.roles, actor.scopes),
            *(action, tenant, resource_id),
        )
        try:
            return self._verdicts[question]
        except KeyError:
            pass
        if len(self._verdicts) >= _VERDICTS_MAX:
            self._verdicts.clear()
        verdict = self._verdicts[question] = self._asked(actor, action, tenant, resource_id)
        return verdict

    def _asked(self, actor: Actor, action: str, tenant: str, resource_id: str) -> tuple[str, ...] | None:
        if action not in ACTIONS:
            return ()
        answer = _cedar.is_authorized(
            {
                "principal": {"type": _PRINCIPAL, "id": _uid(actor)},
                "action": {"type": _ACTION, "id": action},
                "resource": {"type": _RESOURCE, "id": resource_id},
                "context": {"action": action, "tenant": tenant, "home": actor.tenant == self._home_tenant},
            },
            self._policies,
            _cedar.Entities.from_json_str(dumps(_entities(actor)).decode()),
            self._schema,
        )
        if answer.allowed and not answer.diagnostics.errors:
            return None
        return tuple(answer.diagnostics.id_annotations_by_reason.values())

    def _denied(self, actor: Actor, action: str, named: str, reasons: tuple[str, ...]) -> Denied:
        of = f" {named}" if named else ""
        may = self.roles_permitting(action)
        if action not in ACTIONS:
            hint = "There is no such action."
        elif "wall.tenant" in reasons:
            hint = "It belongs to another tenant."
        elif "limit.home" in reasons:
            hint = f"Only an admin of the tenant {self._home_tenant!r} makes tenants."
        elif "limit.scopes" in reasons:
            hint = (
                f"The credential is limited to: {', '.join(sorted(actor.scopes))}. Use one whose scopes name {action}."
            )
        else:
            hint = f"It takes one of the roles {', '.join(may)}; an admin grants roles."
        return Denied(
            "auth.denied",
            f"{actor.principal} may not do {action}{of}.",
            hint=hint,
            principal=actor.principal,
            action=action,
            resource=named,
            permitted_roles=list(may),
        )


def role_matrix() -> dict[str, dict[str, bool]]:
    """What each role permits, as the shipped policy decides: action → role → permitted. `system` is the last role."""
    authorizer = CedarAuthorizer()
    return {
        action: {role: authorizer.permits(_holder(role, "default"), action) for role in (*ROLES, SYSTEM_ROLE)}
        for action in ACTIONS
    }


@cache
def shipped(name: str) -> str:
    """The text of a file that this package ships."""
    return (resources.files("stanchion.identity") / name).read_text(encoding="utf-8")


def _holder(role: str, tenant: str) -> Actor:
    return Actor(
        tenant=tenant,
        principal=role,
        principal_id="",
        kind="system" if role == SYSTEM_ROLE else "user",
        roles=frozenset({role}),
        credential="system",
    )


def _uid(actor: Actor) -> str:
    return actor.principal_id or actor.principal


def _entities(actor: Actor) -> list[dict[str, object]]:
    attributes: dict[str, object] = {"tenant": actor.tenant, "kind": actor.kind}
    if actor.scopes:
        attributes["scopes"] = sorted(actor.scopes)
    parents = [{"type": _ROLE, "id": role} for role in sorted(actor.roles)]
    roles: list[dict[str, object]] = [{"uid": uid, "attrs": {}, "parents": []} for uid in parents]
    return [{"uid": {"type": _PRINCIPAL, "id": _uid(actor)}, "attrs": attributes, "parents": parents}, *roles]
