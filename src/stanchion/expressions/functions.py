"""Stanchion's own CEL functions, twice: with exact types for checking, and by run-time kind for evaluating.

The library (cel-expr-python 0.1.3) chooses an implementation by the kind of its arguments and converts the result to
the declared type, so `sum` over ints and over texts cannot have two result types when it runs. Expressions are
therefore checked against `CHECKED` (no code, exact types) and run against `RUNNING` (code, `dyn` results).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from itertools import product
from threading import local
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cel_expr_python import cel
from cel_expr_python.ext.ext_math import ExtMath

# Characters and elements that the functions of one evaluation may produce together; more is a runaway expression.
PRODUCED_MAX = 16 * 1024 * 1024
# Digits a decimal may have: Numeric money and hours need far fewer, and 10**(10**9) must not be computable.
DIGITS_MAX = 200
# How many fields of an element a message lists.
FIELDS_SHOWN = 20

_T = cel.Type
_DEC = _T.AbstractType("decimal", [])
_NUMBERS = (_DEC, _T.STRING, _T.INT, _T.DOUBLE)
_KINDS = (_T.STRING, _T.INT, _T.DOUBLE)
_ROWS = _T.List(_T.Map(_T.STRING, _T.DYN))


class Budget(local):
    """What the functions of the running evaluation have produced; reset by `start`, per thread."""

    produced = 0

    def start(self) -> None:
        """Begin an evaluation."""
        self.produced = 0

    def spend(self, amount: int) -> None:
        """Count `amount` characters or elements. Raises ValueError over the limit."""
        self.produced += amount
        if self.produced > PRODUCED_MAX:
            raise ValueError(f"the expression produces more than {PRODUCED_MAX} characters")


BUDGET = Budget()


def to_decimal(value: object) -> Decimal:
    """A finite Decimal from a text, int or double. Raises ValueError naming the value."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no decimal number")  # noqa: TRY004 - CEL turns ValueError into an error value
    try:
        number = Decimal(value) if isinstance(value, str | int) else Decimal(repr(value))
    except InvalidOperation as error:
        raise ValueError(f"{str(value)[:80]!r} is no decimal number") from error
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or abs(number.adjusted()) > DIGITS_MAX or abs(exponent) > DIGITS_MAX:
        raise ValueError(f"{str(value)[:80]!r} is no decimal number of up to {DIGITS_MAX} digits")
    return number


def from_decimal(number: Decimal) -> str:
    """The text of a decimal: plain digits, never an exponent, the scale kept (`2.50` stays `2.50`)."""
    return format(number or abs(number), "f")


def _calculate(operation: Callable[[Decimal, Decimal], Decimal]) -> Callable[[object, object], str]:
    def calculate(a: object, b: object) -> str:
        with localcontext(prec=2 * DIGITS_MAX):
            return from_decimal(to_decimal(from_decimal(operation(to_decimal(a), to_decimal(b)))))

    return calculate


def _divide(a: object, b: object, places: int) -> str:
    divisor = to_decimal(b)
    if not divisor:
        raise ValueError("division by zero")
    with localcontext(prec=2 * DIGITS_MAX):
        return _quantized(to_decimal(a) / divisor, places)


def _decimal(value: object) -> str:
    return from_decimal(to_decimal(value))


def _compare(a: object, b: object) -> int:
    x, y = to_decimal(a), to_decimal(b)
    return (x > y) - (x < y)


def _quantized(number: Decimal, places: int) -> str:
    if not 0 <= places <= 30:
        raise ValueError("a decimal is rounded to 0 to 30 places")
    return from_decimal(number.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP))


def _round(value: object, places: int) -> str:
    """Half away from zero, as invoices do."""
    with localcontext(prec=2 * DIGITS_MAX):
        return _quantized(to_decimal(value), places)


def _round_number(value: float, places: int) -> float:
    return float(_round(value, places))


def _sum(values: Sequence[object]) -> object:
    if any(isinstance(v, str) for v in values):
        with localcontext(prec=2 * DIGITS_MAX):
            return from_decimal(sum((to_decimal(v) for v in values), Decimal(0)))
    numbers: list[int | float] = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"sum: {type(value).__name__} is no number")  # noqa: TRY004 - as above
        numbers.append(value)
    return sum(numbers)


def _field(row: object, field: str) -> object:
    """The field of an element; null is a value, absent is a misspelt name or a field to be filled in first."""
    if not isinstance(row, Mapping):
        raise ValueError(f"an element is no object, so it has no {field}")  # noqa: TRY004 - as above
    fields = cast("Mapping[str, object]", row)
    if field not in fields:
        names = sorted(str(name) for name in fields)
        shown = ", ".join(names[:FIELDS_SHOWN]) + (", …" if len(names) > FIELDS_SHOWN else "")
        raise ValueError(f"an element has no field {field[:60]!r}; its fields are: {shown or 'none'}")
    return fields[field]


def _group_by(rows: Sequence[object], field: str) -> list[dict[str, object]]:
    BUDGET.spend(len(rows))
    groups: dict[tuple[str, object], dict[str, object]] = {}
    members: dict[tuple[str, object], list[object]] = {}
    for row in rows:
        key = _field(row, field)
        if isinstance(key, list | dict):
            raise ValueError(f"group_by: {field} is a list or object in some element")  # noqa: TRY004 - as above
        mark = (type(key).__name__, key)
        members.setdefault(mark, []).append(row)
        groups.setdefault(mark, {"key": key, "items": members[mark]})
    return list(groups.values())


def _sort_by(rows: Sequence[object], field: str) -> list[object]:
    BUDGET.spend(len(rows))
    name = field.removeprefix("-")

    def key(row: object) -> tuple[bool, object]:
        value = _field(row, name)
        return (value is not None, 0 if value is None else value)

    try:
        return sorted(rows, key=key, reverse=field.startswith("-"))  # type: ignore[arg-type]  # mixed values: TypeError
    except TypeError as error:
        raise ValueError(f"sort_by: the values of {name} cannot be ordered among each other") from error


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text[:60]!r} is no RFC 3339 time") from error
    if moment.tzinfo is None:
        raise ValueError(f"{text[:60]!r} has no offset; write Z or +01:00")
    return moment


def _date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat() if len(text) == 10 else _moment(text).date().isoformat()
    except ValueError as error:
        raise ValueError(f"date: {text[:60]!r} is neither YYYY-MM-DD nor an RFC 3339 time") from error


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).date().isoformat()


def _in_zone(moment: str | datetime, zone: str) -> str:
    try:
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{zone[:60]!r} is no IANA time zone") from error
    return (_moment(moment) if isinstance(moment, str) else moment).astimezone(place).isoformat()


def _join(values: Sequence[object], between: str) -> str:
    if not all(isinstance(v, str) for v in values):
        raise ValueError("join takes a list of texts; use .map(x, string(x)) first")
    BUDGET.spend(sum(len(str(v)) for v in values) + len(between) * len(values))
    return between.join(str(v) for v in values)


def _split(text: str, between: str) -> list[str]:
    BUDGET.spend(len(text))
    return text.split(between) if between else list(text)


def _replace(text: str, old: str, new: str) -> str:
    BUDGET.spend(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _counted(change: Callable[[str], str]) -> Callable[[str], str]:
    def counted(text: str) -> str:
        BUDGET.spend(len(text))
        return change(text)

    return counted


def _substring(text: str, start: int, end: int) -> str:
    if not 0 <= start <= end <= len(text):
        raise ValueError(f"substring {start}..{end} lies outside a text of {len(text)} characters")
    return text[start:end]


_Row = tuple[str, Sequence[cel.Type], cel.Type, Callable[..., object] | None, bool]


def _declare(rows: Iterable[_Row]) -> dict[str, cel.FunctionDecl]:
    overloads: dict[str, list[cel.Overload]] = {}
    for name, parameters, result, impl, member in rows:
        listed = overloads.setdefault(name, [])
        ident = f"stanchion_{name}_{len(listed)}"
        if impl is None:
            listed.append(cel.Overload(ident, result, list(parameters), member))
        else:
            listed.append(cel.Overload(ident, result, list(parameters), member, impl))
    return {name: cel.FunctionDecl(name, listed) for name, listed in overloads.items()}


_ARITHMETIC: Mapping[str, Callable[[object, object], str]] = {
    "add": _calculate(lambda a, b: a + b),
    "subtract": _calculate(lambda a, b: a - b),
    "multiply": _calculate(lambda a, b: a * b),
}


def _checked() -> Iterable[_Row]:
    for a in (_DEC, _T.STRING, _T.INT, _T.DOUBLE):
        yield "decimal", [a], _DEC, None, False
    for a, b in product(_NUMBERS, _NUMBERS):
        for name in _ARITHMETIC:
            yield name, [a, b], _DEC, None, False
        yield "divide", [a, b, _T.INT], _DEC, None, False
        yield "compare", [a, b], _T.INT, None, False
    for a, result in ((_T.INT, _T.INT), (_T.DOUBLE, _T.DOUBLE), (_T.STRING, _DEC), (_DEC, _DEC)):
        yield "sum", [_T.List(a)], result, None, False
    for a, result in ((_DEC, _DEC), (_T.STRING, _DEC), (_T.DOUBLE, _T.DOUBLE)):
        yield "round", [a, _T.INT], result, None, False
    yield "group_by", [_ROWS, _T.STRING], _ROWS, None, False
    yield "sort_by", [_ROWS, _T.STRING], _ROWS, None, False
    yield from _shared(running=False)


def _running() -> Iterable[_Row]:
    for a in _KINDS:
        yield "decimal", [a], _T.STRING, _decimal, False
    for a, b in product(_KINDS, _KINDS):
        for name, operation in _ARITHMETIC.items():
            yield name, [a, b], _T.STRING, operation, False
        yield "divide", [a, b, _T.INT], _T.STRING, _divide, False
        yield "compare", [a, b], _T.INT, _compare, False
    yield "sum", [_T.List(_T.DYN)], _T.DYN, _sum, False
    yield "round", [_T.STRING, _T.INT], _T.STRING, _round, False
    yield "round", [_T.DOUBLE, _T.INT], _T.DOUBLE, _round_number, False
    yield "group_by", [_T.List(_T.DYN), _T.STRING], _T.DYN, _group_by, False
    yield "sort_by", [_T.List(_T.DYN), _T.STRING], _T.DYN, _sort_by, False
    yield from _shared(running=True)


def _shared(*, running: bool) -> Iterable[_Row]:
    """Functions of texts, whose types are the same in both environments."""
    rows: list[tuple[str, list[cel.Type], cel.Type, Callable[..., object], bool]] = [
        ("date", [_T.STRING], _T.STRING, _date, False),
        ("date", [_T.TIMESTAMP], _T.STRING, _day, False),
        ("in_zone", [_T.STRING, _T.STRING], _T.STRING, _in_zone, False),
        ("in_zone", [_T.TIMESTAMP, _T.STRING], _T.STRING, _in_zone, False),
        ("join", [_T.List(_T.DYN if running else _T.STRING), _T.STRING], _T.STRING, _join, True),
        ("split", [_T.STRING, _T.STRING], _T.List(_T.STRING), _split, True),
        ("replace", [_T.STRING, _T.STRING, _T.STRING], _T.STRING, _replace, True),
        ("lower", [_T.STRING], _T.STRING, _counted(str.lower), True),
        ("upper", [_T.STRING], _T.STRING, _counted(str.upper), True),
        ("trim", [_T.STRING], _T.STRING, _counted(str.strip), True),
        ("substring", [_T.STRING, _T.INT, _T.INT], _T.STRING, _substring, True),
    ]
    for name, parameters, result, impl, member in rows:
        yield name, parameters, result, impl if running else None, member


# By name, so that an environment declares only what its expression calls: declaring all takes 2 ms.
CHECKED: Mapping[str, cel.FunctionDecl] = _declare(_checked())
RUNNING: Mapping[str, cel.FunctionDecl] = _declare(_running())
# CEL's `math.greatest` and its kin.
MATH: cel.CelExtensionBase = ExtMath()
NAMES = frozenset(RUNNING)
