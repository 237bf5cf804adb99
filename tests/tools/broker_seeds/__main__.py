"""Lives with faults on the way from the ledger to the target: `python -m tests.tools.broker_seeds --seeds 2000 [--from N] [--mutant M]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from stanchion.db.embedded import EmbeddedPostgres
from tests.conftest import Cluster
from tests.tools.broker_seeds.mutants import MUTANTS
from tests.tools.broker_seeds.seeds import lived, report


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools.broker_seeds")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--mutant", choices=sorted(MUTANTS))
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "pg", durable=False) as server:
        cluster = Cluster(server, Path(folder) / "pg")
        began, worked = time.monotonic(), time.process_time()
        outcome = lived(cluster, Path(folder) / "data", range(said.first, said.first + said.seeds), mutant=said.mutant)
        print(report(outcome, time.monotonic() - began), f"({time.process_time() - worked:.1f} s of a core.)")
    return 1 if outcome.violation else 0


if __name__ == "__main__":
    sys.exit(main())
