"""Gate policies: artifact kind `policy` with `type: gate`, read, checked and compiled.

```yaml
policy: release-gates
type: gate
owner: platform
rules:
  - name: risky prompts
    kinds: [prompt]
    risks: [high]
    production: true
    when: release.share > 10               # from here on
    strategies: [canary, rings]
    needs:
      - {gate: approval, count: 2, roles: [approver]}
      - {gate: eval, suite: answers, max_age: 14d}
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final, cast

from stanchion.artifacts import KINDS, Document, Parsed
from stanchion.base import Invalid, Json, canonical, did_you_mean, digest, loads
from stanchion.blueprints import (
    ABOUT_PROPERTIES,
    RISKS,
    Fault,
    Issue,
    Lookup,
    Schema,
    check_document,
    duration_s,
    in_order,
    to_issue,
)
from stanchion.expressions import Expression, FaultyExpression, compile_expression
from stanchion.releases.gates.types import POLICY_NAME, REVIEW_WITHIN, Asked, Evidence, Moving

STRATEGIES: Final = ("all_at_once", "canary", "rings", "blue_green")
_COMPILED_MAX: Final = 64
_RULES_MAX: Final = 100
_NAME: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 127}
_TEXT: Final[Json] = {"type": "string"}

# What `when` may read.
SCOPE: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "artifact": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "kind": _TEXT,
                "name": _TEXT,
                "version": {"type": "integer"},
                "risk": {"type": "string", "enum": [*RISKS]},
                "owner": _TEXT,
                "author": _TEXT,
                "labels": {"type": "object", "additionalProperties": _TEXT},
                "first": {"type": "boolean"},
            },
        },
        "release": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "move": _TEXT,
                "strategy": _TEXT,
                "share": {"type": "integer"},
                "environment": _TEXT,
                "production": {"type": "boolean"},
                "artifacts": {"type": "integer"},
            },
        },
    },
}


def _list(items: Json, most: int, description: str) -> Json:
    return {
        "type": "array", "minItems": 1, "maxItems": most, "uniqueItems": True, "items": items, "description": description,
    }  # fmt: skip


def schema_of(gates: Iterable[Evidence]) -> dict[str, Json]:
    """The JSON Schema of a gate policy, with the gates that there are."""
    known = {gate.gate: gate for gate in gates}
    properties = {name: schema for gate in known.values() for name, schema in gate.properties.items()}
    named: Json = {"type": "string", "enum": [*known], "description": "which gate"}
    need: Json = {
        "type": "object",
        "additionalProperties": False,
        "required": ["gate"],
        "x-label": "field of a gate",
        "properties": {"gate": named, **properties},
    }
    rule: Json = {
        "type": "object",
        "additionalProperties": False,
        "required": ["name"],
        "x-label": "field of a rule",
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 100, "description": "said wherever it asks for something"},
            "kinds": _list({"type": "string", "enum": [str(kind) for kind in sorted(KINDS)]}, len(KINDS), "kinds of artifacts"),
            "names": _list(_NAME, 200, "names of artifacts"),
            "risks": _list({"type": "string", "enum": [*RISKS]}, len(RISKS), "risk levels"),
            "environments": _list(_NAME, 50, "names of environments"),
            "production": {"type": "boolean", "description": "only in environments that are production, or are not"},
            "when": {
                "type": "string",
                "minLength": 1,
                "x-expression": True,
                "description": "a CEL expression over `artifact` and `release`: the rule holds if it is true.",
            },
            "strategies": _list({"type": "string", "enum": [*STRATEGIES]}, len(STRATEGIES), "how it may come to everybody"),
            "needs": {"type": "array", "maxItems": 20, "items": need, "description": "the gates; none: nothing more"},
        },
    }  # fmt: skip
    return {
        "type": "object",
        "additionalProperties": False,
        "x-label": "field of a gate policy",
        "required": ["policy", "type", "owner", "rules"],
        "properties": {
            "policy": {"type": "string", "enum": [POLICY_NAME], "description": f"A gate policy is called `{POLICY_NAME}`."},
            "type": {"type": "string", "enum": ["gate"], "description": "`gate`."},
            "description": {"type": "string", "maxLength": 4000},
            "owner": {"type": "string", "minLength": 1, "maxLength": 200, "description": "the team that answers for it"},
            **ABOUT_PROPERTIES,
            "rules": {"type": "array", "minItems": 1, "maxItems": _RULES_MAX, "items": rule},
            "review_within": {
                "type": "string",
                "x-duration": True,
                "description": "how soon a move that was made against its gates must be reviewed",
            },
        },
    }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: which artifacts and moves it is about, and what it asks for. Each that matches counts.

    Empty `kinds`, `names`, `risks`, `environments`: any. `production` None: either. `strategies` None: any.
    """

    name: str
    kinds: frozenset[str]
    names: frozenset[str]
    risks: frozenset[str]
    environments: frozenset[str]
    production: bool | None
    when: Expression | None
    strategies: tuple[str, ...] | None
    needs: tuple[Mapping[str, Json], ...]

    def covers(self, asked: Asked, moving: Moving) -> bool:
        """Whether the rule is about this artifact here, whether or not it asks for anything at this move."""
        named = (
            (self.kinds, moving.kind), (self.names, moving.name), (self.risks, moving.risk),
            (self.environments, asked.environment),
        )  # fmt: skip
        if any(wanted and value not in wanted for wanted, value in named):
            return False
        return self.production in (None, asked.production)

    def holds(self, asked: Asked, moving: Moving) -> bool:
        """Whether the rule asks for something of this member at this move. A `when` that cannot be computed counts as
        true (I11)."""
        if not self.covers(asked, moving):
            return False
        if self.when is None:
            return True
        try:
            return self.when.evaluate(_facts(asked, moving)) is not False
        except Invalid:
            return True


def _facts(asked: Asked, moving: Moving) -> dict[str, Json]:
    return {
        "artifact": {
            "kind": moving.kind,
            "name": moving.name,
            "version": moving.version,
            "risk": moving.risk,
            "owner": moving.owner,
            "author": moving.author,
            "labels": dict(moving.labels),
            "first": moving.returns_to is None,
        },
        "release": {
            "move": asked.move,
            "strategy": asked.strategy,
            "share": asked.share,
            "environment": asked.environment,
            "production": asked.production,
            "artifacts": len(asked.members),
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """A compiled gate policy. `rest`: the rule for what no other covers, or None."""

    called: str
    digest: str
    rules: tuple[Rule, ...]
    rest: Rule | None
    review_within: timedelta


# Where nothing is said, production denies (I11): somebody else than the author has to have looked.
BUILT_IN: Final[dict[str, Json]] = {
    "policy": POLICY_NAME,
    "type": "gate",
    "owner": "stanchion",
    "rules": [
        {
            "name": "production without a rule",
            "production": True,
            "needs": [
                {"gate": "approval", "count": 1},
                {"gate": "required_fields", "fields": ["owner", "changelog"]},
                {"gate": "schema"},
                {"gate": "rollback"},
            ],
        }
    ],
}
_BUILT_IN_DIGEST: Final = digest(BUILT_IN)


def built_in() -> GatePolicy:
    """The policy of an environment in which none is live: production needs another person, the rest needs nothing."""
    rules = _compiled(canonical(BUILT_IN))
    return GatePolicy(
        called="built-in", digest=_BUILT_IN_DIGEST, rules=(), rest=rules[0], review_within=REVIEW_WITHIN
    )  # fmt: skip


def policy_of(body: Mapping[str, Json], *, version: int, content: str) -> GatePolicy:
    """Compile a published gate policy; what no rule of it covers falls to the built-in one.

    A body that is no gate policy denies like the built-in one, and in every environment: whoever got it there, the
    gates are not open.
    """
    called = f"policy/{POLICY_NAME}@{version}"
    built = built_in()
    if body.get("type") != "gate":
        return GatePolicy(called=called, digest=content, rules=(_everywhere(),), rest=None, review_within=REVIEW_WITHIN)
    within = body.get("review_within")
    seconds = duration_s(within) if isinstance(within, str) else None
    return GatePolicy(
        called=called,
        digest=content,
        rules=_compiled(canonical(body)),
        rest=built.rest,
        review_within=REVIEW_WITHIN if seconds is None else timedelta(seconds=seconds),
    )


def _everywhere() -> Rule:
    rule = _compiled(canonical(BUILT_IN))[0]
    return Rule(
        name="no gate policy", kinds=rule.kinds, names=rule.names, risks=rule.risks, environments=rule.environments,
        production=None, when=None, strategies=None, needs=rule.needs,
    )  # fmt: skip


@lru_cache(maxsize=_COMPILED_MAX)
def _compiled(encoded: bytes) -> tuple[Rule, ...]:
    body = cast("dict[str, Json]", loads(encoded))
    return tuple(
        _rule(number, cast("dict[str, Json]", rule)) for number, rule in enumerate(cast("list[Json]", body["rules"]))
    )


def _rule(number: int, said: Mapping[str, Json]) -> Rule:
    def names(field: str) -> frozenset[str]:
        return frozenset(cast("list[str]", said.get(field, [])))

    when, strategies, production = said.get("when"), said.get("strategies"), said.get("production")
    return Rule(
        name=str(said["name"]),
        kinds=names("kinds"),
        names=names("names"),
        risks=names("risks"),
        environments=names("environments"),
        production=production if isinstance(production, bool) else None,
        when=compile_expression(when, SCOPE, where=f"/rules/{number}/when") if isinstance(when, str) else None,
        strategies=None if strategies is None else tuple(cast("list[str]", strategies)),
        needs=tuple(cast("list[dict[str, Json]]", said.get("needs", []))),
    )


class GateType:
    """Fills `approvals.PolicyType`: how a policy of type `gate` is read."""

    type = "gate"
    names = frozenset({POLICY_NAME})

    def __init__(self, gates: Iterable[Evidence]) -> None:
        """`gates`: those that a policy can ask for."""
        self._gates = {gate.gate: gate for gate in gates}
        self._schema = schema_of(self._gates.values())

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check a gate policy: fields, gates with what belongs to each, and expressions."""
        del lookup  # a policy refers to no other artifact
        value, issues, positions = check_document(document, self._schema)
        body = value if isinstance(value, dict) else {}
        faults = [] if _has_errors(issues) else list(self._deep_faults(body))
        name, owner = body.get("policy"), body.get("owner", "")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=(),
            issues=in_order([*issues, *(to_issue(fault, positions) for fault in faults)]),
        )

    def _deep_faults(self, body: Mapping[str, Json]) -> Iterable[Fault]:
        rules = cast("list[dict[str, Json]]", body["rules"])
        seen: set[Json] = set()
        for number, rule in enumerate(rules):
            if rule["name"] in seen:
                yield Fault(
                    pointer=f"/rules/{number}/name",
                    code="policy.rule_twice",
                    message=f"There are two rules {rule['name']!r}.",
                    hint="Name each once.",
                )
            seen.add(rule["name"])
            yield from _when_faults(rule, f"/rules/{number}/when")
            if "needs" not in rule and "strategies" not in rule:
                yield Fault(
                    pointer=f"/rules/{number}",
                    code="policy.rule_empty",
                    message=f"Rule {rule['name']!r} asks for nothing.",
                    hint="Give it `needs` or `strategies`; `needs: []` says that nothing is needed.",
                )
            for place, need in enumerate(cast("list[dict[str, Json]]", rule.get("needs", []))):
                yield from self._need_faults(need, f"/rules/{number}/needs/{place}")

    def _need_faults(self, need: Mapping[str, Json], pointer: str) -> Iterable[Fault]:
        gate = self._gates[str(need["gate"])]
        for name in need:
            if name != "gate" and name not in gate.properties:
                yield Fault(
                    pointer=f"{pointer}/{name}",
                    code="document.unknown_field",
                    message=f"{name} is no field of gate {gate.gate}.",
                    hint=did_you_mean(name, gate.properties) or f"It has: {', '.join(gate.properties) or 'none'}.",
                    at_key=True,
                )
        missing = [name for name in gate.required if name not in need]
        if missing:
            yield Fault(
                pointer=pointer,
                code="document.missing_field",
                message=f"Gate {gate.gate} needs {', '.join(missing)}.",
                hint=f"Add `{missing[0]}`.",
            )


def _when_faults(rule: Mapping[str, Json], pointer: str) -> Iterable[Fault]:
    when = rule.get("when")
    if not isinstance(when, str):
        return
    try:
        expression = compile_expression(when, SCOPE, where=pointer)
    except FaultyExpression as error:
        for fault in error.faults:
            yield Fault(
                pointer=pointer, code=fault.code, message=fault.message, hint=fault.hint, text=when, offset=fault.offset
            )
        return
    if expression.schema.get("type", "boolean") != "boolean":
        yield Fault(
            pointer=pointer,
            code="policy.when",
            message=f"`when` must be true or false; this is {expression.schema['type']}.",
            hint="Compare it, as in `release.share > 10`.",
        )


def _has_errors(issues: Sequence[Issue]) -> bool:
    return any(issue.severity == "error" for issue in issues)
