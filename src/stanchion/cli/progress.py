"""What is known of a run that is followed, and how it is shown: a line redrawn on a terminal, else lines."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import click

from stanchion.cli.client import Event

_BAR = 24
# Of how many items at most so many lines tell.
_ITEM_LINES = 10
_STILL = ("succeeded", "failed", "cancelled", "waiting")
_VERBS = {"SUCCEEDED": "succeeded", "FAILED": "failed", "SKIPPED": "skipped", "UNKNOWN": "unknown whether it happened"}


@dataclass(slots=True)
class View:
    """What is known of the run while it is followed. `steps`: the StepRuns that told of themselves, by path."""

    run: dict[str, Any] = field(default_factory=dict[str, Any])
    items: dict[str, int] = field(default_factory=dict[str, int])
    steps: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    @property
    def settled_items(self) -> bool:
        """Whether every item that can go on without a person has ended."""
        total = self.items.get("total", 0)
        done = sum(self.items.get(name, 0) for name in _STILL)
        return total > 0 and not self.items.get("running") and done >= total and bool(self.items.get("waiting"))

    def take(self, event: Event) -> None:
        """Take one event in."""
        if event.name == "run":
            self.run.update(event.data)
            if event.data.get("items"):
                self.items = dict(event.data["items"])
        elif event.name == "items":
            self.items = dict(event.data.get("items") or event.data)
        elif event.name == "step":
            self.steps[str(event.data.get("path"))] = dict(event.data)


def items_text(items: Mapping[str, int]) -> str:
    """`98 of 131 done · 19 waiting · 2 failed`, leaving out what is zero."""
    parts = [f"{items.get('succeeded', 0)} of {items.get('total', 0)} done"]
    parts += [f"{items[n]} {n}" for n in ("waiting", "running", "queued", "failed", "cancelled") if items.get(n)]
    return " · ".join(parts)


def lasted(seconds: float) -> str:
    """A duration for people: `0.02 s`, `41.3 s`, `12 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{max(seconds, 0):.2f} s"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


class Lines:
    """One line for each step that starts or ends, and a few for the items."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._started: dict[str, int] = {}
        self._told: dict[str, tuple[str, int]] = {}
        self._items: tuple[int, int] | None = None

    def show(self, view: View) -> None:
        """Say what is new."""
        for where, step in view.steps.items():
            self._step(where, step)
        total = view.items.get("total", 0)
        if not total:
            return
        still = sum(view.items.get(name, 0) for name in _STILL)
        ended = still - view.items.get("waiting", 0)
        now = (still * _ITEM_LINES // total, ended * _ITEM_LINES // total)
        if now != self._items:
            self._items = now
            self._say(f"items: {items_text(view.items)}")

    def _step(self, where: str, step: Mapping[str, Any]) -> None:
        status, attempt = str(step.get("status")), int(step.get("attempt") or 1)
        if self._told.get(where) == (status, attempt):
            return
        self._told[where] = (status, attempt)
        if status == "RUNNING" and self._started.get(where) != attempt:
            self._started[where] = attempt
            self._say(f"{where}: started" + (f", attempt {attempt}" if attempt > 1 else ""))
        elif status in _VERBS:
            simulated = " (simulated)" if step.get("simulated") else ""
            self._say(
                f"{where}: {_VERBS[status]}{_duration(step)}{simulated}{_why(step) if status == 'FAILED' else ''}"
            )

    def aside(self, said: str, say: Callable[[str], None] | None) -> None:
        """Say something beside it."""
        if say is not None:
            say(said)

    def close(self) -> None:
        """Nothing is left open."""


class Live:
    """One line on stderr, redrawn."""

    def __init__(self) -> None:
        self._line = ""

    def show(self, view: View) -> None:
        """Draw the line anew."""
        total = view.items.get("total", 0)
        bar = ""
        if total:
            done = view.items.get("succeeded", 0) * _BAR // total
            waits = (view.items.get("succeeded", 0) + view.items.get("waiting", 0)) * _BAR // total - done
            bar = click.style("█" * done, fg="green") + click.style("▒" * waits, fg="yellow")
            bar += click.style("░" * (_BAR - done - waits), dim=True) + "  "
        room = shutil.get_terminal_size().columns - (_BAR + 4 if total else 2)
        self._line = f"{bar}{_now(view)[:room]}"
        click.echo(f"\r\x1b[K{self._line}", nl=False, err=True)

    def aside(self, said: str, say: Callable[[str], None] | None) -> None:
        """Say something above the line."""
        if say is not None:
            self.close()
            say(said)
            click.echo(self._line, nl=False, err=True)

    def close(self) -> None:
        """Take the line away."""
        click.echo("\r\x1b[K", nl=False, err=True)


def _now(view: View) -> str:
    """The run's state in one line; a run that waits for its items is SUSPENDED, and they say what goes on."""
    if view.items.get("total"):
        return items_text(view.items)
    status = str(view.run.get("status", "?"))
    waiting: dict[str, Any] = view.run.get("waiting_on") or {}
    running = [where for where, step in view.steps.items() if step.get("status") == "RUNNING"]
    return f"{status}  {waiting.get('text') or ', '.join(running)}".rstrip()


def _duration(step: Mapping[str, Any]) -> str:
    began, ended = step.get("started_at"), step.get("ended_at")
    if not isinstance(began, str) or not isinstance(ended, str):
        return ""
    return f" after {lasted((datetime.fromisoformat(ended) - datetime.fromisoformat(began)).total_seconds())}"


def _why(step: Mapping[str, Any]) -> str:
    error: dict[str, Any] = step.get("error") or {}
    return f": {error['message']}" if error.get("message") else ""
