"""JSON values as JsonLogic sees them: JavaScript's truth, numbers, texts and comparisons.

JsonLogic is defined by its JavaScript implementation (jsonlogic.com, json-logic-js), so `"1" == 1` holds and null counts
as 0 where a number is wanted. Nothing here raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, cast

from stanchion.base import Json

_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?Infinity", re.ASCII)
_RADIX: Final = re.compile(r"0(?:[xX][0-9a-fA-F]+|[oO][0-7]+|[bB][01]+)", re.ASCII)
# Integers are written out exactly up to here, unlike in JavaScript: two ids beyond 2**53 must not share a text.
_EXACT: Final = 2**63


def truthy(value: Json) -> bool:
    """JsonLogic's truth: as Python's for everything but an empty object, which is true, and NaN, which is not."""
    if isinstance(value, dict):
        return True
    return bool(value) and value == value  # noqa: PLR0124 - NaN alone differs from itself


def number(value: Json) -> float:
    """The value as a number; NaN if it is none."""
    if isinstance(value, float):
        return value
    if isinstance(value, int):
        return _bounded(value)
    if isinstance(value, str):
        return _parsed(value.strip())
    if value is None:
        return 0.0
    return number(text(value)) if isinstance(value, list) else math.nan


def _bounded(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _parsed(source: str) -> float:
    if not source:
        return 0.0
    if _NUMBER.fullmatch(source):
        return float(source)
    return _bounded(int(source, 0)) if _RADIX.fullmatch(source) else math.nan


def text(value: Json) -> str:
    """The value as a text: null is empty, a list its elements with commas, an object `[object Object]`."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -_EXACT < value < _EXACT:
        return str(value)
    if isinstance(value, int | float):
        return _number_text(number(value))
    return ",".join(text(item) for item in value) if isinstance(value, list) else "[object Object]"


def _number_text(value: float) -> str:
    """ECMAScript's Number::toString: whole numbers without a fraction, an exponent below 1e-6 and from 1e21."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "0"
    if abs(value) < 2**53 and value.is_integer():
        return str(int(value))
    exact = Decimal(repr(value)).normalize()
    exponent = exact.adjusted()
    if -7 < exponent < 21:
        return format(exact, "f")
    mantissa = format(exact.scaleb(-exponent).normalize(), "f")
    return f"{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def strictly_equal(a: Json, b: Json) -> bool:
    """`===`: the same type and value; lists and objects equal only themselves."""
    if isinstance(a, bool) or isinstance(b, bool) or isinstance(a, list | dict):
        return a is b
    return a == b


def loosely_equal(a: Json, b: Json) -> bool:
    """`==`: null equals null only; texts as texts; else as numbers."""
    if a is None or b is None:
        return a is b
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    compound_a, compound_b = isinstance(a, list | dict), isinstance(b, list | dict)
    if compound_a and compound_b:
        return a is b
    if compound_a:
        return loosely_equal(text(a), b)
    if compound_b:
        return loosely_equal(a, text(b))
    return number(a) == number(b)


def less(a: Json, b: Json) -> bool:
    """`<`: texts by code point, everything else as numbers (with anything that is none, false)."""
    if isinstance(a, str) and isinstance(b, str):
        return a < b
    return number(a) < number(b)


def less_or_equal(a: Json, b: Json) -> bool:
    """`<=`, likewise."""
    if isinstance(a, str) and isinstance(b, str):
        return a <= b
    return number(a) <= number(b)


def look_up(data: Json, path: str) -> tuple[bool, Json]:
    """(whether it is there, the value) at a dotted path of member names and list indices."""
    for part in path.split("."):
        if isinstance(data, Mapping):
            members = cast("Mapping[str, Json]", data)
            if part not in members:
                return False, None
            data = members[part]
        elif isinstance(data, list) and len(part) < 10 and part.isascii() and part.isdecimal():
            if int(part) >= len(data):
                return False, None
            data = data[int(part)]
        else:
            return False, None
    return True, data
