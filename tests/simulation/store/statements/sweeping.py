"""Models of stanchion.runs.sweeping.store."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.values import seconds_since
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.runs.sweeping.store"


@models(_STORE, "try_lock")
def try_lock(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """pg_try_advisory_xact_lock."""
    return [{"pg_try_advisory_xact_lock": tx.try_advisory(params[0])}]


@models(_STORE, "mark_lost")
def mark_lost(tx: SimTx, params: Any) -> Rows:
    """Workers whose session lock is free or whose lease is over, unless somebody holds their rows."""
    now = tx.now()
    rows: Rows = []
    found = [w for w in tx.all("workers") if _alive(w) and (w["lease_until"] < now or tx.try_advisory(w["lock_key"]))]
    for seen in sorted(found, key=lambda w: w["id"]):
        worker = tx.lock_or_skip("workers", seen["id"])
        if worker is None or not _alive(worker):
            continue
        how = "lease" if worker["lease_until"] < now else "lock"
        tx.update("workers", worker, {"state": "lost", "running": 0, "ended_at": tx.now()})
        rows.append({"id": worker["id"], "how": how})
    return rows


def _alive(worker: Row) -> bool:
    return worker["state"] in ("live", "draining")


@models(_STORE, "lock_stranded")
def lock_stranded(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Runs in the names of dead workers that nobody holds."""
    workers = {w["id"]: w for w in tx.all("workers")}
    dead = {id_: w for id_, w in workers.items() if not _alive(w) and w["reclaimed_at"] is None}
    if not dead:
        return []
    found = [row for row in tx.by("runs", "status", "RUNNING") if row["worker_id"] in dead]
    now = tx.now()
    rows: Rows = []
    for seen in sorted(found, key=lambda r: r["id"]):
        if len(rows) >= params[0]:
            break
        run = tx.lock_or_skip("runs", seen["id"])
        if run is None or run["status"] != "RUNNING" or run["worker_id"] != seen["worker_id"]:
            continue
        worker = dead[run["worker_id"]]
        parent = workers.get(worker["probation_of"])
        rows.append(
            {
                "tenant": run["tenant"],
                "id": run["id"],
                "queue": run["queue"],
                "path": run["path"],
                "strikes": run["strikes"],
                "parent_id": run["parent_id"],
                "on_probation": worker["probation_of"] is not None,
                "parent_alive": parent is not None and _alive(parent),
                "confirmed": worker["crashed"],
                "lease_over": worker["lease_until"] < now,
            }
        )
    return rows


@models(_STORE, "reclaim")
async def reclaim(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Give runs of dead workers back to their queues."""
    strikes_max, run_ids = params
    found = [row for run_id in dict.fromkeys(run_ids) if (row := tx.get("runs", run_id)) is not None]
    count = 0
    for row in found:
        if row["status"] != "RUNNING":
            continue
        run = await tx.lock("runs", row["id"])
        if run is None or run["status"] != "RUNNING":
            continue
        tx.update(
            "runs",
            run,
            {
                "status": "PENDING",
                "epoch": run["epoch"] + 1,
                "worker_id": None,
                "waiting_kind": "worker_lost",
                "waiting_ref": run["queue"],
                "waiting_since": tx.now(),
                "strikes": min(run["strikes"], strikes_max),
                "rev": run["rev"] + 1,
            },
        )
        count += 1
    return count


@models(_STORE, "mark_reclaimed")
async def mark_reclaimed(tx: SimTx, params: Any) -> int:
    """Close the book on dead workers without runs."""

    def open_book(worker: Row) -> bool:
        return not _alive(worker) and worker["reclaimed_at"] is None

    busy = {row["worker_id"] for row in tx.by("runs", "status", "RUNNING")}
    count = 0
    for seen in [w for w in tx.all("workers") if open_book(w) and w["id"] not in busy]:
        worker = await tx.lock("workers", seen["id"])
        if worker is not None and open_book(worker):
            tx.update("workers", worker, {"reclaimed_at": tx.now()})
            count += 1
    return count


@models(_STORE, "wake_due")
def wake_due(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Make due runs PENDING that nobody holds."""
    now = tx.now()
    found = [row for row in tx.by("runs", "status", "SUSPENDED") if _due(row, now)]
    found.sort(key=lambda row: row["wake_at"])
    rows: Rows = []
    for seen in found:
        if len(rows) >= params[0]:
            break
        run = tx.lock_or_skip("runs", seen["id"])
        if run is None or not _due(run, now):
            continue
        tx.update(
            "runs",
            run,
            {
                "status": "PENDING",
                "waiting_kind": "retry" if run["waiting_kind"] == "retry" else None,
                "waiting_ref": None,
                "waiting_since": None,
                "wake_at": None,
                "ready_at": tx.now(),
                "rev": run["rev"] + 1,
            },
        )
        rows.append({"queue": run["queue"]})
    return rows


def _due(row: Row, now: datetime) -> bool:
    return (
        row["status"] == "SUSPENDED"
        and row["wake_at"] is not None
        and row["wake_at"] <= now
        and row["cancel_reason"] is None
    )


@models(_STORE, "delete_old_keys")
async def delete_old_keys(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Forget old idempotency keys, the oldest first."""
    hours, limit = params
    before = tx.now() - timedelta(hours=hours)
    found = sorted((r for r in tx.all("idempotency_keys") if r["created_at"] < before), key=lambda r: r["created_at"])
    count = 0
    for row in found[:limit]:
        now = await tx.lock_to_delete("idempotency_keys", (row["tenant"], row["key"]))
        if now is not None:
            tx.delete("idempotency_keys", now)
            count += 1
    return count


@models(_STORE, "queue_states")
def queue_states(tx: SimTx, params: Any) -> Rows:
    """Open runs by queue and state."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for status in ("PENDING", "RUNNING", "SUSPENDED"):
        for row in tx.by("runs", "status", status):
            groups[row["queue"], status].append(row)
    now = tx.now()
    return [
        {
            "queue": queue,
            "status": status,
            "n": len(rows),
            "oldest_s": seconds_since(min(row["ready_at"] for row in rows), now),
        }
        for (queue, status), rows in groups.items()
    ]


@models(_STORE, "dead_states")
def dead_states(tx: SimTx, params: Any) -> Rows:
    """Dead letters by queue and reason."""
    groups: dict[tuple[str, str], int] = defaultdict(int)
    for row in tx.by("runs", "status", "FAILED"):
        if row["dead_reason"] is not None and row["discarded_at"] is None:
            groups[row["queue"], row["dead_reason"]] += 1
    return [{"queue": queue, "reason": reason, "n": n} for (queue, reason), n in groups.items()]
