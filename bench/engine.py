"""Part `engine`: durable steps a second of five-step runs, one worker process, beside pgbench, Absurd, DBOS and our
own one-commit-per-step mode; a lone run; starts over HTTP. All interleaved, medians of the rounds."""

from __future__ import annotations

import statistics

from bench.rows import Row, Tally, row
from bench.running import named, peer
from bench.sitting import Sitting

# Commits on the path of a lone run of five steps: the start, the claim, five checkpoints (the last one ends the run).
COMMITS_ON_PATH = 7
RUNS = 6000
RUNS_APART = 2000
RUNS_DBOS = 300
RUNS_ABSURD = 1000
LONE = 60
# In the one-commit mode: commits in flight, each on a connection of its own (16, 32 and 64 are equal within the noise, 8 is slower).
LANES = 32
# Absurd: clients of its SDK in the process, each with a connection, and tasks at once of each (4 x 1 to 32 x 8 were
# tried: 16 x 1, 16 x 4 and 8 x 4 lead, within the noise).
ABSURD = (16, 4)
DBOS_POLLS = {"dbos_default": (1.0, "poll 1 s (default)"), "dbos_fast": (0.05, "poll 50 ms")}


async def _apart(sitting: Sitting, tally: Tally) -> None:
    """Our own engine with a commit for each step; its metrics must say that no two shared one."""
    connections = str(LANES + 8)
    done, metrics = await sitting.stanchion.throughput(
        sitting.sizes.of(RUNS_APART),
        launch=("--one-commit", str(LANES)),
        STANCHION_DATABASE_ENGINE_CONNECTIONS_MAX=connections,
    )
    shared = metrics["stanchion_commit_batch_size_sum"] / metrics["stanchion_commit_batch_size_count"]
    if shared != 1 or metrics["stanchion_commit_batch_size_count"] < done.steps:
        raise RuntimeError(f"the one-commit mode did not hold: {shared:g} checkpoints per commit")
    tally.add("apart_steps", done.steps_per_s)


def _dbos(sitting: Sitting, tally: Tally, name: str) -> None:
    sizes, (poll_s, _) = sitting.sizes, DBOS_POLLS[name]
    lone = 3 if poll_s >= 1 else sizes.of(LONE // 2, 5)
    url = sitting.server.database(f"bench_{name}")

    def steps() -> float:
        said = peer("dbos", url, sizes.of(RUNS_DBOS), lone, poll_s)
        tally.add(f"{name}_lone_ms", said["lone_p50_ms"])
        return said["steps"] / said["seconds"]

    tally.attempt(f"{name}_steps", steps)


def _absurd(sitting: Sitting) -> float:
    url = sitting.server.database("bench_absurd")
    said = peer("absurd", url, sitting.sizes.of(RUNS_ABSURD), *ABSURD)
    return said["steps"] / said["seconds"]


async def _round(sitting: Sitting, tally: Tally) -> None:
    stanchion, sizes = sitting.stanchion, sitting.sizes
    tally.add("commit_ms", sitting.server.commit_cost_ms())
    tally.add("pgbench", sitting.server.pgbench_tps(sizes.seconds(4)))
    done, metrics = await stanchion.throughput(sizes.of(RUNS))
    tally.add("steps_per_s", done.steps_per_s)
    tally.add("cpu_ms", done.cpu_ms)
    tally.add("batch", metrics["stanchion_commit_batch_size_sum"] / metrics["stanchion_commit_batch_size_count"])
    await _apart(sitting, tally)
    await stanchion.clear()
    tally.attempt("absurd", lambda: _absurd(sitting))
    lone = await stanchion.lone_ms(sizes.of(LONE))
    tally.add("lone_ms", statistics.median(lone))
    tally.add("lone_p95_ms", statistics.quantiles(lone, n=20)[18])
    await stanchion.clear()
    tally.add("http_starts", await stanchion.http_starts(sizes.seconds(4)))
    for name in DBOS_POLLS:
        _dbos(sitting, tally, name)


def _rows(sitting: Sitting, tally: Tally) -> list[Row]:
    median, steps = tally.median, tally.median("steps_per_s")
    pgbench = "pgbench INSERT+UPDATE c=32"
    absurd = f"{named('absurd-sdk')}, async, {ABSURD[0]} connections, {ABSURD[1]} tasks each"
    dbos = {name: f"{named('dbos')}, {said}" for name, (_, said) in DBOS_POLLS.items()}
    bound = f"{COMMITS_ON_PATH} commits + 5 ms"
    bound_ms = COMMITS_ON_PATH * median("commit_ms") + 5

    def beside(metric: str, ours: float, name: str, theirs: str, unit: str = "1/s") -> Row:
        return tally.against("engine", metric, ours, theirs, name, unit)

    lone = [beside("start_to_result_p50", median("lone_ms"), f"{n}_lone_ms", said, "ms") for n, said in dbos.items()]
    return [
        beside("steps_per_s", steps, "pgbench", pgbench),
        beside("steps_per_s", steps, "absurd", absurd),
        *(beside("steps_per_s", steps, f"{name}_steps", said) for name, said in dbos.items()),
        beside("steps_per_s", steps, "apart_steps", f"Stanchion, one commit per step, {LANES} in flight"),
        row("engine", "worker_cpu_per_step", median("cpu_ms"), "budget (reference)", 0.2, "ms"),
        row("engine", "start_to_result_p50", median("lone_ms"), bound, bound_ms, "ms"),
        *lone,
        row("engine", "start_to_result_p95", median("lone_p95_ms"), bound, bound_ms, "ms"),
        beside("http_starts_per_s", median("http_starts"), "pgbench", pgbench),
        row("engine", "checkpoints_per_commit", median("batch"), "Stanchion, one commit per step", 1, ""),
        beside("commit_cost", median("commit_ms"), "commit_ms", f"pgbench INSERT+UPDATE c=1; {sitting.place}", "ms"),
    ]


async def measure(sitting: Sitting) -> list[Row]:
    tally = Tally()
    for number in range(sitting.sizes.rounds):
        await _round(sitting, tally)
        tally.tell(f"engine, round {number + 1} of {sitting.sizes.rounds}")
    return _rows(sitting, tally)
