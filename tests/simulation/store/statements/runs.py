"""Models of stanchion.runs.store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.simulation.store.locks import SHARE
from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.values import audit_row, maybe_uid, recordset, seconds_since, uid
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.runs.store"
OPEN = ("PENDING", "RUNNING", "SUSPENDED")

_STEP = (
    *("tenant", "run_id", "path", "position", "item_no", "verb", "status", "attempt", "first_attempt", "output"),
    *("error", "errors", "wake_at", "rev", "started_at", "ended_at"),
)
_RUN = (
    *("tenant", "id", "blueprint", "version", "pins", "environment", "engine_v", "queue", "priority", "status"),
    *("waiting_kind", "waiting_ref", "waiting_since", "wake_at", "cursor", "path", "epoch", "worker_id", "attempt"),
    *("strikes", "rev", "input", "output", "error", "dead_reason", "discarded_at", "cancel_reason", "requested_by"),
    *("traceparent", "root_id", "parent_id", "parent_path", "block", "item_no", "created_at", "ready_at"),
    *("started_at", "ended_at"),
)
_SUMMARY = (
    *("id", "blueprint", "version", "queue", "status", "waiting_kind", "waiting_ref", "waiting_since", "wake_at"),
    *("path", "attempt", "requested_by", "created_at", "ready_at", "started_at", "ended_at", "error", "dead_reason"),
    *("parent_id", "item_no", "rev"),
)
_WORKER = (
    *("id", "name", "host", "pid", "engine_v", "queues", "capacity", "running", "state", "started_at", "beat_at"),
    *("lease_until", "ended_at", "probation_of"),
)


def shown(row: Row, columns: tuple[str, ...]) -> Row:
    """These columns of a row."""
    return dict(zip(columns, map(row.__getitem__, columns), strict=True))


@models(_STORE, "insert_starts")
async def insert_starts(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Keys first; runs whose key was free; their first steps and start records; pin sets; a word to their queues."""
    tx.tenant = params["tenant"]
    starts = recordset(params["starts"])
    keyed: set[Any] = set()
    for start in sorted((s for s in starts if s.get("key") is not None), key=lambda s: s["key"]):
        use = {
            "tenant": start.get("tenant"),
            "key": start["key"],
            "request_digest": start.get("request_digest"),
            "run_id": uid(start["id"]),
        }
        if await tx.insert("idempotency_keys", use, or_nothing=True) is not None:
            keyed.add(start["id"])
    for pins in sorted(recordset(params["pin_sets"]), key=lambda p: p["digest"]):
        tx.references("tenants", pins["tenant"], "pin_sets_tenant_fkey")
        row = {"tenant": pins["tenant"], "digest": pins["digest"], "pins": pins.get("pins")}
        await tx.insert("pin_sets", row, or_nothing=True)
    made: set[Any] = set()
    for start in starts:
        wanted = start.get("key") is None or start["id"] in keyed
        if wanted and await tx.insert("runs", _started(start), or_nothing=True) is not None:
            made.add(start["id"])
    for start in starts:
        if start["id"] in made and start["path"] != "":
            await tx.insert("step_runs", first_step(start["tenant"], uid(start["id"]), start["path"], start["verb"]))
    for audit in recordset(params["audits"]):
        if audit.get("run_id") in made:
            await tx.insert("audit_records", audit_row(audit))
    queues = {start["queue"]: None for start in starts if params["tell"] and start["id"] in made}
    for queue in queues:
        tx.notify("stanchion_ready", queue)
    return [{"pg_notify": ""} for _ in queues]


def _started(start: Row) -> Row:
    run_id = uid(start["id"])
    columns = ("tenant", "blueprint", "version", "pins", "environment", "engine_v", "queue", "priority", "path")
    row = {column: start.get(column) for column in columns}
    return row | {
        "id": run_id,
        "status": "PENDING",
        "input": start.get("input"),
        "requested_by": start.get("requested_by"),
        "traceparent": start.get("traceparent"),
        "root_id": run_id,
    }


def first_step(tenant: str, run_id: Any, path: str, verb: str) -> Row:
    """The StepRun of a run's first op."""
    return {
        "tenant": tenant,
        "run_id": run_id,
        "path": path,
        "position": 0,
        "verb": verb,
        "status": "PENDING",
        "rev": 1,
    }


@models(_STORE, "select_status")
def select_status(tx: SimTx, params: dict[str, Any]) -> Rows:
    """A run's state, behind the wall it raises itself."""
    tx.tenant = params["tenant"]
    row = run_of(tx, params["tenant"], params["run_id"])
    return [] if row is None else [{"status": row["status"]}]


def run_of(tx: SimTx, tenant: str, run_id: Any) -> Row | None:
    """A run of this tenant."""
    row = tx.get("runs", run_id)
    return row if row is not None and row["tenant"] == tenant else None


@models(_STORE, "select_keys")
def select_keys(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Uses of idempotency keys."""
    tenant, keys = params
    found = [tx.get("idempotency_keys", (tenant, key)) for key in dict.fromkeys(keys)]
    return [shown(row, ("key", "request_digest", "run_id")) for row in found if row is not None]


@models(_STORE, "load_steps")
def load_steps(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """StepRuns of runs, by run, position, item (null first), path."""
    rows = [row for run_id in dict.fromkeys(params[0]) for row in tx.by("step_runs", "run_id", run_id)]
    rows.sort(key=lambda r: (r["run_id"], r["position"], -1 if r["item_no"] is None else r["item_no"], r["path"]))
    return [shown(row, _STEP) for row in rows]


@models(_STORE, "lock_cancelling")
def lock_cancelling(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Cancelled runs that wait and that nobody holds."""
    found = [row for status in ("PENDING", "SUSPENDED") for row in tx.by("runs", "status", status)]
    return _lock_cancelled(tx, found, params[0])


def _cancellable(row: Row) -> bool:
    return row["cancel_reason"] is not None and row["status"] in ("PENDING", "SUSPENDED")


def _lock_cancelled(tx: SimTx, found: list[Row], limit: int) -> Rows:
    rows: Rows = []
    for row in sorted(filter(_cancellable, found), key=lambda r: r["id"]):
        if len(rows) >= limit:
            break
        now = tx.lock_or_skip("runs", row["id"])
        if now is not None and _cancellable(now):
            rows.append({"id": now["id"]})
    return rows


@models(_STORE, "end_runs")
async def end_runs(tx: SimTx, params: dict[str, Any]) -> Rows:
    """End runs and their open steps."""
    ends = [(e, row) for e in recordset(params["ends"]) if (row := tx.get("runs", uid(e["id"]))) is not None]
    steps = {row["id"]: tx.by("step_runs", "run_id", row["id"]) for _, row in ends}
    ended: list[Row] = []
    for e, row in ends:
        if row["status"] not in OPEN:
            continue
        run = await tx.lock("runs", row["id"])
        if run is None or run["status"] not in OPEN:
            continue
        now = tx.now()
        new = tx.update(
            "runs",
            run,
            {
                "status": e.get("status"),
                "error": e.get("error"),
                "dead_reason": e.get("dead_reason"),
                "epoch": run["epoch"] + 1,
                "worker_id": None,
                "waiting_kind": None,
                "waiting_ref": None,
                "waiting_since": None,
                "wake_at": None,
                "wakes": (),
                "rev": run["rev"] + 1,
                "ended_at": now,
            },
        )
        ended.append(new)
        for seen in steps[run["id"]]:
            step = tx.get("step_runs", (seen["run_id"], seen["path"]))
            if step is not None and step["status"] in ("PENDING", "RUNNING", "SUSPENDED", "UNKNOWN"):
                tx.update(
                    "step_runs",
                    step,
                    {"status": "FAILED", "error": new["error"], "wake_at": None, "rev": new["rev"], "ended_at": now},
                )
    now = tx.now()
    return [ended_row(row, now) for row in sorted(ended, key=lambda r: r["id"])]


def ended_row(row: Row, now: Any) -> Row:
    """A run that was ended, as `Ended`."""
    columns = ("tenant", "id", "queue", "status", "environment", "attempt", "traceparent", "parent_id", "dead_reason")
    return shown(row, columns) | {"duration_s": seconds_since(row["created_at"], now)}


@models(_STORE, "hold")
async def hold(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Share-lock the runs that still belong to these claims."""
    claims = [(uid(c["id"]), c["epoch"]) for c in recordset(params[0])]

    def held(row: Row | None, epoch: int) -> bool:
        return row is not None and row["status"] == "RUNNING" and row["epoch"] == epoch

    found = sorted((run_id, epoch) for run_id, epoch in claims if held(tx.get("runs", run_id), epoch))
    rows: Rows = []
    for run_id, epoch in found:
        if held(await tx.lock("runs", run_id, SHARE), epoch):
            rows.append({"id": run_id})
    return rows


@models(_STORE, "wake")
async def wake(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Make a waiting run PENDING, or note the wake-up for one that is RUNNING; tell its queue."""
    row = run_of(tx, params["tenant"], params["run_id"])
    if row is None or not _hears(row, params):
        return []
    run = await tx.lock("runs", row["id"])
    if run is None or not _hears(run, params):
        return []
    waits = run["status"] == "SUSPENDED"
    note = f"{params['kind']}:{params['ref'] or ''}"
    new = tx.update(
        "runs",
        run,
        {
            "status": "PENDING" if waits else run["status"],
            "wakes": run["wakes"] if waits else (*run["wakes"][:15], note),
            "waiting_kind": None,
            "waiting_ref": None,
            "waiting_since": None,
            "wake_at": None,
            "rev": run["rev"] + 1,
            "ready_at": tx.now() if waits else run["ready_at"],
        },
    )
    tx.notify("stanchion_ready", new["queue"])
    return [{"status": new["status"]}]


def _hears(row: Row, params: dict[str, Any]) -> bool:
    if row["status"] == "RUNNING":
        return True
    return (
        row["status"] == "SUSPENDED"
        and row["waiting_kind"] == params["kind"]
        and (params["kind"] == "effect" or row["waiting_ref"] == params["ref"])
    )


@models(_STORE, "select_run")
def select_run(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """One run."""
    row = run_of(tx, params[0], params[1])
    return [] if row is None else [shown(row, _RUN)]


@models(_STORE, "lock_run")
async def lock_run(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Lock one run."""
    row = run_of(tx, params[0], params[1])
    if row is None:
        return []
    row = await tx.lock("runs", row["id"])
    return [] if row is None else [{"id": row["id"]}]


@models(_STORE, "select_pins")
def select_pins(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """The pins of a set."""
    row = tx.get("pin_sets", (params[0], params[1]))
    return [] if row is None else [{"pins": row["pins"]}]


@models(_STORE, "count_workers")
def count_workers(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Live workers of a queue."""
    now = tx.now()
    n = sum(
        w["state"] == "live" and w["lease_until"] > now and params[0] in w["queues"] and w["probation_of"] is None
        for w in tx.all("workers")
    )
    return [{"count": n}]


@models(_STORE, "select_workers")
def select_workers(tx: SimTx, params: Any) -> Rows:
    """Workers that live or ended within the hour, newest first."""
    since = tx.now() - timedelta(hours=1)
    found = [w for w in tx.all("workers") if w["ended_at"] is None or w["ended_at"] > since]
    found.sort(key=lambda w: w["id"], reverse=True)
    return [shown(row, _WORKER) for row in found[:200]]


@models(_STORE, "select_runs")
def select_runs(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Runs that match every filter, newest first."""
    found = [
        row
        for row in tx.all("runs")
        if row["tenant"] == params["tenant"]
        and row["parent_id"] == params["parent"]
        and (params["status"] is None or row["status"] == params["status"])
        and (params["blueprint"] is None or row["blueprint"] == params["blueprint"])
        and (
            params["waiting_on"] is None
            or (row["waiting_kind"] == params["waiting_on"] and row["status"] in ("SUSPENDED", "PENDING"))
        )
        and (params["since"] is None or row["created_at"] >= params["since"])
        and (params["after"] is None or row["id"] < params["after"])
    ]
    found.sort(key=lambda row: row["id"], reverse=True)
    return [shown(row, _SUMMARY) for row in found[: params["limit"]]]


@models(_STORE, "select_retry_causes")
def select_retry_causes(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Why runs wait for a retry."""
    rows: Rows = []
    for run_id in dict.fromkeys(params[1]):
        run = run_of(tx, params[0], run_id)
        if run is None or run["status"] != "SUSPENDED" or run["waiting_kind"] != "retry":
            continue
        step = tx.get("step_runs", (run_id, run["waiting_ref"]))
        if step is not None and step["error"] is not None:
            rows.append(shown(step, ("run_id", "path", "attempt", "error")))
    return rows


@models(_STORE, "select_items")
def select_items(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Items of a run by number."""
    found = [
        row
        for row in tx.by("runs", "parent_id", params["parent"])
        if row["tenant"] == params["tenant"]
        and row["item_no"] > params["after"]
        and (params["status"] is None or row["status"] == params["status"])
    ]
    found.sort(key=lambda row: (row["item_no"], row["parent_path"]))
    return [shown(row, _SUMMARY) for row in found[: params["limit"]]]


@models(_STORE, "count_items")
def count_items(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """How the items of runs stand."""
    tenant, parents = params
    rows: Rows = []
    for parent in dict.fromkeys(parents):
        items = [row for row in tx.by("runs", "parent_id", parent) if row["tenant"] == tenant]
        if not items:
            continue
        states = [row["status"] for row in items]
        waiting = [row["waiting_kind"] for row in items if row["status"] == "SUSPENDED"]
        rows.append(
            {
                "parent_id": parent,
                "total": len(items),
                "succeeded": states.count("SUCCEEDED"),
                "failed": states.count("FAILED"),
                "cancelled": states.count("CANCELLED"),
                "running": states.count("RUNNING") + states.count("PENDING"),
                "waiting": len(waiting) - waiting.count("concurrency"),
                "queued": waiting.count("concurrency"),
            }
        )
    return rows


def tree_of(tx: SimTx, tenant: str, run_id: Any) -> list[Row]:
    """A run and all below it, level by level."""
    root = run_of(tx, tenant, run_id)
    rows = [] if root is None else [root]
    for row in rows:
        rows += tx.by("runs", "parent_id", row["id"])
    return rows


@models(_STORE, "request_cancel")
async def request_cancel(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Mark a tree of runs as cancelled."""

    def markable(row: Row) -> bool:
        return row["status"] in OPEN and row["cancel_reason"] is None

    rows: Rows = []
    for row in [row for row in tree_of(tx, params["tenant"], params["run_id"]) if markable(row)]:
        run = await tx.lock("runs", row["id"])
        if run is None or not markable(run):
            continue
        tx.update("runs", run, {"cancel_reason": params["reason"], "rev": run["rev"] + 1})
        rows.append({"id": run["id"], "running": run["status"] == "RUNNING"})
    return rows


@models(_STORE, "lock_cancelled_below")
def lock_cancelled_below(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Cancelled runs of a tree that wait and that nobody holds."""
    return _lock_cancelled(tx, tree_of(tx, params["tenant"], params["run_id"]), params["limit"])


@models(_STORE, "select_changed_steps")
def select_changed_steps(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """StepRuns by revision."""
    tenant, run_id, after, upto = params
    rows = [r for r in tx.by("step_runs", "run_id", run_id) if r["tenant"] == tenant and after < r["rev"] <= upto]
    rows.sort(key=lambda r: (r["rev"], r["position"], -1 if r["item_no"] is None else r["item_no"], r["path"]))
    return [shown(row, _STEP) for row in rows]


@models(_STORE, "select_revisions")
def select_revisions(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Revisions of runs and the sums of their items'."""
    tenant, ids = params
    rows = [row for run_id in dict.fromkeys(ids) if (row := run_of(tx, tenant, run_id)) is not None]
    return [
        {"id": r["id"], "rev": r["rev"], "below": sum(c["rev"] for c in tx.by("runs", "parent_id", r["id"]))}
        for r in rows
    ]


__all__ = ["OPEN", "ended_row", "first_step", "maybe_uid", "run_of", "shown"]
