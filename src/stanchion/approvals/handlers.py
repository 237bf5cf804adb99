"""GOVERN: the verb's specification for documents, and its handler.

The policy judges the step's facts. If it asks nobody the step ends at once; else the run suspends, and in the very
transaction of the suspension the approval's row and its audit record are written. Woken by a decision, by a cancel or
by the approval's expiry, the handler finds that row and ends the step as it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from typing import Final, Literal, cast

from stanchion.approvals import rules, store
from stanchion.approvals.policies import ApprovalPolicy, expires_s, facts_schema, policy_of
from stanchion.approvals.service import expire, request
from stanchion.approvals.types import Approval, ApprovalStatus
from stanchion.base import Conflict, Denied, Invalid, Json, did_you_mean
from stanchion.blueprints import ConfigIssue, Lookup, Schema, config_scope, duration_s
from stanchion.context import Env
from stanchion.runs import StepCall, StepFailed, StepResult, Suspend, WaitingKind

# Values of `show`: what one person can look at in one request.
_SHOW_MAX: Final = 20

_ON: Final[Json] = {
    "anyOf": [
        {"type": "string", "enum": ["fail", "skip"]},
        {"x-block": True, "type": "array", "description": "steps that run instead"},
    ]
}


class GovernVerb:
    """Fills `blueprints.VerbSpec` for GOVERN."""

    verb = "govern"
    effect: Literal["none", "read", "write"] = "none"
    suspends = True

    @property
    def config_schema(self) -> Schema:
        """`policy` and `show` are needed; `facts` as the policy declares them; what happens on a no or on silence."""
        return {
            "type": "object",
            "description": "Ask a person, if the policy wants it.",
            "required": ["policy", "show"],
            "additionalProperties": False,
            "properties": {
                "policy": {
                    "type": "string",
                    "minLength": 1,
                    "x-artifact": "policy",
                    "description": "the approval policy that judges the facts",
                },
                "facts": {
                    "type": "object",
                    "x-template": True,
                    "description": "what the policy judges, each a value or `${ }`",
                },
                "show": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": _SHOW_MAX,
                    "items": {"x-template": True},
                    "description": "what the person sees; a write after it must write one of these values",
                },
                "on_reject": {**cast("dict[str, Json]", _ON), "description": "`fail`, `skip`, or a list of steps"},
                "on_expire": {**cast("dict[str, Json]", _ON), "description": "`fail`, `skip`, or a list of steps"},
                "expires": {
                    "type": "string",
                    "x-duration": True,
                    "description": "how long the request waits; at most what the policy says",
                },
            },
        }

    def check(self, config: Mapping[str, Json], lookup: Lookup) -> Iterable[ConfigIssue]:
        """Complaints about the policy's type, about facts it does not declare or misses, about a longer expiry."""
        name = config.get("policy")
        body = lookup("policy", name) if isinstance(name, str) else None
        if body is None:  # the document's own check says that it is unknown
            return
        if body.get("type") != "approval":
            yield ConfigIssue(
                pointer="/policy",
                code="govern.not_approval",
                message=f"Policy {name} is of type {body.get('type')}, and this needs one of type approval.",
                hint="Name an approval policy.",
            )
            return
        yield from _fact_issues(config.get("facts", {}), facts_schema(body), str(name))
        asked = config.get("expires")
        seconds = duration_s(asked) if isinstance(asked, str) else None
        if seconds is not None and seconds > expires_s(body):
            yield ConfigIssue(
                pointer="/expires",
                code="govern.expires",
                message=f"{asked} is longer than the {expires_s(body):g} s that policy {name} allows.",
                hint="A step can only shorten what its policy allows.",
            )

    def output_schema(self, config: Mapping[str, Json], lookup: Lookup, types: Callable[[str], Schema]) -> Schema:
        """`{decision, approval_id, decided_by, decided_at, reason, policy}`; null where nobody was asked."""
        del lookup, types
        decisions: list[Json] = ["approved", "not_required"]
        if config.get("on_reject", "fail") != "fail":
            decisions.append("rejected")
        if config.get("on_expire", "fail") != "fail":
            decisions.append("expired")
        text: Json = {"type": ["string", "null"]}
        properties: dict[str, Json] = {
            "decision": {"type": "string", "enum": decisions},
            "approval_id": text,
            "decided_by": text,
            "decided_at": {"type": ["string", "null"], "format": "date-time"},
            "reason": text,
            "policy": {"type": "string"},
        }
        return {
            "type": "object",
            "required": list(properties),
            "properties": properties,
            "additionalProperties": False,
        }


def _fact_issues(facts: Json, schema: Schema, policy: str) -> Iterable[ConfigIssue]:
    """Facts that the policy does not know, and those it needs and does not get; `${ }` for the whole is checked later."""
    if not isinstance(facts, dict):
        return
    properties = cast("Mapping[str, Json]", schema.get("properties", {}))
    for name in facts:
        if name not in properties and schema.get("additionalProperties") is False:
            yield ConfigIssue(
                pointer=f"/facts/{name.replace('~', '~0').replace('/', '~1')}",
                code="govern.unknown_fact",
                message=f"{name} is no fact of policy {policy}.",
                hint=did_you_mean(name, [known for known in properties if known not in facts]),
            )
    missing = [name for name in cast("list[str]", schema.get("required", [])) if name not in facts]
    if missing:
        yield ConfigIssue(
            pointer="/facts" if facts else "",
            code="govern.missing_fact",
            message=f"Policy {policy} needs the fact{'s' * (len(missing) > 1)} {', '.join(missing)}.",
            hint=f"Add {', '.join(missing)} under `facts`.",
        )


class GovernHandler:
    """Fills `runs.StepHandler` for GOVERN. Holds nothing of a run; compiled policies are cached by their content."""

    verb = "govern"

    async def execute(self, env: Env, call: StepCall) -> StepResult:
        """Judge, ask, or end as the person decided.

        Raises Suspend while somebody is asked; StepFailed `approval.rejected` or `approval.expired` where the step says
        `fail` (no dead letter: a person decided, or let it pass); Invalid `approval.facts` and the like.
        """
        if call.resumed:
            async with env.db.engine_tx() as tx:
                asked = await store.find(tx, call.claim.tenant, call.claim.run_id, call.path, call.attempt)
            if asked is not None:
                return await _resumed(env, call, asked)
        name = cast("str", call.config["policy"])
        body = call.bodies.get(("policy", name))
        if body is None or body.get("type") != "approval":
            raise Invalid(
                "approval.policy", f"{name} is no approval policy that this run is pinned to.", hint="Apply it again."
            )
        policy = policy_of(body, lambda kind, name: call.bodies.get((kind, name)))
        facts = call.config.get("facts", {})
        policy.check_facts(facts)
        config: Json = dict(_configs(env, call, policy))
        if not policy.asks(facts, config):
            return StepResult(output=rules.not_required(name))
        approval = _new_approval(env, call, policy, facts, config)
        raise Suspend(
            WaitingKind.APPROVAL,
            ref=str(approval.id),
            wake_at=approval.expires_at,
            also=partial(request, env=env, approval=approval),
        )


def _configs(env: Env, call: StepCall, policy: ApprovalPolicy) -> Mapping[str, Json]:
    """What the policy's expressions read as `config`: the run's pins, as they are in its environment."""
    if not policy.configs:
        return {}
    environment = str(call.facts.get("environment", env.environment.name))
    return config_scope({name: call.bodies["config", name] for name in policy.configs}, environment)


def _new_approval(env: Env, call: StepCall, policy: ApprovalPolicy, facts: Json, config: Json) -> Approval:
    now = env.clock.now()
    shown = cast("list[Json]", call.config["show"])
    policy_digest = call.digests["policy", policy.name]
    wanted = call.config.get("expires")
    wait_s = min(policy.expires_s, (duration_s(wanted) if isinstance(wanted, str) else None) or policy.expires_s)
    return Approval(
        tenant=call.claim.tenant,
        id=env.ids.new(),
        run_id=call.claim.run_id,
        root_id=call.root_id,
        path=call.path,
        attempt=call.attempt,
        blueprint=call.blueprint,
        policy=policy.name,
        policy_digest=policy_digest,
        requested_by=call.requested_by,
        title=policy.title_for(facts, config, f"{call.blueprint} asks at {call.path}"),
        facts=facts,
        shown=shown,
        args_digest=_args_digest(call, policy_digest, shown),
        bound=rules.bound(shown),
        nonce=env.ids.secret(16).hex(),
        may_decide={"roles": list(policy.roles), "principals": list(policy.principals)},
        forbid_self=policy.forbid_self,
        on_reject=_on(call, "on_reject"),
        on_expire=_on(call, "on_expire"),
        status=ApprovalStatus.PENDING,
        decided_by=None,
        decided_at=None,
        reason=None,
        created_at=now,
        expires_at=now + timedelta(seconds=wait_s),
    )


def _args_digest(call: StepCall, policy_digest: str, shown: list[Json]) -> str:
    return rules.args_digest(
        run_id=call.claim.run_id, path=call.path, attempt=call.attempt, policy_digest=policy_digest, shown=shown
    )


def _on(call: StepCall, key: str) -> str:
    """What the person reads about their no: `fail`, `skip`, or `block` for steps of its own."""
    step = call.op.step
    written = step.raw.get(key, "fail") if step is not None else "fail"
    return written if isinstance(written, str) else "block"


async def _resumed(env: Env, call: StepCall, asked: Approval) -> StepResult:
    """End the step as its approval did, or go on waiting."""
    if asked.status is ApprovalStatus.PENDING and rules.is_over(asked, env.clock.now()):
        asked = await expire(env, asked)
    if asked.status is ApprovalStatus.PENDING:
        raise Suspend(WaitingKind.APPROVAL, ref=str(asked.id), wake_at=asked.expires_at)
    if asked.status is ApprovalStatus.APPROVED:
        _check_unchanged(call, asked)
        return StepResult(output=rules.output_of(asked))
    return _refused(call, asked)


def _check_unchanged(call: StepCall, asked: Approval) -> None:
    """What was approved must be what the step shows now (I8): pins and checkpoints say so, and this proves it."""
    digest = call.digests.get(("policy", asked.policy), "")
    if _args_digest(call, digest, cast("list[Json]", call.config["show"])) != asked.args_digest:
        raise StepFailed(
            Denied(
                "approval.arguments_changed",
                f"Approval {asked.id} was given for other values than step {call.path} has now.",
                hint="Retry the run to ask again.",
            )
        )


def _refused(call: StepCall, asked: Approval) -> StepResult:
    exit_name = asked.status.value.lower()
    if exit_name in call.op.exits:
        return StepResult(output=rules.output_of(asked), exit=exit_name)
    said = {
        ApprovalStatus.REJECTED: f"was rejected by {asked.decided_by}: {asked.reason}",
        ApprovalStatus.EXPIRED: "expired without a decision",
        ApprovalStatus.CANCELLED: "was cancelled",
    }[asked.status]
    raise StepFailed(
        Conflict(
            f"approval.{exit_name}",
            f"Approval {asked.id} {said}.",
            hint="Retry the run to ask again.",
            approval_id=str(asked.id),
        ),
        dead=False,
    )
