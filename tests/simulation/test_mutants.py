"""Every planted defect is caught, by the checker that ought to see it."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.simulation import simulate

# Within this many seeds each must be caught; in a quick run those that need more of them are left to the slow one.
SEEDS = 200
QUICK_SEEDS = 25
QUICK = (
    "acknowledged_before_commit", "childs_end_unheard", "decided_twice", "decision_not_bound", "double_claim",
    "epoch_not_raised", "items_left_open", "living_workers_swept", "next_step_not_carried", "no_intent", "outcome_not_recorded",
    "rejection_approves", "self_approval", "start_key_ignored", "starts_of_one_tenant", "unknown_is_repeated", "unsent_repetition_fails",
)  # fmt: skip


def caught(mutant: Mutant, seeds: int) -> int | None:
    """The first seed that catches it by a checker that ought to."""
    for seed in range(seeds):
        with mutant.planted():
            outcome = simulate(seed)
        if any(violation.checker in mutant.caught_by for violation in outcome.violations):
            return seed
    return None


def test_there_are_enough_of_them_and_they_go_away():
    assert len(MUTANTS) >= 12
    assert set(QUICK) <= set(MUTANTS)
    for mutant in MUTANTS.values():
        with mutant.planted():
            pass
    assert not simulate(1).violations


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_obvious_defect_is_caught_at_once(name: str):
    assert caught(MUTANTS[name], QUICK_SEEDS) is not None, MUTANTS[name].what


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", sorted(MUTANTS))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_every_defect_is_caught_within_200_seeds(name: str):
    assert caught(MUTANTS[name], SEEDS) is not None, MUTANTS[name].what
