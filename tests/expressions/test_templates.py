"""Literal text, `${ }` and what a value becomes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid
from stanchion.expressions import FaultyTemplate, compile_template

SCHEMA = {
    "type": "object",
    "properties": {
        "input": {
            "type": "object",
            "properties": {
                "n": {"type": "integer"},
                "t": {"type": "string"},
                "r": {"type": "object", "properties": {"x": {"type": "number"}}},
                "maybe": {"type": ["string", "null"]},
            },
        }
    },
}
SCOPE = {"input": {"n": 3, "t": "text", "r": {"x": 1.5}, "maybe": None}}


def made(value):
    return compile_template(value, SCHEMA, where="here")


@pytest.mark.parametrize(
    ("written", "rendered"),
    [
        ("plain", "plain"),
        ("${input.n}", 3),
        (" ${input.n}", " 3"),
        ("${input.n}${input.n}", "33"),
        ("${input.r}", {"x": 1.5}),
        ("${input.maybe}", None),
        ("a ${input.t} b ${input.n > 1} c ${input.r.x}", "a text b true c 1.5"),
        ("$${input.n}", "${input.n}"),
        ("cost $${x} is $5 and ${input.n}$", "cost ${x} is $5 and 3$"),
        ("${ {'a': {'b': '}'}}.a.b }", "}"),
        ("${ '${' + \"}\" }", "${}"),
        ("${input.n // }\n}", 3),
        (
            {"k${input.n}": ["${input.n}", {"x": "${input.t}"}, 1, None, True, 1.5]},
            {"k${input.n}": [3, {"x": "text"}, 1, None, True, 1.5]},
        ),
        ([], []),
        (None, None),
    ],
)
def test_it_renders(written, rendered):
    result = made(written).render(SCOPE)
    assert result == rendered
    assert type(result) is type(rendered)


@pytest.mark.parametrize(
    ("written", "pointer", "place", "message"),
    [
        ("a ${input.n", "", "${input.n", "no closing }"),
        ("${ 'x }", "", "'x }", "does not end"),
        ("${}", "", "}", "empty"),
        ({"a/b": ["x", "ab ${input.m} ${input.n}"]}, "/a~1b/1", "m}", "input.m: no such property."),
        ("a ${input.r}", "", "input.r}", "cannot stand within a text"),
        ("a ${[1]}", "", "[1]}", "cannot stand within a text"),
        ("a ${null}", "", "null}", "cannot stand within a text"),
    ],
)
def test_a_fault_has_its_place(written, pointer, place, message):
    with pytest.raises(FaultyTemplate) as caught:
        made(written)
    (string,) = caught.value.strings
    assert string.pointer == pointer
    assert message in string.faults[0].message
    assert string.source[string.faults[0].offset :].startswith(place)


def test_the_faults_of_all_strings_are_told():
    with pytest.raises(FaultyTemplate) as caught:
        made(["${input.a}", "${input.n}", {"x": "${input.b} ${input.c}"}])
    assert [(s.pointer, len(s.faults)) for s in caught.value.strings] == [("/0", 1), ("/2/x", 1), ("/2/x", 1)]


def test_null_within_a_text_is_refused_when_it_comes():
    with pytest.raises(Invalid, match="cannot stand within a text") as caught:
        made("a ${input.maybe}").render(SCOPE)
    assert caught.value.code == "expression.failed"


def test_what_holds_no_expression_renders_to_itself():
    value = {"a": [1, {"b": "text $ {x}"}]}
    template = made(value)
    assert template.render(SCOPE) is value
    assert (template.renderer, template.paths) == (None, ())


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("${input.n}", {"type": "integer"}),
        ("x${input.n}", {"type": "string"}),
        (3, {"type": "integer"}),
        (["${input.n}", 1], {"type": "array", "items": {"type": "integer"}}),
        (["${input.n}", "a"], {"type": "array", "items": {}}),
        ({"a": "${input.t}"}, {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}),
    ],
)
def test_the_schema_of_the_value_is_known(written, schema):
    assert made(written).schema == schema


def test_paths_are_told_once():
    assert made(["${input.n + input.n}", "${input.t} ${input.n}"]).paths == ("input.n", "input.t")


@given(text=st.text(alphabet="ab${}'\" \n\\"))
def test_escaping_makes_any_text_literal(text):
    assert made(text.replace("${", "$${")).render(SCOPE) == text


@given(text=st.text())
def test_a_text_literal_in_an_expression_may_hold_anything(text):
    literal = "'" + "".join(f"\\U{ord(c):08x}" for c in text) + "'"
    assert made("${" + literal + "}").render(SCOPE) == text
