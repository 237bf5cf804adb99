"""The ground everything stands on: problems, time, ids, JSON. Imports nothing of ours."""

from stanchion.base.clock import Clock, SystemClock
from stanchion.base.errors import (
    Conflict,
    Denied,
    Internal,
    Invalid,
    Kind,
    LimitExceeded,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
    invariant,
    present,
    sentence,
)
from stanchion.base.ids import Ids, SystemIds
from stanchion.base.json import Json, canonical, digest, digest_bytes, dumps, loads, raw
from stanchion.base.nearest import did_you_mean, nearest

__all__ = [
    "Clock",
    "Conflict",
    "Denied",
    "Ids",
    "Internal",
    "Invalid",
    "Json",
    "Kind",
    "LimitExceeded",
    "NotFound",
    "Problem",
    "SystemClock",
    "SystemIds",
    "Unauthenticated",
    "Unavailable",
    "canonical",
    "did_you_mean",
    "digest",
    "digest_bytes",
    "dumps",
    "invariant",
    "loads",
    "nearest",
    "present",
    "raw",
    "sentence",
]
