"""Models of stanchion.runs.simulated.store."""

from __future__ import annotations

from typing import Any

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.runs.simulated.store"


def _writes(tx: SimTx, tenant: str, run_id: Any) -> int:
    """How many writes of a run's own steps were simulated."""
    return sum(
        step["tenant"] == tenant
        and step["verb"] in ("push", "execute")
        and isinstance(step["output"], dict)
        and isinstance(step["output"].get("receipt"), dict)
        and step["output"]["receipt"].get("simulated") in (True, "true")
        for step in tx.by("step_runs", "run_id", run_id)
    )


@models(_STORE, "count_own")
def count_own(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Of each run that has any."""
    found = [(run_id, _writes(tx, params["tenant"], run_id)) for run_id in dict.fromkeys(params["ids"])]
    return [{"run_id": run_id, "writes": writes} for run_id, writes in found if writes]


@models(_STORE, "count_whole")
def count_whole(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Of a run and of all items below it."""
    top = tx.get("runs", params["run_id"])
    tree = [top["id"]] if top is not None and top["tenant"] == params["tenant"] else []
    for run_id in tree:
        tree += [row["id"] for row in tx.by("runs", "parent_id", run_id) if row["tenant"] == params["tenant"]]
    return [{"count": sum(_writes(tx, params["tenant"], run_id) for run_id in tree)}]
