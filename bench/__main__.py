"""`make bench`: Stanchion beside its peers, in one sitting. Writes bench/latest.json after each part.

Quote ratios: absolute figures move with the machine, and the cost of a commit moves most (it is measured and printed
with every part). A part that fails leaves the others, and its old rows, as they are; repeat it with --only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import uvloop

from bench import broker, curve, engine, flags, jobs, sustained
from bench.ours import IN_FLIGHT, ours
from bench.rows import LATEST, Row, save, show
from bench.running import named
from bench.server import NO_REDIS, Server, redis_server
from bench.sitting import Sitting, Sizes
from stanchion.db.embedded import EmbeddedPostgres

PARTS: Mapping[str, Callable[[Sitting], Awaitable[list[Row]]]] = {
    "engine": engine.measure,
    "jobs": jobs.measure,
    "curve": curve.measure,
    "sustained": sustained.measure,
    "flags": flags.measure,
    "broker": broker.measure,
}
PEERS = ("absurd-sdk", "dbos", "arq", "saq", "celery", "procrastinate", "pgqueuer")


async def measured(sitting: Sitting, parts: Sequence[str], out: Path) -> list[str]:
    """Measure and save part by part; the names of those that failed."""
    failed: list[str] = []
    for name in parts:
        began = time.monotonic()
        try:
            rows = await PARTS[name](sitting)
        except Exception:  # noqa: BLE001 - the other parts are measured all the same
            traceback.print_exc()
            failed.append(name)
        else:
            save(out, rows)
            show(rows)
        print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    return failed


async def sit(folder: Path, server: Server, parts: Sequence[str], sizes: Sizes, out: Path) -> list[str]:
    with redis_server(folder / "redis") as redis:
        async with ours(server.urls, folder / "stanchion") as stanchion:
            sitting = Sitting(server=server, redis=redis, stanchion=stanchion, sizes=sizes)
            peers = ", ".join(named(package) for package in PEERS)
            print(
                f"{sitting.place}; {redis.name if redis else NO_REDIS}; {peers}; {IN_FLIGHT} runs in flight", flush=True
            )
            return await measured(sitting, parts, out)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone (may be said again)")
    parser.add_argument("--sustained", action="store_true", help="the same as --only sustained")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; figures are their medians")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the work, for a try-out: 0.1")
    parser.add_argument("--out", type=Path, default=LATEST, help="where the rows go (default: bench/latest.json)")
    said = parser.parse_args()
    chosen = [*(said.only or ()), *(["sustained"] if said.sustained else ())]
    sizes = Sizes(rounds=said.rounds, scale=said.scale)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data = Path(folder) / "pg"
        with EmbeddedPostgres(data) as embedded:
            server = Server(embedded, data)
            parts = [name for name in PARTS if not chosen or name in chosen]
            failed = uvloop.run(sit(Path(folder), server, parts, sizes, said.out))
    if failed:
        print(f"failed: {', '.join(failed)}; again: python -m bench --only {' --only '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
