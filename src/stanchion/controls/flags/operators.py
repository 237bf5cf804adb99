"""The operators of JsonLogic and flagd whose arguments are all evaluated first: pure functions of JSON values.

Of the operators with a fixed number of arguments, a wrong number is refused when the flag is read; flagd's own give
null then, as for every input they cannot use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from stanchion.base import Json
from stanchion.controls.flags.types import Frame
from stanchion.controls.flags.values import less, less_or_equal, loosely_equal, number, strictly_equal, text, truthy
from stanchion.controls.flags.versions import sem_ver

Operation = Callable[[list[Json], Frame], Json]
# Where a start or a length beyond any text is cut off.
_INDEX_MAX: Final = 2**31


@dataclass(frozen=True, slots=True)
class Operator:
    """How many arguments an operator takes (`most` None: any number), and what it does with them.

    `pair` is the same for exactly two arguments, where comparisons go without a list. `boolean`: whether the result is
    true or false (or null).
    """

    least: int
    most: int | None
    apply: Operation
    pair: Callable[[Json, Json], Json] | None = None
    boolean: bool = False


def _compared(compare: Callable[[Json, Json], bool], *, between: bool = False) -> Operator:
    def apply(values: list[Json], _: Frame) -> Json:
        return all(compare(a, b) for a, b in pairwise(values))

    return Operator(2, 3 if between else 2, apply, compare, boolean=True)


def _add(values: list[Json], _: Frame) -> Json:
    return sum((number(value) for value in values), 0.0)


def _multiply(values: list[Json], _: Frame) -> Json:
    product = 1.0
    for value in values:
        product *= number(value)
    return product


def _subtract(values: list[Json], _: Frame) -> Json:
    return -number(values[0]) if len(values) == 1 else number(values[0]) - number(values[1])


def _divide(values: list[Json], _: Frame) -> Json:
    a, b = number(values[0]), number(values[1])
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1, b)


def _modulo(values: list[Json], _: Frame) -> Json:
    a, b = number(values[0]), number(values[1])
    return math.nan if b == 0 or math.isinf(a) else math.fmod(a, b)


def _extreme(choose: Callable[[list[float]], float]) -> Operation:
    def apply(values: list[Json], _: Frame) -> Json:
        numbers = [number(value) for value in values]
        return math.nan if any(math.isnan(n) for n in numbers) else choose(numbers)

    return apply


def _concatenate(values: list[Json], frame: Frame) -> Json:
    whole = "".join([text(value) for value in values])
    frame.spend(len(whole))
    return whole


def _merge(values: list[Json], frame: Frame) -> Json:
    merged: list[Json] = []
    for value in values:
        merged += value if isinstance(value, list) else [value]
    frame.spend(len(merged))
    return merged


def _substring(values: list[Json], _: Frame) -> Json:
    """[text, start, length]: a negative start counts from the end; a negative length leaves so many off the end."""
    whole = text(values[0])
    start = _index(values[1])
    rest = whole[max(len(whole) + start, 0) if start < 0 else start :]
    if len(values) < 3:
        return rest
    length = _index(values[2])
    return rest[:length]


def _index(value: Json) -> int:
    place = number(value)
    return 0 if math.isnan(place) else int(max(-_INDEX_MAX, min(place, _INDEX_MAX)))


def _contains(needle: Json, haystack: Json) -> bool:
    """Whether a list has the element, or a text the part. A missing attribute (null) is part of no text."""
    if isinstance(haystack, str):
        return needle is not None and text(needle) in haystack
    return isinstance(haystack, list) and any(strictly_equal(item, needle) for item in haystack)


def _affix(test: Callable[[str, str], bool]) -> Operation:
    def apply(values: list[Json], _: Frame) -> Json:
        if len(values) != 2 or not isinstance(values[0], str) or not isinstance(values[1], str):
            return None
        return test(values[0], values[1])

    return apply


OPERATORS: Final[Mapping[str, Operator]] = {
    "==": _compared(loosely_equal),
    "!=": _compared(lambda a, b: not loosely_equal(a, b)),
    "===": _compared(strictly_equal),
    "!==": _compared(lambda a, b: not strictly_equal(a, b)),
    "<": _compared(less, between=True),
    "<=": _compared(less_or_equal, between=True),
    ">": _compared(lambda a, b: less(b, a)),
    ">=": _compared(lambda a, b: less_or_equal(b, a)),
    "!": Operator(1, 1, lambda values, _: not truthy(values[0]), boolean=True),
    "!!": Operator(1, 1, lambda values, _: truthy(values[0]), boolean=True),
    "+": Operator(1, None, _add),
    "-": Operator(1, 2, _subtract),
    "*": Operator(1, None, _multiply),
    "/": Operator(2, 2, _divide),
    "%": Operator(2, 2, _modulo),
    "max": Operator(1, None, _extreme(max)),
    "min": Operator(1, None, _extreme(min)),
    "cat": Operator(1, None, _concatenate),
    "substr": Operator(2, 3, _substring),
    "merge": Operator(0, None, _merge),
    "in": Operator(2, 2, lambda values, _: _contains(values[0], values[1]), _contains, boolean=True),
}
# flagd's own: any number of arguments can be written, and the wrong number gives null.
FLAGD: Final[Mapping[str, tuple[int, Operation]]] = {
    "starts_with": (2, _affix(str.startswith)),
    "ends_with": (2, _affix(str.endswith)),
    "sem_ver": (3, lambda values, _: sem_ver(values)),
}
