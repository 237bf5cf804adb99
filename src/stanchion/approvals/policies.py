"""Approval policies: artifact kind `policy` with `type: approval`, read, checked and compiled.

```yaml
policy: supervisor-approval
type: approval
owner: casework
facts:
  type: object
  required: [fine_eur]
  properties: {fine_eur: {type: integer}, country: {type: string}}
when: facts.fine_eur > config.risk_limits.fine_eur    # ask, if this is true
title: Fine of ${facts.fine_eur} euros
ask: {roles: [approver], forbid_self: true, expires: 72h}
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Protocol, cast

from stanchion.artifacts import Document, Parsed
from stanchion.base import Invalid, Json, canonical, did_you_mean, dumps, invariant, loads
from stanchion.blueprints import (
    ABOUT_PROPERTIES,
    SCHEMA_OF_SCHEMAS,
    Configs,
    Fault,
    Issue,
    Lookup,
    Schema,
    Specimen,
    check_document,
    closed,
    configs_read,
    dangling,
    duration_s,
    in_order,
    read_document,
    to_issue,
    validate_value,
)
from stanchion.expressions import (
    Expression,
    FaultyExpression,
    FaultyTemplate,
    Template,
    compile_expression,
    compile_template,
)
from stanchion.expressions import Fault as ExpressionFault
from stanchion.identity import ROLES, role_matrix

# A request that nobody answers in three days has been forgotten rather than considered (the examples' own figure).
EXPIRES_DEFAULT: Final = "72h"
_TITLE_CHARS_MAX: Final = 300
_COMPILED_MAX: Final = 256

_NAMES: Final[Json] = {"type": "string", "minLength": 1, "maxLength": 127}
POLICY_SCHEMA: Final[dict[str, Json]] = {
    "type": "object",
    "additionalProperties": False,
    "x-label": "field of an approval policy",
    "required": ["policy", "type", "owner", "when"],
    "properties": {
        "policy": {
            "type": "string",
            "pattern": "^[a-z][a-z0-9-]{0,62}$",
            "description": "A name has lower-case letters, digits and hyphens, and begins with a letter.",
        },
        "type": {"type": "string", "enum": ["approval"], "description": "`approval`."},
        "description": {"type": "string", "maxLength": 4000},
        "owner": {
            "type": "string",
            "minLength": 1,
            "maxLength": 200,
            "description": "the team that answers for it",
        },
        **ABOUT_PROPERTIES,
        "facts": {"$ref": "#/$defs/schema"},
        "when": {
            "type": "string",
            "minLength": 1,
            "x-expression": True,
            "description": "a CEL expression over `facts`: ask if it is true.",
        },
        "title": {"type": "string", "minLength": 1, "maxLength": 1000, "x-template": True},
        "ask": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "roles": {"type": "array", "maxItems": 20, "uniqueItems": True, "items": _NAMES},
                "principals": {"type": "array", "maxItems": 100, "uniqueItems": True, "items": _NAMES},
                "forbid_self": {"type": "boolean"},
                "expires": {"type": "string", "x-duration": True},
            },
        },
    },
    "$defs": SCHEMA_OF_SCHEMAS["$defs"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalPolicy:
    """A compiled approval policy.

    Attributes:
        name: the policy's name.
        facts: JSON Schema of the facts. `when`: over `facts` and `config`; true asks.
        title: one line over the same, or None.
        configs: names of the configs that `when` and `title` read.
        roles, principals: who may decide; one match suffices.
        forbid_self: whether the principal that started the run may not.
        expires_s: how long a request waits, in seconds.
    """

    name: str
    facts: Schema
    when: Expression
    title: Template | None
    configs: tuple[str, ...]
    roles: tuple[str, ...]
    principals: tuple[str, ...]
    forbid_self: bool
    expires_s: float

    def check_facts(self, facts: Json) -> None:
        """Raise Invalid `approval.facts` if `facts` are not what the policy judges, with every reason."""
        found = [f"{pointer or '/'}: {message}" for pointer, message in validate_value(self.facts, facts)]
        if found:
            raise Invalid(
                "approval.facts",
                f"The facts do not fit policy {self.name}: {' '.join(found[:5])}",
                hint="Give the govern step the facts that the policy declares, with their types.",
            )

    def asks(self, facts: Json, config: Json) -> bool:
        """Whether a person is asked. `config`: the values of `configs`, as `config_scope` gives them.

        Raises Invalid `expression.failed`, or `approval.when` for no yes or no.
        """
        answer = self.when.evaluate({"facts": facts, "config": config})
        if not isinstance(answer, bool):
            raise Invalid(
                "approval.when",
                f"`when` of policy {self.name} gave neither true nor false.",
                hint="Compare its facts so that the expression is a boolean.",
            )
        return answer

    def title_for(self, facts: Json, config: Json, default: str) -> str:
        """One line that says what is asked."""
        if self.title is None:
            return default
        text = self.title.render({"facts": facts, "config": config})
        line = " ".join((text if isinstance(text, str) else dumps(text).decode()).split())
        return line if len(line) <= _TITLE_CHARS_MAX else line[: _TITLE_CHARS_MAX - 1] + "…"


def facts_schema(body: Mapping[str, Json]) -> Schema:
    """The JSON Schema of a policy's facts: an object whose undeclared members are refused unless it says otherwise."""
    declared = body.get("facts")
    schema = declared if isinstance(declared, dict) else {}
    return closed({"properties": {}, **schema, "type": "object"})


def expires_s(body: Mapping[str, Json]) -> float:
    """How long a request of this policy waits, in seconds."""
    ask = body.get("ask")
    text = ask.get("expires", EXPIRES_DEFAULT) if isinstance(ask, dict) else EXPIRES_DEFAULT
    return (duration_s(text) if isinstance(text, str) else None) or cast("float", duration_s(EXPIRES_DEFAULT))


def policy_of(body: Mapping[str, Json], lookup: Lookup) -> ApprovalPolicy:
    """Compile a published approval policy. Served from memory for a body seen before, beside configs of the same types.

    Args:
        body: the policy.
        lookup: finds the configs that its expressions name.

    Raises FaultyExpression or FaultyTemplate for a body that was never checked.
    """
    invariant(body.get("type") == "approval", f"policy {body.get('policy')} is no approval policy")
    if "config" not in cast("str", body["when"]) and "config" not in cast("str", body.get("title", "")):
        return _compiled(canonical(body), b"{}")  # what most policies are, at the cost of a look-up
    configs = Configs(lookup).scope(_expressions(body))
    return _compiled(canonical(body), canonical(cast("Json", configs)))


@lru_cache(maxsize=_COMPILED_MAX)
def _compiled(encoded: bytes, encoded_configs: bytes) -> ApprovalPolicy:
    # The key is the canonical body itself, and the types of what it reads: equal ones are one policy, and nothing of a
    # run is in it.
    body = cast("dict[str, Json]", loads(encoded))
    name = cast("str", body["policy"])
    facts = facts_schema(body)
    ask = cast("dict[str, Any]", body.get("ask", {}))
    scope = _scope(facts, cast("dict[str, Schema]", loads(encoded_configs)))
    when = compile_expression(cast("str", body["when"]), scope, where=f"policy {name}, /when")
    written = body.get("title")
    title = None if written is None else compile_template(written, scope, where=f"policy {name}, /title")
    principals = tuple(cast("list[str]", ask.get("principals", [])))
    return ApprovalPolicy(
        name=name,
        facts=facts,
        when=when,
        title=title,
        configs=configs_read((*when.paths, *(title.paths if title is not None else ()))),
        roles=tuple(cast("list[str]", ask.get("roles", [] if principals else ["approver"]))),
        principals=principals,
        forbid_self=bool(ask.get("forbid_self", True)),
        expires_s=expires_s(body),
    )


def _expressions(body: Mapping[str, Json]) -> Json:
    """What of a policy holds expressions."""
    return {name: body[name] for name in ("when", "title") if name in body}


def _scope(facts: Schema, configs: Mapping[str, Schema]) -> Schema:
    names: dict[str, Json] = {"facts": cast("Json", facts)}
    if configs:
        members = {spelling: cast("Json", schema) for spelling, schema in configs.items()}
        names["config"] = {"type": "object", "properties": members, "additionalProperties": False}
    return {"type": "object", "properties": names, "additionalProperties": False}


_SPECIMEN: Final = """\
policy: specimen-policy
type: approval
owner: specimen
facts: {type: object, required: [amount], properties: {amount: {type: integer}}}
when: facts.amount > 100
"""
_SPECIMEN_USE: Final = """\
blueprint: specimen-of-policy
owner: specimen
steps:
  - id: asked
    govern: {policy: specimen-policy, facts: {amount: 50}, show: [A payment of 50 euros.]}
output: "${steps.asked.decision == 'approved' ? 'second' : 'first'}"
"""


class PolicyType(Protocol):
    """How policies of another type are read: what a domain registers for its own, handed in by `bootstrap`.

    Attributes:
        type: the value of the document's `type`.
        names: names that only policies of this type may bear, because something looks for them by name.
    """

    @property
    def type(self) -> str: ...  # noqa: D102 - see above
    @property
    def names(self) -> frozenset[str]: ...  # noqa: D102

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check a document of this type, as `artifacts.KindSpec.parse`."""
        ...


class PolicyKind:
    """Fills `artifacts.KindSpec`: how a document of kind `policy` is read. Its `type` says by whom; `approval` is ours."""

    kind = "policy"
    refs = frozenset(("config",))
    specimen: Specimen | None = Specimen(
        first=Document(path="specimen-policy.yaml", source=_SPECIMEN),
        second=Document(path="specimen-policy.yaml", source=_SPECIMEN.replace("100", "10")),
        others=(Document(path="specimen-of-policy.yaml", source=_SPECIMEN_USE),),
    )

    def __init__(self, deciders: Iterable[str] | None = None, *, others: Iterable[PolicyType] = ()) -> None:
        """`deciders` are the roles that permit `approvals.decide`; by default those of the shipped policy. `others`: the
        types of policy beside `approval`."""
        if deciders is None:
            permits = role_matrix()["approvals.decide"]
            deciders = [role for role in ROLES if permits[role]]
        self._deciders = tuple(deciders)
        self._others = {other.type: other for other in others}
        self._schema = _schema_of(["approval", *self._others])

    def parse(self, document: Document, lookup: Lookup) -> Parsed:
        """Read and check a policy of any type. One of type `approval`: fields, facts, whom it asks, its expressions."""
        said = read_document(document).body
        wanted = said.get("type") if isinstance(said, dict) else None
        if isinstance(wanted, str) and wanted in self._others:
            return self._others[wanted].parse(document, lookup)
        value, issues, positions = check_document(document, self._schema)
        body = value if isinstance(value, dict) else {}
        faults = [*_role_faults(body, self._deciders), *_name_faults(body, self._others.values())]
        references: list[tuple[str, str]] = []
        if not _has_errors(issues):
            faults += _deep_faults(body, Configs(lookup), references)
        found = in_order([*issues, *(to_issue(fault, positions) for fault in faults)])
        name, owner = body.get("policy"), body.get("owner", "")
        return Parsed(
            name=name if isinstance(name, str) else "",
            body=body,
            owner=owner if isinstance(owner, str) else "",
            references=tuple(references),
            issues=found,
        )


def _schema_of(types: Sequence[str]) -> dict[str, Json]:
    """The schema of an approval policy, in which `type` names every type that there is."""
    properties = cast("dict[str, Json]", POLICY_SCHEMA["properties"])
    named: Json = {"type": "string", "enum": [*types], "description": f"{' or '.join(f'`{one}`' for one in types)}."}
    return {**POLICY_SCHEMA, "properties": {**properties, "type": named}}


def _name_faults(body: dict[str, Json], others: Iterable[PolicyType]) -> Iterable[Fault]:
    """A name that another type keeps for itself: under it, this policy would push that one aside."""
    for other in others:
        if body.get("policy") in other.names:
            yield Fault(
                pointer="/policy",
                code="policy.name",
                message=f"Policy {body['policy']} is one of type {other.type}, and no other type may bear its name.",
                hint=f"Give it another name, or write `type: {other.type}`.",
            )


def _role_faults(body: dict[str, Json], deciders: Sequence[str]) -> Iterable[Fault]:
    """Roles that are none, or that may decide nothing: asking only these would ask nobody."""
    ask = body.get("ask")
    roles = ask.get("roles") if isinstance(ask, dict) else None
    for number, role in enumerate(roles if isinstance(roles, list) else []):
        if isinstance(role, str) and role not in deciders:
            yield Fault(
                pointer=f"/ask/roles/{number}",
                code="policy.role",
                message=f"Role {role} may not decide approvals." if role in ROLES else f"There is no role {role!r}.",
                hint=did_you_mean(role, deciders) or f"Roles that may decide: {', '.join(deciders)}.",
            )


def _has_errors(issues: Iterable[Issue]) -> bool:
    return any(issue.severity == "error" for issue in issues)


def _deep_faults(body: dict[str, Json], configs: Configs, references: list[tuple[str, str]]) -> Iterable[Fault]:
    """Faults of a document that fits its schema: in the facts' schema, in expressions over them, in who is asked. The
    artifacts that the expressions read are added to `references`."""
    declared = body.get("facts")
    if isinstance(declared, dict) and declared.get("type", "object") != "object":
        hint = "Write `type: object`."
        yield Fault(pointer="/facts/type", code="policy.facts", message="Facts are an object.", hint=hint)
        return
    wrong = dangling(declared, "/facts")
    for pointer, message, hint in wrong:
        yield Fault(pointer=pointer, code="document.schema", message=message, hint=hint)
    if not wrong:
        scope = _scope(facts_schema(body), configs.scope(_expressions(body)))
        when, title = list[Fault](), list[Fault]()
        paths = (*_when_paths(body, scope, when), *_title_paths(body, scope, title))
        references += [("config", name) for name in configs_read(paths)]
        yield from (*when, *title, *configs.unknown(_expressions(body), paths, ""))
    ask = body.get("ask")
    if isinstance(ask, dict) and ask.get("roles") == [] and not ask.get("principals"):
        yield Fault(
            pointer="/ask/roles",
            code="policy.asks_nobody",
            message="The policy asks nobody.",
            hint="Name a role or a principal; without `roles` and `principals` it asks role approver.",
        )


def _when_paths(body: dict[str, Json], scope: Schema, faults: list[Fault]) -> tuple[str, ...]:
    """What `when` reads; its faults are added to `faults`."""
    when = cast("str", body["when"])
    try:
        expression = compile_expression(when, scope, where="/when")
    except FaultyExpression as error:
        faults += (_at("/when", when, fault) for fault in error.faults)
        return ()
    if expression.schema.get("type", "boolean") != "boolean":
        message = f"`when` must be true or false; this is {expression.schema['type']}."
        hint = "Compare it, as in `facts.fine_eur > 100000`."
        faults.append(Fault(pointer="/when", code="policy.when", message=message, hint=hint))
    return expression.paths


def _title_paths(body: dict[str, Json], scope: Schema, faults: list[Fault]) -> tuple[str, ...]:
    """The same of `title`."""
    title = body.get("title")
    if not isinstance(title, str):
        return ()
    try:
        return compile_template(title, scope, where="/title").paths
    except FaultyTemplate as error:
        faults += (_at("/title", title, fault) for string in error.strings for fault in string.faults)
        return ()


def _at(pointer: str, text: str, fault: ExpressionFault) -> Fault:
    return Fault(
        pointer=pointer, code=fault.code, message=fault.message, hint=fault.hint, text=text, offset=fault.offset
    )
