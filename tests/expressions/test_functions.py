"""Stanchion's own functions: decimals as texts, lists, dates and zones."""

from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Invalid
from stanchion.expressions import FaultyExpression, compile_expression

SCHEMA = {
    "type": "object",
    "properties": {
        "input": {
            "type": "object",
            "properties": {
                "a": {"type": "string", "format": "decimal"},
                "b": {"type": "string", "format": "decimal"},
                "rows": {"type": "array", "items": {"type": "object", "additionalProperties": True}},
            },
        }
    },
}
ROWS = [
    {"who": "b", "hours": "2.50", "n": 1},
    {"who": "a", "hours": "0.25", "n": 3},
    {"who": "b", "hours": "10", "n": 2},
    {"who": None, "hours": "1", "n": 0},
]


def value(source, **data):
    return compile_expression(source, SCHEMA, where="here").evaluate({"input": {"rows": ROWS, **data}})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("decimal('1.50')", "1.50"),
        ("decimal('1e3')", "1000"),
        ("decimal(7)", "7"),
        ("decimal(0.1)", "0.1"),
        ("decimal('-0.00')", "0.00"),
        ("add('0.1', 0.2)", "0.3"),
        ("subtract(1, '0.90')", "0.10"),
        ("multiply('2.50', 4)", "10.00"),
        ("divide(1, 3, 4)", "0.3333"),
        ("divide('2', '-3', 0)", "-1"),
        ("compare('9.5', '10') < 0", True),
        ("compare('1.0', 1) == 0", True),
        ("round('2.345', 2)", "2.35"),
        ("round('-2.345', 2)", "-2.35"),
        ("round(2.345, 2)", 2.35),
        ("round('7', 2)", "7.00"),
        ("sum([1, 2])", 3),
        ("sum([0.5, 2.0])", 2.5),
        ("sum(['0.1', '0.20'])", "0.30"),
        ("sum([])", 0),
        ("sum(input.rows.map(r, r.hours))", "13.75"),
        ("sum(input.rows.map(r, r.n)) + 1", 7),
        (
            "group_by(input.rows, 'who').map(g, {'who': g.key, 'hours': sum(g.items.map(r, r.hours))})",
            [{"who": "b", "hours": "12.50"}, {"who": "a", "hours": "0.25"}, {"who": None, "hours": "1"}],
        ),
        ("sort_by(input.rows, 'who').map(r, r.n)", [0, 3, 1, 2]),
        ("sort_by(input.rows, '-n').map(r, r.n)", [3, 2, 1, 0]),
        ("date('2026-03-29T23:30:00Z')", "2026-03-29"),
        ("date('2026-03-29')", "2026-03-29"),
        ("date(in_zone('2026-03-28T23:30:00Z', 'Europe/Berlin'))", "2026-03-29"),
        ("date(timestamp('2026-03-29T23:30:00-02:00'))", "2026-03-30"),
        ("in_zone('2026-07-01T12:00:00Z', 'Europe/Berlin')", "2026-07-01T14:00:00+02:00"),
        ("in_zone(timestamp('2026-01-01T12:00:00Z'), 'America/New_York')", "2026-01-01T07:00:00-05:00"),
        ("['a', 'b'].join(', ')", "a, b"),
        ("'a,b'.split(',')", ["a", "b"]),
        ("'ab'.split('')", ["a", "b"]),
        ("'a-b'.replace('-', '+').upper()", "A+B"),
        ("' Ä '.trim().lower()", "ä"),
        ("'abcdef'.substring(1, 3)", "bc"),
    ],
)
def test_a_function_gives(source, expected):
    result = value(source)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("decimal('x')", "is no decimal number"),
        ("decimal('NaN')", "is no decimal number"),
        ("decimal('1e999999999')", "of up to 200 digits"),
        ("multiply('1e150', '1e150')", "of up to 200 digits"),
        ("divide(1, 0, 2)", "division by zero"),
        ("round('1', 99)", "0 to 30 places"),
        ("sum([dyn('1'), dyn(true)])", "True is no decimal"),
        ("sum([dyn(true)])", "bool is no number"),
        ("group_by(input.rows, 'who').map(g, g.items[9])", "Index"),
        ("group_by(input.rows, 'wo')", "no field 'wo'; its fields are: hours, n, who"),
        ("sort_by(input.rows, '-m')", "no field 'm'; its fields are: hours, n, who"),
        ("sort_by([{'a': 1}, {'b': 1}], 'a')", "no field 'a'; its fields are: b"),
        ("sort_by([{'a': dyn(1)}, {'a': dyn('x')}], 'a')", "cannot be ordered"),
        ("date('22.11.2026')", "neither YYYY-MM-DD"),
        ("in_zone('2026-07-01T12:00:00', 'Europe/Berlin')", "has no offset"),
        ("in_zone('2026-07-01T12:00:00Z', 'Europe/Nowhere')", "no IANA time zone"),
        ("'abc'.substring(2, 9)", "outside a text"),
    ],
)
def test_a_function_refuses(source, reason):
    with pytest.raises(Invalid, match=reason):
        value(source)


def test_decimals_cannot_be_compared_as_texts():
    with pytest.raises(FaultyExpression, match="decimal"):
        value("input.a < input.b", a="9.5", b="10")


decimals = st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**12), max_value=10**12)


@given(a=decimals, b=decimals)
def test_arithmetic_is_exact(a, b):
    data = {"a": format(a, "f"), "b": format(b, "f")}
    assert Decimal(value("add(input.a, input.b)", **data)) == a + b
    assert Decimal(value("subtract(input.a, input.b)", **data)) == a - b
    with localcontext(prec=60):
        assert Decimal(value("multiply(input.a, input.b)", **data)) == a * b
    assert value("compare(input.a, input.b)", **data) == (a > b) - (a < b)


@given(numbers=st.lists(decimals, min_size=1, max_size=30))
def test_sum_is_what_adding_one_by_one_gives(numbers):
    rows = [{"h": format(n, "f")} for n in numbers]
    assert Decimal(value("sum(input.rows.map(r, r.h))", rows=rows)) == sum(numbers, Decimal(0))


CLOSED = {
    "type": "object",
    "properties": {
        "rows": {"type": "array", "items": {"type": "object", "properties": {"supplier": {}, "amount": {}}}},
        "open": {
            "type": "array",
            "items": {"type": "object", "properties": {"supplier": {}}, "additionalProperties": True},
        },
    },
}


@pytest.mark.parametrize(
    ("source", "column", "name", "hint"),
    [
        ("group_by(rows, 'suplier')", 16, "suplier", "Did you mean supplier?"),
        ("sort_by(rows, '-amont')", 15, "amont", "Did you mean amount?"),
        ("sort_by(rows.filter(r, r.amount > 1), 'amont')", 39, "amont", "Did you mean amount?"),
        ("group_by(sort_by(rows, 'amount'), '-amount')", 35, "-amount", "Did you mean amount?"),
    ],
)
def test_a_field_that_the_elements_do_not_have_is_found_at_publish(source, column, name, hint):
    with pytest.raises(FaultyExpression, match=f"^1:{column}: .* no field '{name}'") as refused:
        compile_expression(source, CLOSED, where="here")
    assert refused.value.hint == hint


@pytest.mark.parametrize(
    ("source", "column", "hint"),
    [("rows[0].amont", 9, "Did you mean amount?"), ("[1, rows[1].suplier]", 13, "Did you mean supplier?")],
)
def test_a_member_behind_an_index_is_found_at_publish(source, column, hint):
    with pytest.raises(FaultyExpression, match=f"^1:{column}: The elements of rows have no such property") as refused:
        compile_expression(source, CLOSED, where="here")
    assert refused.value.hint == hint


def test_a_key_that_a_map_lacks_has_a_hint_when_it_runs():
    with pytest.raises(Invalid, match="Key not found in map") as failed:
        value("group_by(input.rows, 'who').map(g, g.kye)")
    assert "Check the field's name" in failed.value.hint


@pytest.mark.parametrize(
    ("source", "column", "hint"),
    [
        ("1 + foo", 5, "Literal text inside an expression stands in quotes."),
        ("foo.bar + 1", 1, "Literal text inside an expression stands in quotes."),
        ("{supplier: 1}", 2, "Keys are quoted: {'supplier': …}."),
        ("{'a': 1, supplier : 2}", 10, "Keys are quoted: {'supplier': …}."),
    ],
)
def test_an_undeclared_name_is_told_where_it_stands(source, column, hint):
    with pytest.raises(FaultyExpression, match=f"^1:{column}: Undeclared reference") as refused:
        compile_expression(source, CLOSED, where="here")
    assert refused.value.hint == hint


@pytest.mark.parametrize("source", ["sort_by(rows, '-amount')", "group_by(open, 'anything')", "open[0].anything"])
def test_a_field_that_the_elements_have_or_may_have_is_taken(source):
    assert compile_expression(source, CLOSED, where="here").source == source
