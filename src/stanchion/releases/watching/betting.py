"""Testing by betting: wealth that can't be expected to grow unless the null hypothesis is false.

A bettor begins with 1 and in each round stakes a fixed fraction of each stake on the gain of that round. If the null
holds, no gain is positive in expectation, whatever happened before; wealth is then a supermartingale that is never
negative, and by Ville's inequality (Ville 1939) the chance that it EVER reaches 1/alpha is at most alpha. So one may
look after every observation and stop at will. The bets on bounded means and their mixture over bet sizes follow
Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (JRSS B, 2024); the wealth is the
mean over the sizes, so no size must be right beforehand.

Not everything is staked at once. The reserve is staked little by little, so that a regression which begins late does
not have to win back what the earlier bets lost: a mixture over the time at which the candidate goes bad, the idea of
Shin, Ramdas and Rinaldo's e-detectors (2024), here with weights that add up to 1, which keeps the bound alpha over the
whole life of the rollout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stanchion.releases.watching.types import Wealth

# Bet sizes, as fractions of the largest bet that cannot ruin. Small ones find small drops in many rounds, large ones
# find large drops in few. Tried by simulation against grids of 4, 5 and 8: within noise of the best at drops of 3 to
# 20 points.
FRACTIONS: Final = (0.05, 0.1, 0.2, 0.35, 0.55, 0.9)
# What is kept back at the start. It costs ln(1/0.8) = 0.22 nats of evidence, about 7 % of what alpha = 0.05 needs.
RESERVE: Final = 0.2
# Wealth beyond this is given away: far above any threshold, and no float overflows. Giving away keeps the bound.
STAKE_MAX: Final = 1e12
# One in five regressions of the detectable size is not found yet: 0.84 is the normal quantile of 0.8.
_POWER_Z: Final = 0.84
# What mixing costs against the best single bet, in nats: ours, by simulation (tests hold the resulting power).
_MIXING_NATS: Final = 0.9


def begin() -> Wealth:
    """Wealth 1: the reserve, and the rest in equal stakes."""
    return Wealth(reserve=RESERVE, stakes=((1.0 - RESERVE) / len(FRACTIONS),) * len(FRACTIONS))


def reserve(rounds: int, window: int) -> float:
    """What of the reserve is left after so many rounds: half of it after `window`, never nothing."""
    return RESERVE / (1.0 + rounds / window)


def settle(stakes: Sequence[float], edge: float, fresh: float) -> list[float]:
    """The stakes after a round.

    Args:
        stakes: before it, one per size of bet.
        edge: the round's gain by the most that it could have lost: at least -1. The null hypothesis says that its
            expectation is not positive, whatever happened before.
        fresh: what the reserve gave up for this round.

    Returns:
        Each stake times (1 + fraction · edge), plus an even part of `fresh`.
    """
    part = fresh / len(FRACTIONS)
    after = [stake * (1.0 + fraction * edge) + part for stake, fraction in zip(stakes, FRACTIONS, strict=True)]
    return after if max(after) <= STAKE_MAX else [min(stake, STAKE_MAX) for stake in after]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the detectable worsening is worked out from.

    `rounds` were settled, with `difference` and `squares` the sums of their differences and of the squares of these.
    `badness` is stable's mean badness, `weight` the candidate's part in the variance of a difference (one half when
    both arms report equally often, more when the candidate is rarer).
    """

    rounds: int
    difference: float
    squares: float
    badness: float
    weight: float


def detectable(sample: Sample, *, margin: float, threshold: float) -> float | None:
    """The worsening that would have been found by now in at least four of five cases, None if even 100 points would not.

    Log-wealth of a bet λ on a worsening X drifts by λ(X - margin) - λ²s/2 a round with variance λ²v, where v is the
    variance of a round's difference and s = v + (X - margin)². The best allowed λ is taken, and the least X whose lower
    fifth reaches the threshold. v is what was seen, scaled as a rate's variance p(1 - p) would grow with X. A normal
    approximation, cautious when rounds are few: the tests hold the power at the returned worsening at 75 % or more.
    """
    if sample.rounds < 2 or not _found(sample, 1.0, margin, threshold):
        return None
    low, high = margin, 1.0
    for _ in range(40):
        middle = (low + high) / 2.0
        low, high = (low, middle) if _found(sample, middle, margin, threshold) else (middle, high)
    return high


def _found(sample: Sample, worsening: float, margin: float, threshold: float) -> bool:
    """Whether a worsening reaches the threshold in four of five cases, by the approximation of `detectable`."""
    rounds = sample.rounds
    mean = sample.difference / rounds
    # One round's worth of doubt keeps the variance above 0 when nothing has gone wrong yet.
    seen = (max(sample.squares - rounds * mean * mean, 0.0) + 0.25) / rounds
    usual = min(max(sample.badness, 1.0 / (rounds + 2)), 1.0 - 1.0 / (rounds + 2))
    worse = min(usual + worsening, 1.0)
    growth = worse * (1.0 - worse) / (usual * (1.0 - usual))
    variance = seen * max(sample.weight * growth + 1.0 - sample.weight, 0.25)
    excess = worsening - margin
    second = variance + excess * excess
    bet = min(excess / second, FRACTIONS[-1] / (1.0 + margin))
    drift = rounds * (bet * excess - bet * bet * second / 2.0)
    return drift - _POWER_Z * bet * math.sqrt(rounds * variance) >= math.log(threshold) + _MIXING_NATS
