"""Watching a rollout: is the candidate worse than the stable arm? Pure: no database, no clock, no randomness.

A rollout declares `Guards`. For each, `begin` makes a `Comparison`, `observe` adds what the arms report, and `judge_all`
says PASS, FAIL, INCONCLUSIVE or MISSING with its reasons, as often as one likes: looking costs nothing (see `betting`).

What holds, whatever is reported and however often one looks:

* If the candidate is no worse than stable by more than the margin, the chance that it is EVER rolled back is at most
  alpha, over all guards together.
* If it is worse by `exclude` or more throughout, the chance that a guard EVER says PASS is at most the guard's alpha.
* Without data there is no PASS, and a FAIL is never taken back.

The assumptions behind the first two, and where they end, are told in docs/explanation/guarded-rollouts.md.
"""

from stanchion.releases.watching.codec import comparison_json, read_comparison
from stanchion.releases.watching.comparing import begin, observe
from stanchion.releases.watching.guards import MEASURED, guard_json, guards_json, parse_guards, read_guards
from stanchion.releases.watching.judging import finding_json, judge, judge_all, judgement_json
from stanchion.releases.watching.types import (
    Arm,
    Better,
    Comparison,
    Evidence,
    Finding,
    Flaw,
    Guard,
    Guards,
    Judgement,
    Kind,
    Observation,
    Pair,
    Verdict,
)

__all__ = [
    "MEASURED",
    "Arm",
    "Better",
    "Comparison",
    "Evidence",
    "Finding",
    "Flaw",
    "Guard",
    "Guards",
    "Judgement",
    "Kind",
    "Observation",
    "Pair",
    "Verdict",
    "begin",
    "comparison_json",
    "finding_json",
    "guard_json",
    "guards_json",
    "judge",
    "judge_all",
    "judgement_json",
    "observe",
    "parse_guards",
    "read_comparison",
    "read_guards",
]
