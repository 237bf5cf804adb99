"""Models of stanchion.tools.effects.store."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.values import stored
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.tools.effects.store"


def _shown(row: Row) -> Row:
    shown = dict(row)
    shown["effect_class"] = shown.pop("class")
    return shown


def _of(tx: SimTx, tenant: str, effect_id: Any) -> Row | None:
    row = tx.get("effects", effect_id)
    return row if row is not None and row["tenant"] == tenant else None


@models(_STORE, "lock_of_step")
async def lock_of_step(tx: SimTx, params: dict[str, Any]) -> Rows:
    """The effect of a step, locked."""
    row = tx.unique("effects", "effects_run_id_path_key", (params["run_id"], params["path"]))
    if row is None or row["tenant"] != params["tenant"]:
        return []
    row = await tx.lock("effects", row["id"])
    return [] if row is None else [_shown(row)]


@models(_STORE, "lock")
async def lock(tx: SimTx, params: dict[str, Any]) -> Rows:
    """One effect, locked."""
    if _of(tx, params["tenant"], params["id"]) is None:
        return []
    row = await tx.lock("effects", params["id"])
    return [] if row is None else [_shown(row)]


@models(_STORE, "by_id")
def by_id(tx: SimTx, params: dict[str, Any]) -> Rows:
    """One effect."""
    row = _of(tx, params["tenant"], params["id"])
    return [] if row is None else [_shown(row)]


@models(_STORE, "insert_intent")
async def insert_intent(tx: SimTx, params: dict[str, Any]) -> int:
    """A new effect."""
    await tx.insert("effects", {**params, "state": "INTENT"})
    return 1


@models(_STORE, "renew_intent")
async def renew_intent(tx: SimTx, params: dict[str, Any]) -> int:
    """The same effect under a new claim."""
    changes = dict.fromkeys(("error", "receipt", "outcome_at", "resolved_by", "evidence"))
    changes |= {column: params[column] for column in ("args_digest", "connector_digest", "epoch")}
    return await _update(tx, params, changes | {"state": "INTENT", "intent_at": params["at"]}, again=True)


@models(_STORE, "set_outcome")
async def set_outcome(tx: SimTx, params: dict[str, Any]) -> int:
    """What became of it."""
    changes = {column: stored(params[column]) for column in ("state", "receipt", "error", "resolved_by", "evidence")}
    return await _update(tx, params, changes | {"outcome_at": params["at"]})


async def _update(tx: SimTx, params: dict[str, Any], changes: Row, *, again: bool = False) -> int:
    if _of(tx, params["tenant"], params["id"]) is None:
        return 0
    row = await tx.lock("effects", params["id"])
    if row is None:
        return 0
    tx.update("effects", row, changes | {"attempts": row["attempts"] + again})
    return 1


@models(_STORE, "select")
def select(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Effects that match every filter, newest first."""
    found = [
        row
        for row in tx.all("effects")
        if row["tenant"] == params["tenant"]
        and all(params[c] is None or row[c] == params[c] for c in ("state", "run_id", "connector"))
        and params["digest"] in (None, row["connector_digest"])
        and (params["since"] is None or row["intent_at"] >= params["since"])
        and params["simulated"] in (None, (row["receipt"] or {}).get("simulated") is True)
        and (params["before"] is None or row["id"] < params["before"])
        and (params["operations"] is None or _called(tx, row, params))
    ]
    found.sort(key=lambda row: row["id"], reverse=True)
    return [_shown(row) for row in found[: params["limit"]]]


def _called(tx: SimTx, row: Row, params: dict[str, Any]) -> bool:
    """Whether it is of one of these operations, in a run whose pins hold one of these."""
    if f"{row['connector']}.{row['operation']}" not in params["operations"]:
        return False
    run = next((r for r in tx.all("runs") if (r["tenant"], r["id"]) == (row["tenant"], row["run_id"])), None)
    held = [
        pin
        for pins in tx.all("pin_sets")
        if run is not None and (pins["tenant"], pins["digest"]) == (run["tenant"], run["pins"])
        for pin in pins["pins"]
    ]
    return any(wanted.items() <= pin.items() for wanted in stored(params["pins"]) for pin in held)


@models(_STORE, "leave")
def leave(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Attempts without an end whose run has ended, unless somebody holds them."""
    ended = {row["id"] for row in tx.all("runs") if row["status"] in ("SUCCEEDED", "FAILED", "CANCELLED")}

    def left(row: Row) -> bool:
        return row["state"] == "INTENT" and row["intent_at"] < params["before"] and row["run_id"] in ended

    rows: Rows = []
    for seen in sorted(filter(left, tx.all("effects")), key=lambda row: row["id"]):
        row = tx.lock_or_skip("effects", seen["id"]) if len(rows) < params["limit"] else None
        if row is None or not left(row):
            continue
        tx.update("effects", row, {"state": "UNKNOWN", "outcome_at": params["at"], "error": stored(params["error"])})
        rows.append({column: row[column] for column in ("tenant", "id", "run_id", "key", "intent_at")})
    return rows


@models(_STORE, "count_unknown")
def count_unknown(tx: SimTx, params: Any) -> Rows:
    """Effects of all tenants whose outcome nobody knows, by connector and operation."""
    open_ones = Counter((row["connector"], row["operation"]) for row in tx.all("effects") if row["state"] == "UNKNOWN")
    found = sorted(open_ones.items(), key=lambda item: (-item[1], item[0]))
    return [{"connector": connector, "operation": operation, "effects": n} for (connector, operation), n in found]


@models(_STORE, "count_unknown_of")
def count_unknown_of(tx: SimTx, params: Any) -> Rows:
    """How many of a tenant's effects have an outcome that nobody knows."""
    tenant = params["tenant"]
    return [{"count": sum(row["state"] == "UNKNOWN" for row in tx.all("effects") if row["tenant"] == tenant)}]
