"""Which version a published document becomes: pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from stanchion.artifacts.types import PublishChange, Risk, Usage
from stanchion.base import Json

# How many bytes the canonical body and the text as written may have: far above any document a person writes, far below
# what would hurt a worker that holds hundreds of them in memory.
BODY_BYTES_MAX: Final = 1_048_576
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**63 - 1
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a digest belongs: its version number, and what that means for the name."""

    version: int
    change: PublishChange


def place(digest: str, existing: Sequence[tuple[int, str]]) -> Placed:
    """The version of `digest` among `existing` versions of the same name.

    Args:
        digest: content address of the body to publish.
        existing: (version, digest) of every version of the name, in any order; digests are distinct.

    Returns:
        `created` 1 for a name without versions, `unchanged` if the latest version has this digest, `reused` with the
        older version that has it, else `updated` with the next number. Numbers are gapless from 1.
    """
    if not existing:
        return Placed(version=1, change=PublishChange.CREATED)
    latest = max(version for version, _ in existing)
    for version, known in existing:
        if known == digest:
            change = PublishChange.UNCHANGED if version == latest else PublishChange.REUSED
            return Placed(version=version, change=change)
    return Placed(version=latest + 1, change=PublishChange.UPDATED)


# A run in one of these may still use what it is pinned to; a FAILED one may be retried.
_UNFINISHED: Final = ("PENDING", "RUNNING", "SUSPENDED", "FAILED")


_STANDING: Final = {
    "live": "live",
    "candidate": "the candidate of an open rollout",
    "stable": "what an open rollout returns to",
}


def holders(usage: Usage) -> tuple[str, ...]:
    """Why an artifact cannot be retired: what is live of it, what live refers to it, which runs may still use it.

    Empty if it may. Runs that SUCCEEDED or were CANCELLED hold nothing: a retired version keeps its content, so that
    what they did stays explicable. If not all runs were counted, that is a reason too.
    """
    said = [f"version {live.version} is {_STANDING[live.standing]} in {live.environment}" for live in usage.live]
    said += [f"the live {r.kind} {r.name} (version {r.version}) refers to it" for r in usage.referrers]
    left = [(status, usage.runs[status]) for status in _UNFINISHED if usage.runs.get(status)]
    said += [
        f"{count} {status} run{'s' * (count > 1)} {'are' if count > 1 else 'is'} pinned to it" for status, count in left
    ]
    if usage.runs_cut and not left:
        said.append("more runs are pinned to it than can be looked through")
    return tuple(said)


def labels_of(body: Mapping[str, Json]) -> dict[str, str]:
    """The labels that a document gives itself: names to texts; what is no text is not one."""
    found = body.get("labels")
    return {k: v for k, v in found.items() if isinstance(v, str)} if isinstance(found, dict) else {}


def risk_of(body: Mapping[str, Json]) -> Risk:
    """The risk level that a document gives itself; `low` where it says nothing."""
    found = body.get("risk")
    return "high" if found == "high" else "medium" if found == "medium" else "low"


def unstorable(value: object) -> tuple[str, str] | None:
    """The first thing in a JSON value that the store cannot keep exactly, as (JSON pointer, reason), or None.

    PostgreSQL's jsonb has no U+0000; UTF-8 has no lone surrogates; JSON has no infinities; integers beyond 64 bits
    would come back as floats (RFC 8785 §3.2.2.3 allows even less).
    """
    return next(_unstorable(value, ""), None)


def _unstorable(value: object, pointer: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[str, object]", value).items():
            yield from _unstorable(key, pointer)
            yield from _unstorable(item, f"{pointer}/{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(cast("Sequence[object]", value)):
            yield from _unstorable(item, f"{pointer}/{number}")
    elif reason := _unstorable_scalar(value):
        yield pointer, reason


def _unstorable_scalar(value: object) -> str:
    if isinstance(value, str):
        if "\x00" in value:
            return "a text with the character U+0000"
        return "a text with a lone surrogate" if _SURROGATE.search(value) else ""
    if isinstance(value, float):
        return "" if math.isfinite(value) else "a number that is not finite"
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, int):
        return "" if _INT_MIN <= value <= _INT_MAX else "an integer beyond 64 bits"
    return f"a {type(value).__name__}"
