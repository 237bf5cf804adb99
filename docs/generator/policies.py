"""The fields of an approval policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from docs.generator.tables import Field, code, fields

from stanchion.approvals.policies import EXPIRES_DEFAULT, POLICY_SCHEMA

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

PARTS: Mapping[str, Callable[[], str]] = {
    "policies.fields": lambda: fields(POLICY_SCHEMA, _POLICY, "policy"),
}
