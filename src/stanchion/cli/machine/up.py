"""`stanchion up`: everything on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from stanchion.base.config import load_settings
from stanchion.base.errors import Problem
from stanchion.cli import output
from stanchion.cli.kit import Session, local
from stanchion.cli.profiles import find_profile

if TYPE_CHECKING:
    from stanchion.processes.supervisor import Started


@click.command()
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="Port of the web process (default: 7080, or the next free one; 0: any).",
)
@click.option("--host", help="Address to listen on (default: 127.0.0.1).")
@click.option("--workers", type=click.IntRange(1, 64), help="Worker processes (default: 1).")
@click.option("--ephemeral", is_flag=True, help="Keep everything in a temporary folder and remove it at the end.")
@click.option("--logs", is_flag=True, help="Show the logs of all processes here, instead of in <data>/log.")
@click.option(
    "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (default: stanchion.toml)."
)
@local
def up(
    session: Session,
    port: int | None,
    host: str | None,
    workers: int | None,
    ephemeral: bool,
    logs: bool,
    file: Path | None,
) -> int:
    """Start the database, the web process, workers, the scheduler and the broker; Ctrl-C stops them all.

    Without database.url a PostgreSQL of its own runs in the data folder; nothing else is installed or changed.
    """
    said: dict[str, object] = {
        "data": str(session.data.resolve()) if session.data else None,
        "web.port": port,
        "web.host": host,
        "worker.count": workers,
    }
    loaded = load_settings(session.environment, file=file, overrides=said)
    from stanchion.processes.up import Options, run_up  # noqa: PLC0415 - psycopg and the domains load when they are needed

    config = str(file.resolve()) if file else None
    options = Options(loaded=loaded, config=config, ephemeral=ephemeral, show_logs=logs)
    code = run_up(options, say_stage, partial(_welcome, session.environment))
    if code == 0:
        kept = "nothing is kept" if ephemeral else f"the data stays in {loaded.settings.data}"
        output.note(f"Stanchion is stopped; {kept}.")
    return code


def say_stage(stage: str, said: str) -> None:
    """One line of progress: `database    embedded PostgreSQL, migrated, 0.9 s`."""
    output.note(f"{click.style('●', fg='green')} {stage:<10}  {said}")


def _welcome(environment: Mapping[str, str], started: Started, data: Path) -> None:
    try:
        found = find_profile(environment, url=None, name=None, data=None).url
    except Problem:
        found = ""
    # A profile that was signed in to goes before the folder: the commands below shall reach this instance.
    where = "" if found == started.url else f" --data {data}"
    output.note("")
    output.note(
        f"{click.style('Stanchion is ready', bold=True)} at {click.style(started.url, bold=True)} after {started.seconds:.1f} s"
    )
    if started.sign_in_path:
        output.note(f"  Sign in, once, within 15 minutes:  {started.url}{started.sign_in_path}")
    made = "The first admin's key was made; it is kept" if started.first else "The admin's key is kept"
    output.note(f"  {made} in {data / 'profile.json'} for the command line here:")
    output.note(f"    stanchion auth whoami{where}")
    output.note(f"    stanchion apply -f FOLDER{where}")
    output.note(f"  Logs: {data / 'log'}    Stop: Ctrl-C")
