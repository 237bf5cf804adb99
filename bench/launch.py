"""A process of Stanchion with one thing changed or watched, for measurements alone; no setting of the product.

usage: python -m bench.launch [--one-commit LANES] [--probe FILE] serve worker

* `--one-commit LANES`: each checkpoint has a transaction and a commit of its own, LANES of them in flight at once.
  Everything else is as it was: the statement, the fencing, the validation, the claim in batches.
* `--probe FILE`: how long each checkpoint took from the step that wrote it to its commit, queueing included. At the
  end of the process FILE holds {count, p50_ms, p99_ms, max_ms}, percentiles within 1 %.
"""

from __future__ import annotations

import atexit
import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from stanchion.cli import main as stanchion
from stanchion.db import GroupWriter
from stanchion.runs.engine import writer

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# Bins of the probe: each 1 % wider than the one before.
_STEP = math.log(1.01)


def one_commit(lanes: int) -> None:
    """Have the checkpoint writer commit each item apart."""

    class Single(GroupWriter[ItemT, ResultT]):
        def __init__(self, commit: Any, **said: Any) -> None:
            apart: dict[str, Any] = {"lanes": lanes, "batch_max": 1}
            super().__init__(commit, **(said | apart))

    writer.GroupWriter = Single


def probe(file: Path) -> None:
    """Time every checkpoint, and write what was seen at the end."""
    seen: Counter[int] = Counter()
    slowest = 0.0
    write = writer.CheckpointWriter.write

    async def timed(self: Any, *args: Any, **named: Any) -> Any:
        nonlocal slowest
        began = time.perf_counter()
        answer = await write(self, *args, **named)
        took = time.perf_counter() - began
        seen[int(math.log(took * 1e6) / _STEP)] += 1
        slowest = max(slowest, took)
        return answer

    def quantile(share: float) -> float:
        left = share * sum(seen.values())
        for number in sorted(seen):
            left -= seen[number]
            if left <= 0:
                return math.exp((number + 0.5) * _STEP) / 1000
        return 0.0

    def report() -> None:
        said = {"count": sum(seen.values()), "p50_ms": quantile(0.5), "p99_ms": quantile(0.99)}
        file.write_text(json.dumps(said | {"max_ms": slowest * 1000}))

    writer.CheckpointWriter.write = timed
    atexit.register(report)


def main() -> None:
    said = sys.argv[1:]
    while said[:1] in (["--one-commit"], ["--probe"]):
        if said[0] == "--one-commit":
            one_commit(int(said[1]))
        else:
            probe(Path(said[1]))
        said = said[2:]
    sys.argv[1:] = said
    stanchion()


if __name__ == "__main__":
    main()
