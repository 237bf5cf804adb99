"""Guards and observations for the tests of watching."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from stanchion.releases.watching import Arm, Better, Guard, Kind, Observation, Pair, betting
from stanchion.releases.watching.types import Wealth

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def guard(**changes) -> Guard:
    """A guard of an error rate; `changes` replace its fields."""
    fields = {
        "name": "errors",
        "metric": "errors",
        "kind": Kind.RATE,
        "better": Better.LOWER,
        "margin": 0.0,
        "exclude": 0.1,
        "alpha": 0.05,
        "samples_min": 100,
        "staleness_s_max": 900.0,
        "window": 1000,
    }
    return Guard(**{**fields, **changes})


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def pair(candidate: float, stable: float, at: datetime = NOON) -> Pair:
    return Pair(candidate=candidate, stable=stable, at=at)


def pairs(values: Iterable[tuple[float, float]]) -> list[Pair]:
    return [pair(candidate, stable) for candidate, stable in values]


def single(arm: Arm, value: float, at: datetime = NOON) -> Observation:
    return Observation(arm=arm, value=value, at=at)


def canary(arms: str, values: Iterable[float]) -> list[Observation]:
    """Single observations: `arms` is a text of `c` and `s`, a letter for each value."""
    names = {"c": Arm.CANDIDATE, "s": Arm.STABLE}
    return [single(names[arm], value) for arm, value in zip(arms, values, strict=True)]


def settled(wealth: Wealth, edge: float, rounds: int, window: int = 1000) -> Wealth:
    """Wealth after one more round."""
    left = betting.reserve(rounds, window)
    return Wealth(reserve=left, stakes=tuple(betting.settle(wealth.stakes, edge, wealth.reserve - left)))
