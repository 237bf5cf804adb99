"""flagd's `fractional` operator, version 2: a value chosen by weights and the hash of a key.

`{"fractional": [KEY, [VALUE, WEIGHT], ...]}`. Without a key, or with one that is null, the key is the flag's name and
the context's `targetingKey` put together. A weight left out is 1, one below 0 counts as 0. Anything that cannot be
dealt by gives null: no key, a weight that is no whole number, weights that add up to 0 or to more than 2**31 - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from stanchion.base import Json
from stanchion.controls.flags.bucketing import WEIGHT_SUM_MAX, distribute
from stanchion.controls.flags.types import TARGETING_KEY, Frame


@dataclass(frozen=True, slots=True)
class Buckets:
    """Values and their weights, in order."""

    values: tuple[Json, ...]
    weights: tuple[int, ...]


def read_buckets(given: list[Json]) -> Buckets | None:
    """The buckets of evaluated arguments, or None if they are none."""
    values: list[Json] = []
    weights: list[int] = []
    for item in given:
        if not isinstance(item, list) or not item or isinstance(item[0], list | dict):
            return None
        weight = 1 if len(item) < 2 or item[1] is None else whole(item[1])
        if weight is None or weight > WEIGHT_SUM_MAX:
            return None
        values.append(item[0])
        weights.append(max(0, weight))
    return Buckets(tuple(values), tuple(weights))


def whole(value: Json) -> int | None:
    """A whole number, also one written 25.0; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if isinstance(value, int) or value.is_integer() else None


def implicit_key(frame: Frame) -> str | None:
    """The flag's name and the targeting key; None without a targeting key."""
    key = frame.attributes.get(TARGETING_KEY)
    return frame.flag + key if isinstance(key, str) and key else None


def deal(key: str | None, buckets: Buckets | None) -> Json:
    """The value of the bucket that the key falls into, or None."""
    if key is None or buckets is None:
        return None
    index = distribute(key, buckets.weights)
    return None if index is None else buckets.values[index]


def fractional(values: list[Json], frame: Frame) -> Json:
    """The operator over its evaluated arguments."""
    if not values:
        return None
    if isinstance(values[0], str):
        return deal(values[0], read_buckets(values[1:]))
    return deal(implicit_key(frame), read_buckets(values[1:] if values[0] is None else values))
