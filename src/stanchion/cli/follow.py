"""Following a run to its end: live on a terminal, one line per change elsewhere.

The stream is resumed from the last event seen when it breaks. Ctrl-C detaches; the run goes on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import click

from stanchion.cli.client import Api, Event, Timeout, Unreachable, path

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_RECONNECTS_MAX = 20
_RECONNECT_S = 0.5
_BAR = 24


@dataclass(slots=True)
class View:
    """What is known of the run while it is followed."""

    run: dict[str, Any] = field(default_factory=dict[str, Any])
    items: dict[str, int] = field(default_factory=dict[str, int])
    steps: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def ended(self) -> bool:
        """Whether the run has reached a final state."""
        return self.run.get("status") in ENDED

    @property
    def settled_items(self) -> bool:
        """Whether every item that can go on without a person has ended."""
        total = self.items.get("total", 0)
        still = self.items.get("running", 0)
        done = sum(self.items.get(name, 0) for name in ("succeeded", "failed", "cancelled", "waiting"))
        return total > 0 and still == 0 and done >= total and bool(self.items.get("waiting"))


def follow(
    api: Api,
    run_id: str,
    *,
    live: bool,
    say: Callable[[str], None],
    until: Callable[[View], bool] | None = None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Follow a run; return it as it is at the end.

    Args:
        api: the server.
        run_id: the run's whole id.
        live: redraw one line on stderr; else say one line per change.
        say: takes each line.
        until: stop when this holds; else at the run's end.
        timeout_s: longest time to follow.

    Raises:
        Timeout: `cli.wait_timeout` (exit code 7); the run goes on.
    """
    view = View(run=api.get(path("runs", run_id)))
    view.items = dict(view.run.get("items") or {})
    drawn = _Live() if live else _Lines(say)
    give_up = time.monotonic() + timeout_s if timeout_s is not None else None  # noqa: TID251 - a wait of the client's own
    reached = until or _has_ended
    try:
        drawn.show(view)
        if not reached(view) and not view.ended:
            for event in _resumed(api, run_id, give_up):
                apply_event(view, event)
                drawn.show(view)
                if reached(view) or view.ended:
                    break
    finally:
        drawn.close()
    return api.get(path("runs", run_id))


def _has_ended(view: View) -> bool:
    return view.ended


def apply_event(view: View, event: Event) -> None:
    """Take one event into the view."""
    if event.name == "run":
        view.run.update(event.data)
        if event.data.get("items"):
            view.items = dict(event.data["items"])
    elif event.name == "items":
        view.items = dict(event.data.get("items") or event.data)
    elif event.name == "step":
        view.steps[str(event.data.get("path"))] = str(event.data.get("status"))


def _resumed(api: Api, run_id: str, give_up: float | None) -> Iterator[Event]:
    last: str | None = None
    failures = 0
    while failures < _RECONNECTS_MAX:
        try:
            for event in api.events(path("runs", run_id, "events"), last):
                failures, last = 0, event.id or last
                if event.name == "end":
                    return
                yield event
                if give_up is not None and time.monotonic() > give_up:  # noqa: TID251 - a wait of the client's own
                    raise _too_long(run_id)
        except Unreachable:
            if failures == _RECONNECTS_MAX - 1:
                raise
        if give_up is not None and time.monotonic() > give_up:  # noqa: TID251 - a wait of the client's own
            raise _too_long(run_id)
        failures += 1
        time.sleep(_RECONNECT_S)  # noqa: TID251 - the client waits for the server, no clock of an Env is here


def _too_long(run_id: str) -> Timeout:
    return Timeout(
        "cli.wait_timeout", f"Run {run_id} has not ended in time; it goes on.", hint=f"stanchion run watch {run_id}"
    )


def describe(view: View) -> str:
    """The run's state in one line: `RUNNING  items 98/131 · 3 wait for a person`."""
    status = str(view.run.get("status", "?"))
    waiting = view.run.get("waiting_on")
    if view.items.get("total"):
        # A run that waits for its items is SUSPENDED; what is going on is said by the items.
        return f"{status}  {items_text(view.items)}" if view.ended else items_text(view.items)
    if isinstance(waiting, Mapping):
        return f"{status}  {waiting.get('text') or waiting.get('kind')}"  # pyright: ignore[reportUnknownMemberType]
    running = [name for name, state in view.steps.items() if state == "RUNNING"]
    return f"{status}  {', '.join(running)}".rstrip()


def items_text(items: Mapping[str, int]) -> str:
    """`98 of 131 done · 19 wait · 2 failed`, leaving out what is zero."""
    done = items.get("succeeded", 0)
    parts = [f"{done} of {items.get('total', 0)} done"]
    for name, word in (
        ("waiting", "waiting"),
        ("running", "running"),
        ("queued", "queued"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
    ):
        if items.get(name):
            parts.append(f"{items[name]} {word}")
    return " · ".join(parts)


class _Lines:
    """One line per change of the run's state; of items at most about twenty lines."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._last = ("", "")
        self._steps: dict[str, str] = {}

    def show(self, view: View) -> None:
        for name, state in view.steps.items():
            if self._steps.get(name) != state and state != "PENDING":
                self._say(f"  {name}: {state}")
        self._steps = dict(view.steps)
        total = view.items.get("total", 0)
        done = sum(view.items.get(name, 0) for name in ("succeeded", "failed", "cancelled", "waiting"))
        step = done * 10 // total if total else 0
        now = (str(view.run.get("status")), f"{step}" if total else describe(view))
        if now != self._last:
            self._last = now
            self._say(describe(view))

    def close(self) -> None:
        """Nothing is left open."""


class _Live:
    """One line on stderr, redrawn."""

    def show(self, view: View) -> None:
        total = view.items.get("total", 0)
        bar = ""
        if total:
            done = view.items.get("succeeded", 0) * _BAR // total
            waits = (view.items.get("succeeded", 0) + view.items.get("waiting", 0)) * _BAR // total - done
            bar = click.style("█" * done, fg="green") + click.style("▒" * waits, fg="yellow")
            bar += click.style("░" * (_BAR - done - waits), dim=True) + "  "
        room = shutil.get_terminal_size().columns - (_BAR + 4 if total else 2)
        click.echo(f"\r\x1b[K{bar}{describe(view)[:room]}", nl=False, err=True)

    def close(self) -> None:
        click.echo("\r\x1b[K", nl=False, err=True)
