"""What the HTTP reference shows of runs: one story, of a run over the twelve German cases of the example.

Eleven went through; `ITEM` waits for a person. No value is a real one; shapes, codes and words are.
"""

from __future__ import annotations

from typing import Any, Final

ID: Final = "0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11"
DIGEST: Final = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
ERROR: Final[dict[str, Any]] = {
    "code": "adapter.busy",
    "message": "casebook.cases is locked by another writer.",
    "hint": "",
    "step": "open",
}
WAITING: Final[dict[str, Any]] = {
    "kind": "child",
    "ref": "triage",
    "since": "2026-11-18T09:00:01Z",
    "until": None,
    "text": "It waits for the items of step triage.",
}
SUMMARY: Final[dict[str, Any]] = {
    "id": ID,
    "blueprint": "case-triage",
    "version": 3,
    "status": "SUSPENDED",
    "waiting_on": WAITING,
    "queue": "default",
    "attempt": 1,
    "requested_by": "ada",
    "created_at": "2026-11-18T09:00:00Z",
    "started_at": "2026-11-18T09:00:00Z",
    "ended_at": None,
    "error": None,
    "dead_reason": None,
    "parent_id": None,
    "item_no": None,
    "simulated": 0,
}
ITEMS: Final[dict[str, Any]] = {
    "total": 12,
    "succeeded": 11,
    "failed": 0,
    "cancelled": 0,
    "running": 0,
    "waiting": 1,
    "queued": 0,
}
# An item: it waits for the person, its parent for it.
ITEM: Final[dict[str, Any]] = {
    **SUMMARY,
    "id": "0199c1f0-0000-7000-8000-000000000001",
    "parent_id": ID,
    "item_no": 6,
    "waiting_on": {
        "kind": "approval",
        "ref": "0199c1f0-0000-7000-8000-000000000002",
        "since": "2026-11-18T09:00:01Z",
        "until": "2026-11-21T09:00:01Z",
        "text": "It waits for a person to decide approval 0199c1f0-0000-7000-8000-000000000002."
        " Until 2026-11-21 09:00:01 UTC at the latest.",
    },
}
RUN: Final[dict[str, Any]] = {
    **SUMMARY,
    "digest": DIGEST,
    "environment": "local",
    "priority": 0,
    "input": {"country": "Germany"},
    "output": None,
    "cancel_reason": None,
    "pins": [{"kind": "blueprint", "name": "case-triage", "version": 3, "digest": DIGEST}],
    "items": ITEMS,
}
# A stream of a short run: a StepRun and the run it changed are one revision, whose last event carries the id.
EVENTS: Final = """retry: 1000

event: step
data: {"path": "sum", "verb": "transform", "status": "SUCCEEDED", …}

id: 3
event: run
data: {"id": "0199c1f0-5c7e-7d31-9a54-6f1f0a4f5d11", "status": "SUCCEEDED", …}

event: end
data: {}

"""
ENDED: Final[dict[str, Any]] = {"waiting_on": None, "ended_at": "2026-11-18T10:12:01Z"}
SUCCEEDED: Final[dict[str, Any]] = {
    **RUN,
    **ENDED,
    "status": "SUCCEEDED",
    "output": {"cases": 12, "failed": 0},
    "items": {**ITEMS, "succeeded": 12, "waiting": 0},
}
CANCELLED: Final[dict[str, Any]] = {
    **RUN,
    **ENDED,
    "status": "CANCELLED",
    "cancel_reason": "Started for the wrong country.",
    "error": {"code": "run.cancelled", "message": f"Run {ID} was cancelled.", "hint": "", "step": ""},
    "items": {**ITEMS, "cancelled": 1, "waiting": 0},
}
RETRIED: Final[dict[str, Any]] = {
    **RUN,
    "status": "PENDING",
    "attempt": 2,
    "items": None,
    "waiting_on": {
        "kind": "worker",
        "ref": "default",
        "since": "2026-11-18T10:12:00Z",
        "until": None,
        "text": "It waits for a free place on one of 1 worker(s) of queue default.",
    },
}

STEP: Final[dict[str, Any]] = {
    "path": "triage/case",
    "verb": "lookup",
    "status": "SUCCEEDED",
    "attempt": 2,
    "item_no": None,
    "output": {"found": True, "record": {"case_id": "GDPR-D048", "fine_eur": 294000}},
    "error": None,
    "errors": [{"attempt": 1, **ERROR, "step": "triage/case"}],
    "started_at": "2026-11-18T09:00:00Z",
    "ended_at": "2026-11-18T09:00:01Z",
    "simulated": False,
}
FAILED_STEP: Final[dict[str, Any]] = {
    **STEP,
    "path": "open",
    "verb": "fetch",
    "status": "FAILED",
    "attempt": 1,
    "output": None,
    "error": ERROR,
    "errors": None,
}
DEAD: Final[dict[str, Any]] = {
    "id": ID,
    "blueprint": "case-triage",
    "version": 3,
    "queue": "default",
    "reason": ERROR["code"],
    "error": ERROR,
    "step": "open",
    "attempt": 1,
    "strikes": 0,
    "requested_by": "ada",
    "created_at": "2026-11-18T09:00:00Z",
    "ended_at": "2026-11-18T09:00:01Z",
    "parent_id": None,
}
WORKER: Final[dict[str, Any]] = {
    "id": ID,
    "name": "worker-1",
    "host": "app-7f",
    "pid": 4211,
    "engine_v": 1,
    "queues": ["default"],
    "capacity": 256,
    "running": 17,
    "state": "live",
    "started_at": "2026-11-18T08:00:00Z",
    "beat_at": "2026-11-18T09:00:00Z",
    "lease_until": "2026-11-18T09:00:10Z",
    "ended_at": None,
}
