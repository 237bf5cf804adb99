"""Every PUSH retried, killed before and after sending, its receipt lost: what the targets have is what was expected, once each.

Seeds through the real ledger, the real broker and the real adapters. One that fails prints the command that repeats it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cluster
from tests.tools.broker_seeds.lives import PAIRS
from tests.tools.broker_seeds.mutants import MUTANTS
from tests.tools.broker_seeds.seeds import Outcome, lived


def _held(outcome: Outcome) -> None:
    assert outcome.violation == ""
    assert outcome.missed == []
    assert outcome.counts.asked > 0


def test_each_fault_with_each_idempotency_leaves_each_write_once(cluster: Cluster, tmp_path: Path) -> None:
    """About 5 s: each seed begins with another pair."""
    _held(lived(cluster, tmp_path / "data", range(len(PAIRS))))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_seeds_leave_each_write_once(cluster: Cluster, tmp_path: Path) -> None:
    """About 90 s of one core."""
    outcome = lived(cluster, tmp_path / "data", range(2000))
    assert outcome.seeds == 2000
    _held(outcome)


def test_a_defect_is_found(cluster: Cluster, tmp_path: Path) -> None:
    found = lived(cluster, tmp_path / "data", range(len(PAIRS)), mutant="broker_performs_twice")
    assert "was written 2 times" in found.violation
    assert f"--from {found.seeds - 1} --seeds 1 --mutant broker_performs_twice" in found.violation


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mutant", sorted(MUTANTS))
def test_each_planted_defect_is_found_within_the_seeds(cluster: Cluster, tmp_path: Path, mutant: str) -> None:
    """2 to 10 s each."""
    assert lived(cluster, tmp_path / "data", range(2 * len(PAIRS)), mutant=mutant).violation
