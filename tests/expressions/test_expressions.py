"""CEL over the schemas of a scope: what compiles, what it gives, where it is wrong, what stops it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid
from stanchion.expressions import FaultyExpression, compile_expression


def obj(**properties):
    return {"type": "object", "properties": properties}


INT, TEXT, DECIMAL = {"type": "integer"}, {"type": "string"}, {"type": "string", "format": "decimal"}
ROW = obj(x=INT, h=DECIMAL, name=TEXT)
SCHEMA = obj(
    input=obj(n=INT, opt=INT, ratio={"type": "number"}, flag={"type": "boolean"}, free={"type": "object"}),
    run=obj(id=TEXT),
    steps={
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "a": obj(
                value=INT,
                record={
                    "type": ["object", "null"],
                    "properties": {"fine_eur": INT, "amount": DECIMAL, "on": {"type": ["string", "null"]}},
                },
                rows={"type": "array", "items": ROW},
                open={"type": "object", "properties": {"known": INT}, "additionalProperties": True},
                union={"anyOf": [obj(k=INT), {"type": "null"}]},
            ),
            "skipped": obj(value=INT),
        },
    },
)
SCOPE = {
    "input": {"n": 3, "ratio": 2, "flag": True, "free": {"deep": {"er": [1]}}},
    "run": {"id": "r"},
    "steps": {
        "a": {
            "value": 4,
            "record": {"fine_eur": 5, "amount": "2.50", "on": None},
            "rows": [{"x": 1, "h": "2.5", "name": "b"}, {"x": 2, "h": "0.50", "name": "a"}],
            "open": {"known": 1, "extra": "e"},
            "union": {"k": 7},
        },
        "skipped": None,
    },
}


def made(source, schema=SCHEMA, **kw):
    return compile_expression(source, schema, where="here", **kw)


def value(source):
    return made(source).evaluate(SCOPE)


def faults(source, **kw):
    with pytest.raises(FaultyExpression) as caught:
        made(source, **kw)
    return caught.value.faults


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("steps.a.value + 1", 5),
        ("steps . a\n .value // comment\n + 1", 5),
        ("input.ratio * 2.0", 4.0),
        ("has(input.opt) ? input.opt : 7", 7),
        ("has(input.n) && !has(input.opt)", True),
        ("has(steps.skipped)", False),
        ("has(steps.a)", True),
        ("has(steps.skipped.value) ? steps.skipped.value : -1", -1),
        ("has(steps.a.record.on)", True),
        ("steps.a.record.on == null", True),
        ("steps.a.record.fine_eur > 4 || steps.skipped.value > 1", True),
        ("steps.a.open.extra", "e"),
        ("has(steps.a.open.none)", False),
        ("steps.a.union.k", 7),
        ("input.free.deep.er[0]", 1),
        ('steps.a["value"]', 4),
        ("steps.a.rows.filter(r, r.x > 1)", [{"x": 2, "h": "0.50", "name": "a"}]),
        ("steps.a.rows.map(r, {'n': r.name})", [{"n": "b"}, {"n": "a"}]),
        ("steps.a.rows.size()", 2),
        ("size(steps.a)", 5),
        ("timestamp('2026-11-22T10:00:00+01:00')", "2026-11-22T09:00:00Z"),
        ("duration('90.5s')", "90.5s"),
        ("{'a': [1, 2.5, null, true, {'b': 'c'}]}", {"a": [1, 2.5, None, True, {"b": "c"}]}),
        ("'steps.a.value' + \"input.n\"", "steps.a.valueinput.n"),
        ("r'''a ${ } b'''", "a ${ } b"),
        ("1u + 2u", 3),
        ("'INVALID_ARGUMENT: looks like an error'", "INVALID_ARGUMENT: looks like an error"),
        ("math.greatest(1, 3)", 3),
    ],
)
def test_it_gives_plain_json(source, expected):
    result = value(source)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("source", "place", "message", "hint"),
    [
        (
            "steps.a.record.fine_euro > 1",
            "fine_euro",
            "steps.a.record.fine_euro: no such property.",
            "Did you mean fine_eur?",
        ),
        ("steps.b.value", "b.value", "steps.b: there is no such step before this one.", ""),
        ("stepz.a", "stepz", "Undeclared reference to 'stepz.a'.", "Did you mean steps?"),
        ("item.x", "item", "item: nothing of this name can be read here.", ""),
        ("steps.a.value.foo", "foo", "steps.a.value is a number and has no property foo.", ""),
        ("steps.a.rows.x", "x", "steps.a.rows is a list and has no property x.", "[0]"),
        ("steps", "steps", "steps alone is no value.", "steps.<id>"),
        ("1 + steps.a.record.amount > 1", "+", "decimal", "compare"),
        ("steps.a.record.amount == '2.5'", "==", "decimal", "compare"),
        ("steps.a.value == null", "==", "null_type", "has("),
        ("steps.a.value == 'x'", "==", "no matching overload", "Types must agree"),
        ("case-recommendation", "case", "Undeclared reference to 'case'.", ""),
        ("joinn(1)", "joinn", "Undeclared reference to 'joinn'.", "Did you mean join?"),
        ("1 +", "", "mismatched input", ""),
        ("'abc", "'abc", "does not end", ""),
        ("1 # 2", "#", "means nothing in CEL", ""),
        ("   ", "   ", "empty", ""),
        ("b'a'", "b'a'", "no JSON", ""),
        ("type(1)", "type(1)", "no JSON", ""),
        ("{1: 2}", "{1: 2}", "keys", ""),
        ("[1].map(input, input)", "input, input", "name of the scope", "another name"),
        ("steps.a.rows.exists(r, r.y > 1)", "y > 1", "r.y: the elements of steps.a.rows have no such property.", ""),
        ("steps.a.rows.map(r, r.nam)", "nam)", "have no such property", "Did you mean name?"),
        ("steps.a.value +\n  steps.a.valu", "valu", "steps.a.valu: no such property.", "Did you mean value?"),
        ("(" * 40 + "1" + ")" * 40, "", "recursion", "Split"),
        ("'" + "x" * 10_001 + "'", "", "at most 10000 characters", ""),
    ],
)
def test_a_fault_has_its_place_reason_and_way_out(source, place, message, hint):
    first = faults(source)[0]
    assert message in first.message
    assert hint in first.hint
    assert source[first.offset :].startswith(place)


def test_all_faults_of_an_expression_are_told():
    found = faults("steps.a.valu + input.m + steps.nope.x")
    assert [f.offset for f in found] == [8, 21, 31]


def test_a_hidden_name_says_why():
    (fault,) = faults("steps.later.x", hidden={"steps.later": "it runs later."})
    assert fault.message == "steps.later: it runs later."


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("input.opt", r"input.opt is absent. Guard it: has\(input.opt\)"),
        ("steps.skipped.value + 1", "steps.skipped.value is absent"),
        ("steps.a.value / 0", "divide by zero"),
        ("9223372036854775807 + steps.a.value", "overflow"),
        ("1.0 / 0.0", "inf"),
        ("steps.a.rows[5].x", "Index"),
        ("steps.a.open.none", "none"),
        ("int('x')", "int"),
        ("dyn(steps.a.value) + dyn('x')", "No matching overloads.*convert"),
        ("decimal('abc')", "'abc' is no decimal number"),
        ("{dyn(1): 2}", "JSON keys are texts"),
        (
            (
                "steps.a.rows.map(a, steps.a.rows.map(b, [1,2,3,4,5,6,7,8,9,10].map(c, [1,2,3,4,5,6,7,8,9,10].map(d, "
                "[1,2,3,4,5,6,7,8,9,10].map(e, [1,2,3,4,5,6,7,8,9,10].map(f, 1))))))"
            ),
            "10000 iterations",
        ),
    ],
)
def test_what_fails_says_which_expression_where_and_why(source, reason):
    with pytest.raises(Invalid, match=reason) as caught:
        value(source)
    assert caught.value.code == "expression.failed"
    assert caught.value.message.startswith(f"here: `{source}`")


def test_a_value_of_another_type_than_its_schema_is_told():
    with pytest.raises(Invalid, match="Expected INT"):
        made("input.n + 1").evaluate({"input": {"n": "three"}})
    with pytest.raises(Invalid, match=r"input\.n is absent"):
        made("input.n + 1").evaluate({"input": None})


def test_only_named_paths_are_bound():
    class Trap(dict):
        def __getitem__(self, key):
            assert key in ("steps", "a", "value"), key
            return super().__getitem__(key)

    scope = Trap(steps=Trap(a=Trap(value=1, rows=object())), input=object())
    expression = made("steps.a.value + 1")
    assert expression.paths == ("steps.a.value",)
    assert expression.evaluate(scope) == 2


DOUBLING = "['xxxxxxxxxx']" + ".map(a, a + a + a + a + a + a)" * 9 + ".size()"


@pytest.mark.parametrize(
    ("source", "data"),
    [
        (DOUBLING, {}),
        ("input.l.map(a, input.l.map(b, a + b)).size()", {"l": ["x" * 40_000] * 99}),
        ("input.l.filter(a, a.matches('(x+x+)+y')).size()", {"l": ["x" * 40_000] * 9_000}),
        ("input.l.map(a, input.t).size()", {"l": [1] * 9_000, "t": "x" * 100_000}),
        ("input.t.replace('x', input.t).size()", {"t": "x" * 10_000}),
        ("input.l.map(a, input.t.upper()).size()", {"l": [1] * 9_000, "t": "x" * 10_000}),
        ("input.l.join(input.t).size()", {"l": ["a"] * 9_000, "t": "x" * 10_000}),
    ],
)
def test_a_runaway_expression_is_stopped(source, data):
    schema = obj(input=obj(l={"type": "array"}, t=TEXT))
    with pytest.raises(Invalid, match=r"could touch|produces more than") as caught:
        made(source, schema).evaluate({"input": data})
    assert caught.value.code == "expression.failed"


def test_ordinary_work_over_many_rows_is_not_stopped():
    rows = [{"x": i, "name": "a case of ordinary length, with a summary " * 5} for i in range(5_000)]
    schema = obj(input=obj(l={"type": "array", "items": ROW}))
    expression = made("input.l.filter(r, r.x % 2 == 0).map(r, r.name + ': ' + string(r.x))", schema)
    assert len(expression.evaluate({"input": {"l": rows}})) == 2_500


@pytest.mark.parametrize(
    ("source", "schema"),
    [
        ("steps.a.value", INT),
        ("steps.a.record.amount", DECIMAL),
        ("steps.a.rows", {"type": "array", "items": ROW}),
        ("steps.a.rows[0]", ROW),
        ("steps.a.rows.filter(r, r.x > 1)", {"type": "array", "items": ROW}),
        ("(steps.a.rows.filter(r, r.x > 1))[0]", ROW),
        ("sort_by(steps.a.rows.filter(r, r.x > 1), 'x')", {"type": "array", "items": ROW}),
        ("input.flag ? steps.a.rows : steps.a.rows.filter(r, r.x > 1)", {"type": "array", "items": ROW}),
        ("input.flag ? (input.flag ? 1 : 2) : 3", INT),
        ("add(1, '2')", DECIMAL),
        ("sum([1.5])", {"type": "number"}),
        ("[1].map(x, 'a')", {"type": "array", "items": TEXT}),
        ("{'a': 1}", {"type": "object", "additionalProperties": INT}),
        ("dyn(1)", {}),
    ],
)
def test_the_schema_of_the_value_is_known(source, schema):
    assert made(source).schema == schema


def test_the_same_expression_is_compiled_once():
    assert made("steps.a.value * 3").program is made("steps.a.value * 3").program
    other = obj(steps=obj(a=obj(value={"type": "number"})))
    assert made("steps.a.value * 3.0", other).evaluate({"steps": {"a": {"value": 2}}}) == 6.0


# PostgreSQL's jsonb holds no NUL, so no stored value does; CEL would cut a text there.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=15,
)


@given(anything=json_values)
def test_any_json_value_passes_through_unchanged(anything):
    for source in ("input.v", "[input.v][0]"):
        result = made(source, obj(input=obj(v={}))).evaluate({"input": {"v": anything}})
        assert result == anything
        assert type(result) is type(anything)


@given(source=st.text(alphabet="steps.a value+()[]{}'\"!=<>&|?:,1.0_xhin/*`\\\n", max_size=40))
def test_no_source_makes_it_raise_anything_else(source):
    with contextlib.suppress(FaultyExpression):
        compiled = made(source)
        with contextlib.suppress(Invalid):
            compiled.evaluate(SCOPE)


@given(source=st.text(alphabet="steps.a value+()[]{}'\"!=<>&|?:,1.0_xhin/*`\\\n", max_size=40))
def test_faults_lie_within_the_source(source):
    if faulty := _faults(source):
        assert all(0 <= f.offset <= len(source) and f.message for f in faulty)


def _faults(source):
    try:
        made(source)
    except FaultyExpression as error:
        return error.faults
    return ()
