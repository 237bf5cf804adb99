"""`python -m tests.simulation`: simulate seeds and say what was found. Exit code 1 for any violation or anything unhit."""

from __future__ import annotations

import argparse
import os
import sys

if os.environ.get("PYTHONHASHSEED") != "0":
    # Sets of texts and ids are ordered by it: the same seed must take the same course in every process.
    os.environ["PYTHONHASHSEED"] = "0"
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])  # noqa: S606 - this very program

from tests.simulation.mutants import MUTANTS
from tests.simulation.report import planted, run_many, tell, tell_failure
from tests.simulation.simulation import simulate


def main() -> int:
    """Parse, run, report."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="OS processes")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="with a planted defect")
    parser.add_argument("--trace", action="store_true", help="print what happened in each seed")
    options = parser.parse_args()
    if options.seeds < 1 or options.first < 0 or options.jobs < 1:
        parser.error("--seeds and --jobs are at least 1, --from is not negative")
    if options.trace:
        return trace(options)
    seeds = range(options.first, options.first + options.seeds)
    total = run_many(seeds, jobs=min(options.jobs, options.seeds), mutant=options.mutant)
    print(tell(total))
    for outcome in total.failed[:3]:
        print()
        print(tell_failure(outcome, options.mutant))
    if len(total.failed) > 3:
        print(f"\nseeds with violations: {' '.join(str(outcome.seed) for outcome in total.failed)}")
    missing = total.missing() if options.seeds >= 1000 and options.mutant is None else []
    for name in missing:
        print(f"never hit: {name}")
    return 1 if total.failed or missing else 0


def trace(options: argparse.Namespace) -> int:
    """Print the course of each seed."""
    failed = False
    for seed in range(options.first, options.first + options.seeds):
        with planted(options.mutant):
            outcome = simulate(seed, trace=True)
        print(*outcome.trace, sep="\n")
        print(f"seed {seed}: {outcome.fingerprint}, {outcome.steps} steps, {outcome.virtual_s:.1f} virtual seconds")
        for violation in outcome.violations:
            failed = True
            print(f"  [{violation.checker}] run {violation.run_id}: {violation.reason}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
