"""Following a run to its end: live on a terminal, one line per change elsewhere.

The stream is resumed from the last event seen when it breaks. Ctrl-C detaches; the run goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from stanchion.base.errors import Problem
from stanchion.cli.client import Api, Event, Timeout, Unreachable, path
from stanchion.cli.progress import Lines, Live, View

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
_RECONNECTS_MAX = 20
_RECONNECT_S = 0.5


def follow(
    api: Api,
    run_id: str,
    *,
    live: bool,
    say: Callable[[str], None],
    waits: Callable[[str], None] | None = None,
    until: Callable[[View], bool] | None = None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """Follow a run; return it as it is at the end.

    Args:
        api: the server.
        run_id: the run's whole id.
        live: redraw one line on stderr; else say one line per change.
        say: takes each line.
        waits: takes a line whenever the run, or an item of it, begins to wait for something that has to be known.
        until: stop when this holds; else at the run's end.
        timeout_s: longest time to follow.

    Raises:
        Timeout: `cli.wait_timeout` (exit code 7); the run goes on.
    """
    give_up = time.monotonic() + timeout_s if timeout_s is not None else None  # noqa: TID251 - a wait of the client's own
    view = View(run=api.get(path("runs", run_id)))
    view.items = dict(view.run.get("items") or {})
    drawn = Live() if live else Lines(say)
    waiting = _Waits(api, run_id, lambda said: drawn.aside(said, waits)) if waits else None
    reached = until or _has_ended
    try:
        drawn.show(view)
        if not reached(view) and not _has_ended(view):
            for event in _resumed(api, run_id, give_up):
                if event is not None:
                    view.take(event)
                    drawn.show(view)
                if reached(view) or _has_ended(view):
                    break
                if waiting is not None:
                    waiting.look(view, idle=event is None)
    finally:
        drawn.close()
    return api.get(path("runs", run_id))


def _has_ended(view: View) -> bool:
    return view.run.get("status") in ENDED


def _resumed(api: Api, run_id: str, give_up: float | None) -> Iterator[Event | None]:
    """The run's events, None for a sign of life, over as many connections as it takes."""
    last: str | None = None
    failures = 0
    with closing(api.again()) as streaming:
        while True:
            problem: Problem | None = None
            try:
                for event in streaming.stream(path("runs", run_id, "events"), last, give_up=give_up):
                    failures = 0
                    if event is not None and event.name == "end":
                        return
                    last = (event.id if event is not None else "") or last
                    yield event
            except (Unreachable, Timeout) as error:
                problem = error
            left = _RECONNECT_S if give_up is None else give_up - time.monotonic()  # noqa: TID251 - a wait of the client's own
            if left <= 0:
                raise _too_long(run_id)
            failures += 1
            if failures >= _RECONNECTS_MAX:
                raise problem or _broken(run_id)
            time.sleep(min(_RECONNECT_S, left))  # noqa: TID251 - the client waits for the server, no clock of an Env is here


def _too_long(run_id: str) -> Timeout:
    return Timeout(
        "cli.wait_timeout",
        f"Run {run_id} has not ended in time; it goes on.",
        hint=f"Return to it: stanchion run watch {run_id}",
    )


def _broken(run_id: str) -> Unreachable:
    return Unreachable(
        "cli.stream_broken",
        f"The server ended the stream of run {run_id} {_RECONNECTS_MAX} times without an event.",
        hint=f"Does a proxy cut it? The run goes on: stanchion run show {run_id}",
    )


class _Waits:
    """Says once for each thing that a run begins to wait for what it is, and what to do about it."""

    def __init__(self, api: Api, run_id: str, say: Callable[[str], None]) -> None:
        self._api = api
        self._run_id = run_id
        self._say = say
        self._said: tuple[str, str] | None = None
        self._items_known = 0
        self._items_said = False

    def look(self, view: View, *, idle: bool) -> None:
        """Say what is new. `idle`: nothing happened for a while, so that even a short wait has become a long one."""
        if idle and view.run.get("status") == "PENDING":
            # The stream does not know how many workers there are; whether one is missing is what matters here.
            view.run = self._api.get(path("runs", self._run_id))
        self._look_at_run(view, idle=idle)
        waiting = view.items.get("waiting", 0)
        if waiting > self._items_known and not self._items_said:
            self._look_at_items()
        self._items_known = waiting

    def _look_at_run(self, view: View, *, idle: bool) -> None:
        waiting: dict[str, Any] = view.run.get("waiting_on") or {}
        kind, ref = str(waiting.get("kind") or ""), str(waiting.get("ref") or "")
        if not kind:
            self._said = None
        if not kind or (kind, ref) == self._said:
            return
        if kind in {"approval", "effect"}:
            what = f"approval {ref}" if kind == "approval" else str(waiting.get("text") or f"effect {ref}")
            self._say(f"waits: {what}  (stanchion {kind} show {ref})")
        elif kind in {"retry", "worker_lost", "broker"} or (idle and kind != "child"):
            self._say(f"waits: {waiting.get('text') or kind}")
        else:
            return
        self._said = (kind, ref)

    def _look_at_items(self) -> None:
        for kind, words in (
            ("approval", f"items on approvals  (stanchion approval list --run {self._run_id})"),
            ("effect", f"items on effects of unknown outcome  (stanchion run items {self._run_id} --status suspended)"),
        ):
            if self._api.get(path("runs"), parent=self._run_id, waiting_on=kind, limit=1)["items"]:
                self._say(f"waits: {words}")
                self._items_said = True
