"""The tables of schema.sql that the engine's statements touch: columns, defaults, constraints, walls, grants.

Rows are dicts and never changed in place: a write makes a new dict. JSON values inside are shared, immutable by
convention. Left out on purpose: columns' integer ranges, the order of keys of jsonb, tables that only releases,
artifacts and sign-in use.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import Any, Final

import psycopg

Row = dict[str, Any]
NOW: Final = object()
# Looked for among identities: comparing values with None asks each UUID.
_NONE: Final = id(None)

_RUN: Final = frozenset({"PENDING", "RUNNING", "SUSPENDED", "SUCCEEDED", "FAILED", "CANCELLED"})
_STEP: Final = frozenset({"PENDING", "RUNNING", "SUCCEEDED", "FAILED", "SKIPPED", "SUSPENDED", "UNKNOWN"})
_WAITING: Final = frozenset(
    {"approval", "child", "retry", "concurrency", "effect", "worker", "worker_lost", "killed", None}
)
_APPROVAL: Final = frozenset({"PENDING", "APPROVED", "REJECTED", "EXPIRED", "CANCELLED"})
_WORKER: Final = frozenset({"live", "draining", "stopped", "lost"})
_EFFECT: Final = frozenset({"INTENT", "DONE", "FAILED", "UNKNOWN"})


def _run_check(row: Row) -> str | None:
    if row["status"] not in _RUN:
        return "runs_status_check"
    if row["waiting_kind"] not in _WAITING:
        return "runs_waiting_kind_check"
    if row["status"] == "SUSPENDED" and row["waiting_kind"] is None:
        return "runs_check"
    if (row["parent_id"] is None) != (row["item_no"] is None):
        return "runs_check1"
    return None


def _step_check(row: Row) -> str | None:
    return None if row["status"] in _STEP else "step_runs_status_check"


def _approval_check(row: Row) -> str | None:
    return None if row["status"] in _APPROVAL else "approvals_status_check"


def _worker_check(row: Row) -> str | None:
    return None if row["state"] in _WORKER else "workers_state_check"


def _effect_check(row: Row) -> str | None:
    if row["class"] not in ("write", "destructive"):
        return "effects_class_check"
    if row["idempotency"] not in ("key", "natural", "probe", "none"):
        return "effects_idempotency_check"
    return None if row["state"] in _EFFECT else "effects_state_check"


def _key_check(row: Row) -> str | None:
    return None if 1 <= len(row["key"]) <= 255 else "idempotency_keys_key_check"


@dataclass(slots=True, kw_only=True)
class Table:
    """One table: its definition, its committed rows by primary key, and its hash indexes.

    Attributes:
        required: NOT NULL columns without a default. `defaults`: the others; NOW stands for clock_timestamp().
        unique: further unique keys, by constraint name; a key with a None is not checked.
        indexes: column -> value -> the rows with it by key, in the order in which they came to it.
        wall: the column that row-level security compares with the tenant of a transaction of role app; empty for none.
        app, engine: the grants, of the letters S I U D.
    """

    name: str
    key: tuple[str, ...]
    required: tuple[str, ...]
    defaults: Row
    not_null: tuple[str, ...] = ()
    check: Callable[[Row], str | None] | None = None
    unique: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    indexed: tuple[str, ...] = ()
    wall: str = "tenant"
    app: str = "SIU"
    engine: str = "SIU"
    pkey: str = ""
    rows: dict[Hashable, Row] = field(default_factory=dict[Hashable, Row])
    indexes: dict[str, dict[Any, dict[Hashable, Row]]] = field(
        default_factory=dict[str, dict[Any, dict[Hashable, Row]]]
    )
    taken: dict[str, dict[Hashable, Hashable]] = field(default_factory=dict[str, dict[Hashable, Hashable]])
    clocked: tuple[str, ...] = ()
    filled: Row = field(default_factory=dict[str, Any])
    # The primary key: the column's value, or the tuple of the columns' values.
    key_of: Callable[[Row], Hashable] = field(init=False)
    _never_null: Callable[[Row], tuple[Any, ...]] = field(init=False)

    def __post_init__(self) -> None:
        self.pkey = self.pkey or f"{self.name}_pkey"
        self.indexes = {column: {} for column in self.indexed}
        self.taken = {name: {} for name in self.unique}
        self.clocked = tuple(column for column, value in self.defaults.items() if value is NOW)
        self.not_null = (*self.required, *self.not_null, *self.clocked)
        self.filled = {**dict.fromkeys(self.required), **self.defaults}
        self.key_of = itemgetter(*self.key)
        self._never_null = itemgetter(*self.not_null)

    def unique_key(self, name: str, row: Row) -> Hashable | None:
        """The row's value of the unique constraint `name`, or None if it has a null in it."""
        values: list[Any] = []
        for column in self.unique[name]:
            value = row[column]
            if value is None:
                return None
            values.append(value)
        return tuple(values)

    def made(self, given: Row, now: datetime) -> Row:
        """A new row with its defaults. Raises NotNullViolation, CheckViolation."""
        row = self.filled.copy()
        for column in self.clocked:
            row[column] = now
        row.update(given)
        if len(row) != len(self.filled):
            raise psycopg.errors.UndefinedColumn(f"table {self.name} has no column {sorted(row.keys() - self.filled)}")
        if _NONE in map(id, self._never_null(row)):
            column = next(column for column in self.not_null if row[column] is None)
            raise psycopg.errors.NotNullViolation(
                f'null value in column "{column}" of relation "{self.name}" violates not-null constraint'
            )
        self.checked(row)
        return row

    def checked(self, row: Row) -> None:
        """Raises CheckViolation if a CHECK constraint does not hold."""
        if self.check is not None and (broken := self.check(row)) is not None:
            raise psycopg.errors.CheckViolation(
                f'new row for relation "{self.name}" violates check constraint "{broken}"'
            )

    @staticmethod
    def _unlist(index: dict[Any, dict[Hashable, Row]], value: Any, key: Hashable) -> None:
        bucket = index[value]
        del bucket[key]
        if not bucket:
            del index[value]

    def put(self, key: Hashable, row: Row | None) -> Row | None:
        """Apply a committed write; return the row it replaces."""
        old = self.rows.get(key)
        if row is None:
            if old is not None:
                self._remove(key, old)
            return old
        self.rows[key] = row
        for column, index in self.indexes.items():
            after = row[column]
            if old is not None:
                before = old[column]
                if before is not after and before != after:
                    self._unlist(index, before, key)
            bucket = index.get(after)
            if bucket is None:
                bucket = index[after] = {}
            bucket[key] = row
        if old is None:
            for name, taken in self.taken.items():
                if (value := self.unique_key(name, row)) is not None:
                    taken[value] = key
        return old

    def _remove(self, key: Hashable, old: Row) -> None:
        for column, index in self.indexes.items():
            self._unlist(index, old[column], key)
        for name, taken in self.taken.items():
            if (value := self.unique_key(name, old)) is not None:
                del taken[value]
        del self.rows[key]


def new_tables() -> dict[str, Table]:
    """Fresh, empty tables."""
    tables = [
        Table(
            name="tenants", key=("name",), required=("name", "display_name"), defaults={"created_at": NOW}, wall="name"
        ),
        Table(
            name="principals",
            key=("id",),
            required=("tenant", "id", "kind", "name", "display_name", "roles"),
            defaults={"created_at": NOW, "disabled_at": None},
            unique={"principals_tenant_name_key": ("tenant", "name")},
            engine="S",
        ),
        _runs(),
        Table(
            name="step_runs",
            key=("run_id", "path"),
            required=("tenant", "run_id", "path", "position", "verb", "status", "rev"),
            defaults={
                "item_no": None,
                "attempt": 1,
                "first_attempt": 1,
                **dict.fromkeys(("output", "error", "errors", "fan_out", "wake_at", "started_at", "ended_at")),
            },
            not_null=("attempt", "first_attempt"),
            check=_step_check,
            indexed=("run_id",),
        ),
        Table(
            name="workers",
            key=("id",),
            required=(
                *("id", "name", "host", "pid", "engine_v", "queues", "capacity", "lock_key", "state"),
                "lease_until",
            ),
            defaults={
                "running": 0,
                "started_at": NOW,
                "beat_at": NOW,
                "ended_at": None,
                "probation_of": None,
                "crashed": False,
                "reclaimed_at": None,
            },
            check=_worker_check,
            unique={"workers_lock_key_key": ("lock_key",)},
            wall="",
            app="S",
        ),
        _approvals(),
        _effects(),
        Table(
            name="audit_records",
            key=("id",),
            required=("tenant", "id", "event_type", "actor", "target_kind", "target_id", "record", "leaf"),
            defaults={"recorded_at": NOW, "run_id": None},
            app="SI",
            engine="SI",
        ),
        Table(
            name="pin_sets",
            key=("tenant", "digest"),
            required=("tenant", "digest", "pins"),
            defaults={"created_at": NOW},
            app="SI",
            engine="SI",
        ),
        Table(
            name="idempotency_keys",
            key=("tenant", "key"),
            required=("tenant", "key", "request_digest", "run_id"),
            defaults={"created_at": NOW},
            check=_key_check,
            app="SI",
            engine="SID",
        ),
    ]
    return {table.name: table for table in tables}


def _runs() -> Table:
    nullable = (
        *("waiting_kind", "waiting_ref", "waiting_since", "wake_at", "worker_id", "output", "error", "dead_reason"),
        *("discarded_at", "cancel_reason", "traceparent", "parent_id", "parent_path", "item_no", "started_at"),
        "ended_at",
    )
    return Table(
        name="runs",
        key=("id",),
        required=(
            *("tenant", "id", "blueprint", "version", "pins", "environment", "engine_v", "status"),
            *("requested_by", "root_id"),
        ),
        defaults={
            **dict.fromkeys(nullable),
            "input": None,  # never SQL's null, but the JSON value null
            "queue": "default",
            "priority": 0,
            "wakes": (),
            "cursor": 0,
            "path": "",
            "epoch": 0,
            "attempt": 1,
            "strikes": 0,
            "rev": 1,
            "block": "",
            "created_at": NOW,
            "ready_at": NOW,
        },
        not_null=("queue", "priority", "cursor", "path", "epoch", "attempt", "strikes", "rev", "block"),
        check=_run_check,
        unique={"runs_items": ("parent_id", "parent_path", "item_no")},
        indexed=("status", "parent_id"),
    )


def _approvals() -> Table:
    return Table(
        name="approvals",
        key=("id",),
        required=(
            *("tenant", "id", "run_id", "root_id", "path", "attempt", "blueprint", "policy", "policy_digest"),
            *("requested_by", "title", "args_digest", "bound", "nonce", "forbid_self"),
            *("on_reject", "on_expire", "status", "expires_at"),
        ),
        defaults={
            **dict.fromkeys(("facts", "shown", "may_decide")),  # never SQL's null, perhaps the JSON value null
            **dict.fromkeys(("decided_by", "decided_at", "reason")),
            "created_at": NOW,
        },
        check=_approval_check,
        unique={"approvals_run_id_path_attempt_key": ("run_id", "path", "attempt")},
        indexed=("run_id", "status"),
    )


def _effects() -> Table:
    return Table(
        name="effects",
        key=("id",),
        required=(
            *("tenant", "id", "run_id", "path", "key", "connector", "connector_digest", "operation", "class"),
            *("idempotency", "args_digest", "state", "epoch"),
        ),
        defaults={
            **dict.fromkeys(("receipt", "error", "resolved_by", "evidence", "outcome_at")),
            "intent_at": NOW,
            "attempts": 1,
        },
        check=_effect_check,
        unique={"effects_run_id_path_key": ("run_id", "path"), "effects_tenant_key_key": ("tenant", "key")},
        indexed=("run_id",),
    )
