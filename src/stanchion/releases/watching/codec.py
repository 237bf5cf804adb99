"""A comparison as JSON, for the store, and back: floats survive exactly, a value of another version is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from stanchion.base import Invalid, Json
from stanchion.releases.watching.betting import FRACTIONS
from stanchion.releases.watching.types import Block, Comparison, Crossing, Tally, Wealth

# Rises when the bets, the blocks or the fields change: evidence collected under other rules is not carried on.
VERSION: Final = 1
_T = TypeVar("_T")


def comparison_json(comparison: Comparison) -> dict[str, Json]:
    """A comparison as JSON of about 1.5 kB; `read_comparison` gives an equal one."""
    block, crossing = comparison.block, comparison.crossing
    return {
        "v": VERSION,
        "guard": comparison.guard,
        "began_at": comparison.began_at.isoformat(),
        "candidate": _tally_json(comparison.candidate),
        "stable": _tally_json(comparison.stable),
        "rounds": comparison.rounds,
        "unmatched": comparison.unmatched,
        "difference": comparison.difference,
        "squares": comparison.squares,
        "share": comparison.share,
        "block": {
            "size": block.size,
            "limit": block.limit,
            "candidates": block.candidates,
            "candidate_badness": block.candidate_badness,
            "stables": block.stables,
            "stable_badness": block.stable_badness,
        },
        "learnt": comparison.learnt,
        "log_limit": comparison.log_limit,
        "worse": _wealth_json(comparison.worse),
        "harmless": _wealth_json(comparison.harmless),
        "better": _wealth_json(comparison.better),
        "peak": comparison.peak,
        "crossing": None
        if crossing is None
        else {
            "at": crossing.at.isoformat(),
            "rounds": crossing.rounds,
            "candidate": _tally_json(crossing.candidate),
            "stable": _tally_json(crossing.stable),
            "wealth": crossing.wealth,
        },
    }


def read_comparison(value: Json) -> Comparison:
    """The comparison of a stored value. Raises Invalid `guard.state` with the place of what is wrong."""
    top = _Fields(value, "")
    if top.whole("v") != VERSION:
        raise top.wrong("v", f"version {VERSION}")
    return Comparison(
        guard=top.text("guard"),
        began_at=top.time("began_at"),
        candidate=_tally(top.inner("candidate")),
        stable=_tally(top.inner("stable")),
        rounds=top.whole("rounds"),
        unmatched=top.whole("unmatched"),
        difference=top.number("difference", least=-math.inf),
        squares=top.number("squares"),
        share=top.number("share"),
        block=_block(top.inner("block")),
        learnt=top.whole("learnt"),
        log_limit=top.number("log_limit", least=-math.inf),
        worse=_wealth(top.inner("worse")),
        harmless=_wealth(top.inner("harmless")),
        better=_wealth(top.inner("better")),
        peak=top.number("peak"),
        crossing=top.optional("crossing", lambda key: _crossing(top.inner(key))),
    )


class _Fields:
    """The fields of one object of the stored value, each read as what it must be."""

    def __init__(self, value: Json, pointer: str) -> None:
        if not isinstance(value, dict):
            raise Invalid("guard.state", f"The stored comparison has no object at {pointer or '/'}.", hint=_HINT)
        self._value = value
        self._pointer = pointer

    def wrong(self, key: str, expected: str) -> Invalid:
        place = f"{self._pointer}/{key}"
        return Invalid("guard.state", f"The stored comparison has no {expected} at {place}.", hint=_HINT)

    def inner(self, key: str) -> _Fields:
        return _Fields(self._value.get(key), f"{self._pointer}/{key}")

    def optional(self, key: str, read: Callable[[str], _T]) -> _T | None:
        return None if self._value.get(key) is None else read(key)

    def text(self, key: str) -> str:
        found = self._value.get(key)
        if not isinstance(found, str):
            raise self.wrong(key, "text")
        return found

    def whole(self, key: str) -> int:
        found = self._value.get(key)
        if not isinstance(found, int) or isinstance(found, bool) or found < 0:
            raise self.wrong(key, "whole number of at least 0")
        return found

    def number(self, key: str, *, least: float = 0.0) -> float:
        found = self._value.get(key)
        if not isinstance(found, int | float) or isinstance(found, bool) or not math.isfinite(found) or found < least:
            raise self.wrong(key, "finite number" if least else "finite number of at least 0")
        return float(found)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        found = self._value.get(key)
        if not isinstance(found, list) or len(found) != count:
            raise self.wrong(key, f"list of {count} numbers")
        each = _Fields({str(place): number for place, number in enumerate(found)}, f"{self._pointer}/{key}")
        return tuple(each.number(str(place)) for place in range(count))

    def time(self, key: str) -> datetime:
        try:
            found = datetime.fromisoformat(self.text(key))
        except ValueError:
            raise self.wrong(key, "time") from None
        if found.tzinfo is None:
            raise self.wrong(key, "time with a time zone")
        return found


_HINT: Final = "Begin the comparison anew; what was collected under other rules is no evidence under these."


def _tally_json(tally: Tally) -> Json:
    last = tally.last_at
    return {"count": tally.count, "badness": tally.badness, "last_at": last.isoformat() if last else None}


def _tally(fields: _Fields) -> Tally:
    return Tally(
        count=fields.whole("count"),
        badness=fields.number("badness"),
        last_at=fields.optional("last_at", fields.time),
    )


def _wealth_json(wealth: Wealth) -> Json:
    return {"reserve": wealth.reserve, "stakes": list(wealth.stakes)}


def _wealth(fields: _Fields) -> Wealth:
    return Wealth(reserve=fields.number("reserve"), stakes=fields.numbers("stakes", len(FRACTIONS)))


def _block(fields: _Fields) -> Block:
    return Block(
        size=fields.whole("size"),
        limit=fields.optional("limit", fields.number),
        candidates=fields.whole("candidates"),
        candidate_badness=fields.number("candidate_badness"),
        stables=fields.whole("stables"),
        stable_badness=fields.number("stable_badness"),
    )


def _crossing(fields: _Fields) -> Crossing:
    return Crossing(
        at=fields.time("at"),
        rounds=fields.whole("rounds"),
        candidate=_tally(fields.inner("candidate")),
        stable=_tally(fields.inner("stable")),
        wealth=fields.number("wealth"),
    )
