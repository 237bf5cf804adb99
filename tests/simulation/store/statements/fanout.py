"""Models of stanchion.runs.fanout.store."""

from __future__ import annotations

from typing import Any

from tests.simulation.store.locks import SHARE
from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.engine import unattended
from tests.simulation.store.statements.runs import ended_row, first_step
from tests.simulation.store.statements.values import audit_row, recordset, uid
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.runs.fanout.store"


def _items(tx: SimTx, parent: Any, path: str) -> list[Row]:
    return [row for row in tx.by("runs", "parent_id", parent) if row["parent_path"] == path]


def _queued(row: Row) -> bool:
    return row["status"] == "SUSPENDED" and row["waiting_kind"] == "concurrency"


@models(_STORE, "counts")
def counts(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Items by state, each counted no further than needed."""
    items = _items(tx, params["parent"], params["path"])
    active = sum(row["status"] in ("PENDING", "RUNNING") for row in items)
    waits = any(row["status"] == "SUSPENDED" and row["waiting_kind"] != "concurrency" for row in items)
    began = sum(row["status"] == "CANCELLED" and row["started_at"] is not None for row in items)
    return [
        {
            "active": active,
            "queued": min(sum(map(_queued, items)), params["concurrency"]),
            "waiting": 1 if active == 0 and waits else 0,
            "succeeded": 0,
            "failed": min(sum(row["status"] == "FAILED" for row in items), params["failures"]),
            "cancelled": min(began, params["failures"]),
        }
    ]


@models(_STORE, "last_item")
def last_item(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """The highest item number, or null."""
    return [{"max": max((row["item_no"] for row in _items(tx, *params)), default=None)}]


async def _share_owned(tx: SimTx, params: dict[str, Any]) -> Row | None:
    """The parent, share-locked, if this epoch of it is RUNNING."""

    def owned(row: Row | None) -> bool:
        return row is not None and row["status"] == "RUNNING" and row["epoch"] == params["epoch"]

    if not owned(tx.get("runs", params["parent"])):
        return None
    parent = await tx.lock("runs", params["parent"], SHARE)
    return parent if owned(parent) else None


@models(_STORE, "insert_items")
async def insert_items(tx: SimTx, params: dict[str, Any]) -> int:
    """Child runs that queue, with their first steps and start records, if the claim still owns the parent."""
    items = recordset(params["items"])
    audits = recordset(params["audits"])
    parent = await _share_owned(tx, params)
    if parent is None:
        return 0
    now = tx.now()
    inherited = {
        column: parent[column]
        for column in (
            *("tenant", "blueprint", "version", "pins", "environment", "engine_v", "queue", "priority"),
            *("requested_by", "traceparent", "root_id", "cancel_reason"),
        )
    }
    for item in items:
        await tx.insert(
            "runs",
            inherited
            | {
                "id": uid(item["id"]),
                "status": "SUSPENDED",
                "waiting_kind": "concurrency",
                "waiting_since": now,
                "path": params["first_path"],
                "input": item.get("value"),
                "parent_id": parent["id"],
                "parent_path": params["path"],
                "block": params["block"],
                "item_no": item.get("item_no"),
                "cancel_reason": parent["cancel_reason"],
            },
        )
        if not params["empty"]:
            step = first_step(parent["tenant"], uid(item["id"]), params["first_path"], params["verb"])
            await tx.insert("step_runs", step)
    for audit in audits:
        await tx.insert("audit_records", audit_row(audit))
    return len(items)


@models(_STORE, "select_ended")
def select_ended(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """All items of a fan-out by number."""
    return [
        {
            "id": row["id"],
            "item_no": row["item_no"],
            "status": row["status"],
            "output": row["output"],
            "error": row["error"],
            "never_started": row["started_at"] is None,
        }
        for row in sorted(_items(tx, *params), key=lambda row: row["item_no"])
    ]


@models(_STORE, "cancel_queued")
async def cancel_queued(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Cancel items that queue, if the claim still owns the parent."""
    found = sorted(filter(_queued, _items(tx, params["parent"], params["path"])), key=lambda row: row["id"])
    if await _share_owned(tx, params) is None:
        return []
    locked: list[Row] = []
    for seen in found:
        if len(locked) >= params["limit"]:
            break
        row = await tx.lock("runs", seen["id"])
        if row is not None and _queued(row):
            locked.append(row)
    now = tx.now()
    ended = [
        tx.update(
            "runs",
            row,
            {
                "status": "CANCELLED",
                "waiting_kind": None,
                "waiting_since": None,
                "cancel_reason": params["reason"],
                "rev": row["rev"] + 1,
                "ended_at": now,
            },
        )
        for row in locked
    ]
    return [ended_row(row, now) for row in ended]


@models(_STORE, "lock_parent")
async def lock_parent(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Lock the parent, if it waits for its items at a step that fanned out."""

    def waits(row: Row | None) -> bool:
        return (
            row is not None
            and row["status"] == "SUSPENDED"
            and row["waiting_kind"] == "child"
            and row["cancel_reason"] is None
        )

    seen = tx.get("runs", params[0])
    if seen is None or not waits(seen):
        return []
    step = tx.get("step_runs", (seen["id"], seen["path"]))
    if step is None or step["fan_out"] is None:
        return []
    row = await tx.lock("runs", seen["id"])
    if row is None or not waits(row) or row["path"] != step["path"]:
        return []
    return [{"tenant": row["tenant"], "queue": row["queue"], "path": row["path"], "fan_out": step["fan_out"]}]


@models(_STORE, "release")
async def release(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Make queued items PENDING. The choice is the snapshot's; a row that was waited for is looked at again."""
    parent, path, n = params
    queued = sorted(filter(_queued, _items(tx, parent, path)), key=lambda row: row["item_no"])
    count = 0
    for seen in queued[:n]:
        row = await tx.lock("runs", seen["id"])
        if row is None or not _queued(row):
            continue
        changes = {
            "status": "PENDING",
            "waiting_kind": None,
            "waiting_since": None,
            "ready_at": tx.now(),
            "rev": row["rev"] + 1,
        }
        tx.update("runs", row, changes)
        count += 1
    return count


@models(_STORE, "wake_parent")
async def wake_parent(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Make the parent PENDING."""

    def waits(row: Row | None) -> bool:
        return row is not None and row["status"] == "SUSPENDED" and row["waiting_kind"] == "child"

    if not waits(tx.get("runs", params[0])):
        return 0
    row = await tx.lock("runs", params[0])
    if row is None or not waits(row):
        return 0
    changes = dict.fromkeys(("waiting_kind", "waiting_ref", "waiting_since", "wake_at"))
    tx.update("runs", row, changes | {"status": "PENDING", "ready_at": tx.now(), "rev": row["rev"] + 1})
    return 1


@models(_STORE, "waiting_parents")
def waiting_parents(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Parents whose fan-out nobody looks after, by id."""
    after, limit = params
    found = [row["id"] for row in tx.by("runs", "status", "SUSPENDED") if row["id"] > after and unattended(tx, row)]
    return [{"id": id_} for id_ in sorted(found)[:limit]]
