"""Models of stanchion.approvals.store."""

from __future__ import annotations

from typing import Any, cast

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.runs import run_of
from tests.simulation.store.statements.values import stored
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.approvals.store"


@models(_STORE, "insert")
async def insert(tx: SimTx, params: dict[str, Any]) -> int:
    """A PENDING approval."""
    row = {column: stored(value) for column, value in params.items()}
    row["bound"] = list(row["bound"])
    await tx.insert("approvals", row | {"status": "PENDING"})
    return 1


def _of(tx: SimTx, tenant: str, approval_id: Any) -> Row | None:
    row = tx.get("approvals", approval_id)
    return row if row is not None and row["tenant"] == tenant else None


@models(_STORE, "get")
def get(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """One approval."""
    row = _of(tx, params[0], params[1])
    return [] if row is None else [row]


@models(_STORE, "find")
def find(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """What an attempt of a step asked."""
    tenant, run_id, path, attempt = params
    row = tx.unique("approvals", "approvals_run_id_path_attempt_key", (run_id, path, attempt))
    return [] if row is None or row["tenant"] != tenant else [row]


@models(_STORE, "settle")
async def settle(tx: SimTx, params: dict[str, Any]) -> int:
    """End a PENDING approval whose arguments are these."""

    def open_(row: Row | None) -> bool:
        return row is not None and row["status"] == "PENDING" and row["args_digest"] == params["args_digest"]

    if not open_(_of(tx, params["tenant"], params["id"])):
        return 0
    row = await tx.lock("approvals", params["id"])
    if row is None or not open_(row):
        return 0
    tx.update("approvals", row, {column: params[column] for column in ("status", "decided_by", "decided_at", "reason")})
    return 1


@models(_STORE, "expire_one")
async def expire_one(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Expire one approval whose time is over."""

    def over(row: Row | None) -> bool:
        return row is not None and row["status"] == "PENDING" and row["expires_at"] <= params["now"]

    if not over(_of(tx, params["tenant"], params["id"])):
        return []
    row = await tx.lock("approvals", params["id"])
    if row is None or not over(row):
        return []
    return [tx.update("approvals", row, {"status": "EXPIRED", "decided_at": params["now"]})]


@models(_STORE, "due")
def due(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """PENDING approvals whose time is over, the longest first."""
    now, limit = params
    found = [row for row in tx.by("approvals", "status", "PENDING") if row["expires_at"] <= now]
    return sorted(found, key=lambda row: row["expires_at"])[:limit]


@models(_STORE, "cancel_of_runs")
async def cancel_of_runs(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Cancel the PENDING approvals of runs."""
    found = [
        row
        for run_id in dict.fromkeys(params["runs"])
        for row in tx.by("approvals", "run_id", run_id)
        if row["tenant"] == params["tenant"] and row["status"] == "PENDING"
    ]
    rows: Rows = []
    for seen in found:
        row = await tx.lock("approvals", seen["id"])
        if row is not None and row["status"] == "PENDING":
            rows.append(tx.update("approvals", row, {"status": "CANCELLED", "decided_at": params["now"]}))
    return rows


@models(_STORE, "select")
def select(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Approvals that match every filter, oldest first."""
    run = params["run"]
    found = [
        row
        for row in tx.all("approvals")
        if row["tenant"] == params["tenant"]
        and (params["status"] is None or row["status"] == params["status"])
        and (run is None or row["root_id"] == run or row["run_id"] == run)
        and (params["after"] is None or row["id"] > params["after"])
    ]
    return sorted(found, key=lambda row: row["id"])[: params["limit"]]


@models(_STORE, "waiting")
def waiting(tx: SimTx, params: Any) -> Rows:
    """How many wait, and since when the oldest does."""
    found = tx.by("approvals", "status", "PENDING")
    return [{"pending": len(found), "oldest": min((row["created_at"] for row in found), default=None)}]


@models(_STORE, "count_pending")
def count_pending(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """How many of the tenant's wait."""
    return [{"count": sum(row["tenant"] == params[0] for row in tx.by("approvals", "status", "PENDING"))}]


@models(_STORE, "dominating")
def dominating(tx: SimTx, params: dict[str, Any]) -> Rows:
    """GOVERN steps of this run and those above it, with the approvals of their current attempts."""
    tenant = params["tenant"]
    chain: list[Row] = []
    row = run_of(tx, tenant, params["run"])
    while row is not None:
        chain.append(row)
        row = None if row["parent_id"] is None else run_of(tx, tenant, row["parent_id"])
    rows: Rows = []
    for run in chain:
        for step in tx.by("step_runs", "run_id", run["id"]):
            if step["tenant"] != tenant or step["path"] not in params["paths"] or step["verb"] != "govern":
                continue
            key = (step["run_id"], step["path"], step["attempt"])
            approval = tx.unique("approvals", "approvals_run_id_path_attempt_key", key)
            if approval is not None and approval["tenant"] != tenant:
                approval = None
            rows.append(
                {
                    "path": step["path"],
                    "step_status": step["status"],
                    "decision": _text(step["output"], "decision"),
                    "approval_id": None if approval is None else approval["id"],
                    "approval_status": None if approval is None else approval["status"],
                    "bound": None if approval is None else approval["bound"],
                }
            )
    return rows


def _text(value: Any, key: str) -> str | None:
    """`value ->> key`, for texts."""
    return cast("dict[str, Any]", value).get(key) if isinstance(value, dict) else None


@models(_STORE, "queue_of")
def queue_of(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """The queue of a run."""
    row = run_of(tx, params[0], params[1])
    return [] if row is None else [{"queue": row["queue"]}]
