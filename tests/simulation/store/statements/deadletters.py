"""Models of stanchion.runs.deadletters.store."""

from __future__ import annotations

from typing import Any

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.runs import run_of, shown
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.runs.deadletters.store"
_LETTER = (
    *("id", "blueprint", "version", "queue", "error", "path", "attempt", "strikes", "requested_by", "created_at"),
    *("ended_at", "parent_id"),
)


def _dead(row: Row | None) -> bool:
    return (
        row is not None and row["status"] == "FAILED" and row["dead_reason"] is not None and row["discarded_at"] is None
    )


def _letters(tx: SimTx, tenant: str) -> list[Row]:
    return [row for row in tx.by("runs", "status", "FAILED") if row["tenant"] == tenant and _dead(row)]


def _letter(row: Row) -> Row:
    return shown(row, _LETTER) | {"reason": row["dead_reason"]}


@models(_STORE, "count_dead")
def count_dead(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """How many dead letters."""
    return [{"count": len(_letters(tx, params[0]))}]


@models(_STORE, "select_dead")
def select_dead(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Dead letters that match every filter, newest first."""
    found = [
        row
        for row in _letters(tx, params["tenant"])
        if (params["reason"] is None or row["dead_reason"] == params["reason"])
        and (params["blueprint"] is None or row["blueprint"] == params["blueprint"])
        and (params["since"] is None or (row["ended_at"] is not None and row["ended_at"] >= params["since"]))
        and (params["after"] is None or row["id"] < params["after"])
    ]
    found.sort(key=lambda row: row["id"], reverse=True)
    return [_letter(row) for row in found[: params["limit"]]]


@models(_STORE, "select_one")
def select_one(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """One dead letter."""
    row = run_of(tx, params[0], params[1])
    return [_letter(row)] if row is not None and _dead(row) else []


@models(_STORE, "select_states")
def select_states(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """What runs are."""
    rows = [row for id_ in dict.fromkeys(params[1]) if (row := run_of(tx, params[0], id_)) is not None]
    return [shown(row, ("id", "status", "discarded_at", "parent_id", "root_id")) for row in rows]


@models(_STORE, "lock_dead")
async def lock_dead(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Lock those that are dead letters, by id."""
    tenant, run_ids = params
    rows: Rows = []
    for run_id in sorted({id_ for id_ in run_ids if _dead(run_of(tx, tenant, id_))}):
        if _dead(await tx.lock("runs", run_id)):
            rows.append({"id": run_id})
    return rows


@models(_STORE, "discard")
async def discard(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Mark runs as discarded."""
    tenant, run_ids = params
    count = 0
    for seen in [row for id_ in dict.fromkeys(run_ids) if (row := run_of(tx, tenant, id_)) is not None]:
        row = await tx.lock("runs", seen["id"])
        if row is not None:
            tx.update("runs", row, {"discarded_at": tx.now(), "rev": row["rev"] + 1})
            count += 1
    return count


@models(_STORE, "revive")
async def revive(tx: SimTx, params: dict[str, Any]) -> Rows:
    """A new attempt of FAILED runs, with the items they failed by; no condition is looked at after a wait."""
    roots = [
        row
        for id_ in dict.fromkeys(params["ids"])
        if (row := run_of(tx, params["tenant"], id_)) is not None and row["status"] == "FAILED"
    ]
    tree = [(row, False) for row in roots]
    for row, _ in tree:
        tree += [(item, True) for item in tx.by("runs", "parent_id", row["id"]) if _revivable(item, row)]
    steps = {row["id"]: tx.by("step_runs", "run_id", row["id"]) for row, _ in tree}
    done: dict[Any, None] = {}
    queues: dict[str, None] = {}
    for seen, item in tree:
        if seen["id"] in done:
            continue
        done[seen["id"]] = None
        run = await tx.lock("runs", seen["id"])
        if run is None:
            continue
        new = _revived(tx, run, item=item)
        for seen_step in steps[run["id"]]:
            step = tx.get("step_runs", (run["id"], seen_step["path"]))
            failed = step is not None and step["status"] == seen_step["status"] == "FAILED"
            if step is not None and failed and step["position"] == new["cursor"]:
                _revive_step(tx, step, new["rev"])
        if not item:
            queues[new["queue"]] = None
    return [{"queue": queue} for queue in queues]


def _revivable(item: Row, parent: Row) -> bool:
    return item["parent_path"] == parent["path"] and (
        item["status"] == "FAILED" or (item["status"] == "CANCELLED" and item["cancel_reason"] == "for_each.stopped")
    )


def _revived(tx: SimTx, run: Row, *, item: bool) -> Row:
    now = tx.now()
    return tx.update(
        "runs",
        run,
        {
            "status": "SUSPENDED" if item else "PENDING",
            "waiting_kind": "concurrency" if item else None,
            "waiting_ref": None,
            "waiting_since": now if item else None,
            "wake_at": None,
            "wakes": (),
            "attempt": run["attempt"] + 1,
            "strikes": 0,
            "rev": run["rev"] + 1,
            "error": None,
            "dead_reason": None,
            "output": None,
            "cancel_reason": None,
            "ended_at": None,
            "ready_at": now,
            "epoch": run["epoch"] + 1,
        },
    )


def _revive_step(tx: SimTx, step: Row, rev: int) -> None:
    told: Row = {"attempt": step["attempt"], **(step["error"] or {})}
    tx.update(
        "step_runs",
        step,
        {
            "status": "PENDING",
            "attempt": step["attempt"] + 1,
            "first_attempt": step["attempt"] + 1,
            "wake_at": None,
            "rev": rev,
            "errors": [*(step["errors"] or []), told],
            "error": None,
            "started_at": None,
            "ended_at": None,
        },
    )
