"""Models of stanchion.runs.engine.store."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from tests.simulation.store.locks import SHARE
from tests.simulation.store.registry import Rows, models
from tests.simulation.store.statements.values import audit_row, due, maybe_uid, recordset, seconds_since, uid
from tests.simulation.store.tables import Row
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.runs.engine.store"
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")

_CLAIMED = (
    *("tenant", "id", "blueprint", "version", "pins", "environment", "queue", "cursor", "path", "epoch", "attempt"),
    *("strikes", "input", "requested_by", "traceparent", "root_id", "parent_id", "parent_path", "block", "item_no"),
    "started_at",
)


@models(_STORE, "claim")
async def claim(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Share-lock the live worker, take ready runs that nobody holds, begin their current steps."""
    worker = tx.get("workers", params["worker"])
    if worker is None or worker["state"] != "live":
        return []
    found = sorted(
        (row for row in tx.by("runs", "status", "PENDING") if _claimable(row, params)),
        key=lambda row: (-row["priority"], row["ready_at"], row["id"]),
    )
    steps: dict[tuple[Any, str], Row | None] | None = None
    if tx.lock_or_skip("workers", params["worker"], SHARE) is None:
        steps = {(row["id"], row["path"]): tx.get("step_runs", (row["id"], row["path"])) for row in found}
        worker = await tx.lock("workers", params["worker"], SHARE)
        if worker is None or worker["state"] != "live":
            return []
    picked = _pick(tx, found, params)
    now = tx.now()
    rows: Rows = []
    for run in sorted(picked, key=lambda row: row["id"]):
        new = tx.update(
            "runs",
            run,
            {
                "status": "RUNNING",
                "epoch": run["epoch"] + 1,
                "strikes": run["strikes"] + 1,
                "worker_id": params["worker"],
                "waiting_kind": None,
                "waiting_ref": None,
                "waiting_since": None,
                "wake_at": None,
                "rev": run["rev"] + 1,
                "started_at": run["started_at"] or now,
            },
        )
        key = (run["id"], run["path"])
        newest = tx.get("step_runs", key)
        seen = newest if steps is None else steps.get(key)
        rows.append(_claimed(tx, run, new, seen, newest, now))
    return rows


def _claimable(row: Row, params: dict[str, Any]) -> bool:
    return (
        row["status"] == "PENDING"
        and row["queue"] in params["queues"]
        and row["engine_v"] <= params["engine_v"]
        and row["cancel_reason"] is None
        and (params["any_strikes"] or (row["strikes"] >= 2) == params["probation"])
    )


def _pick(tx: SimTx, found: list[Row], params: dict[str, Any]) -> list[Row]:
    """Per queue up to `limit` rows that nobody holds, all of them locked; of these the first `limit`."""
    limit = params["limit"]
    picked: list[Row] = []
    for queue in params["queues"]:
        taken = 0
        for row in found:
            if taken >= limit:
                break
            if row["queue"] != queue:
                continue
            now = tx.lock_or_skip("runs", row["id"])
            if now is not None and (now is row or _claimable(now, params)):
                picked.append(now)
                taken += 1
    picked.sort(key=lambda row: (-row["priority"], row["ready_at"], row["id"]))
    # A queue named twice offers its rows twice; an update takes each once.
    return list({row["id"]: row for row in picked[:limit]}.values())


def _claimed(tx: SimTx, old: Row, run: Row, step: Row | None, newest: Row | None, now: datetime) -> Row:
    """One answer. `step` is the StepRun in the statement's snapshot, `newest` as it is: told of and changed if they agree."""
    row: Row = dict(zip(_CLAIMED, map(run.__getitem__, _CLAIMED), strict=True))
    row["waited_s"] = seconds_since(old["ready_at"], now)
    row["waited_for"] = old["waiting_kind"]
    if step is None or newest is None or step["rev"] != newest["rev"]:
        row |= dict.fromkeys(
            ("step_status", "step_attempt", "step_first_attempt", "step_errors", "step_began"),
        )
    else:
        tx.update(
            "step_runs",
            newest,
            {"status": "RUNNING", "rev": run["rev"], "wake_at": None, "started_at": newest["started_at"] or now},
        )
        row["step_status"] = step["status"]
        row["step_attempt"] = step["attempt"]
        row["step_first_attempt"] = step["first_attempt"]
        row["step_errors"] = step["errors"]
        row["step_began"] = step["started_at"] is not None
    row["db_now"] = now
    return row


@models(_STORE, "lock_claimed")
async def lock_claimed(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Lock the run if it is RUNNING at this epoch."""
    run_id, epoch = params
    row = tx.get("runs", run_id)
    if row is None or not _owned(row, epoch):
        return []
    row = await tx.lock("runs", run_id)
    return [{"bool": True}] if row is not None and _owned(row, epoch) else []


def _owned(row: Row, epoch: int) -> bool:
    return row["status"] == "RUNNING" and row["epoch"] == epoch


@models(_STORE, "load_ancestors")
def load_ancestors(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Runs by id."""
    rows = [row for run_id in dict.fromkeys(params[0]) if (row := tx.get("runs", run_id)) is not None]
    return [{c: row[c] for c in ("id", "parent_id", "parent_path", "block", "input")} for row in rows]


@models(_STORE, "load_outputs")
def load_outputs(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """Outputs of succeeded steps."""
    run_ids, paths = params
    return [
        {"run_id": row["run_id"], "path": row["path"], "output": row["output"]}
        for run_id in dict.fromkeys(run_ids)
        for row in tx.by("step_runs", "run_id", run_id)
        if row["status"] == "SUCCEEDED" and row["path"] in paths
    ]


@models(_STORE, "checkpoint")
async def checkpoint(tx: SimTx, params: dict[str, Any]) -> Rows:
    """The fenced update of run rows; StepRuns and audit rows of those runs that it matched."""
    wanted = recordset(params["runs"])
    steps = recordset(params["steps"])
    audits = recordset(params["audits"])
    found = [(c, row) for c in wanted if (row := tx.get("runs", uid(c["id"]))) is not None and _owned(row, c["epoch"])]
    updated: dict[Any, Row] = {}
    rows: Rows = []
    for c, row in found:
        if row["id"] in updated:
            continue
        run = tx.lock_or_skip("runs", row["id"])
        if run is None:
            # PostgreSQL looks at the new row's constraints before it waits for the old one.
            tx.table("runs").checked({**row, **_checkpointed(row, c, tx.now())})
            run = await tx.lock("runs", row["id"])
        if run is None or not _owned(run, c["epoch"]):
            continue
        now = tx.now()
        new = updated[run["id"]] = tx.update("runs", run, _checkpointed(run, c, now))
        rows.append(
            {
                "id": new["id"],
                "rev": new["rev"],
                "status": new["status"],
                "cancel_reason": new["cancel_reason"],
                "duration_s": seconds_since(new["created_at"], now),
                "told": bool(params["tell"]),
            }
        )
        if params["tell"]:
            tx.notify("stanchion_runs", str(new["id"]))
    written: set[Any] = set()
    for j in steps:
        run = updated.get(uid(j["run_id"]))
        if run is not None:
            key = (run["id"], j["path"])
            if key in written:
                raise psycopg.errors.CardinalityViolation(
                    "ON CONFLICT DO UPDATE command cannot affect row a second time"
                )
            written.add(key)
            await _put_step(tx, run, j, tx.get("step_runs", key))
    for a in audits:
        if maybe_uid(a.get("run_id")) in updated:
            await tx.insert("audit_records", audit_row(a))
    return rows


def _checkpointed(run: Row, c: Row, now: datetime) -> Row:
    status, kind = c.get("status"), c.get("waiting_kind")
    woken = kind is not None and bool(run["wakes"])
    runs_on = status == "RUNNING"
    return {
        "status": "PENDING" if woken else status,
        "waiting_kind": None if woken else kind,
        "waiting_ref": None if woken else c.get("waiting_ref"),
        "waiting_since": None if kind is None else now,
        "wake_at": due(c, now),
        "ready_at": now if woken else run["ready_at"],
        "wakes": run["wakes"] if runs_on else (),
        "worker_id": run["worker_id"] if runs_on else None,
        "cursor": c.get("cursor"),
        "path": c.get("path"),
        "strikes": 0,
        "rev": run["rev"] + 1,
        "output": c.get("output"),
        "error": c.get("error"),
        "dead_reason": c.get("dead_reason"),
        "ended_at": now if status in ENDED else None,
    }


async def _put_step(tx: SimTx, run: Row, j: Row, old: Row | None) -> None:
    now = tx.now()
    given = {
        "status": j.get("status"),
        "attempt": j.get("attempt"),
        "first_attempt": 1 if j.get("first_attempt") is None else j["first_attempt"],
        "output": j.get("output"),
        "error": j.get("error"),
        "errors": j.get("errors"),
        "fan_out": j.get("fan_out"),
        "wake_at": due(j, now),
        "rev": run["rev"],
        "started_at": now if j.get("started") else None,
        "ended_at": now if j.get("ended") else None,
    }
    if old is None:
        given |= {
            "tenant": run["tenant"],
            "run_id": run["id"],
            "path": j.get("path"),
            "position": j.get("position"),
            "item_no": j.get("item_no"),
            "verb": j.get("verb"),
        }
        await tx.insert("step_runs", given)
        return
    for column in ("position", "verb", "attempt"):
        if j.get(column) is None:
            raise psycopg.errors.NotNullViolation(f'null value in column "{column}" of relation "step_runs"')
    if given["errors"] is None:
        given["errors"] = old["errors"]
    given["started_at"] = old["started_at"] or given["started_at"]
    tx.update("step_runs", old, given)


@models(_STORE, "try_session_lock")
def try_session_lock(tx: SimTx, params: tuple[Any, ...]) -> Rows:
    """pg_try_advisory_lock."""
    return [{"pg_try_advisory_lock": tx.try_advisory(params[0], session=True)}]


@models(_STORE, "register")
async def register(tx: SimTx, params: dict[str, Any]) -> int:
    """A live worker's row."""
    lease = timedelta(seconds=params["lease_s"])
    await tx.insert(
        "workers",
        {
            "id": params["worker"],
            "name": params["name"],
            "host": params["host"],
            "pid": params["pid"],
            "engine_v": params["engine_v"],
            "queues": list(params["queues"]),
            "capacity": params["capacity"],
            "lock_key": params["lock_key"],
            "state": "live",
            "lease_until": tx.now() + lease,
            "probation_of": params["probation_of"],
        },
    )
    return 1


@models(_STORE, "beat")
async def beat(tx: SimTx, params: dict[str, Any]) -> int:
    """Renew a lease."""
    if not _alive(tx.get("workers", params["worker"])):
        return 0
    me = await tx.lock("workers", params["worker"])
    if me is None or not _alive(me):
        return 0
    now = tx.now()
    renewed = {"beat_at": now, "running": params["running"], "lease_until": now + timedelta(seconds=params["lease_s"])}
    tx.update("workers", me, renewed)
    return 1


def _alive(me: Row | None) -> bool:
    return me is not None and me["state"] in ("live", "draining")


@models(_STORE, "tick")
async def tick(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Look around."""
    now = tx.now()
    me = tx.get("workers", params["worker"])
    pending = [row for row in tx.by("runs", "status", "PENDING") if row["queue"] in params["queues"]]
    row = {
        "state": None if me is None else me["state"],
        "claimable": any(
            run["engine_v"] <= params["engine_v"] and run["strikes"] < 2 and run["cancel_reason"] is None
            for run in pending
        ),
        "probation": any(
            run["waiting_kind"] == "worker_lost"
            and run["engine_v"] <= params["engine_v"]
            and run["strikes"] >= 2
            and run["cancel_reason"] is None
            for run in pending
        ),
        "due": _due(tx, params, now),
        "cancels": [
            run["id"]
            for run in tx.by("runs", "status", "RUNNING")
            if run["worker_id"] == params["worker"] and run["cancel_reason"] is not None
        ],
    }
    return [row]


def _due(tx: SimTx, params: dict[str, Any], now: datetime) -> bool:
    suspended = tx.by("runs", "status", "SUSPENDED")
    if any(run["wake_at"] is not None and run["wake_at"] <= now for run in suspended):
        return True
    if any(run["cancel_reason"] is not None for run in suspended):
        return True
    if any(run["cancel_reason"] is not None for run in tx.by("runs", "status", "PENDING")):
        return True
    workers = tx.all("workers")
    if any(w["state"] in ("stopped", "lost") and w["reclaimed_at"] is None for w in workers):
        return True
    for w in workers:
        if (
            w["state"] in ("live", "draining")
            and w["id"] != params["worker"]
            and (w["lease_until"] < now or tx.try_advisory(w["lock_key"]))
        ):
            return True
    return params["fans"] and any(unattended(tx, run) for run in suspended)


def unattended(tx: SimTx, parent: Row) -> bool:
    """Whether nobody looks after this waiting fan-out: no item at work, and one could begin or none is open."""
    if parent["status"] != "SUSPENDED" or parent["waiting_kind"] != "child":
        return False
    items = tx.by("runs", "parent_id", parent["id"])
    if any(item["status"] in ("PENDING", "RUNNING") for item in items):
        return False
    waiting = [item for item in items if item["status"] == "SUSPENDED"]
    return not waiting or any(item["waiting_kind"] == "concurrency" for item in waiting)


@models(_STORE, "set_worker_state")
async def set_worker_state(tx: SimTx, params: dict[str, Any]) -> int:
    """A worker drains or has stopped."""
    row = tx.get("workers", params["worker"])
    if row is None or row["state"] not in ("live", "draining"):
        return 0
    row = await tx.lock("workers", row["id"])
    if row is None or row["state"] not in ("live", "draining"):
        return 0
    stopped = params["state"] == "stopped"
    tx.update(
        "workers",
        row,
        {
            "state": params["state"],
            "running": 0 if stopped else row["running"],
            "ended_at": tx.now() if stopped else None,
        },
    )
    return 1


@models(_STORE, "hand_back_all")
async def hand_back_all(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Give back all runs of a worker."""
    return await _hand_back(tx, params[0], None)


@models(_STORE, "hand_back")
async def hand_back(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Give back these runs of a worker."""
    return await _hand_back(tx, params[1], set(params[0]))


async def _hand_back(tx: SimTx, worker: Any, only: set[Any] | None) -> int:
    count = 0
    for row in tx.by("runs", "status", "RUNNING"):
        if row["worker_id"] != worker or (only is not None and row["id"] not in only):
            continue
        run = await tx.lock("runs", row["id"])
        if run is None or run["status"] != "RUNNING" or run["worker_id"] != worker:
            continue
        probation = run["strikes"] > 2
        tx.update(
            "runs",
            run,
            {
                "status": "PENDING",
                "epoch": run["epoch"] + 1,
                "worker_id": None,
                "strikes": max(run["strikes"] - 1, 0),
                "rev": run["rev"] + 1,
                "waiting_kind": "worker_lost" if probation else None,
                "waiting_ref": run["queue"] if probation else None,
                "waiting_since": tx.now() if probation else None,
            },
        )
        count += 1
    return count


@models(_STORE, "confirm_crash")
async def confirm_crash(tx: SimTx, params: tuple[Any, ...]) -> int:
    """The parent's word about its probation child."""

    def open_child(row: Row) -> bool:
        return row["reclaimed_at"] is None and row["state"] in ("live", "draining", "lost")

    count = 0
    for row in tx.all("workers"):
        if row["probation_of"] == params[0] and open_child(row):
            now = await tx.lock("workers", row["id"])
            if now is not None and open_child(now):
                tx.update("workers", now, {"crashed": True})
                count += 1
    return count


@models(_STORE, "take_strikes_back")
async def take_strikes_back(tx: SimTx, params: tuple[Any, ...]) -> int:
    """Take back what the sweep left to runs whose worker only had lost the database."""
    claimed = dict(zip(*params, strict=True))

    def left(row: Row) -> bool:
        epoch = claimed[row["id"]]
        if row["status"] == "PENDING":
            return row["waiting_kind"] == "worker_lost" and row["epoch"] == epoch + 1 and row["strikes"] > 0
        return row["status"] == "RUNNING" and row["epoch"] == epoch + 2 and row["strikes"] > 1

    count = 0
    for run_id in sorted(claimed):
        row = tx.get("runs", run_id)
        if row is not None and left(row) and (run := await tx.lock("runs", run_id)) is not None and left(run):
            tx.update("runs", run, {"strikes": run["strikes"] - 1})
            count += 1
    return count
