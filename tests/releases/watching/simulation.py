"""What the guards do over thousands of simulated rollouts, beside a z-test that is looked at all the time.

`python -m tests.releases.watching.simulation` prints every figure of docs/explanation/guarded-rollouts.md;
`--rollouts 200` is quicker. The rows that carry the promise get all rollouts, the others a quarter. A rollout is checked at EVERY comparison: `observe` keeps the moment of the first crossing,
so what is found here is what a check after each request would have found (a test holds that).
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from stanchion.releases.watching import (
    Arm,
    Better,
    Comparison,
    Guard,
    Kind,
    Observation,
    Pair,
    Verdict,
    begin,
    judge,
    observe,
)
from tests.releases.watching.support import NOON, guard, pair, single

Source = Iterator[Observation | Pair]
Rollout = Callable[[random.Random], Source]
ROLLOUTS = 2000
PAIRS = 2000
REQUESTS = 5000
SEED = 20260302


@dataclass(frozen=True)
class Outcome:
    """How many rollouts failed, and after how many comparisons and requests of the candidate half of ALL had."""

    rollouts: int
    failed: int
    rounds: float
    candidates: float

    @property
    def share(self) -> float:
        return self.failed / self.rollouts


def run(guarded: Guard, source: Source, length: int) -> Comparison:
    """One rollout until it fails or `length` observations have come."""
    comparison = begin(guarded, NOON)
    for _ in range(0, length, 100):
        comparison = observe(guarded, comparison, islice(source, 100))
        if comparison.crossing is not None:
            break
    return comparison


def outcome(guarded: Guard, rollout: Rollout, *, rollouts: int, length: int, seed: int = SEED) -> Outcome:
    ends = [run(guarded, rollout(random.Random(f"{seed}/{n}")), length).crossing for n in range(rollouts)]
    found = [end for end in ends if end is not None]
    return Outcome(
        rollouts,
        len(found),
        median([end.rounds for end in found], rollouts),
        median([end.candidate.count for end in found], rollouts),
    )


def median(values: list[int], of: int) -> float:
    """The value that half of `of` rollouts reached; infinite if fewer than half did."""
    ordered = sorted(values)
    return ordered[of // 2] if len(ordered) > of // 2 else math.inf


def paired(stable: float, candidate: float, late: int = 0) -> Rollout:
    """Pairs of independent errors; the candidate is as good as stable until pair `late`."""

    def source(rng: random.Random) -> Source:
        for _ in range(late):
            yield pair(rng.random() < stable, rng.random() < stable)
        while True:
            yield pair(rng.random() < candidate, rng.random() < stable)

    return source


def canary(share: float, stable: float, candidate: float) -> Rollout:
    """Single requests, each the candidate's by chance."""

    def source(rng: random.Random) -> Source:
        while True:
            arm = Arm.CANDIDATE if rng.random() < share else Arm.STABLE
            yield single(arm, rng.random() < (candidate if arm is Arm.CANDIDATE else stable))

    return source


def waves(share: float) -> Rollout:
    """Identical arms whose dependency comes and goes: 2 % of errors, 60 % while it is away, in waves of 5 to 60."""

    def source(rng: random.Random) -> Source:
        away = False
        while True:
            rate = 0.6 if away else 0.02
            for _ in range(rng.randint(5, 60)):
                arm = Arm.CANDIDATE if rng.random() < share else Arm.STABLE
                yield single(arm, rng.random() < rate)
            away = not away

    return source


def scores(share: float, drop: float) -> Rollout:
    """Eval scores around 0.8; the candidate's are `drop` lower in the mean."""

    def source(rng: random.Random) -> Source:
        while True:
            arm = Arm.CANDIDATE if rng.random() < share else Arm.STABLE
            mean = 0.8 - (drop if arm is Arm.CANDIDATE else 0.0)
            yield single(arm, rng.betavariate(5 * mean, 5 * (1 - mean)))

    return source


def latencies(share: float, slower: float, drift: float = 0.0) -> Rollout:
    """Log-normal latencies around 800 ms; the candidate's `slower` times as long, both arms drifting by `drift`."""

    def source(rng: random.Random) -> Source:
        level = math.log(800.0)
        while True:
            level += drift
            arm = Arm.CANDIDATE if rng.random() < share else Arm.STABLE
            yield single(arm, rng.lognormvariate(level, 0.6) * (slower if arm is Arm.CANDIDATE else 1.0))

    return source


def tenants(share: float, count: int) -> Rollout:
    """Identical arms, but whole tenants are assigned for good, and tenants differ: 0 to 40 % of errors."""

    def source(rng: random.Random) -> Source:
        rates = [rng.uniform(0, 0.4) for _ in range(count)]
        arms = [Arm.CANDIDATE if n < max(1, round(share * count)) else Arm.STABLE for n in range(count)]
        while True:
            tenant = rng.randrange(count)
            yield single(arms[tenant], rng.random() < rates[tenant])

    return source


def z_test(rollout: Rollout, *, rollouts: int, length: int, every: int, seed: int = SEED) -> Outcome:
    """The same pairs judged by a two-proportion z-test (one-sided, 5 %), looked at after each `every`, from the 25th."""
    stops: list[int] = []
    for number in range(rollouts):
        source = rollout(random.Random(f"{seed}/{number}"))
        candidate = stable = 0
        for count, seen in enumerate(islice(source, length), 1):
            assert isinstance(seen, Pair)
            candidate += bool(seen.candidate)
            stable += bool(seen.stable)
            if count >= 25 and count % every == 0 and candidate > stable:
                pooled = (candidate + stable) / (2 * count)
                error = math.sqrt(2 * pooled * (1 - pooled) / count)
                if (candidate - stable) / count > 1.645 * error:
                    stops.append(count)
                    break
    return Outcome(rollouts, len(stops), median(stops, rollouts), median(stops, rollouts))


def passing(guarded: Guard, rollout: Rollout, *, rollouts: int, length: int, step: int = 20) -> Outcome:
    """How many rollouts ever PASS when looked at after each `step` observations, and when."""
    found: list[Comparison] = []
    for number in range(rollouts):
        source = rollout(random.Random(f"{SEED}/{number}"))
        comparison = begin(guarded, NOON)
        for _ in range(0, length, step):
            comparison = observe(guarded, comparison, islice(source, step))
            verdict = judge(guarded, comparison, NOON).verdict
            if verdict in {Verdict.PASS, Verdict.FAIL}:
                found += [comparison] * (verdict is Verdict.PASS)
                break
    return Outcome(
        rollouts,
        len(found),
        median([end.rounds for end in found], rollouts),
        median([end.candidate.count for end in found], rollouts),
    )


def power_at_detectable(*, rollouts: int, pairs: int, stable: float, margin: float = 0.0) -> tuple[float, float]:
    """The drop that identical arms are told would have been found after `pairs`, and how often it really is found."""
    guarded = guard(margin=margin, exclude=margin + 0.1)
    rng = random.Random(SEED)
    said = [
        judge(
            guarded, observe(guarded, begin(guarded, NOON), islice(paired(stable, stable)(rng), pairs)), NOON
        ).evidence.detectable
        for _ in range(20)
    ]
    drop = sum(one for one in said if one is not None) / len(said)
    return drop, outcome(guarded, paired(stable, min(stable + drop, 1.0)), rollouts=rollouts, length=pairs).share


ERRORS = guard()
SCORES = guard(name="score", metric="score", kind=Kind.SCORE, better=Better.HIGHER)
LATENCY = guard(name="latency", metric="latency_ms", kind=Kind.EXCEEDANCE, quantile=0.9)
TEN = 0.1


def _line(text: str, found: Outcome, *, medians: bool = False) -> None:
    tail = f"   median after {found.rounds:g} comparisons, {found.candidates:g} of the candidate"
    tail = "" if not medians else tail if math.isfinite(found.rounds) else "   (fewer than half)"
    print(f"{text:<64}{found.rollouts:>5}{found.share:>7.1%}{tail}", flush=True)


def report_identical(n: int) -> None:
    print("Identical arms, checked at every request: rollouts, and rolled back (bound 5 %)")
    for rate, rollouts in ((0.1, n), (0.02, n // 4), (0.3, n // 4)):
        found = outcome(ERRORS, paired(rate, rate), rollouts=rollouts, length=PAIRS)
        _line(f"  {PAIRS} pairs, {rate:.0%} errors", found)
    for every in (1, 25):
        text = f"  {PAIRS} pairs, 10% errors: z-test looked at every {every}"
        _line(text, z_test(paired(0.1, 0.1), rollouts=n, length=PAIRS, every=every))
    for text, rollouts, guarded, rollout in (
        ("canary 10 %, 10% errors", n, ERRORS, canary(TEN, 0.1, 0.1)),
        ("canary 1 %, 10% errors", n // 4, ERRORS, canary(0.01, 0.1, 0.1)),
        ("canary 50 %, 10% errors", n // 4, ERRORS, canary(0.5, 0.1, 0.1)),
        ("canary 10 %, errors in waves over both arms", n // 4, ERRORS, waves(TEN)),
        ("canary 10 %, scores", n // 4, SCORES, scores(TEN, 0.0)),
        ("canary 10 %, latency past stable's p90", n // 4, LATENCY, latencies(TEN, 1.0)),
        ("both arms growing 20 times as slow", n // 4, LATENCY, latencies(TEN, 1.0, math.log(20) / REQUESTS)),
    ):
        found = outcome(guarded, rollout, rollouts=rollouts, length=REQUESTS)
        _line(f"  {REQUESTS} requests, {text}", found)


def report_drops(n: int) -> None:
    print("\nA worse candidate: rollouts, rolled back, and when")
    drops = ((0.1, 0.1, n), *((s, d, n // 4) for s, d in ((0.1, 0.03), (0.1, 0.05), (0.1, 0.2))))
    for stable, drop, rollouts in (*drops, (0.02, 0.1, n // 4), (0.2, 0.1, n // 4), (0.5, 0.1, n // 4)):
        text = f"  {PAIRS} pairs, {stable:.0%} errors and {drop * 100:g} points more"
        found = outcome(ERRORS, paired(stable, stable + drop), rollouts=rollouts, length=PAIRS)
        _line(text, found, medians=True)
    for text, guarded, rollout in (
        ("canary 10 %, 10% errors, 10 points more", ERRORS, canary(TEN, 0.1, 0.2)),
        ("canary 50 %, 10% errors, 10 points more", ERRORS, canary(0.5, 0.1, 0.2)),
        ("canary 10 %, scores 10 points lower", SCORES, scores(TEN, 0.1)),
        ("canary 10 %, latency 1.5 times", LATENCY, latencies(TEN, 1.5)),
    ):
        found = outcome(guarded, rollout, rollouts=n // 4, length=REQUESTS)
        _line(f"  {REQUESTS} requests, {text}", found, medians=True)
    for window, text in ((1000, "with the reserve"), (10**6, "reserve unused")):
        late = outcome(guard(window=window), paired(0.1, 0.2, late=1000), rollouts=n // 4, length=3000)
        _line(f"  10 points more from pair 1001 on, {text}", late, medians=True)


def report_rest(n: int) -> None:
    print("\nPASS (exclude 10 points, at least 100 of each arm): rollouts, passed, and when")
    for text, rollout, length in (
        ("identical arms, 10% errors, pairs", paired(0.1, 0.1), PAIRS),
        ("candidate 10 points worse, pairs (bound 5 %)", paired(0.1, 0.2), PAIRS),
        ("identical arms, 10% errors, canary 10 %", canary(TEN, 0.1, 0.1), REQUESTS),
    ):
        _line(f"  {text}", passing(ERRORS, rollout, rollouts=n // 4, length=length), medians=True)
    print("\nWhat is said to have been found in at least 4 of 5 cases, and how often it is")
    for pairs, stable, margin in (
        (100, 0.1, 0.0),
        (400, 0.1, 0.0),
        (1500, 0.1, 0.0),
        (400, 0.01, 0.0),
        (800, 0.3, 0.05),
    ):
        drop, power = power_at_detectable(rollouts=n // 4, pairs=pairs, stable=stable, margin=margin)
        print(f"  {pairs} pairs, {stable:.0%} errors, margin {margin:g}: {drop * 100:.1f} points, found {power:.0%}")
    print("\nWhere the promise ends: identical arms, whole tenants with 0 to 40 % errors assigned for good")
    for count in (10, 100, 1000):
        found = outcome(ERRORS, tenants(TEN, count), rollouts=n // 4, length=REQUESTS)
        _line(f"  {REQUESTS} requests, canary 10 %, {count} tenants", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=ROLLOUTS)
    rollouts = parser.parse_args().rollouts
    report_identical(rollouts)
    report_drops(rollouts)
    report_rest(rollouts)


if __name__ == "__main__":
    main()
