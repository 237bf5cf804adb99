"""The kind `tool`: what a document says, what is wrong with it and where, and the program that is derived from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from stanchion.approvals import GovernVerb, PolicyKind
from stanchion.artifacts import Document
from stanchion.base import SystemClock
from stanchion.blueprints import LOGIC_GATE, TRANSFORM, BlueprintKind, validate_value
from stanchion.tools import VERBS, connector_of
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.catalogue import ToolKind, derive, program_of
from stanchion.tools.catalogue.schema import tool_of
from stanchion.tools.connectors.kind import ConnectorKind
from tests.tools.catalogue.support import APPROVAL, CONNECTOR, READER, TOOL

SPECS = {spec.verb: spec for spec in (TRANSFORM, LOGIC_GATE, GovernVerb(), *VERBS)}
KIND = ToolKind(SPECS)
# As a connector whose adapter has operations is published.
EXECUTING: dict[str, Any] = {
    "connector": "erp",
    "owner": "finance",
    "adapter": "http",
    "environment": "local",
    "execute": {
        "close-period": {
            "description": "Closes a period.",
            "parameters": {"period": {"type": "string"}, "note": {"type": ["string", "null"]}},
            "effect": "write",
            "idempotency": "key",
            "result": {"type": "object"},
        },
        "rates": {"parameters": {"day": {"type": "string", "format": "date"}}, "effect": "read"},
    },
}
CLOSE = """\
tool: close-period
owner: finance
model: {name: close_period, description: Closes a period of the books.}
call: {connector: erp, verb: execute, operation: close-period}
effect: destructive
idempotency: key
approval: {policy: large-postings, facts: {amount: "0"}}
disable: {fallback: Close it in the ERP.}
examples: [{case: one, arguments: {period: 2026-10}}]
"""


@pytest.fixture
def bodies(tmp_path) -> dict[tuple[str, str], Mapping[str, Any]]:
    nothing = lambda *_: None
    connector = ConnectorKind(Adapters(tmp_path, SystemClock())).parse(
        Document(path="c.yaml", source=CONNECTOR), nothing
    )
    policy = PolicyKind().parse(Document(path="p.yaml", source=APPROVAL), nothing)
    assert not connector.issues
    assert not policy.issues
    return {("connector", "erp"): connector.body, ("policy", "large-postings"): policy.body}


def parsed(bodies, source: str):
    return KIND.parse(Document(path="tool.yaml", source=source), lambda kind, name: bodies.get((kind, name)))


def changed(source: str, *changes: tuple[str, str]) -> str:
    for old, new in changes:
        assert old in source
        source = source.replace(old, new)
    return source


def test_a_sound_document_refers_to_its_connector_and_its_policy(bodies) -> None:
    found = parsed(bodies, TOOL)
    assert found.issues == ()
    assert set(found.references) == {("connector", "erp"), ("policy", "large-postings")}
    assert parsed(bodies, READER).issues == ()


@pytest.mark.parametrize(
    ("change", "code", "line", "said"),
    [
        (("effect: write", "effect: read"), "tool.not_as_strict", 9, "erp.postings.push is write"),
        (("idempotency: probe", "idempotency: key"), "tool.not_as_strict", 10, "declares idempotency probe"),
        (("resource: postings", "resource: posting"), "tool.unknown_operation", 7, "no resource posting"),
        (("verb: push", "verb: execute"), "tool.bad_call", 7, "says its `operation`"),
        (("resource: postings}", "resource: postings, limit: 3}"), "tool.bad_call", 7, "Only a fetch"),
        (("{note: {maxLength: 20}}", "{note: {type: integer}}"), "tool.not_narrower", 8, "type is nothing"),
        (("{note: {maxLength: 20}}", "{nota: {maxLength: 20}}"), "tool.not_narrower", 8, "no argument nota"),
        (("${arguments.amount}", "${arguments.amont}"), "tool.program", 11, "amont"),
        (("approval: {policy: large-postings,", "approval: {none: why, policy: large-postings,"), "tool.approval", 11, "policy"),
        (("name: post_cost", "name: post cost"), "document.pattern", 5, "post cost"),
        (("    arguments: {number: 2026-47-1", "    arguments: {nr: 2026-47-1"), "tool.bad_arguments", 31, "number"),
        (("expect: permit", "expect: maybe"), "document.choice", 18, "maybe"),
        (("case: a viewer does not post", "case: a clerk posts"), "tool.case_twice", 24, "two cases"),
        (("  description: Posts one cost line to the ERP.\n", ""), "document.missing_field", 4, "description"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_at_its_place(bodies, change, code: str, line: int, said: str) -> None:
    issues = parsed(bodies, changed(TOOL, change)).issues
    found = [issue for issue in issues if issue.code == code]
    assert found, issues
    assert said in found[0].message
    assert found[0].line == line


def test_a_write_must_say_its_idempotency(bodies) -> None:
    issues = parsed(bodies, changed(TOOL, ("idempotency: probe\n", ""))).issues
    assert [issue.code for issue in issues] == ["document.missing_field"]


@pytest.mark.parametrize(
    ("schema", "keywords", "narrower"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, {"minimum": 2, "maximum": 8}, True),
        ({"type": "integer", "minimum": 1}, {"minimum": 0}, False),
        ({"type": "integer", "maximum": 9}, {"maximum": 10}, False),
        ({"type": "string", "enum": ["a", "b"]}, {"enum": ["a"]}, True),
        ({"type": "string", "enum": ["a", "b"]}, {"enum": ["a", "c"]}, False),
        ({"type": "string"}, {"enum": ["a"]}, True),
        ({"type": "string", "pattern": "^a"}, {"pattern": "^b"}, False),
        ({"type": "string"}, {"type": ["string", "null"]}, False),
        ({"type": "string"}, {"default": "x"}, False),
        ({"type": "string", "maxLength": 3}, {"maxLength": True}, True),
    ],
)
def test_narrowing_only_narrows(schema, keywords, narrower: bool) -> None:
    body = {
        "tool": "t", "owner": "o", "model": {"name": "t", "description": "d"}, "effect": "read", "disable": {"fallback": "f"},
        "call": {"connector": "erp", "verb": "fetch", "resource": "r"}, "input": {"properties": {"x": keywords}},
    }  # fmt: skip
    faults = list(derive.narrowing_faults(tool_of(body), {"x": schema}))
    assert (faults == []) == narrower, faults


def test_what_models_are_told_covers_words_schema_and_hints(bodies) -> None:
    connector = connector_of(bodies["connector", "erp"])
    told = derive.told_of(tool_of(parsed(bodies, TOOL).body), connector)
    assert told["input_schema"] == {
        "type": "object",
        "properties": {
            "number": {"type": "string"},
            "amount": {"type": "string", "format": "decimal"},
            "note": {"type": ["string", "null"], "maxLength": 20},
        },
        "required": ["number", "amount"],
        "additionalProperties": False,
    }
    first = derive.told_digest(tool_of(parsed(bodies, TOOL).body), connector)
    for change in (
        ("Posts one", "Posts a"), ("post_cost", "post"), ("maxLength: 20", "maxLength: 19"), ("effect: write", "effect: destructive"),
    ):  # fmt: skip
        assert derive.told_digest(tool_of(parsed(bodies, changed(TOOL, change)).body), connector) != first
    same = changed(TOOL, ("Post by hand", "Write by hand"))
    assert derive.told_digest(tool_of(parsed(bodies, same).body), connector) == first


def test_the_approval_stands_before_the_write_and_the_dry_run_sends_nothing(bodies) -> None:
    body = parsed(bodies, TOOL).body
    program = program_of(body, SPECS, lambda kind, name: bodies.get((kind, name)))
    ops = {op.path: op for op in program.blocks[""].ops if op.step is not None}
    assert set(ops) == {"trial", "trial/then/tried", "trial/else/approval", "trial/else/call"}
    assert ops["trial/else/call"].approvals == ("trial/else/approval",)
    assert ops["trial/then/tried"].step.raw["simulate"] is True
    assert "simulate" not in ops["trial/else/call"].step.raw
    assert ops["trial/else/call"].step.raw["tool"] == "post-cost"


def test_an_operation_of_an_execute_is_a_tool_too(bodies) -> None:
    bodies = {**bodies, ("connector", "erp"): EXECUTING}
    found = parsed(bodies, CLOSE)
    assert found.issues == ()
    program = program_of(found.body, SPECS, lambda kind, name: bodies.get((kind, name)))
    call = next(op for op in program.blocks[""].ops if op.path == "trial/else/call")
    assert call.step.raw["arguments"] == {"period": "${input.arguments.period}", "note": "${input.arguments.note}"}
    assert validate_value(program.input_schema, {"arguments": {"period": "x"}, "dry_run": True}) == []
    milder = changed(CLOSE, ("effect: destructive", "effect: read"), ("idempotency: key\n", ""))
    assert [issue.code for issue in parsed(bodies, milder).issues] == ["tool.not_as_strict"]
    reading = changed(CLOSE, ("operation: close-period", "operation: rates"), ("period: 2026-10", "day: 2026-10-01"))
    assert parsed(bodies, reading).issues == ()  # an operation that reads may be told as something stricter


def test_a_step_that_names_a_tool_does_what_the_tool_is(bodies) -> None:
    bodies = {**bodies, ("tool", "post-cost"): parsed(bodies, TOOL).body}
    source = """\
blueprint: b
owner: o
input: {type: object, required: [k], properties: {k: {type: string}}}
steps:
  - id: s
    lookup: {connector: erp, resource: postings, key: "${input.k}", tool: post-cost}
"""
    found = BlueprintKind(SPECS).parse(
        Document(path="b.yaml", source=source), lambda kind, name: bodies.get((kind, name))
    )
    assert [(issue.code, issue.line) for issue in found.issues] == [("blueprint.other_tool", 6)]
    fitting = changed(
        source,
        (
            'lookup: {connector: erp, resource: postings, key: "${input.k}"',
            "push: {connector: erp, resource: postings, record: {number: a, amount: '1', note: null}",
        ),
    )
    found = BlueprintKind(SPECS).parse(
        Document(path="b.yaml", source=fitting), lambda kind, name: bodies.get((kind, name))
    )
    assert found.issues == ()
    assert ("tool", "post-cost") in found.references
