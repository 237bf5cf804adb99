"""Many seeds, one after the other, and what is said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from stanchion.db import Database
from stanchion.identity import CedarAuthorizer
from tests.conftest import Cluster, make_env
from tests.tools.broker_seeds.lives import PAIRS, Counts, Life, ViolationError, world
from tests.tools.broker_seeds.mutants import MUTANTS
from tests.tools.broker_seeds.stage import JumpLoop

_REPLAY = ".venv/bin/python -m tests.tools.broker_seeds --from {seed} --seeds 1"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of all seeds together. `violation`: what the first that failed says, and the command that repeats it."""

    seeds: int
    counts: Counts
    violation: str

    @property
    def missed(self) -> list[tuple[str, str]]:
        """Pairs of a fault and an idempotency that no seed has hit."""
        return [pair for pair in PAIRS if not self.counts.struck[pair]]


def lived(cluster: Cluster, folder: Path, seeds: Iterable[int], *, mutant: str | None = None) -> Outcome:
    """Live these seeds on a database of their own, until one fails."""
    with asyncio.Runner(loop_factory=JumpLoop) as runner, MUTANTS[mutant]() if mutant else nullcontext():
        return runner.run(_lived(cluster, folder, seeds, mutant))


async def _lived(cluster: Cluster, folder: Path, seeds: Iterable[int], mutant: str | None) -> Outcome:
    urls = cluster.clone()
    count, violation = 0, ""
    async with (
        Database(urls) as database,
        world(make_env(database, authorizer=CedarAuthorizer()), cluster.superuser(urls), folder) as here,
    ):
        for seed in seeds:
            count += 1
            try:
                await Life(here, seed).live()
            except ViolationError as found:
                again = _REPLAY.format(seed=seed) + (f" --mutant {mutant}" if mutant else "")
                violation = f"{found}\nAgain: {again}"
                break
        return Outcome(seeds=count, counts=here.counts, violation=violation)


def report(outcome: Outcome, seconds: float) -> str:
    """What happened, in lines."""
    counts = outcome.counts
    lines = [
        (
            f"{outcome.seeds} seeds in {seconds:.1f} s: {counts.pushes} pushes, {counts.attempts} attempts,"
            f" {sum(counts.struck.values())} faults struck, {counts.asked} left to a person."
        ),
        f"{len(PAIRS) - len(outcome.missed)} of {len(PAIRS)} pairs of fault and idempotency.",
        "States between attempts: " + ", ".join(f"{k[1]} {k[0]} {n}" for k, n in sorted(counts.states.items())),
        "Problems: " + ", ".join(f"{code} {n}" for code, n in counts.codes.most_common()),
    ]
    if outcome.missed:
        lines.append("Not hit: " + ", ".join(f"{fault} × {idempotency}" for fault, idempotency in outcome.missed))
    return "\n".join([*lines, outcome.violation or "Everything held."])
