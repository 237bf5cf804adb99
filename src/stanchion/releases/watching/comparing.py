"""Comparing the arms: observations in, a new `Comparison` out.

Arms that arrive at their own pace are compared in *blocks*: a number of consecutive arrivals, fixed before the first of
them arrives. When a block is full, the candidate's mean badness in it minus the stable arm's is one round. A block that
held one arm only is set aside. The size follows the candidate's share in EARLIER blocks, so it can't depend on what is
being judged; and it is a count of arrivals, not "until both arms were there", so a wave that hits both arms alike cannot
favour the arm that happens to come last.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Final

from stanchion.base import Conflict, Invalid, digest
from stanchion.releases.watching import betting
from stanchion.releases.watching.guards import guard_json
from stanchion.releases.watching.types import (
    Arm,
    Better,
    Block,
    Comparison,
    Crossing,
    Guard,
    Kind,
    Observation,
    Pair,
    Tally,
    Wealth,
)

# Arrivals of the rarer arm that a block should hold. One alone leaves many blocks without it, three and more make the
# largest allowed bet too small. Ours, by simulation at shares of 10 % and 50 %.
_RARER_PER_BLOCK: Final = 1.5
_BLOCK_MIN: Final = 4
_BLOCK_MAX: Final = 512
_SHARE_WEIGHT: Final = 0.1  # of the newest block in the smoothed share
# Stable values before a running limit judges anything.
LEARN_MIN: Final = 50
# Steps of the running quantile, on the logarithm (Robbins and Monro, 1951): large at first, never below the floor, so
# that it follows a stable arm that drifts. A wrong limit costs power, never a false FAIL: both arms face the same one.
_STEP_FIRST: Final = 2.0
_STEP_POWER: Final = 0.7
_STEP_MIN: Final = 0.02
_TINY: Final = 1e-12  # stands for zero in a logarithm
# Places of the arms in the lists of a fold: members of an enumeration are slow to look up.
_CANDIDATE: Final = 0
_STABLE: Final = 1


@lru_cache(maxsize=256)
def guard_digest(guard: Guard) -> str:
    """What binds a comparison to its guard."""
    return digest(guard_json(guard))


def begin(guard: Guard, at: datetime) -> Comparison:
    """The comparison before the first observation. `at`, with a time zone, is when the rollout begins to be watched."""
    _aware(at)
    return Comparison(
        guard=guard_digest(guard),
        began_at=at,
        candidate=Tally(),
        stable=Tally(),
        rounds=0,
        unmatched=0,
        difference=0.0,
        squares=0.0,
        share=0.5,
        block=Block(size=_BLOCK_MIN, limit=guard.limit),
        learnt=0,
        log_limit=0.0,
        worse=betting.begin(),
        harmless=betting.begin(),
        better=betting.begin(),
        peak=1.0,
        crossing=None,
    )


def observe(guard: Guard, comparison: Comparison, observations: Iterable[Observation | Pair]) -> Comparison:
    """Add observations in the order of their arrival; the same result in one batch or in many. O(1) for each.

    Args:
        guard: the guard the comparison was begun for.
        comparison: what is known so far; it is not changed.
        observations: single ones and pairs, in any mixture.

    Raises:
        Conflict `guard.changed` if the comparison belongs to another guard; Invalid `guard.observation` if a value is
        none of the guard's kind, naming its place: then nothing of the batch counts.
    """
    require_own(guard, comparison)
    fold = _Fold(guard, comparison)
    for place, observation in enumerate(observations):
        try:
            fold.add(observation)
        except ValueError as error:
            raise Invalid(
                "guard.observation",
                f"Observation {place} of guard {guard.name} is refused: {error}. Nothing of the batch was counted.",
                hint=_ALLOWED[guard.kind],
                guard=guard.name,
                place=place,
            ) from error
    return fold.result()


def require_own(guard: Guard, comparison: Comparison) -> None:
    """Raise Conflict `guard.changed` unless the comparison was begun for exactly this guard."""
    if comparison.guard != guard_digest(guard):
        raise Conflict(
            "guard.changed",
            f"What was collected belongs to another version of guard {guard.name}; evidence cannot move between them.",
            hint="Go on with the guard that the rollout began with, or begin the comparison anew.",
            guard=guard.name,
        )


def running_limit(guard: Guard, comparison: Comparison) -> float | None:
    """The limit that the next block is judged by; None for other kinds and while it is being learnt."""
    if guard.quantile is None:
        return guard.limit
    return _from_log(guard, comparison.log_limit) if comparison.learnt >= LEARN_MIN else None


_ALLOWED: Final = {
    Kind.RATE: "A rate takes 0 or 1.",
    Kind.SCORE: "A score takes a number from 0 to 1.",
    Kind.EXCEEDANCE: "An exceedance takes a finite number of at least 0.",
}


def _aware(at: datetime) -> None:
    if at.tzinfo is None:
        raise Invalid("guard.time", f"The time {at.isoformat()} has no time zone.", hint="Give it one, as UTC.")


def _to_log(guard: Guard, value: float) -> float:
    """Larger is worse, on a logarithm."""
    log = math.log(max(value, _TINY))
    return log if guard.better is Better.LOWER else -log


def _from_log(guard: Guard, log: float) -> float:
    return math.exp(log if guard.better is Better.LOWER else -log)


class _Fold:
    """A comparison while a batch is added: plain variables and lists of [candidate, stable]."""

    def __init__(self, guard: Guard, start: Comparison) -> None:
        self._guard = guard
        self._start = start
        self._is_low_good = guard.better is Better.LOWER
        self._most = 1.0 if guard.kind is not Kind.EXCEEDANCE else sys.float_info.max
        self._is_whole = guard.kind is Kind.RATE
        self._counts = [start.candidate.count, start.stable.count]
        self._badness = [start.candidate.badness, start.stable.badness]
        self._last = [start.candidate.last_at, start.stable.last_at]
        self._rounds, self._unmatched = start.rounds, start.unmatched
        self._difference, self._squares = start.difference, start.squares
        self._learnt, self._log_limit = start.learnt, start.log_limit
        # The reserve is the same for all three: it depends on the count of rounds alone.
        self._reserve = start.worse.reserve
        self._worse = list(start.worse.stakes)
        self._harmless = list(start.harmless.stakes)
        self._better = list(start.better.stakes)
        self._peak, self._crossing = start.peak, start.crossing
        self._share = start.share
        block = start.block
        self._size, self._limit = block.size, block.limit
        self._in_block = [block.candidates, block.stables]
        self._block_badness = [block.candidate_badness, block.stable_badness]

    def add(self, observation: Observation | Pair) -> None:
        """Count one observation. Raises ValueError with the reason, before anything is counted."""
        if isinstance(observation, Pair):
            self._pair(observation)
        else:
            self._single(observation)

    def _single(self, observation: Observation) -> None:
        arm = _CANDIDATE if observation.arm is Arm.CANDIDATE else _STABLE
        self._check(observation.value, observation.at)
        self._seen(arm, observation.at)
        if self._learning():
            self._unmatched += 1
        else:
            if not self._in_block[_CANDIDATE] + self._in_block[_STABLE]:
                self._limit = self._limit_now()
            badness = self._count(arm, observation.value, self._limit)
            self._in_block[arm] += 1
            self._block_badness[arm] += badness
        if arm == _STABLE:
            self._learn(observation.value)
        if self._in_block[_CANDIDATE] + self._in_block[_STABLE] >= self._size:
            self._close(observation.at)

    def _pair(self, pair: Pair) -> None:
        self._check(pair.candidate, pair.at)
        self._check(pair.stable, pair.at)
        self._seen(_CANDIDATE, pair.at)
        self._seen(_STABLE, pair.at)
        if self._learning():
            self._unmatched += 2
        else:
            limit = self._limit_now()
            candidate = self._count(_CANDIDATE, pair.candidate, limit)
            self._bet(candidate - self._count(_STABLE, pair.stable, limit), pair.at)
        self._learn(pair.stable)

    def _check(self, value: float, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError(f"its time {at.isoformat()} has no time zone")
        if not 0.0 <= value <= self._most or (self._is_whole and value != int(value)):
            raise ValueError(f"{value!r} is no {self._guard.kind}")

    def _seen(self, arm: int, at: datetime) -> None:
        last = self._last[arm]
        if last is None or at > last:
            self._last[arm] = at

    def _learning(self) -> bool:
        return self._guard.quantile is not None and self._learnt < LEARN_MIN

    def _limit_now(self) -> float | None:
        return self._guard.limit if self._guard.quantile is None else _from_log(self._guard, self._log_limit)

    def _count(self, arm: int, value: float, limit: float | None) -> float:
        """The badness of a value in [0, 1], counted for its arm."""
        if limit is None:
            badness = value if self._is_low_good else 1.0 - value
        else:
            badness = float(value > limit if self._is_low_good else value < limit)
        self._counts[arm] += 1
        self._badness[arm] += badness
        return badness

    def _learn(self, value: float) -> None:
        """Move the running limit by a stable value, after that value was judged by the limit before."""
        quantile = self._guard.quantile
        if quantile is None:
            return
        log = _to_log(self._guard, value)
        self._learnt += 1
        if self._learnt == 1:
            self._log_limit = log
            return
        step = max(_STEP_FIRST / self._learnt**_STEP_POWER, _STEP_MIN)
        self._log_limit += step * (float(log > self._log_limit) - (1.0 - quantile))

    def _close(self, at: datetime) -> None:
        """End the block: bet on it if both arms were there, and choose the size of the next by the arms' shares."""
        candidates, stables = self._in_block[_CANDIDATE], self._in_block[_STABLE]
        if candidates and stables:
            means = [self._block_badness[arm] / self._in_block[arm] for arm in (_CANDIDATE, _STABLE)]
            self._bet(means[0] - means[1], at)
        else:
            self._unmatched += candidates + stables
        self._share += _SHARE_WEIGHT * (candidates / (candidates + stables) - self._share)
        rarer = min(self._share, 1.0 - self._share)
        self._size = min(max(round(_RARER_PER_BLOCK / max(rarer, 1e-9)), _BLOCK_MIN), _BLOCK_MAX)
        self._in_block = [0, 0]
        self._block_badness = [0.0, 0.0]

    def _bet(self, difference: float, at: datetime) -> None:
        guard = self._guard
        self._rounds += 1
        self._difference += difference
        self._squares += difference * difference
        reserve = betting.reserve(self._rounds, guard.window)
        fresh = self._reserve - reserve
        self._reserve = reserve
        self._worse = betting.settle(self._worse, (difference - guard.margin) / (1.0 + guard.margin), fresh)
        self._harmless = betting.settle(self._harmless, (guard.exclude - difference) / (1.0 - guard.exclude), fresh)
        self._better = betting.settle(self._better, -difference, fresh)
        wealth = reserve + sum(self._worse)
        self._peak = max(self._peak, wealth)
        if self._crossing is None and wealth >= guard.threshold:
            self._crossing = Crossing(
                at=at,
                rounds=self._rounds,
                candidate=self._tally(_CANDIDATE),
                stable=self._tally(_STABLE),
                wealth=wealth,
            )

    def _wealth(self, stakes: list[float]) -> Wealth:
        return Wealth(reserve=self._reserve, stakes=tuple(stakes))

    def _tally(self, arm: int) -> Tally:
        return Tally(count=self._counts[arm], badness=self._badness[arm], last_at=self._last[arm])

    def result(self) -> Comparison:
        """The comparison with everything that was added."""
        return replace(
            self._start,
            candidate=self._tally(_CANDIDATE),
            stable=self._tally(_STABLE),
            rounds=self._rounds,
            unmatched=self._unmatched,
            difference=self._difference,
            squares=self._squares,
            share=self._share,
            block=Block(
                size=self._size,
                limit=self._limit,
                candidates=self._in_block[_CANDIDATE],
                candidate_badness=self._block_badness[_CANDIDATE],
                stables=self._in_block[_STABLE],
                stable_badness=self._block_badness[_STABLE],
            ),
            learnt=self._learnt,
            log_limit=self._log_limit,
            worse=self._wealth(self._worse),
            harmless=self._wealth(self._harmless),
            better=self._wealth(self._better),
            peak=self._peak,
            crossing=self._crossing,
        )
