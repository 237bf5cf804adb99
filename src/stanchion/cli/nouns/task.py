"""`stanchion task`: a run as the person who submitted it sees it."""

from __future__ import annotations

from typing import Any

import click

from stanchion.cli import output
from stanchion.cli.client import path
from stanchion.cli.inputs import input_option, read_input
from stanchion.cli.kit import Session, remote

_SHOWN = output.columns(
    "task=task_id", "status", "waits on=waits_on", "result", "error=error.message", "simulated", simulated=output.some
)


@click.group()
def task() -> None:
    """Tasks: submit one, see what became of it."""


@task.command()
@click.argument("blueprint")
@input_option
@remote
def submit(session: Session, blueprint: str, given: tuple[str, ...]) -> None:
    """Submit a task to a Blueprint."""
    answer: dict[str, Any] = session.api.post(
        path("tasks", blueprint), {"input": read_input(session, blueprint, given)}
    )
    session.one(answer, _SHOWN, key="task_id")
    output.note(f"Its state: stanchion task show {answer['task_id']}")


@task.command()
@click.argument("task_id")
@remote
def show(session: Session, task_id: str) -> None:
    """Show a task's state, what it waits on, its result."""
    session.one(session.api.get(path("tasks", session.whole_id("runs", task_id))), _SHOWN, key="task_id")
