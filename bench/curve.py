"""Part `curve`: durable steps a second at 1, 2 and 4 worker processes, what the machine did meanwhile, and where and
why the curve bends, computed from these figures.

The workers are up and idle, then all runs are released at once, so that no figure holds the start of a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import psycopg

from bench.machine import CORES, Load, Meter, Sampler
from bench.ours import HELD
from bench.rows import Row, Tally, row
from bench.sitting import Sitting

COUNTS = (1, 2, 4)
RUNS = 8000
USERS = ("workers", "postgres", "others", "idle")
# A doubling of the workers that gives less than this is where the curve bends.
STRAIGHT = 1.5
# Cores idle below this share of the machine: they are full.
FULL = 0.15
# Cores that others used: above this share of the machine, it was not quiet.
QUIET = 0.2
# Backends that wait for the log, as a share of those at work, above which the log holds the others up.
LOG_BOUND = 0.5

_WAITS = """
select count(*) filter (where wait_event in ('WalSync', 'WALSync', 'WalWrite', 'WALWrite', 'WALInsert')), count(*)
from pg_stat_activity where state = 'active' and backend_type = 'client backend' and pid <> pg_backend_pid()
"""


async def _once(sitting: Sitting, count: int, tally: Tally) -> Load:
    stanchion, runs = sitting.stanchion, sitting.sizes.of(RUNS)
    await stanchion.clear()
    await stanchion.start("five", runs, queue=HELD)
    with psycopg.connect(sitting.server.database("bench_look"), autocommit=True) as look:
        active: list[float] = []

        def waiting() -> float:
            found = look.execute(_WAITS).fetchone() or (0, 0)
            active.append(float(found[1]))
            return float(found[0])

        async with stanchion.workers(count) as children:
            meter = Meter([child.pid for child in children], sitting.server.pid)
            await stanchion.release()
            meter.start()
            with Sampler(waiting, 0.05) as log:
                await stanchion.wake()
                await stanchion.drained(children)
            load = meter.stop()
    done = await stanchion.counted("five", runs, load.workers * load.seconds)
    tally.add(f"steps_{count}", done.steps_per_s)
    tally.add(f"log_{count}", log.mean)
    tally.add(f"active_{count}", sum(active) / max(1, len(active)))
    return load


def _rows(sitting: Sitting, tally: Tally) -> list[Row]:
    rows: list[Row] = []

    def add(metric: str, count: int, ours: float, peer: str, theirs: float, unit: str) -> None:
        rows.append(row("curve", f"{metric}_{count}", ours, peer, theirs, unit))

    for count in COUNTS:
        add("steps_per_s", count, tally.median(f"steps_{count}"), "1 worker process", tally.median("steps_1"), "1/s")
    for count in COUNTS:
        for what in USERS:
            add(f"{what}_cores", count, tally.median(f"{what}_{count}"), "cores of the machine", CORES, "cores")
        active = tally.median(f"active_{count}")
        add("waiting_for_log", count, tally.median(f"log_{count}"), "backends at work", active, "")
    place = f"pgbench INSERT+UPDATE c=1; {sitting.place}"
    rows.append(tally.against("curve", "commit_cost", tally.median("commit_ms"), place, "commit_ms", "ms"))
    return rows


def sentence(rows: Sequence[Row]) -> str:
    """Where the curve bends, and why, from the rows of this part alone."""
    ours = {one["metric"]: one["ours"] for one in rows if one["bench"] == "curve"}
    theirs = {one["metric"]: one["theirs"] or 0.0 for one in rows if one["bench"] == "curve"}
    cores = theirs["idle_cores_1"]

    def figures(count: int) -> str:
        processes = "1 worker process uses" if count == 1 else f"{count} worker processes use"
        used = f"{processes} {ours[f'workers_cores_{count}']:.2f} cores and PostgreSQL {ours[f'postgres_cores_{count}']:.2f}"
        return f"{used}, {ours[f'idle_cores_{count}']:.2f} of {cores:g} are idle"

    for before, after in pairwise(COUNTS):
        gain = ours[f"steps_per_s_{after}"] / ours[f"steps_per_s_{before}"]
        if gain >= STRAIGHT:
            continue
        at_work = theirs[f"waiting_for_log_{after}"]
        waits = f"{ours[f'waiting_for_log_{after}']:.1f} of {at_work:.1f} backends at work wait for the log's flush"
        if ours[f"idle_cores_{after}"] < FULL * cores:
            why = f"the cores are full: {figures(before)}; {figures(after)}"
        elif at_work and ours[f"waiting_for_log_{after}"] / at_work > LOG_BOUND:
            why = f"the log is what they wait for: {waits}, while {figures(after)}"
        else:
            why = f"neither the cores are full nor is it the log ({figures(after)}; {waits}): PostgreSQL's locks or the claim"
        others = ours[f"others_cores_{after}"]
        why += f"; the machine was not quiet, others used {others:.2f} cores" if others > QUIET * cores else ""
        return f"The curve bends after {before} ({after} processes give {gain:.2f} times as much), because {why}."
    return f"The curve does not bend up to {COUNTS[-1]} worker processes: {figures(COUNTS[-1])}."


async def measure(sitting: Sitting) -> list[Row]:
    tally = Tally()
    for number in range(sitting.sizes.rounds):
        tally.add("commit_ms", sitting.server.commit_cost_ms())
        for count in COUNTS:
            load = await _once(sitting, count, tally)
            for what in USERS:
                tally.add(f"{what}_{count}", getattr(load, what))
        tally.tell(f"curve, round {number + 1} of {sitting.sizes.rounds}")
    rows = _rows(sitting, tally)
    print(sentence(rows), flush=True)
    return rows
