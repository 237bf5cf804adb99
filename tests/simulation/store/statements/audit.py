"""Models of stanchion.audit.store."""

from __future__ import annotations

from typing import Any

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.values import audit_row, recordset
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.audit.store"
_LISTED = ("id", "recorded_at", "event_type", "actor", "target_kind", "target_id", "run_id", "record", "leaf")


@models(_STORE, "insert_many")
async def insert_many(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Insert audit rows."""
    rows = recordset(params[0])
    for row in rows:
        await tx.insert("audit_records", audit_row(row))
    return len(rows)


@models(_STORE, "select")
def select(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Records that match every filter, newest first, with the actors' names."""
    names = {(p["tenant"], str(p["id"])): p["name"] for p in tx.all("principals")}
    found = [
        row
        for row in tx.all("audit_records")
        if row["tenant"] == params["tenant"]
        and all(params[c] is None or row[c] == params[c] for c in ("target_kind", "target_id", "run_id", "event_type"))
        and (params["after"] is None or row["id"] < params["after"])
    ]
    found.sort(key=lambda row: row["id"], reverse=True)
    return [
        {c: row[c] for c in _LISTED} | {"actor_name": names.get((row["tenant"], row["actor"]))}
        for row in found[: params["limit"]]
    ]
