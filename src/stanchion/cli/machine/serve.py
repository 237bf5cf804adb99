"""`stanchion serve PROCESS`: one process, for deployments that run and scale each apart."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

from stanchion.cli.kit import Session, local

PROCESSES = ("web", "worker", "scheduler", "broker")


@click.command()
@click.argument("process", type=click.Choice(PROCESSES))
@click.option(
    "--config", "file", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (default: stanchion.toml)."
)
@click.option("--supervised", is_flag=True, hidden=True)
@local
def serve(session: Session, process: str, file: Path | None, supervised: bool) -> int:
    """Run one process until it is asked to stop. The database is the one the settings name.

    Health is at <data>/run/<process>.sock (/health/live, /health/ready, /metrics), the web process's on its port too.
    """
    # The code loads first: a supervised process learns only afterwards how to run.
    main = import_module(f"stanchion.processes.{process}").main
    from stanchion.processes.boot import boot_alone, read_boot  # noqa: PLC0415 - as above

    if supervised:
        return int(main(read_boot()))
    from stanchion.base.config import load_settings  # noqa: PLC0415 - as above

    loaded = load_settings(
        session.environment, file=file, overrides={"data": str(session.data) if session.data else None}
    )
    return int(main(boot_alone(loaded, process, file)))
