"""Many seeds: run them in a few processes, add up what was hit, print what was found."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final

from stanchion.runs.rules import STEP_TRANSITIONS, TRANSITIONS
from tests.simulation.faults import KINDS
from tests.simulation.mutants import MUTANTS
from tests.simulation.simulation import Outcome, simulate

# Declared, and taken by nothing that there is: each with what would take it.
_CHUNK: Final = 10


@dataclass(slots=True)
class Total:
    """What came of many seeds."""

    seeds: int = 0
    steps: int = 0
    workers: int = 0
    effects: int = 0
    callbacks: int = 0
    virtual_s: float = 0.0
    wall_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter[str])
    transitions: Counter[str] = field(default_factory=Counter[str])
    failed: list[Outcome] = field(default_factory=list[Outcome])

    def add(self, outcome: Outcome) -> None:
        """One seed more."""
        self.seeds += 1
        self.steps += outcome.steps
        self.workers += outcome.workers
        self.effects += outcome.effects
        self.callbacks += outcome.callbacks
        self.virtual_s += outcome.virtual_s
        self.faults += outcome.faults
        self.transitions += outcome.transitions
        if outcome.violations:
            self.failed.append(outcome)

    def missing(self) -> list[str]:
        """Fault kinds and state transitions that no seed hit."""
        faults = [f"fault: {kind}" for kind in KINDS if not self.faults[kind]]
        return faults + [name for name in declared() if not self.transitions[name]]


def declared() -> Iterator[str]:
    """The state transitions that the engine's rules declare."""
    for before, afters in TRANSITIONS.items():
        yield from (f"run {before.value} → {after.value}" for after in sorted(afters))
    for step, nexts in STEP_TRANSITIONS.items():
        yield from (f"step {step.value} → {after.value}" for after in sorted(nexts))


def planted(mutant: str | None):
    """The defect of that name, for the block; None plants nothing."""
    return nullcontext() if mutant is None else MUTANTS[mutant].planted()


def run_chunk(work: tuple[Sequence[int], str | None]) -> list[Outcome]:
    """Simulate some seeds in this OS process."""
    seeds, mutant = work
    with planted(mutant):
        return [simulate(seed) for seed in seeds]


def run_many(seeds: Sequence[int], *, jobs: int = 1, mutant: str | None = None, stop_at_first: bool = False) -> Total:
    """Simulate `seeds` in `jobs` OS processes and add them up."""
    total, began = Total(), time.monotonic()
    chunks = [(seeds[i : i + _CHUNK], mutant) for i in range(0, len(seeds), _CHUNK)]
    if jobs == 1:
        _collect(total, map(run_chunk, chunks), stop_at_first)
    else:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            _collect(total, pool.imap_unordered(run_chunk, chunks), stop_at_first)
    total.failed.sort(key=lambda outcome: outcome.seed)
    total.wall_s = time.monotonic() - began
    return total


def _collect(total: Total, results: Iterable[list[Outcome]], stop_at_first: bool) -> None:
    for outcomes in results:
        for outcome in outcomes:
            total.add(outcome)
        if stop_at_first and total.failed:
            return


def tell(total: Total) -> str:
    """The report, as text."""
    n = max(1, total.seeds)
    hits = sum(total.faults.values())
    lines = [
        (
            f"{total.seeds} seeds, {total.steps} steps executed ({total.steps / n:.0f} per seed), {total.effects} effects,"
            f" {total.workers} workers ({total.workers / n:.1f} per seed), {hits} faults ({hits / n:.1f} per seed),"
        ),
        (
            f"{total.callbacks} callbacks, {total.virtual_s:.0f} virtual seconds in {total.wall_s:.1f} s:"
            f" {len(total.failed)} seeds with violations"
        ),
        "",
        "faults",
        *(f"  {kind:42}{total.faults[kind]:>10}" for kind in KINDS),
        "",
        "state transitions",
        *(f"  {name:42}{total.transitions[name]:>10}" for name in declared()),
    ]
    return "\n".join(lines)


def tell_failure(outcome: Outcome, mutant: str | None) -> str:
    """A failing seed: what was found, the history of the run concerned, and how to see it again."""
    with planted(mutant):
        again = simulate(outcome.seed, trace=True)
    lines = [f"seed {outcome.seed}:"]
    lines += [f"  [{found.checker}] run {found.run_id}: {found.reason}" for found in outcome.violations[:10]]
    if len(outcome.violations) > 10:
        lines.append(f"  and {len(outcome.violations) - 10} more")
    run_id = next((v.run_id for v in outcome.violations if v.run_id is not None), None)
    if run_id is not None:
        lines.append(f"  history of run {run_id}, with the faults meanwhile:")
        history = [line for line in again.trace if str(run_id) in line or " fault " in line or " ended " in line]
        lines += [f"    {line}" for line in history[:120]]
    if again.fingerprint != outcome.fingerprint:
        lines.append(f"  this seed did not repeat: {outcome.fingerprint} and {again.fingerprint}")
    option = f" --mutant {mutant}" if mutant else ""
    lines.append(f"  replay: .venv/bin/python -m tests.simulation --from {outcome.seed} --seeds 1 --trace{option}")
    return "\n".join(lines)
