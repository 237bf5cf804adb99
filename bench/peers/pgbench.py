"""pgbench: one INSERT and one UPDATE by key per transaction, 32 clients, the floor a durable step can be held to."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import psycopg

CLIENTS = 32
SCRIPT = """\\set id random(1, 10000)
begin;
insert into bench_steps (run_id, status, output) values (:id, 'SUCCEEDED', '{"value": 1}');
update bench_runs set cursor = cursor + 1, rev = rev + 1 where id = :id;
commit;
"""


def prepare(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table bench_runs (id int primary key, cursor int, rev int) with (fillfactor = 70)")
        connection.execute("create table bench_steps (id bigserial primary key, run_id int, status text, output jsonb)")
        connection.execute("insert into bench_runs select n, 0, 0 from generate_series(1, 10000) n")
        connection.execute("vacuum analyze bench_runs")


def measure(binaries: Path, url: str, seconds: int, clients: int = CLIENTS) -> float:
    """Transactions per second."""
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(SCRIPT)
        script.flush()
        load = ["-c", str(clients), "-j", str(min(2, clients)), "-T", str(seconds)]
        command = [binaries / "pgbench", "-n", "-M", "prepared", *load, "-f", script.name, url]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"tps = ([\d.]+)", out)
    if found is None:
        raise RuntimeError(out)
    return float(found.group(1))


def commit_cost_ms(binaries: Path, url: str) -> float:
    """Milliseconds of the same transaction from a single client: what one durable INSERT and UPDATE costs here."""
    return 1000 / measure(binaries, url, 2, clients=1)
