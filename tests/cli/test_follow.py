"""Following a run against a server that is silent, breaks off, or tells of waiting."""

from __future__ import annotations

import time

import pytest

from stanchion.cli import client
from stanchion.cli.progress import Lines, View, items_text, lasted
from tests.cli.stub import sse

RUN = "01990000-0000-7000-8000-00000000abcd"
APPROVAL = "01990000-0000-7000-8000-00000000cafe"
EVENTS = f"GET /api/runs/{RUN}/events"
STREAM = {"Content-Type": "text/event-stream"}
ALIVE = b": still here\n\n"


@pytest.fixture
def running(at):
    at.routes[f"GET /api/runs/{RUN}"] = (200, {"id": RUN, "status": "RUNNING"}, {})
    at.routes["POST /api/blueprints/b/runs"] = (202, {"run_id": RUN}, {})
    return at


@pytest.mark.parametrize("sign", [b"", ALIVE], ids=["silent", "alive"])
@pytest.mark.parametrize("words", [("run", "watch", RUN), ("run", "start", "b", "--wait")], ids=["watch", "start"])
def test_the_deadline_holds_while_nothing_happens(cli, running, sign, words):
    running.routes[EVENTS] = lambda *_: (200, running.silence(10, sign), {})
    began = time.monotonic()
    result = cli(*words, "--timeout", "0.3")
    assert 0.3 <= time.monotonic() - began < 9  # the silence is 10 s long
    assert (result.code, result.out) == (7, "")
    assert f"Return to it: stanchion run watch {RUN}" in result.err


def test_a_stream_that_fell_silent_is_resumed_where_it_was(cli, running, monkeypatch):
    monkeypatch.setattr(client, "STREAM_SILENCE_S", 1.0)
    monkeypatch.setattr("stanchion.cli.follow._RECONNECT_S", 0.01)

    def stream(_query, _body, headers):
        if "last-event-id" in headers:
            running.routes[f"GET /api/runs/{RUN}"] = (200, {"id": RUN, "status": "SUCCEEDED"}, {})
            return 200, sse(("8", "run", {"status": "SUCCEEDED"})), STREAM

        def falls_silent():
            yield sse(("7", "step", {"path": "first", "status": "RUNNING"}))
            yield from running.silence(10)

        return 200, falls_silent(), {}

    running.routes[EVENTS] = stream
    result = cli("run", "watch", RUN, "--timeout", "20", "-o", "id")
    assert (result.code, result.out, result.err) == (0, RUN + "\n", "first: started\n")
    assert [seen[3].get("last-event-id") for seen in running.seen if seen[0] == EVENTS] == [None, "7"]


def test_a_stream_that_always_breaks_is_no_end_of_the_run(cli, running, monkeypatch):
    monkeypatch.setattr("stanchion.cli.follow._RECONNECT_S", 0.001)
    running.routes[EVENTS] = (200, b"retry: 1000\n\n", STREAM)
    result = cli("run", "watch", RUN)
    assert result.code == 8
    assert "cli.stream_broken" in result.err


def _waiting(kind: str, ref: str, text: str = "Said.") -> dict[str, object]:
    return {"status": "SUSPENDED", "waiting_on": {"kind": kind, "ref": ref, "text": text}}


def test_a_wait_says_what_it_waits_for_and_goes_on(cli, running):
    events = sse(
        ("1", "run", _waiting("approval", APPROVAL)),
        ("2", "run", _waiting("approval", APPROVAL)),
        ("3", "run", {"status": "RUNNING", "waiting_on": None}),
        ("4", "run", _waiting("effect", "e1", "Nobody knows.")),
        ("5", "run", _waiting("child", "each")),
        ("6", "run", {"status": "SUCCEEDED", "waiting_on": None}),
    )
    running.routes[EVENTS] = (200, events, STREAM)
    result = cli("run", "start", "b", "--wait", "-o", "id")
    assert result.err.splitlines() == [
        f"waits: approval {APPROVAL}  (stanchion approval show {APPROVAL})",
        "waits: Nobody knows.  (stanchion effect show e1)",
    ]


def test_items_that_wait_are_told_once(cli, running):
    counts = {"total": 3, "succeeded": 1, "waiting": 1, "running": 1}
    events = sse(
        ("1", "items", counts),
        ("2", "items", {**counts, "waiting": 2, "running": 0}),
        ("3", "run", {"status": "SUCCEEDED"}),
    )
    running.routes[EVENTS] = (200, events, STREAM)
    running.routes["GET /api/runs"] = lambda query, *_: (
        200,
        {"items": [{"id": APPROVAL}] if "waiting_on=approval" in query else [], "next": None},
        {},
    )
    result = cli("run", "start", "b", "--wait", "-o", "id")
    assert result.err == f"waits: items on approvals  (stanchion approval list --run {RUN})\n"


def test_a_run_that_no_worker_takes_says_so(cli, running):
    no_worker = {"kind": "worker", "ref": "default", "text": "No live worker serves queue default."}
    pending = {"id": RUN, "status": "PENDING", "waiting_on": no_worker}
    running.routes[f"GET /api/runs/{RUN}"] = (200, pending, {})
    running.routes[EVENTS] = (200, ALIVE + ALIVE + sse(("1", "run", {"status": "FAILED", "waiting_on": None})), STREAM)
    result = cli("run", "watch", RUN, "-o", "id")
    assert result.err == "waits: No live worker serves queue default.\n"


def test_one_line_for_each_change_worth_telling():
    said: list[str] = []
    lines, view = Lines(said.append), View(run={"status": "RUNNING"})
    began, ended = "2026-11-20T10:00:00Z", "2026-11-20T10:00:02.500000Z"
    for step in (
        {"path": "a", "status": "PENDING", "attempt": 1},
        {"path": "a", "status": "RUNNING", "attempt": 1, "started_at": began},
        {"path": "a", "status": "SUSPENDED", "attempt": 1, "started_at": began},
        {"path": "a", "status": "RUNNING", "attempt": 1, "started_at": began},
        {"path": "a", "status": "FAILED", "attempt": 1, "started_at": began, "ended_at": ended, "error": {"message": "No."}},
        {"path": "a", "status": "RUNNING", "attempt": 2, "started_at": began},
        {"path": "a", "status": "SUCCEEDED", "attempt": 2, "started_at": began, "ended_at": ended},
        {"path": "b", "status": "SKIPPED", "attempt": 1},
    ):  # fmt: skip
        view.take(client.Event(id="", name="step", data=step))
        lines.show(view)
        lines.show(view)
    assert said == [
        "a: started",
        "a: failed after 2.50 s: No.",
        "a: started, attempt 2",
        "a: succeeded after 2.50 s",
        "b: skipped",
    ]


def test_the_items_of_a_large_run_are_told_in_few_lines():
    said: list[str] = []
    lines, view = Lines(said.append), View()
    for done in range(1001):
        view.items = {"total": 1000, "succeeded": done, "running": min(16, 1000 - done)}
        lines.show(view)
    assert len(said) == 11
    assert said[-1] == "items: 1000 of 1000 done"


def test_words_for_items_and_durations():
    assert items_text({"total": 9, "succeeded": 3, "failed": 1, "waiting": 5}) == "3 of 9 done · 5 waiting · 1 failed"
    assert [lasted(s) for s in (0.004, 41.26, 725, 12_000)] == ["0.00 s", "41.3 s", "12 min 5 s", "3 h 20 min"]


def test_a_step_whose_write_was_simulated_says_so():
    said: list[str] = []
    ended = {"started_at": "2026-11-22T09:30:12Z", "ended_at": "2026-11-22T09:30:14Z", "status": "SUCCEEDED"}
    view = View(steps={"pay": {**ended, "simulated": True}, "seen": {**ended, "simulated": False}})
    Lines(said.append).show(view)
    assert said == ["pay: succeeded after 2.00 s (simulated)", "seen: succeeded after 2.00 s"]
