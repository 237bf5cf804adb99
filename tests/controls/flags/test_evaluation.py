"""Evaluating: values, reasons, error codes; never an exception; microseconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.base import Json
from stanchion.controls.flags import (
    ErrorCode,
    FlagSet,
    FlagType,
    Reason,
    Resolution,
    compile_flag,
    distribute,
    evaluate,
)

NOW = datetime(2026, 11, 22, 5, 30, tzinfo=UTC)
ON_OFF: dict[str, Json] = {"owner": "casework", "type": "boolean", "variants": {"on": True, "off": False}}


def flag(**fields: Json) -> dict[str, Json]:
    return {"flag": "new-summary", **ON_OFF, "default": "off", **fields}


def get(document: object, fallback: Json, context: dict[str, Any] | None = None, **options: Any) -> Resolution:
    return evaluate(compile_flag(document), fallback, context or {}, now=NOW, **options)


GOLD: Json = [{"when": '${context.plan == "gold"}', "serve": "on"}]


def test_a_flag_without_targeting_is_static() -> None:
    got = get(flag(metadata={"team": "casework"}), True)
    assert got == Resolution(
        flag="new-summary", value=False, variant="off", reason=Reason.STATIC, metadata={"team": "casework"}
    )


def test_rules_are_asked_in_order() -> None:
    rules: Json = [
        {"when": '${context.plan == "gold"}', "serve": "on"},
        {"when": "${context.age >= 18}", "serve": "off"},
    ]
    document = flag(rules=rules, default=None)
    assert get(document, None, {"plan": "gold", "age": 1}).value is True
    assert get(document, None, {"plan": "tin", "age": 18}).variant == "off"
    assert get(document, True, {"plan": "tin", "age": 1}) == Resolution(
        flag="new-summary", value=True, variant=None, reason=Reason.DEFAULT
    )


def test_no_rule_gives_the_default_variant() -> None:
    got = get(flag(rules=GOLD), True, {"plan": "tin"})
    assert (got.value, got.variant, got.reason) == (False, "off", Reason.DEFAULT)


def test_a_condition_reads_the_time() -> None:
    rules: Json = [{"when": '${timestamp(now) >= timestamp("2026-11-22T05:30:00Z")}', "serve": "on"}]
    assert get(flag(rules=rules), None).variant == "on"
    early = evaluate(compile_flag(flag(rules=rules)), None, now=datetime(2026, 11, 22, 5, 29, 59, tzinfo=UTC))
    assert early.variant == "off"


def test_shares_are_dealt_as_flagds_fractional_deals_them() -> None:
    """The plain form and flagd's over the same names give everyone the same variant."""
    plain = compile_flag(flag(rules=[{"split": {"on": 30, "off": 70}}]))
    logic = compile_flag(flag(targeting={"fractional": [["off", 70], ["on", 30]]}))
    variants: set[str | None] = set()
    for n in range(500):
        context: dict[str, Json] = {"targetingKey": f"unit-{n}"}
        one, other = evaluate(plain, None, context, now=NOW), evaluate(logic, None, context, now=NOW)
        assert one.variant == other.variant
        assert one.reason is Reason.SPLIT
        assert other.reason is Reason.TARGETING_MATCH
        variants.add(one.variant)
    assert variants == {"on", "off"}


def test_the_order_in_which_shares_are_written_moves_nobody() -> None:
    one = compile_flag(flag(rules=[{"split": {"on": 30, "off": 70}}]))
    other = compile_flag(flag(rules=[{"split": {"off": 70, "on": 30}}]))
    for n in range(200):
        context: dict[str, Json] = {"targetingKey": f"unit-{n}"}
        assert evaluate(one, None, context, now=NOW) == evaluate(other, None, context, now=NOW)


def test_by_and_seed_choose_what_is_dealt_by() -> None:
    document = flag(rules=[{"split": {"off": 1, "on": 1}, "by": "${context.account}", "seed": "shared"}])
    for account in range(50):
        index = distribute(f"shared{account}", [1, 1])
        assert get(document, None, {"account": account, "targetingKey": "x"}).variant == ("off", "on")[index or 0]


@pytest.mark.parametrize(
    ("document", "context", "code", "words"),
    [
        (flag(rules=GOLD), {}, ErrorCode.GENERAL, "has(context.<name>)"),
        (flag(rules=GOLD), {"plan": object()}, ErrorCode.GENERAL, "new-summary"),
        (flag(rules=[{"when": "${context.on}", "serve": "on"}]), {"on": "yes"}, ErrorCode.GENERAL, "gave 'yes'"),
        (flag(rules=[{"split": {"on": 1}}]), {}, ErrorCode.TARGETING_KEY_MISSING, "`targetingKey`"),
        (flag(rules=[{"split": {"on": 1}}]), {"targetingKey": True}, ErrorCode.TARGETING_KEY_MISSING, "no text"),
        (flag(rules=[{"split": {"on": 1}, "by": "${context.a}"}]), {"a": ""}, ErrorCode.TARGETING_KEY_MISSING, "context.a"),
        (flag(targeting={"var": "choice"}), {"choice": "maybe"}, ErrorCode.GENERAL, "'maybe', which is no variant"),
        (flag(targeting={"var": "choice"}), {"choice": [1]}, ErrorCode.GENERAL, "a list"),
        (flag(targeting={"var": "choice"}), {"choice": 1}, ErrorCode.GENERAL, "chose 1"),
        (flag(targeting={"nope": 1}), {}, ErrorCode.PARSE_ERROR, "/targeting/nope"),
        (flag(default="x"), {}, ErrorCode.PARSE_ERROR, "/default"),
        ({"flag": "new-summary"}, {}, ErrorCode.PARSE_ERROR, "/variants"),
    ],
)  # fmt: skip
def test_what_goes_wrong_gives_the_callers_value_and_says_why(
    document: dict[str, Json], context: dict[str, Any], code: ErrorCode, words: str
) -> None:
    for fallback in (True, False):
        got = get(document, fallback, context)
        assert got.value is fallback
        assert got.variant is None
        assert (got.reason, got.error_code) == (Reason.ERROR, code)
        assert words in got.message


def test_endless_attributes_are_refused() -> None:
    nested: Json = []
    for _ in range(5000):
        nested = [nested]
    got = get(flag(targeting={"if": [{"==": [{"cat": [{"var": "x"}]}, "y"]}, "on"]}), True, {"x": nested})
    assert (got.value, got.error_code) == (True, ErrorCode.GENERAL)


@pytest.mark.parametrize(
    ("kind", "value", "fallback", "fits"),
    [
        ("boolean", True, False, True),
        ("boolean", True, 0, False),
        ("number", 1, True, False),
        ("number", 1, 0.5, True),
        ("number", 0.5, 1, True),
        ("string", "a", "", True),
        ("string", "a", {}, False),
        ("object", {"a": 1}, {}, True),
        ("object", {"a": 1}, None, True),
        ("object", {"a": 1}, [], True),
    ],
)
def test_a_value_of_another_type_than_the_caller_needs(kind: str, value: Json, fallback: Json, fits: bool) -> None:
    document = {"flag": "f", "owner": "o", "type": kind, "variants": {"v": value}, "default": "v"}
    got = get(document, fallback)
    assert got.value == (value if fits else fallback)
    assert got.error_code is (None if fits else ErrorCode.TYPE_MISMATCH)
    assert get(document, fallback, expected=FlagType(kind)).variant == "v"


def test_a_disabled_flag_is_the_callers_value_whatever_its_targeting() -> None:
    got = get(flag(enabled=False, rules=GOLD), True, {"plan": "gold"})
    assert (got.value, got.variant, got.reason, got.error_code) == (True, None, Reason.DISABLED, None)


def test_a_set_of_flags() -> None:
    flags = FlagSet([flag(), flag(default="on"), {"flag": "other", **ON_OFF, "default": "off"}])
    assert len(flags) == 2
    assert "other" in flags
    assert "nobody" not in flags
    assert flags.is_on("new-summary", now=NOW)
    assert not flags.is_on("other", now=NOW, fallback=True)
    assert flags.is_on("nobody", now=NOW, fallback=True)
    assert not flags.is_on("nobody", now=NOW)
    unknown = flags.resolve("nobody", 7, now=NOW)
    assert (unknown.value, unknown.error_code) == (7, ErrorCode.FLAG_NOT_FOUND)
    assert "'nobody'" in unknown.message


ATTRIBUTE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=3)
    | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = [
    flag(rules=[{"when": "${context.a == context.b}", "serve": "on"}, {"split": {"on": 1, "off": 2}, "by": "x${context.a}"}]),
    flag(targeting={"if": [{"<": [{"var": "a"}, {"var": "b"}]}, "on", {"fractional": [{"cat": [{"var": "a"}]}, ["on"], ["off"]]}]}),
    flag(targeting={"if": [{"in": [{"var": "a"}, {"merge": [{"var": "b"}]}]}, "on", {"sem_ver": [{"var": "a"}, "<", {"var": "b"}]}]}),
    flag(targeting={"if": [{"%": [{"var": "a"}, {"var": "b"}]}, {"substr": [{"var": "a"}, {"var": "b"}, {"/": [1, {"var": "b"}]}]}]}),
    flag(targeting={"if": [{"reduce": [{"var": "a"}, {"cat": [{"var": "accumulator"}, {"var": "current"}]}, {"var": "b"}]}, "on"]}),
    flag(targeting={"if": [{"missing_some": [{"var": "a"}, {"var": "b"}]}, "on", {"==": [{"var": "a"}, {"var": "b"}]}]}),
]  # fmt: skip


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
@given(context=st.fixed_dictionaries({}, optional={"a": ATTRIBUTE, "b": ATTRIBUTE, "targetingKey": ATTRIBUTE}))
def test_no_attributes_make_it_fail(document: dict[str, Json], context: dict[str, Any]) -> None:
    got = get(document, True, context)
    assert isinstance(got.value, bool)
    assert (got.error_code is not None) == (got.reason is Reason.ERROR)


BENCH = {
    "static": flag(),
    "targeting, match": flag(targeting={"if": [{"==": [{"var": "plan"}, "gold"]}, "on", "off"]}),
    "targeting, fractional": flag(targeting={"fractional": [["on", 10], ["off", 90]]}),
    "rules, CEL condition": flag(rules=GOLD),
    "rules, split": flag(rules=[{"split": {"on": 10, "off": 90}}]),
    "rules, condition and split": flag(rules=[{"when": '${context.plan == "tin"}', "serve": "on"}, {"split": {"on": 1, "off": 9}}]),
}  # fmt: skip


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, float]]:
    collected: dict[str, float] = {}
    yield collected
    for name, figure_us in collected.items():
        print(f"\nflag evaluation, {name}: {figure_us:.1f} µs", end="")


@pytest.mark.parametrize("name", BENCH)
def test_how_long_an_evaluation_takes(name: str, figures: dict[str, float]) -> None:
    """Prints the median of 9 batches (`pytest -s`); asserts only that it gave a value: the machine is not ours alone."""
    compiled = compile_flag(BENCH[name])
    context: dict[str, Json] = {"targetingKey": "0192f0c1-6d5c-7c3e", "plan": "gold", "age": 42}
    batches: list[float] = []
    for _ in range(9):
        begin = time.perf_counter()
        for _ in range(500):
            got = evaluate(compiled, None, context, now=NOW)
        batches.append((time.perf_counter() - begin) / 500 * 1e6)
    assert got.variant is not None
    figures[name] = sorted(batches)[4]
