"""CEL's values as plain JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

from stanchion.base import Invalid, Json

# Values a result may hold, counting every element; and the depth that any JSON reader can follow.
NODES_MAX = 1_000_000
DEPTH_MAX = 100

Fail = Callable[[str], Invalid]


def to_json(value: object, fail: Fail) -> Json:
    """`value` as JSON: times as RFC 3339 in UTC, durations as `90.5s`.

    Raises what `fail` makes of the reason: NaN, infinity, bytes, a map with keys other than text, an endless result.
    """
    return _convert(value, fail, _Count(), 0)


class _Count:
    """Nodes converted so far."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes = 0


def _convert(value: object, fail: Fail, count: _Count, depth: int) -> Json:
    count.nodes += 1
    if count.nodes > NODES_MAX or depth > DEPTH_MAX:
        raise fail(f"its result has more than {NODES_MAX} values or is nested deeper than {DEPTH_MAX}")
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list):
        return [_convert(v, fail, count, depth + 1) for v in cast("list[object]", value)]
    if isinstance(value, Mapping):
        return _convert_map(cast("Mapping[object, object]", value), fail, count, depth)
    return _convert_scalar(value, fail)


def _convert_map(value: Mapping[object, object], fail: Fail, count: _Count, depth: int) -> Json:
    out: dict[str, Json] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise fail(f"its result has the key {key!r}, and JSON keys are texts")
        out[key] = _convert(item, fail, count, depth + 1)
    return out


def _convert_scalar(value: object, fail: Fail) -> Json:
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        raise fail(f"its result is {value}, which is no JSON number")
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    raise fail(f"its result is a {type(value).__name__}, which is no JSON")
