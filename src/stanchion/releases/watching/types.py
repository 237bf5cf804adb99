"""The nouns of watching: what is guarded, what was observed, what is known so far, and what is found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stanchion.base import Json


class Kind(StrEnum):
    """What sort of number a metric is; each becomes a *badness* in [0, 1], of which the arms' means are compared."""

    RATE = "rate"  # each observation is 0 or 1: an error, a policy denial, a human override
    SCORE = "score"  # each observation is in [0, 1]: an eval score
    EXCEEDANCE = "exceedance"  # each is a number >= 0 without a bound (latency, cost); what counts is passing a limit


class Better(StrEnum):
    """Which direction of a metric is good."""

    LOWER = "lower"
    HIGHER = "higher"


class Arm(StrEnum):
    """The two sides of a rollout."""

    CANDIDATE = "candidate"
    STABLE = "stable"


class Verdict(StrEnum):
    """What a guard says. FAIL rolls back, PASS may advance, the other two hold the rollout where it is."""

    PASS = "pass"  # noqa: S105 - a verdict, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """One metric of a rollout and what is tolerated. Differences are of mean badness: 0.02 is two points.

    Args:
        name: of the guard, unique among the guards of a rollout.
        metric: what is observed; whoever reports observations knows the name.
        kind: how an observation becomes a badness in [0, 1].
        better: which direction is good.
        margin: how much worse than stable the candidate may be; FAIL needs proof of more. In [0, exclude).
        exclude: how much worse must be ruled out before PASS. In (margin, 1).
        alpha: the chance of a false FAIL over the whole life of the rollout, however often one looks.
        samples_min: observations of each arm without which there is no PASS. FAIL does not wait for them.
        staleness_s_max: seconds without an observation of an arm after which its data is MISSING.
        window: rounds over which half of the reserve is staked: a regression that begins within them is found about
            as fast as one that was there from the start.
        limit: EXCEEDANCE only: the value whose passing is bad, declared beforehand. None with `quantile`.
        quantile: EXCEEDANCE only: the limit is this running quantile of the stable arm, counted from its good end.
    """

    name: str
    metric: str
    kind: Kind
    better: Better
    margin: float
    exclude: float
    alpha: float
    samples_min: int
    staleness_s_max: float
    window: int
    limit: float | None = None
    quantile: float | None = None

    @property
    def threshold(self) -> float:
        """The wealth that is proof at this alpha: 1 / alpha (Ville's inequality)."""
        return 1.0 / self.alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class Guards:
    """All guards of a rollout; their alphas add up to at most `alpha`, the chance that a good rollout is rolled back."""

    alpha: float
    guards: tuple[Guard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One thing that is wrong with a declaration: where (JSON pointer), what, and the way out."""

    pointer: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One value of a guard's metric from one arm. `at` is the time of its arrival, with a time zone."""

    arm: Arm
    value: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Values of both arms for the same request (shadow, replay, a paired eval)."""

    candidate: float
    stable: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wealth:
    """What a bettor who began with 1 has: the reserve that is not yet staked, and one stake per size of bet."""

    reserve: float
    stakes: tuple[float, ...]

    @property
    def total(self) -> float:
        """The e-value: its expectation is at most 1 if the null hypothesis holds."""
        return self.reserve + sum(self.stakes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one arm has reported: how many values were judged, the sum of their badness, and when the last arrived."""

    count: int = 0
    badness: float = 0.0
    last_at: datetime | None = None

    @property
    def mean(self) -> float | None:
        """Mean badness, None without observations."""
        return self.badness / self.count if self.count else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The block that is filling: arrivals of both arms, the limit they are judged by, and at how many it closes."""

    size: int
    limit: float | None
    candidates: int = 0
    candidate_badness: float = 0.0
    stables: int = 0
    stable_badness: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """The moment at which the evidence of a regression passed the threshold; it is never taken back."""

    at: datetime
    rounds: int
    candidate: Tally
    stable: Tally
    wealth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All that is known of one guard: a small value, the same size after ten observations or ten million.

    Args:
        guard: digest of the guard that it was begun for; another guard is refused.
        began_at: when the rollout began to be watched.
        candidate, stable: what each arm has reported.
        rounds: blocks and pairs that were bet on.
        unmatched: arrivals that could not be compared: their block held one arm only, or the limit was being learnt.
        difference, squares: sums over the rounds of candidate's minus stable's mean badness, and of its square.
        share: the candidate's smoothed share of arrivals; sets the size of the next block.
        block: the block that is filling.
        learnt: stable values that the running limit is made of.
        log_limit: the running limit, as a logarithm (negated where higher is better).
        worse, harmless, better: wealth of the bets that the candidate is worse than `margin`, less bad than `exclude`,
            and better than stable.
        peak: the highest `worse` so far.
        crossing: set once, when `worse` first reaches the threshold.
    """

    guard: str
    began_at: datetime
    candidate: Tally
    stable: Tally
    rounds: int
    unmatched: int
    difference: float
    squares: float
    share: float
    block: Block
    learnt: int
    log_limit: float
    worse: Wealth
    harmless: Wealth
    better: Wealth
    peak: float
    crossing: Crossing | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The figures behind a finding. Means are in the metric's own direction (a mean score, a rate of errors, the share
    of values past the limit); `difference` is how much worse the candidate is, so it is negative if it is better.

    `detectable` is the worsening that would have been found by now in at least four of five cases. `e_worse` is the wealth now,
    `e_worse_peak` the highest so far, and `threshold` what either `e_worse_peak` (FAIL) or `e_harmless` (PASS) must
    reach.
    """

    candidate_count: int
    candidate_mean: float | None
    candidate_last_at: datetime | None
    stable_count: int
    stable_mean: float | None
    stable_last_at: datetime | None
    rounds: int
    unmatched: int
    difference: float | None
    detectable: float | None
    limit: float | None
    e_worse: float
    e_worse_peak: float
    e_harmless: float
    e_better: float
    threshold: float
    alpha: float
    crossed_at: datetime | None
    crossed_after: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one guard says, and why, in words and in figures."""

    name: str
    metric: str
    verdict: Verdict
    reason: str
    evidence: Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What all guards of a rollout say together."""

    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...]


Declaration = dict[str, Json]
