"""The fields of tools, the points of the tool gate, and what authorization policies may speak of."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import Field, code, fields, table

from stanchion.identity.cedar import shipped
from stanchion.releases.policies.kind import SCHEMA as POLICY
from stanchion.tools.catalogue import PointName
from stanchion.tools.catalogue.schema import LIMIT_DEFAULT, SCHEMA

_TOOL = {
    "tool": Field("post-cost", "The name by which it is called and named in Blueprints."),
    "description": Field("Cost postings of field work.", "What it is for, for people.", "empty"),
    "owner": Field("finance", "The team that answers for it."),
    "labels": Field("{team: finance}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "model": Field("{name: post_cost, description: …}", "What a model is told."),
    "model.name": Field("post_cost", "What a model calls it."),
    "model.description": Field("Posts one cost line to the ERP.", "What a model is told of it. A person other than the author approves it."),
    "call": Field("{connector: erp, verb: push, resource: postings}", "Which operation of which connector it is."),
    "call.connector": Field("erp", "The connector; it must be live or in the same apply."),
    "call.verb": Field("push", "What is done."),
    "call.resource": Field("postings", "Of a fetch, lookup or push: the resource.", "–"),
    "call.operation": Field("close-period", "Of an execute: the operation.", "–"),
    "call.limit": Field("20", "Of a fetch: at most so many records.", code(str(LIMIT_DEFAULT))),
    "input": Field("{properties: {amount: {maxLength: 9}}}", "What is narrower than the operation's own schema.", "nothing"),
    "input.properties": Field("{note: {maxLength: 20}}", "Argument → keywords that narrow it: `enum const pattern minimum maximum minLength maxLength minItems maxItems description examples`.", "none"),
    "input.required": Field("[note]", "Arguments that may not be left out, although the operation takes null.", "none"),
    "effect": Field("write", "At least as strict as the operation's. `write` and `destructive` are born disabled."),
    "idempotency": Field("key", "Of what writes, needed there: as the connector declares it.", "–"),
    "approval": Field("{policy: large-postings}", "Who is asked before each call. Of what writes, the gate wants a policy.", "not said"),
    "approval.policy": Field("large-postings", "The [approval policy](policies.md) that judges each call.", "–"),
    "approval.facts": Field("{amount: '${arguments.amount}'}", "What the policy judges, over `arguments`.", "`{}`"),
    "approval.none": Field("It reads what every clerk may read.", "Why nobody is asked; only of a tool that reads.", "–"),
    "disable": Field("{fallback: Post by hand in the ERP.}", "What happens while it is disabled."),
    "disable.fallback": Field("Post by hand in the ERP.", "What people do meanwhile."),
    "authorization": Field("[{case: …, expect: permit}, …]", "Who may call it with what, as cases that the live policies must decide so.", "none"),
    "examples": Field("[{case: one line, arguments: {…}}]", "Arguments that show its use; the first is what it is tried with.", "none"),
}  # fmt: skip
_CASE = {
    "case": Field("a clerk posts", "Its name, each once."),
    "principal": Field("{roles: [analyst]}", "Who calls."),
    "principal.name": Field("erp-bot", "The principal's name.", "somebody"),
    "principal.kind": Field("service", "What kind of principal.", "`user`"),
    "principal.roles": Field("[analyst]", "The roles held."),
    "arguments": Field("{number: a, amount: '120.00'}", "With what.", "`{}`"),
    "environment": Field("{name: local, production: false}", "Where."),
    "environment.name": Field("local", "The environment's name."),
    "environment.production": Field("false", "Whether it is production."),
    "expect": Field("permit", "What must be decided."),
}
_POLICY = {
    "policy": Field("erp-postings", "Its name, which verdicts begin with."),
    "type": Field("authorization", "The type of policy."),
    "description": Field("Clerks post, up to a limit.", "What it is for.", "empty"),
    "owner": Field("finance", "The team that answers for it."),
    "labels": Field("{team: finance}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do.", "`low`"),
    "cedar": Field('@id("…") permit (…);', "The statements, in Cedar."),
}
_POINTS = {
    PointName.SCHEMA: "The document fits its connector and its approval policy as they are live now.",
    PointName.AUTHORIZATION: "Every case is decided as it says by the live policies. There is a case that is denied, and one that is permitted in this environment: else they would pass with the policy missing. What only an unreadable policy denies counts as failed.",
    PointName.APPROVAL_POLICY: "A `write` or `destructive` tool names an approval policy that is live; a read says why it has none.",
    PointName.DRY_RUN: "A dry run of this content, through this version of the connector, succeeded: of a write the ledger has one effect, simulated, with the audit records of its attempt and its end; of a read the run's start and end.",
    PointName.IDEMPOTENCY: "Declared as the connector has it; the same request under one `Idempotency-Key` gave one run and one effect key. `destructive` with `none` never holds.",
    PointName.DISABLE_PATH: "With its flag off, the point of use refused a call.",
    PointName.DESCRIPTION: "Somebody other than the version's author approved what models are told, bound to its digest: name, description, input schema, annotations.",
    PointName.EXAMPLES: "There is at least one.",
}


def _points() -> str:
    if missing := set(PointName) ^ _POINTS.keys():
        raise SystemExit(f"tools: the points differ: {missing}")
    rows = [(str(number), name.value, _POINTS[name]) for number, name in enumerate(PointName, 1)]
    return table(("", "point", "holds if"), rows)


def _fields() -> str:
    case = SCHEMA["properties"]["authorization"]["items"]  # type: ignore[index,call-overload]
    return "\n".join(
        (fields(SCHEMA, _TOOL, "tool"), "A case of `authorization`:\n", fields(case, _CASE, "authorization case"))  # type: ignore[arg-type]
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "tools.fields": _fields,
    "tools.points": _points,
    "authorization.fields": lambda: fields(POLICY, _POLICY, "authorization policy"),
    "authorization.schema": lambda: f"```\n{shipped('calling.cedarschema').strip()}\n```\n",
    "authorization.shipped": lambda: f"```\n{shipped('calling.cedar').strip()}\n```\n",
}
