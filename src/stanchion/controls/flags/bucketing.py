"""Bucketing: which of several weighted buckets a key falls into, for ever and on every machine.

Compatible with version 2 of flagd's `fractional` operator: MurmurHash3 (x86, 32 bit, seed 0) over the UTF-8 bytes of
the key, then `(hash * total weight) >> 32` in integers (flagd, docs/architecture-decisions/
high-precision-fractional-bucketing.md). No float takes part, so no platform can round differently.

The buckets lie one after the other in `[0, total)`. So for two buckets whose total stays, the first one only gains
keys when its weight grows, and loses none.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

# The sum of all weights fits a signed 32 bit integer (the same ADR).
WEIGHT_SUM_MAX: Final = 2**31 - 1
_MASK: Final = 0xFFFFFFFF
# MurmurHash3_x86_32 by Austin Appleby, public domain (smhasher, MurmurHash3.cpp).
_C1: Final = 0xCC9E2D51
_C2: Final = 0x1B873593


def murmur3(data: bytes, seed: int = 0) -> int:
    """MurmurHash3, x86 variant, 32 bit: an unsigned integer below 2**32."""
    h = seed & _MASK
    length = len(data)
    whole = length & ~3
    for word in struct.unpack_from(f"<{length >> 2}I", data):
        k = word * _C1 & _MASK
        k = (k << 15 | k >> 17) & _MASK
        h ^= k * _C2 & _MASK
        h = (h << 13 | h >> 19) & _MASK
        h = h * 5 + 0xE6546B64 & _MASK
    if whole != length:
        k = int.from_bytes(data[whole:], "little") * _C1 & _MASK
        k = (k << 15 | k >> 17) & _MASK
        h ^= k * _C2 & _MASK
    h ^= length
    h ^= h >> 16
    h = h * 0x85EBCA6B & _MASK
    h ^= h >> 13
    h = h * 0xC2B2AE35 & _MASK
    return h ^ h >> 16


def bucket(key: str, total: int) -> int:
    """The place of `key` in `[0, total)`; uniform over keys. `total` is at least 1 and at most `WEIGHT_SUM_MAX`."""
    return murmur3(key.encode("utf-8", "surrogatepass")) * total >> 32


def distribute(key: str, weights: Sequence[int]) -> int | None:
    """The index of the weight whose part of `[0, sum)` holds the key's bucket.

    None if the weights say nothing: no weight above 0, one below 0, or a sum over `WEIGHT_SUM_MAX`.
    """
    total = sum(weights)
    if not 0 < total <= WEIGHT_SUM_MAX or min(weights) < 0:
        return None
    place = bucket(key, total)
    end = 0
    for index, weight in enumerate(weights):
        end += weight
        if place < end:
            return index
    return None
