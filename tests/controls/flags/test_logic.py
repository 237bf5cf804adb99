"""JsonLogic: what each operator gives, in JavaScript's sense of values, and what bounds it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Json
from stanchion.controls.flags.logic import DEPTH_MAX, LogicCompiler
from stanchion.controls.flags.types import WORK_MAX, Frame, Refused
from stanchion.controls.flags.values import loosely_equal, number, text, truthy
from stanchion.controls.flags.versions import parse

DATA: dict[str, Json] = {
    "plan": "gold",
    "age": 42,
    "ratio": 0.25,
    "nothing": None,
    "empty": "",
    "user": {"name": "ada", "tags": ["a", "b"]},
    "scores": [3, 1, 2],
    "rows": [{"n": 1, "ok": True}, {"n": 2, "ok": False}],
    "targetingKey": "unit-1",
}


def run(rule: Json, data: Json = None) -> Json:
    compiler = LogicCompiler({})
    node = compiler.node(rule, "")
    assert not compiler.findings
    attributes = DATA if data is None else data
    return node(attributes, Frame("some-flag", DATA, 1_800_000_000))


def faults(rule: Json) -> list[tuple[str, str]]:
    compiler = LogicCompiler({})
    compiler.node(rule, "")
    return [(finding.pointer, finding.message) for finding in compiler.findings]


def var(*arguments: Json) -> Json:
    return {"var": list(arguments)}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (17, 17),
        ([1, {"+": [1, 1]}], [1, 2]),
        ({}, {}),
        # reading
        (var("plan"), "gold"),
        ({"var": "plan"}, "gold"),
        (var("user.name"), "ada"),
        (var("user.tags.1"), "b"),
        (var("user.tags.2"), None),
        (var("user.tags.-1"), None),
        (var("user.tags.name"), None),
        (var("plan.name"), None),
        (var("missing", "or this"), "or this"),
        (var("nothing", "or this"), None),
        (var("nothing.deeper", "or this"), "or this"),
        (var({"cat": ["pl", "an"]}), "gold"),
        (var("$flagd.flagKey"), "some-flag"),
        (var("$flagd.timestamp"), 1_800_000_000),
        (var("$flagd.other"), None),
        ({"map": [{"var": "scores"}, var("$flagd.flagKey")]}, ["some-flag"] * 3),
        ({"missing": ["plan", "nope", "empty", "nothing", "user.name"]}, ["nope", "empty", "nothing"]),
        ({"missing": {"merge": ["plan", ["nope"]]}}, ["nope"]),
        ({"missing_some": [1, ["plan", "nope"]]}, []),
        ({"missing_some": [2, ["plan", "nope"]]}, ["nope"]),
        ({"missing_some": ["?", ["nope"]]}, ["nope"]),
        ({"missing_some": [1, "plan"]}, []),
        # deciding
        ({"if": [True, "a", "b"]}, "a"),
        ({"if": [False, "a", "b"]}, "b"),
        ({"if": [False, "a"]}, None),
        ({"if": [False, "a", False, "b", "c"]}, "c"),
        ({"if": [False, "a", True, "b", "c"]}, "b"),
        ({"if": ["alone"]}, "alone"),
        ({"?:": [var("nothing"), 1, 2]}, 2),
        ({"and": [1, "", 3]}, ""),
        ({"and": [1, 2]}, 2),
        ({"or": [0, "", "x", "y"]}, "x"),
        ({"or": [0, ""]}, ""),
        ({"!": [[]]}, True),
        ({"!": "0"}, False),
        ({"!!": [{"filter": [{"var": "scores"}, False]}]}, False),
        # comparing
        ({"==": [1, "1"]}, True),
        ({"==": [1, True]}, True),
        ({"==": [0, None]}, False),
        ({"==": [None, var("nope")]}, True),
        ({"==": ["", 0]}, True),
        ({"==": ["a", 0]}, False),
        ({"==": [[1], 1]}, True),
        ({"==": [1, [1]]}, True),
        ({"==": [[1], [1]]}, False),
        ({"==": [{"var": "user"}, {"var": "user"}]}, True),
        ({"!=": [1, "2"]}, True),
        ({"===": [1, "1"]}, False),
        ({"===": [1, 1.0]}, True),
        ({"===": [1, True]}, False),
        ({"===": [True, True]}, True),
        ({"===": ["a", "a"]}, True),
        ({"!==": [0, False]}, True),
        ({"<": [1, 2]}, True),
        ({"<": ["10", "9"]}, True),
        ({"<": ["10", 9]}, False),
        ({"<": [1, 5, 10]}, True),
        ({"<": [1, 11, 10]}, False),
        ({"<=": [1, 1, 1]}, True),
        ({"<=": ["b", "a"]}, False),
        ({"<": ["x", 1]}, False),
        ({">=": ["x", 1]}, False),
        ({">": [{"var": "age"}, 41]}, True),
        ({">=": [2, 2]}, True),
        ({"in": ["Spring", "Springfield"]}, True),
        ({"in": ["a", ["a", "b"]]}, True),
        ({"in": [1, ["1"]]}, False),
        ({"in": [True, [1]]}, False),
        ({"in": [var("nope"), "nullable"]}, False),
        ({"in": [2, "area 25"]}, True),
        ({"in": ["x", 3]}, False),
        # counting
        ({"+": ["1", 1, True]}, 3),
        ({"-": [3]}, -3),
        ({"-": [3, "1"]}, 2),
        ({"*": [2, "3", 4]}, 24),
        ({"/": [1, 4]}, 0.25),
        ({"%": [7, 4]}, 3),
        ({"%": [-7, 4]}, -3),
        ({"max": [1, "3", 2]}, 3),
        ({"min": [1, "3", 2]}, 1),
        ({"if": [{"/": [0, 0]}, "a", "NaN is false"]}, "NaN is false"),
        ({"<": [1e308, {"/": [1, 0]}]}, True),
        ({"<": [{"/": [1, -0.0]}, -1e308]}, True),
        ({"==": [{"%": [1, 0]}, {"%": [1, 0]}]}, False),
        ({"==": [{"max": [1, "x"]}, 1]}, False),
        # texts and lists
        ({"cat": ["a", 1, 2.5, True, None, [1, [2]]]}, "a12.5true1,2"),
        ({"cat": "alone"}, "alone"),
        ({"substr": ["jsonlogic", 4]}, "logic"),
        ({"substr": ["jsonlogic", -5]}, "logic"),
        ({"substr": ["jsonlogic", -50]}, "jsonlogic"),
        ({"substr": ["jsonlogic", 1, 3]}, "son"),
        ({"substr": ["jsonlogic", 4, -2]}, "log"),
        ({"substr": ["jsonlogic", "x", {"/": [1, 0]}]}, "jsonlogic"),
        ({"merge": [1, [2, 3], []]}, [1, 2, 3]),
        ({"map": [{"var": "rows"}, var("n")]}, [1, 2]),
        ({"map": [{"var": "nope"}, var("n")]}, []),
        ({"filter": [{"var": "scores"}, {">": [var(""), 1]}]}, [3, 2]),
        ({"reduce": [{"var": "scores"}, {"+": [var("current"), var("accumulator")]}, 0]}, 6),
        ({"all": [{"var": "rows"}, var("n")]}, True),
        ({"all": [{"var": "rows"}, var("ok")]}, False),
        ({"all": [[], True]}, False),
        ({"some": [{"var": "rows"}, var("ok")]}, True),
        ({"some": [[], True]}, False),
        ({"none": [{"var": "rows"}, var("absent")]}, True),
        ({"none": [[], True]}, True),
        # flagd's own
        ({"starts_with": ["abc", "ab"]}, True),
        ({"ends_with": ["abc", "ab"]}, False),
        ({"starts_with": [1, "1"]}, None),
        ({"ends_with": ["a", "b", "c"]}, None),
        ({"fractional": [["a"]]}, "a"),
        ({"fractional": ["key", ["a", 0], ["b", 7]]}, "b"),
        ({"fractional": ["key", ["a", 1.0], ["b", 0.0]]}, "a"),
        ({"fractional": ["key", ["a", None]]}, "a"),
        ({"fractional": ["key", ["a", 0.5]]}, None),
        ({"fractional": ["key", ["a", True]]}, None),
        ({"fractional": ["key", ["a", "1"]]}, None),
        ({"fractional": ["key", ["a", 2**31]]}, None),
        ({"fractional": ["key", ["a", 2**30], ["b", 2**30]]}, None),
        ({"fractional": ["key", []]}, None),
        ({"fractional": ["key", "a"]}, None),
        ({"fractional": ["key", [["a"], 1]]}, None),
        ({"fractional": [{"var": "age"}, ["a"]]}, None),
        ({"fractional": [{"merge": ["a", 1]}, ["b", 0]]}, "a"),
        ({"fractional": [{"var": "nothing"}, ["a"]]}, "a"),
        ({"fractional": [{"var": "empty"}, ["a"]]}, "a"),
        ({"fractional": ["key", {"if": [True, ["a", 1]]}]}, "a"),
        ({"fractional": [{"var": "plan"}, [{"var": "plan"}, {"+": [1, 1]}]]}, "gold"),
    ],
)  # fmt: skip
def test_what_operators_give(rule: Json, expected: Json) -> None:
    got = run(rule)
    assert got == expected
    assert isinstance(got, bool) == isinstance(expected, bool)


def test_fractional_deals_by_the_flag_and_the_targeting_key_where_it_has_no_key() -> None:
    buckets: list[Json] = [[letter, 1] for letter in "abcdefghijklmnopqrstuvwxyz"]
    by_hand = run({"fractional": ["some-flagunit-1", *buckets]})
    assert run({"fractional": buckets}) == by_hand
    assert run({"fractional": [None, *buckets]}) == by_hand
    assert run({"fractional": [{"var": "nope"}, *buckets]}) == by_hand
    assert run({"fractional": ["another-flagunit-1", *buckets]}) != by_hand


def test_a_weight_below_0_counts_as_0() -> None:
    assert {run({"fractional": [f"key-{n}", ["a", -50], ["b", 50]]}) for n in range(50)} == {"b"}


def test_what_is_not_chosen_is_not_evaluated() -> None:
    endless: Json = {"reduce": [{"var": "scores"}, {"cat": [var("accumulator")] * 60}, "x" * 60]}
    assert run({"if": [True, "a", endless]}) == "a"
    assert run({"or": ["a", endless]}) == "a"
    assert run({"and": [False, endless]}) is False
    with pytest.raises(Refused):
        run(endless)


@pytest.mark.parametrize(
    "rule",
    [
        {"reduce": [{"var": "items"}, {"cat": [var("accumulator"), var("accumulator")]}, "x"]},
        {"reduce": [{"var": "items"}, {"merge": [var("accumulator"), var("accumulator")]}, [1]]},
        {"map": [{"var": "rows"}, {"map": [{"var": ""}, {"var": ""}]}]},
    ],
)
def test_an_evaluation_is_bounded(rule: Json) -> None:
    rows: Json = [[0] * 1000] * 1000
    with pytest.raises(Refused, match=str(WORK_MAX)):
        run(rule, {"items": list(range(64)), "rows": rows})


@pytest.mark.parametrize(
    ("rule", "pointer", "words"),
    [
        ({"equals": [1, 1]}, "/equals", "no operator `equals`"),
        ({"if": [{"a/b": 1}, 1]}, "/if/0/a~1b", "no operator"),
        ({"==": [1, 1], "and": []}, "", "one operator, and this has 2: ==, and"),
        ({"==": [1]}, "/==", "takes 2 arguments, and this has 1"),
        ({"<": [1, 2, 3, 4]}, "/<", "takes 2 to 3 arguments"),
        ({"if": []}, "/if", "takes 1 or more arguments"),
        ({"$ref": "gold"}, "/$ref", "no evaluator 'gold'"),
        ({"$ref": ["gold"]}, "/$ref", "no evaluator"),
        ({"map": [[], {"nope": 1}]}, "/map/1/nope", "no operator `nope`"),
    ],
)
def test_what_cannot_be_compiled_is_told_with_its_place(rule: Json, pointer: str, words: str) -> None:
    [(at, message)] = faults(rule)
    assert at == pointer
    assert words in message


def test_nesting_is_bounded() -> None:
    rule: Json = True
    for _ in range(DEPTH_MAX):
        rule = {"!": [rule]}
    assert faults(rule) == []
    assert "deeper than" in faults({"!": [rule]})[0][1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (1.5e300, "1.5e+300"),
        (1e-6, "0.000001"),
        (1.25e-7, "1.25e-7"),
        (123456789.125, "123456789.125"),
        (9007199254740993, "9007199254740993"),
        (2**64, "18446744073709552000"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
        ({"a": 1}, "[object Object]"),
    ],
)
def test_numbers_as_texts_are_javascripts(value: Json, expected: str) -> None:
    assert text(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (" 12 ", 12),
        ("1e3", 1000),
        (".5", 0.5),
        ("5.", 5),
        ("0x1F", 31),
        ("0b11", 3),
        ("-Infinity", -math.inf),
        ("9" * 5000, math.inf),
        ("0x" + "f" * 5000, math.inf),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        ([5], 5),
        ([], 0),
        (None, 0),
    ],
)
def test_texts_as_numbers_are_javascripts(value: Json, expected: float) -> None:
    assert number(value) == expected


@pytest.mark.parametrize("value", ["1_000", "nan", "inf", "12px", "0x", "١٢", "--1", {}, [1, 2]])
def test_what_is_no_number(value: Json) -> None:
    assert math.isnan(number(value))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(a=JSON, b=JSON)
def test_comparing_is_symmetric_and_never_fails(a: Json, b: Json) -> None:
    assert loosely_equal(a, b) == loosely_equal(b, a)
    assert isinstance(truthy(a), bool)


ORDER = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
         "1.0.0-rc.1", "1.0.0", "1.0.1", "1.1", "2"]  # fmt: skip


def test_versions_are_ordered_as_semver_says() -> None:
    """The order of semver.org 2.0.0, item 11, and the short forms that count as 0."""
    parsed = [parse(version) for version in ORDER]
    assert all(version is not None for version in parsed)
    assert [v.order for v in parsed if v] == sorted(v.order for v in parsed if v)
    for index, left in enumerate(ORDER):
        for other, right in enumerate(ORDER):
            assert run({"sem_ver": [left, "<", right]}) is (index < other)
            assert run({"sem_ver": [left, "<=", right]}) is (index <= other)
            assert run({"sem_ver": [left, ">", right]}) is (index > other)
            assert run({"sem_ver": [left, ">=", right]}) is (index >= other)
            assert run({"sem_ver": [left, "!=", right]}) is (index != other)


@pytest.mark.parametrize(
    "version",
    ["", "v", "Vv1", "vV1", "01.2.3", "1.2.3.4", "1.2.3-", "1.2.3-01", "1.2.3+", "1.2-alpha", "1.2.x", " 1.2.3", "1." * 200, True, None, [1], "1" * 40],
)  # fmt: skip
def test_what_is_no_version(version: Json) -> None:
    assert parse(version) is None
