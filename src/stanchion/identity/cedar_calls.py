"""Calls of connectors and tools, decided by Cedar: the shipped policy and the tenant's own, in one set."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, cast

import cedarpy

from stanchion.base import Denied, Internal, Json, canonical, digest, dumps
from stanchion.context import Actor
from stanchion.identity.calling import AuthorizationPolicy, CallQuestion, CallVerdict, PolicySource
from stanchion.identity.cedar import shipped
from stanchion.identity.cedar_facts import FACTS_MAX, TAGGED, CallFacts, facts_of
from stanchion.identity.cedar_text import CedarStatement, statements_of

_cedar: Final = cast("Any", cedarpy)
_NS: Final = "Stanchion::"
BUILT_IN: Final = "built-in"
# Compiled sets kept per process: one per tenant and state of its policies.
_SETS_MAX: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compiled:
    policies: Any
    digest: str
    unreadable: tuple[str, ...]


class CedarCalls:
    """Fills `CallAuthorizer`. A decision takes some 0.1 ms (measured); what a tenant's policies compile to is remembered.

    Args:
        source: the live authorization policies.
    """

    def __init__(self, source: PolicySource) -> None:
        self._source = source
        self._compiled: OrderedDict[tuple[tuple[str, str], ...], _Compiled] = OrderedDict()

    def authorize_call(self, question: CallQuestion) -> CallVerdict:
        """The verdict, which permits. Raises Denied `auth.denied`, Unavailable `policy.unread`."""
        verdict = self.judge_call(question)
        if not verdict.permitted:
            raise denied(question, verdict)
        return verdict

    def judge_call(self, question: CallQuestion) -> CallVerdict:
        """The verdict. Raises Unavailable `policy.unread`."""
        return self.judge_by(self._source.policies(question.tenant, strict=question.effect != "read"), question)

    def judge_by(self, policies: tuple[AuthorizationPolicy, ...], question: CallQuestion) -> CallVerdict:
        """The verdict of these policies and the shipped one, whatever is live."""
        compiled = self._set(policies)
        if compiled.unreadable:
            return CallVerdict(permitted=False, refusals=compiled.unreadable, policies=compiled.digest)
        facts = facts_of(question.arguments)
        if facts.count > FACTS_MAX:
            refusal = f"the call has {facts.count} arguments, and policy looks at no more than {FACTS_MAX}"
            return CallVerdict(permitted=False, refusals=(refusal,), policies=compiled.digest)
        answer = _cedar.is_authorized(
            _request(question, facts),
            compiled.policies,
            _cedar.Entities.from_json_str(dumps(_entities(question, facts)).decode()),
            _schema(),
        )
        errors = tuple(str(error) for error in answer.diagnostics.errors)
        # An error in one statement leaves the others to decide: what it would have forbidden is not known, hence denied.
        return CallVerdict(
            permitted=bool(answer.allowed) and not errors,
            because=tuple(sorted(answer.diagnostics.reasons)),
            refusals=errors,
            policies=compiled.digest,
        )

    def _set(self, policies: tuple[AuthorizationPolicy, ...]) -> _Compiled:
        key = tuple((policy.name, policy.unreadable or policy.digest) for policy in policies)
        found = self._compiled.get(key)
        if found is None:
            found = self._compiled[key] = _compile(policies)
            while len(self._compiled) > _SETS_MAX:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(key)
        return found


# What a call of an effect class is, as a verb and as a noun.
_WORDS: Final = {
    "read": ("read", "a read"),
    "write": ("write", "a write"),
    "destructive": ("make a destructive call", "a destructive call"),
}


def denied(question: CallQuestion, verdict: CallVerdict) -> Denied:
    """The problem of a call that is not permitted: who, what, which statement, and the way out."""
    by = ", ".join(verdict.because)
    does, what = _WORDS[question.effect]
    if verdict.refusals:
        why, hint = (
            "; ".join(verdict.refusals),
            "Nothing is permitted until the policy can be read: roll it back or correct it.",
        )
    elif verdict.because:
        why, hint = (
            f"forbidden by {by}",
            f"See `stanchion artifact show policy/{verdict.because[0].partition('/')[0]}`; a forbid wins over every permit.",
        )
    elif question.effect != "read" and question.environment.production:
        name = question.environment.name
        where = name if name == "production" else f"{name}, a production environment"
        why = f"no policy permits {what} in {where}"
        hint = "Release a policy of type authorization that permits it: docs/reference/authorization.md."
    else:
        why, hint = (
            "no policy permits it",
            "It takes a role that may start runs, or an authorization policy that permits it.",
        )
    return Denied(
        "auth.denied",
        f"{question.actor.principal} may not {does} through {question.target}: {why}.",
        hint=hint,
        principal=question.actor.principal,
        action=question.action,
        resource=question.target,
        policies=list(verdict.because),
        policy_digest=verdict.policies,
    )


def call_schema() -> str:
    """The Cedar schema that authorization policies are held to."""
    return shipped("calling.cedarschema")


@cache
def _schema() -> Any:
    return _cedar.Schema.from_str(call_schema())


@cache
def _built_in() -> tuple[CedarStatement, ...]:
    text = shipped("calling.cedar")
    statements, faults = statements_of(text)
    checked = _cedar.validate_policies(text, call_schema())
    if faults or not checked.validation_passed:
        raise Internal("auth.bad_policy", "The shipped policy for calls does not fit its schema.")
    return tuple(statements)


def _compile(policies: tuple[AuthorizationPolicy, ...]) -> _Compiled:
    unreadable: list[str] = []
    static = {f"{BUILT_IN}/{one.id}": one.json for one in _built_in()}
    for policy in policies:
        if policy.unreadable:
            unreadable.append(f"policy {policy.name}@{policy.version} cannot be read: {policy.unreadable}")
            continue
        statements, faults = statements_of(policy.cedar)
        bad = [fault.message for fault in faults] or _unfit(policy.cedar)
        if bad or not statements:
            why = bad[0] if bad else "it has no statement"
            unreadable.append(f"policy {policy.name}@{policy.version} cannot be read: {why}")
        for number, one in enumerate(statements):
            static[f"{policy.name}/{one.id or number}"] = one.json
    body: dict[str, Json] = {"templates": {}, "templateLinks": [], "staticPolicies": dict(static)}
    judged = digest([[policy.name, policy.version, policy.digest] for policy in policies])
    parsed = None if unreadable else _cedar.PolicySet.from_json_str(canonical(body).decode())
    return _Compiled(policies=parsed, digest=judged, unreadable=tuple(unreadable))


def _unfit(text: str) -> list[str]:
    found = _cedar.validate_policies(text, call_schema())
    return [] if found.validation_passed else [str(error.error) for error in found.errors]


def _request(question: CallQuestion, facts: CallFacts) -> dict[str, object]:
    return {
        "principal": {"type": f"{_NS}Principal", "id": _principal_id(question.actor)},
        "action": {"type": f"{_NS}Action", "id": question.action},
        "resource": _resource(question),
        "context": {
            "tenant": question.tenant,
            "effect": question.effect,
            "verb": question.verb,
            "environment": question.environment.name,
            "production": question.environment.production,
            "connector_environment": question.connector_environment,
            "connector_digest": question.connector_digest,
            "tool_digest": question.tool_digest,
            "arguments_digest": question.arguments_digest or digest(dict(question.arguments)),
            **{kind.lower(): {"__entity": {"type": f"{_NS}{kind}", "id": "call"}} for kind in TAGGED},
            "unmeasured": sorted(facts.unmeasured),
        },
    }


def _principal_id(actor: Actor) -> str:
    return actor.principal_id or actor.principal


def _operation(question: CallQuestion) -> dict[str, str]:
    name = f"{question.connector}.{question.resource}.{question.verb}"
    return {"type": f"{_NS}Operation", "id": name}


def _resource(question: CallQuestion) -> dict[str, str]:
    return {"type": f"{_NS}Tool", "id": question.tool} if question.tool else _operation(question)


def _entities(question: CallQuestion, facts: CallFacts) -> list[dict[str, object]]:
    actor = question.actor
    roles = [{"type": f"{_NS}Role", "id": role} for role in sorted(actor.roles)]
    connector = {"type": f"{_NS}Connector", "id": question.connector}
    principal = {"type": f"{_NS}Principal", "id": _principal_id(actor)}
    known: dict[str, object] = {"tenant": actor.tenant, "name": actor.principal, "kind": actor.kind}
    found: list[dict[str, object]] = [
        {"uid": principal, "attrs": known, "parents": roles},
        {"uid": connector, "attrs": {}, "parents": []},
        {"uid": _operation(question), "attrs": {}, "parents": [connector]},
        *({"uid": role, "attrs": {}, "parents": []} for role in roles),
    ]
    if question.tool:
        found.append({"uid": _resource(question), "attrs": {}, "parents": [_operation(question), connector]})
    for kind in TAGGED:
        tags: dict[str, Json] = getattr(facts, kind.lower())
        found.append({"uid": {"type": f"{_NS}{kind}", "id": "call"}, "attrs": {}, "parents": [], "tags": tags})
    return found
