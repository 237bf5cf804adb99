"""`make bench`: Stanchion beside its peers, interleaved in one sitting; medians of five. Writes bench/latest.json.

Quote ratios: absolute figures move with the machine, and the cost of a commit moves most (it is measured and printed).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import psycopg
import uvloop

from bench import peer_pgbench
from bench.ours import IN_FLIGHT, ours, p50
from stanchion.db import DatabaseUrls
from stanchion.db.embedded import EmbeddedPostgres, find_binaries

# Commits on the path of a lone run of five steps: the start, the claim, five checkpoints (the last one ends the run).
COMMITS_ON_PATH = 7
LATEST = Path(__file__).with_name("latest.json")


class Server:
    """A durable PostgreSQL for the sitting, with a database for each system."""

    def __init__(self, server: EmbeddedPostgres, data: Path) -> None:
        self.urls = server.start()
        credentials = json.loads(next(data.rglob("credentials.json")).read_text())
        self._super = re.sub(
            "//[^@]*@/", f"//stanchion_super:{credentials['passwords']['stanchion_super']}@/", self.urls.owner, count=1
        )
        for name in ("bench_pgbench", "bench_dbos_default", "bench_dbos_fast"):
            with psycopg.connect(self.database("postgres"), autocommit=True) as connection:
                connection.execute(f"create database {name}")
        peer_pgbench.prepare(self.database("bench_pgbench"))

    def database(self, name: str) -> str:
        return re.sub(r"@/\w+", f"@/{name}", self._super, count=1)


def dbos(url: str, runs: int, lone: int, poll_s: float) -> dict[str, object]:
    command = [sys.executable, "-m", "bench.peer_dbos", url, str(runs), str(lone), str(poll_s)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.strip().splitlines()[-1])


async def sitting(server: Server, folder: Path, args: argparse.Namespace) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = defaultdict(list)
    urls = DatabaseUrls(app=server.urls.app, engine=server.urls.engine, owner=server.urls.owner)
    async with ours(urls, folder) as stanchion:
        await stanchion.throughput(500)  # warm-up, not counted
        for round_ in range(args.rounds):
            await stanchion.clear()
            seen["commit_ms"].append(peer_pgbench.commit_cost_ms(find_binaries(), server.database("bench_pgbench")))
            seen["pgbench"].append(
                peer_pgbench.measure(find_binaries(), server.database("bench_pgbench"), args.seconds)
            )
            steps_per_s, cpu_ms = await stanchion.throughput(args.runs)
            seen["steps_per_s"].append(steps_per_s)
            seen["cpu_ms"].append(cpu_ms)
            lone = await stanchion.lone_ms(args.lone)
            seen["lone_ms"].append(p50(lone))
            seen["lone_p95_ms"].append(statistics.quantiles(lone, n=20)[18])
            await stanchion.clear()
            seen["http_starts"].append(await stanchion.http_starts(args.seconds))
            for name, poll_s, few in (("dbos_default", 1.0, 5), ("dbos_fast", 0.05, args.lone // 2)):
                answer = dbos(server.database(f"bench_{name}"), args.dbos_runs, few, poll_s)
                seen[f"{name}_steps"].append(answer["steps"] / answer["seconds"])
                seen[f"{name}_lone_ms"].append(p50(answer["lone_ms"]))
            print(
                f"round {round_ + 1} of {args.rounds}: " + ", ".join(f"{k} {v[-1]:.4g}" for k, v in seen.items()),
                flush=True,
            )
    return seen


def rows(seen: dict[str, list[float]]) -> list[dict[str, object]]:
    median = {name: statistics.median(values) for name, values in seen.items()}
    bound_ms = COMMITS_ON_PATH * median["commit_ms"] + 5

    def row(metric: str, ours: float, peer: str, theirs: float, unit: str) -> dict[str, object]:
        ratio = round(ours / theirs, 3) if theirs else None
        return {
            "bench": "engine",
            "metric": metric,
            "ours": round(ours, 3),
            "peer": peer,
            "theirs": round(theirs, 3),
            "ratio": ratio,
            "unit": unit,
        }

    return [
        row("steps_per_s", median["steps_per_s"], "pgbench INSERT+UPDATE c=32", median["pgbench"], "1/s"),
        row("steps_per_s", median["steps_per_s"], "dbos, poll 1 s (default)", median["dbos_default_steps"], "1/s"),
        row("steps_per_s", median["steps_per_s"], "dbos, poll 50 ms", median["dbos_fast_steps"], "1/s"),
        row("worker_cpu_per_step", median["cpu_ms"], "budget (reference)", 0.2, "ms"),
        row("start_to_result_p50", median["lone_ms"], "7 commits + 5 ms", bound_ms, "ms"),
        row("start_to_result_p50", median["lone_ms"], "dbos, poll 1 s (default)", median["dbos_default_lone_ms"], "ms"),
        row("start_to_result_p50", median["lone_ms"], "dbos, poll 50 ms", median["dbos_fast_lone_ms"], "ms"),
        row("start_to_result_p95", median["lone_p95_ms"], "7 commits + 5 ms", bound_ms, "ms"),
        row("http_starts_per_s", median["http_starts"], "pgbench INSERT+UPDATE c=32", median["pgbench"], "1/s"),
        row("commit_cost", median["commit_ms"], "pgbench INSERT+UPDATE c=1", median["commit_ms"], "ms"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=6000, help="five-step runs of ours per round")
    parser.add_argument("--dbos-runs", type=int, default=300)
    parser.add_argument("--lone", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=4)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "pg"
        with EmbeddedPostgres(data) as embedded:
            server = Server(embedded, data)
            version = embedded_version(server)
            print(
                f"{version}; dbos {importlib.metadata.version('dbos')}; psycopg {importlib.metadata.version('psycopg')};"
                f" Python {sys.version.split()[0]}; {IN_FLIGHT} runs in flight, one worker process",
                flush=True,
            )
            table = rows(uvloop.run(sitting(server, Path(folder) / "stanchion", args)))
    LATEST.write_text(json.dumps(table, indent=1) + "\n")
    for line in table:
        print(
            f"{line['metric']:22} {line['ours']:>10} {line['unit']:4} {line['peer']:28} {line['theirs']:>10} ratio {line['ratio']}"
        )


def embedded_version(server: Server) -> str:
    with psycopg.connect(server.database("postgres")) as connection:
        return connection.execute("select split_part(version(), ' on ', 1)").fetchone()[0]


if __name__ == "__main__":
    main()
