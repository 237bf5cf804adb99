"""Checking any kind's document against its schema, values against theirs, and the published schema of a Blueprint."""

from __future__ import annotations

import jsonschema
import pytest
from tests.blueprints.support import FIXTURES, VERBS, issues

from stanchion.base import Internal
from stanchion.blueprints import (
    SCHEMA_OF_SCHEMAS,
    Document,
    check_document,
    closed,
    document_schema,
    duration_s,
    read_document,
    validate_value,
)

CONNECTOR = {
    "type": "object",
    "required": ["connector", "owner"],
    "additionalProperties": False,
    "properties": {
        "connector": {"type": "string", "pattern": "^[a-z-]+$", "description": "Lower-case letters and dashes."},
        "owner": {"type": "string", "minLength": 1, "maxLength": 5},
        "driver": {"anyOf": [{"type": "string", "enum": ["sqlite", "postgresql"]}, {"type": "null"}]},
        "every": {"type": "string", "x-duration": True},
        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
        "ratio": {"type": "number", "exclusiveMinimum": 0},
        "hosts": {"type": "array", "minItems": 1, "maxItems": 2, "uniqueItems": True, "items": {"type": "string"}},
        "resources": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z]+$"},
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"fields": {"x-schema": True}, "const": {"const": 1}},
            },
        },
    },
}


def check(source, schema=CONNECTOR):
    return check_document(Document(path="c.yaml", source=source), schema)


def test_a_good_document_gives_its_body_and_places():
    body, issues, positions = check("connector: a\nowner: me\nresources:\n  rows: {fields: {type: object}}\n")
    assert issues == ()
    assert body["resources"] == {"rows": {"fields": {"type": "object"}}}
    assert positions.of_key("/resources/rows") == (4, 3)


@pytest.mark.parametrize(
    ("line", "column", "text", "code", "words"),
    [
        (3, 1, "drivr: sqlite", "document.unknown_field", "Did you mean driver?"),
        (3, 9, "driver: sqlit", "document.choice", "Did you mean sqlite?"),
        (3, 9, "driver: [1]", "document.type", "a text or null"),
        (3, 8, "every: 5 minutes", "document.duration", "500ms"),
        (3, 7, "port: 0", "document.range", "at least 1"),
        (3, 7, "port: 70000", "document.range", "at most 65535"),
        (3, 7, "port: '80'", "document.type", "a whole number"),
        (3, 8, "ratio: 0", "document.range", "more than 0"),
        (3, 8, "hosts: []", "document.range", "At least 1"),
        (3, 8, "hosts: [a, b, c]", "document.range", "At most 2"),
        (3, 8, "hosts: [a, a]", "document.range", "twice"),
        (3, 12, "hosts: [a, 1]", "document.type", "a text"),
        (3, 12, "resources: {}", "document.range", "At least 1"),
        (3, 13, "resources: {Rows: {}}", "document.pattern", "'Rows'"),
        (3, 27, "resources: {rows: {const: 2}}", "document.choice", "1"),
        (3, 28, "resources: {rows: {fields: {typ: object}}}", "document.unknown_field", "Did you mean type?"),
        (3, 1, "port: 1\nport: 2", "document.duplicate_key", "twice"),
    ],
)
def test_a_fault_is_told_at_its_place(line, column, text, code, words):
    _, issues, _ = check(f"connector: a\nowner: me\n{text}\n")
    found = [(i.line, i.column, i.code) for i in issues]
    near = {(line + d, column + e, code) for d in (0, 1) for e in range(-1, 2)}
    assert near & set(found), found
    assert any(words in i.message + i.hint for i in issues)


def test_all_faults_come_at_once():
    _, issues, _ = check("conector: B\nowner: ''\nport: x\n")
    assert [i.code for i in issues] == [
        "document.missing_field",
        "document.unknown_field",
        "document.range",
        "document.type",
    ]
    assert issues[0].hint == "Is conector meant to be connector?"


def test_a_schema_that_the_walker_does_not_know_is_our_own_defect():
    with pytest.raises(Internal, match="patternProperties"):
        check("a: 1\n", {"type": "object", "patternProperties": {}})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("60s", 60),
        ("1.5h", 5400),
        ("7d", 604800),
        ("0s", None),
        ("60", None),
        ("1w", None),
        ("400d", None),
        ("-1s", None),
    ],
)
def test_durations(text, seconds):
    assert duration_s(text) == seconds


VALUES = closed(
    {
        "type": "object",
        "required": ["amount"],
        "properties": {
            "amount": {"type": "string", "format": "decimal"},
            "at": {"type": "string", "format": "date-time"},
            "on": {"type": "string", "format": "date"},
            "mail": {"type": "string", "format": "email"},
            "link": {"type": "string", "format": "uri"},
            "id": {"type": "string", "format": "uuid"},
            "rows": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "integer"}}}},
            "free": {"type": "object", "additionalProperties": True, "properties": {"k": {"type": "integer"}}},
        },
    }
)


def test_a_value_that_fits_has_no_faults():
    value = {
        "amount": "-12.50",
        "at": "2026-11-22T10:00:00Z",
        "on": "2026-11-22",
        "mail": "a@b.c",
        "link": "https://example.org/x",
        "id": "0190f7c0-0000-7000-8000-000000000000",
        "rows": [{"x": 1}],
        "free": {"k": 1, "other": 2},
    }
    assert validate_value(VALUES, value) == []


@pytest.mark.parametrize(
    ("name", "value", "pointer"),
    [
        ("amount", "12,50", "/amount"),
        ("amount", "NaN", "/amount"),
        ("amount", "1_000", "/amount"),
        ("amount", 12.5, "/amount"),
        ("at", "2026-11-22T10:00:00", "/at"),
        ("at", "2026-11-22", "/at"),
        ("on", "22.11.2026", "/on"),
        ("mail", "nobody", "/mail"),
        ("link", "no link", "/link"),
        ("id", "x", "/id"),
        ("rows", [{"x": 1}, {"x": "1"}], "/rows/1/x"),
        ("rows", [{"y": 1}], "/rows/0/y"),
        ("amont", "1", "/amont"),
    ],
)
def test_a_value_that_does_not_fit_says_where(name, value, pointer):
    (fault,) = validate_value(VALUES, {"amount": "1", name: value})
    assert fault[0] == pointer
    assert fault[1].endswith((".", "?"))


def test_a_missing_and_a_misspelt_property_are_told_together():
    assert [m for _, m in validate_value(VALUES, {"amont": "1"})] == [
        "'amount' is a required property.",
        "amont is no declared property. Did you mean amount?",
    ]


def test_the_published_schema_is_json_schema_and_fits_the_examples():
    schema = document_schema(VERBS)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator.check_schema(SCHEMA_OF_SCHEMAS)
    for path in FIXTURES.glob("*.yaml"):
        body = read_document(Document(path=str(path), source=path.read_text())).body
        assert list(jsonschema.Draft202012Validator(schema).iter_errors(body)) == []


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("    fetch:", "Write fetch: {connector: …, resource: …}."),
        ("    transform:", "Write transform: {value: …}."),
        ("    govern:", "Write govern: {policy: …, show: …}."),
        ("    logic_gate:", "Write logic_gate: {if: …, then: …}."),
        ("    logic_gate: {if: 'true', then: }", "Write at least one element below then: - id: …"),
        ("    logic_gate: {if: true, then: [{id: b, transform: {value: 1}}]}", "Quote it: 'true'."),
        ("    transform: {value: 1}\n    retry:", "Write retry: {attempts: …}."),
        ("    transform: {value: 1}\n    timeout:", "Write timeout: 60s, or leave it out."),
        ("    transform: {value: 1}\n    for_each:", "Write for_each: {in: …}."),
        ("    transform: {value: 1}\ninput:", "Write input: {type: object, properties: {…}}, or leave it out."),
        ("    transform: {value: 1}\ninput: {properties: {n: }}", "Write n: {type: string}."),
        ("    transform: {value: 1}\n  -", "Write {id: …}."),
    ],
)
def test_what_is_left_empty_is_answered_with_its_shape(line: str, hint: str) -> None:
    (issue,) = issues(f"blueprint: empty\nowner: tests\nsteps:\n  - id: a\n{line}\n")
    assert (issue.code, issue.hint) == ("document.type", hint)


def test_a_number_is_quoted_as_it_was_written() -> None:
    (issue,) = issues("blueprint: one\nowner: 1.50\nsteps:\n  - id: a\n    transform: {value: 1}\n")
    assert (issue.message, issue.hint) == ("owner must be a text, and this is a number ('1.5').", "Quote it: '1.50'.")
