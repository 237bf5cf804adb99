"""Verbs and artifacts for tests of documents; the shapes are those of the real domains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stanchion.blueprints import BlueprintKind, ConfigIssue, Document, compile_document

FIXTURES = Path(__file__).parent / "fixtures"
CONNECTOR = {"type": "string", "x-artifact": "connector"}

CASE = {
    "type": "object",
    "required": ["case_id", "fine_eur", "articles", "decision_date", "amount"],
    "additionalProperties": False,
    "properties": {
        "case_id": {"type": "string"},
        "country": {"type": "string"},
        "fine_eur": {"type": "integer"},
        "articles": {"type": "array", "items": {"type": "integer"}},
        "decision_date": {"type": ["string", "null"]},
        "amount": {"type": "string", "format": "decimal"},
        "note": {"type": "string"},
    },
}
ARTIFACTS = {
    ("connector", "casebook"): {"resources": {"cases": CASE, "outcomes": {"type": "object"}}},
    ("policy", "supervisor-approval"): {"type": "approval"},
}


def lookup(kind, name):
    return ARTIFACTS.get((kind, name))


@dataclass(frozen=True)
class FakeVerb:
    verb: str
    config_schema: dict
    output: dict
    effect: str = "read"
    suspends: bool = False

    def check(self, config, lookup):
        if "connector" not in config:
            return
        resources = lookup("connector", config["connector"])["resources"]
        if config["resource"] not in resources:
            yield ConfigIssue(
                pointer="/resource",
                code="connector.unknown_resource",
                message=f"{config['connector']} has no resource {config['resource']!r}.",
                hint=f"It has {', '.join(resources)}.",
            )

    def output_schema(self, config, lookup, types):
        return self.output


def _config(required, **properties):
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


_BY_RESOURCE = {"connector": CONNECTOR, "resource": {"type": "string"}}
_WAY_OUT = {"anyOf": [{"type": "string", "enum": ["fail", "skip"]}, {"x-block": True, "type": "array"}]}

VERBS = {
    v.verb: v
    for v in (
        FakeVerb(
            "fetch",
            _config(["connector", "resource"], **_BY_RESOURCE, where={"type": "object", "x-template": True}),
            {"type": "object", "properties": {"records": {"type": "array", "items": CASE}}},
        ),
        FakeVerb(
            "lookup",
            _config(
                ["connector", "resource", "key"],
                **_BY_RESOURCE,
                key={"x-template": True, "anyOf": [{"type": "string"}, {"type": "integer"}]},
            ),
            {"type": "object", "properties": {"record": CASE}},
        ),
        FakeVerb(
            "push",
            _config(["connector", "resource", "record"], **_BY_RESOURCE, record={"type": "object", "x-template": True}),
            {"type": "object", "properties": {"receipt": {"type": "string"}}},
            effect="write",
        ),
        FakeVerb(
            "govern",
            _config(
                ["policy", "show"],
                policy={"type": "string", "x-artifact": "policy"},
                show={"type": "array", "x-template": True, "minItems": 1},
                expires={"type": "string", "x-duration": True},
                on_reject=_WAY_OUT,
                on_expire=_WAY_OUT,
            ),
            {
                "type": "object",
                "properties": {"decision": {"type": "string"}, "decided_by": {"type": "string"}},
            },
            effect="none",
            suspends=True,
        ),
    )
}
KIND = BlueprintKind(VERBS)


def compiled(source, path="blueprint.yaml"):
    return compile_document(Document(path=path, source=source), verbs=VERBS, lookup=lookup)


def program(source):
    made, issues = compiled(source)
    assert made is not None, "\n".join(f"{i.line}:{i.column} {i.message} {i.hint}" for i in issues)
    return made


def issues(source):
    return compiled(source)[1]
