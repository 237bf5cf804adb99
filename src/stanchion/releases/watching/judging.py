"""Judging: what a comparison says at a moment, in a verdict, in figures, and in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, cast

from stanchion.base import Invalid, Json
from stanchion.releases.watching import betting
from stanchion.releases.watching.comparing import require_own, running_limit
from stanchion.releases.watching.types import (
    Better,
    Comparison,
    Evidence,
    Finding,
    Guard,
    Guards,
    Judgement,
    Kind,
    Tally,
    Verdict,
)

# The verdict of several guards is the first of these that any of them gives.
_ORDER: Final = (Verdict.FAIL, Verdict.MISSING, Verdict.INCONCLUSIVE, Verdict.PASS)


def judge(guard: Guard, comparison: Comparison, now: datetime | None) -> Finding:
    """What one guard says at `now` (with a time zone); None: of what was collected, however old, where an arm has ended.

    FAIL once the evidence of a regression beyond `margin` has reached 1/alpha; it stays, whatever comes later. Else
    MISSING if an arm's last observation is older than `staleness_s_max` (or from the future by as much), or none came in
    that time since the beginning. Else PASS if both arms have `samples_min` observations and a regression of `exclude`
    is ruled out at 1/alpha now. Else INCONCLUSIVE.

    Raises:
        Conflict `guard.changed` if the comparison belongs to another guard; Invalid `guard.time` without a time zone.
    """
    require_own(guard, comparison)
    if now is not None and now.tzinfo is None:
        raise Invalid("guard.time", f"The time {now.isoformat()} has no time zone.", hint="Give it one, as UTC.")
    evidence = _evidence(guard, comparison)
    absent = "" if now is None else _absence(guard, comparison, now)
    if comparison.crossing is not None:
        verdict, why = Verdict.FAIL, _regression(guard, comparison)
    elif absent:
        verdict, why = Verdict.MISSING, absent
    else:
        verdict, why = _progress(guard, comparison, evidence)
    return Finding(
        name=guard.name,
        metric=guard.metric,
        verdict=verdict,
        reason=f"{why} {_figures(guard, evidence)}".strip(),
        evidence=evidence,
    )


def judge_all(guards: Guards, comparisons: Mapping[str, Comparison], now: datetime | None) -> Judgement:
    """What all guards say together: FAIL if any fails, else MISSING, else INCONCLUSIVE, PASS only if all pass.

    Args:
        guards: the rollout's guards.
        comparisons: one for each, by the guard's name.
        now: the moment, with a time zone; None as in `judge`.

    Raises:
        Invalid `guard.uncompared` if a guard has no comparison; what `judge` raises.
    """
    lacking = [guard.name for guard in guards.guards if guard.name not in comparisons]
    if lacking or not guards.guards:
        raise Invalid(
            "guard.uncompared",
            f"No comparison was begun for {', '.join(lacking) or 'any guard'}.",
            hint="Begin one for each guard when the rollout begins; without it nothing may advance.",
        )
    findings = tuple(judge(guard, comparisons[guard.name], now) for guard in guards.guards)
    verdict = next(verdict for verdict in _ORDER if any(finding.verdict is verdict for finding in findings))
    deciding = [finding for finding in findings if finding.verdict is verdict]
    names = ", ".join(finding.name for finding in deciding)
    if verdict is Verdict.PASS:
        reason = f"All {len(findings)} guards pass." if len(findings) > 1 else f"{names} passes."
    else:
        reason = f"{_SAID[verdict]}: {names}. {deciding[0].reason}"
    return Judgement(verdict=verdict, reason=reason, findings=findings)


_SAID: Final = {
    Verdict.FAIL: "Regression",
    Verdict.MISSING: "Data is missing, the rollout pauses",
    Verdict.INCONCLUSIVE: "Not enough is known yet",
}


def finding_json(finding: Finding) -> dict[str, Json]:
    """A finding as JSON: {guard, metric, verdict, reason, evidence}; times in ISO 8601."""
    evidence = finding.evidence
    plain: dict[str, Json] = {}
    for field in Evidence.__dataclass_fields__:
        value: object = getattr(evidence, field)
        plain[field] = (
            value.isoformat() if isinstance(value, datetime) else value if isinstance(value, int | float) else None
        )
    return {
        "guard": finding.name,
        "metric": finding.metric,
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "evidence": plain,
    }


def judgement_json(judgement: Judgement) -> dict[str, Json]:
    """A judgement as JSON, for the history of a rollout: {verdict, reason, guards: [finding, …]}."""
    return {
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "guards": [cast("Json", finding_json(finding)) for finding in judgement.findings],
    }


def _evidence(guard: Guard, comparison: Comparison) -> Evidence:
    rounds = comparison.rounds
    crossing = comparison.crossing
    return Evidence(
        candidate_count=comparison.candidate.count,
        candidate_mean=_natural(guard, comparison.candidate),
        candidate_last_at=comparison.candidate.last_at,
        stable_count=comparison.stable.count,
        stable_mean=_natural(guard, comparison.stable),
        stable_last_at=comparison.stable.last_at,
        rounds=rounds,
        unmatched=comparison.unmatched,
        difference=comparison.difference / rounds if rounds else None,
        detectable=_detectable(guard, comparison),
        limit=running_limit(guard, comparison),
        e_worse=comparison.worse.total,
        e_worse_peak=comparison.peak,
        e_harmless=comparison.harmless.total,
        e_better=comparison.better.total,
        threshold=guard.threshold,
        alpha=guard.alpha,
        crossed_at=crossing.at if crossing else None,
        crossed_after=crossing.rounds if crossing else None,
    )


def _detectable(guard: Guard, comparison: Comparison) -> float | None:
    candidates, stables = comparison.candidate.count, comparison.stable.count
    if not candidates or not stables:
        return None
    sample = betting.Sample(
        rounds=comparison.rounds,
        difference=comparison.difference,
        squares=comparison.squares,
        badness=comparison.stable.badness / stables,
        weight=stables / (candidates + stables),
    )
    return betting.detectable(sample, margin=guard.margin, threshold=guard.threshold)


def _natural(guard: Guard, tally: Tally) -> float | None:
    """The mean in the metric's own direction; of an exceedance, the share past the limit."""
    mean = tally.mean
    if mean is None or guard.kind is Kind.EXCEEDANCE or guard.better is Better.LOWER:
        return mean
    return 1.0 - mean


def _absence(guard: Guard, comparison: Comparison, now: datetime) -> str:
    """Why the data is missing; empty if it is not."""
    allowed = timedelta(seconds=guard.staleness_s_max)
    for arm, tally in (("candidate", comparison.candidate), ("stable", comparison.stable)):
        last = tally.last_at
        age = now - (last or comparison.began_at)
        if age > allowed and last is None:
            return f"No {guard.metric} of the {arm} arm has arrived in {_seconds(age)}."
        if age > allowed:
            return f"The last {guard.metric} of the {arm} arm is {_seconds(age)} old; {_seconds(allowed)} are allowed."
        if age < -allowed:
            return f"The last {guard.metric} of the {arm} arm is stamped {_seconds(-age)} in the future: clocks differ."
    return ""


def _seconds(span: timedelta) -> str:
    return f"{span.total_seconds():,.0f} s"


def _regression(guard: Guard, comparison: Comparison) -> str:
    crossing = comparison.crossing
    if crossing is None:
        return ""
    beyond = f" by more than the tolerated {_points(guard.margin)}" if guard.margin else ""
    return (
        f"By {guard.metric} the candidate is worse than the stable arm{beyond}: after {crossing.rounds:,}"
        f" comparison{'s' * (crossing.rounds != 1)}"
        f" the evidence was {_wealth(crossing.wealth)}, and {guard.threshold:.4g} is proof at alpha = {guard.alpha:.3g}."
    )


def _progress(guard: Guard, comparison: Comparison, evidence: Evidence) -> tuple[Verdict, str]:
    """PASS, or what it still needs."""
    counts = (("candidate", evidence.candidate_count), ("stable", evidence.stable_count))
    few = [f"{count:,} of the {arm} arm" for arm, count in counts if count < guard.samples_min]
    if few:
        said = f"There are {' and '.join(few)}; {guard.samples_min:,} are needed."
        return Verdict.INCONCLUSIVE, f"{said}{_apart(comparison)}"
    if evidence.e_harmless >= guard.threshold:
        return Verdict.PASS, (
            f"A worsening of {_points(guard.exclude)} or more is ruled out (evidence {_wealth(evidence.e_harmless)},"
            f" {guard.threshold:.4g} is proof), and none beyond {_points(guard.margin)} has been found."
        )
    said = (
        f"No regression is proven, and a worsening of {_points(guard.exclude)} is not ruled out yet (evidence"
        f" {_wealth(evidence.e_harmless)} of {guard.threshold:.4g})."
    )
    return Verdict.INCONCLUSIVE, f"{said}{_apart(comparison)}"


def _apart(comparison: Comparison) -> str:
    """A warning if the arms hardly overlap in time."""
    seen = comparison.candidate.count + comparison.stable.count
    if comparison.rounds and comparison.unmatched <= seen // 2:
        return ""
    if comparison.unmatched < 50:
        return ""
    return (
        f" {comparison.unmatched:,} observations could not be compared, because no observation of the other arm arrived"
        " near them: report both arms in the order of arrival."
    )


def _figures(guard: Guard, evidence: Evidence) -> str:
    """The counts and means, the difference, and what would have been found by now."""
    if evidence.candidate_mean is None or evidence.stable_mean is None:
        return ""
    limit = ""
    if guard.kind is Kind.EXCEEDANCE:
        side = "above" if guard.better is Better.LOWER else "below"
        of = f"the stable arm's running {guard.quantile:.0%} quantile, now" if guard.quantile else "the limit"
        limit = f" {side} {of} {evidence.limit:.4g}" if evidence.limit is not None else f" {side} {of}"
    said = (
        f"Candidate {_mean(guard, evidence.candidate_mean)} of {evidence.candidate_count:,}, stable"
        f" {_mean(guard, evidence.stable_mean)} of {evidence.stable_count:,}{limit}."
    )
    if evidence.difference is None:
        return said
    word = "worse" if evidence.difference > 0 else "better"
    rounds = f"{evidence.rounds:,} comparison{'s' * (evidence.rounds != 1)}"
    size = f" Over {rounds} it is {_points(abs(evidence.difference))} {word}."
    if evidence.crossed_at is not None:  # it was found: what else would have been is no news
        return f"{said}{size}"
    if evidence.detectable is None:
        return f"{said}{size} That is too few to have found any worsening with confidence."
    return f"{said}{size} A worsening of {_points(evidence.detectable)} would have been found by now in at least 4 of 5 cases."


def _mean(guard: Guard, mean: float) -> str:
    return f"{mean:.3f}" if guard.kind is Kind.SCORE else f"{mean:.1%}"


def _wealth(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else "over 1,000"


def _points(difference: float) -> str:
    return f"{difference * 100:.3g} points"
