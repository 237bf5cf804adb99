"""Size and tune, How it would scale: what these pages name exists, what they say of defaults is so, and their sums add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stanchion.base.settings import Settings
from stanchion.db.embedded import configuration

PAGES = ("docs/howto/size-and-tune.md", "docs/explanation/scaling.md", "docs/explanation/effects.md")
_UNITS = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@pytest.mark.parametrize("page", PAGES)
def test_series_and_settings_that_are_named_exist(repo: Path, page: str) -> None:
    text = (repo / page).read_text()
    series = set(
        re.findall(r"^\| `(stanchion_\w+)` \|", (repo / "docs/reference/metrics.md").read_text(), re.MULTILINE)
    )
    settings = set(re.findall(r"`STANCHION_(\w+)`", (repo / "docs/reference/settings.md").read_text()))
    named = {name.removesuffix("_count").removesuffix("_sum") for name in re.findall(r"`(stanchion_[a-z_]+)`", text)}
    assert named <= series | {"stanchion_app", "stanchion_engine"}, named - series
    sections = ("database", "web", "worker", "identity", "telemetry")
    keys = {f"{section}_{key}".upper() for section, key in re.findall(rf"`({'|'.join(sections)})\.(\w+)`", text)}
    assert keys <= settings, keys - settings
    assert set(re.findall(r"\bSTANCHION_(\w+)=", text)) <= settings


def test_options_that_are_named_exist(repo: Path) -> None:
    text = (repo / "docs/explanation/effects.md").read_text()
    reference = (repo / "docs/reference/cli.md").read_text()
    resolve = reference[reference.index("### stanchion effect resolve") :]
    flags = set(
        re.findall(r"(--[a-z-]+)", "\n".join(re.findall(r"^\$ stanchion effect resolve.*$", text, re.MULTILINE)))
    )
    assert flags == {"--happened", "--did-not-happen", "--evidence"}
    assert all(flag in resolve for flag in flags)


def test_defaults_are_as_the_page_says(repo: Path) -> None:
    text = (repo / "docs/howto/size-and-tune.md").read_text()
    settings = Settings()
    app, engine = settings.database.app_connections_max, settings.database.engine_connections_max
    assert f"`database.app_connections_max` ({app})" in text
    assert f"`database.engine_connections_max` ({engine})" in text
    assert f"the default of {settings.worker.capacity} will do" in text
    assert f"`worker.grace_s` ({settings.worker.grace_s:g} s)" in text
    per_process = app + engine + 2
    assert (
        f"that is {per_process} a process: one web, two workers, a scheduler and a broker are {5 * per_process}" in text
    )
    server = configuration._DEFAULTS
    assert f"the embedded PostgreSQL allows {server['max_connections']}" in text
    assert f"{server['shared_buffers'].replace('MB', ' MB')} embedded" in text
    assert f"Embedded: {server['max_wal_size'].replace('MB', ' MB')}" in text


def test_whoever_keeps_a_connection_of_its_own_is_in_the_sum(repo: Path) -> None:
    source = repo / "src/stanchion"
    keepers = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"Listener\.open\(|\.dedicated\(", path.read_text())
    }
    known = {
        "queue/listener.py",  # opens it for the others
        "runs/engine/worker.py",
        "runs/watching.py",
        "controls/kills/snapshot.py",
        "processes/scheduler.py",
    }
    assert keepers <= known, "one more dedicated connection: count it in docs/howto/size-and-tune.md, Connections"


def test_the_fillfactor_in_force_is_the_one_in_bold(repo: Path) -> None:
    schema = (repo / "src/stanchion/db/schema.sql").read_text()
    real = [
        re.search(rf"CREATE TABLE public\.{table} \(.*?\)\nWITH \(fillfactor='(\d+)'\)", schema, re.DOTALL)[1]
        for table in ("runs", "step_runs")
    ]
    assert f"| **{real[0]} / {real[1]}** " in (repo / "docs/howto/size-and-tune.md").read_text()


def number(text: str) -> float:
    """The first number of a cell, with its prefix: "1.25 GB/s" is 1.25e9, "3 Gbit/s" 3e9."""
    found = re.search(r"([\d,.]*\d) ?([kMGT]?)(?:B|bit)?", text)
    assert found, text
    return float(found[1].replace(",", "")) * _UNITS.get(found[2], 1)


def test_the_plan_on_paper_adds_up(repo: Path) -> None:
    text = (repo / "docs/explanation/scaling.md").read_text()
    rows = {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if line.startswith("| ") and len(cells := [cell.strip() for cell in line.strip("| ").split("|")]) == 4
    }
    given = dict(re.findall(r"^\| (.+?) \| ([^|]+) \|", text, re.MULTILINE))
    steps = number(given["durable steps a second"])
    worker_ms, postgres_ms = number(given["worker CPU per step"]), 0.08
    log, disk = (
        number(given["log (WAL) per step, start of the run included"]),
        number(given["disk per step, indexes and audit included"]),
    )
    shared = number(given["checkpoints that share a commit at 256 in flight"])
    assert "; 0.08 below" in given["PostgreSQL CPU per step"]
    for column, rate in enumerate((steps, steps * 100, steps * 100 / 16)):
        expected = {
            "steps/s": rate,
            "five-step runs/s": rate / 5,
            "worker cores": rate * worker_ms / 1000,
            "PostgreSQL cores": rate * postgres_ms / 1000,
            "log": rate * log,
            f"log flushes a second ({shared:g} steps each)": rate / shared,
            "disk, new": rate * disk,
            "network, worker ↔ database": rate * 500 * 8,
            "network, database → one standby": rate * log * 8,
            "audit records/s": rate / 5 * 2,
        }
        for name, value in expected.items():
            assert number(rows[name][column]) == pytest.approx(value, rel=0.02), (name, column)
        assert number(rows["worker processes at 70 % of a core"][column]) == pytest.approx(
            rate * worker_ms / 1000 / 0.7, abs=0.8
        )
