"""The simulation itself: no seed finds anything, every seed repeats, and there is enough going on in each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS
from tests.simulation.report import Total, declared, run_many, tell, tell_failure

REPO = Path(__file__).resolve().parent.parent.parent


def explain(total: Total) -> str:
    return "\n".join(tell_failure(outcome, None) for outcome in total.failed[:2])


def test_some_seeds_find_nothing():
    total = run_many(range(40))
    assert not total.failed, explain(total)
    assert total.steps / total.seeds >= 200
    assert total.workers / total.seeds >= 2
    assert sum(total.faults.values()) / total.seeds >= 3
    assert "40 seeds" in tell(total)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_many_seeds_find_nothing_and_hit_everything():
    total = run_many(range(5000, 6000), jobs=os.cpu_count() or 1)
    assert not total.failed, explain(total)
    assert total.missing() == []


def test_what_no_seed_hit_is_missing():
    assert len(KINDS) == len(set(KINDS))
    total = Total()
    assert total.missing() == [*(f"fault: {kind}" for kind in KINDS), *declared()]
    total.transitions["run PENDING → RUNNING"] += 1
    assert "run PENDING → RUNNING" not in total.missing()


def replay(*options: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONHASHSEED"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulation", *options],
        cwd=REPO, env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_a_seed_repeats_in_another_process_also_after_other_seeds():
    """Addresses, hash seeds and what ran before differ between these processes; the course may not."""
    alone = replay("--from", "12", "--seeds", "1", "--trace")
    after = replay("--from", "11", "--seeds", "2", "--trace")
    assert len(alone) > 10_000
    assert after.endswith(alone)


def test_a_failing_seed_tells_its_history_and_the_command_that_repeats_it():
    said = replay("--seeds", "2", "--jobs", "1", "--mutant", "no_intent")
    assert "[audit]" in said
    command = re.search(r"replay: \S+ -m tests.simulation (.*)", said)
    assert command is not None
    again = replay(*command.group(1).split())
    found = re.findall(r"\[audit\].*", said)
    assert found[0] in again
