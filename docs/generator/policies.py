"""The fields of approval policies and of gate policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from docs.generator.tables import Field, code, fields

from stanchion.approvals.policies import EXPIRES_DEFAULT, POLICY_SCHEMA
from stanchion.releases.gates import POLICY_NAME, STANDARD, schema_of

_POLICY = {
    "policy": Field("supervisor-approval", "The name by which GOVERN names it."),
    "type": Field("approval", "The type of policy; there is this one."),
    "description": Field("Fines above €100,000 need a supervisor.", "What it is for.", "empty"),
    "owner": Field("casework", "The team that answers for it."),
    "labels": Field("{team: casework}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do; policy says which releases a level permits.", "`low`"),
    "facts": Field(
        "{type: object, required: [fine_eur], properties: {fine_eur: {type: integer}}}",
        "JSON Schema of what it judges. A GOVERN step gives exactly these facts.",
        "no facts",
    ),
    "when": Field(
        "facts.fine_eur > 100000", "Ask a person if this is true; else the step ends at once with `not_required`."
    ),
    "title": Field("Close ${facts.case_id}?", "One line that says what is asked.", "Blueprint and step"),
    "ask": Field("{roles: [approver], expires: 24h}", "Who is asked, and how long.", "role `approver`"),
    "ask.roles": Field(
        "[approver]", "Whoever holds one of these roles may decide.", "`[approver]`, or none if `principals` are named"
    ),
    "ask.principals": Field("[ada, grace]", "These principals may decide, whatever their role.", "none"),
    "ask.forbid_self": Field("false", "Whether the principal that started the run may not decide.", "`true`"),
    "ask.expires": Field("24h", "How long a request waits for a decision.", code(EXPIRES_DEFAULT)),
}

_GATES = {
    "policy": Field(POLICY_NAME, "The name by which gates look for it."),
    "type": Field("gate", "The type of policy."),
    "description": Field("What we look at before it moves.", "What it is for.", "empty"),
    "owner": Field("platform", "The team that answers for it."),
    "labels": Field("{team: platform}", "Texts by which it is found; part of the version.", "none"),
    "risk": Field("high", "What a mistake in it can do.", "`low`"),
    "rules": Field("[{name: everything, needs: [{gate: approval}]}]", "The rules, up to 100."),
    "review_within": Field("24h", "How soon a move against the gates must be reviewed.", "`48h`"),
}

_RULE = {
    "name": Field("risky policies", "Said wherever the rule asks for something; each once."),
    "kinds": Field("[policy, blueprint]", "Kinds of artifacts that it covers.", "any"),
    "names": Field("[fare]", "Names of artifacts that it covers.", "any"),
    "risks": Field("[high]", "Risk levels that it covers.", "any"),
    "environments": Field("[staging]", "Environments that it covers.", "any"),
    "production": Field("true", "Only environments that are production, or only the others.", "either"),
    "when": Field("release.share > 10", "At which moves it asks.", "every one"),
    "strategies": Field("[canary, rings]", "How what it covers may come to everybody.", "any"),
    "needs": Field("[{gate: approval}]", "The gates. `[]`: nothing is needed.", "nothing"),
}

_NEED = {
    "gate": Field("approval", "Which gate; see below."),
    "count": Field("2", "Of `approval`: how many people.", "1"),
    "roles": Field("[approver]", "Of `approval`: one of these roles.", "whoever may approve releases"),
    "max_age": Field("14d", "Of `approval` and `eval`: how old it may be.", "until it expires"),
    "suite": Field("fines", "Of `eval`, needed there: the suite's name."),
    "suite_digest": Field("sha256:…", "Of `eval`: exactly these cases.", "any of that name"),
    "cases_min": Field("100", "Of `eval`: with fewer cases it is INCONCLUSIVE.", "1"),
    "passed_percent_min": Field("95", "Of `eval`: with fewer passed it is FAIL.", "0"),
    "by": Field("[nightly]", "Of `eval`: services whose reports count.", "any that may report"),
    "fields": Field("[owner, changelog]", "Of `required_fields`: what may not be empty.", "none"),
    "labels": Field("[team]", "Of `required_fields`: labels that may not be missing.", "none"),
}


def _gate_fields() -> str:
    """The fields of a gate policy, of its rules, and of what a rule needs."""
    schema = schema_of(STANDARD)
    rule: Any = schema["properties"]["rules"]["items"]  # type: ignore[index,call-overload]
    need: Any = rule["properties"]["needs"]["items"]
    parts = (
        fields(schema, _GATES, "gate policy"),
        "A rule:\n",
        fields(rule, _RULE, "rule of a gate policy"),
        "An entry of `needs`:\n",
        fields(need, _NEED, "entry of needs"),
    )
    return "\n".join(parts)


PARTS: Mapping[str, Callable[[], str]] = {
    "policies.fields": lambda: fields(POLICY_SCHEMA, _POLICY, "policy"),
    "policies.gate_fields": _gate_fields,
}
