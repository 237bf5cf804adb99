"""Parameters as PostgreSQL takes them: JSON recordsets, and the types of their columns."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg.types.json import Jsonb

from tests.simulation.store.tables import Row

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


@lru_cache(maxsize=1 << 16)
def uid(text: str) -> UUID:
    """A uuid column of a recordset."""
    return UUID(text)


def maybe_uid(text: str | None) -> UUID | None:
    """A uuid column that may be null."""
    return None if text is None else uid(text)


def moment(text: str | None) -> datetime | None:
    """A timestamptz column of a recordset."""
    return None if text is None else datetime.fromisoformat(text)


def due(row: Row, now: datetime) -> datetime | None:
    """coalesce(wake_at, clock_timestamp() + delay_s seconds)."""
    wake_at = row.get("wake_at")
    if wake_at is not None:
        return moment(wake_at)
    delay_s = row.get("delay_s")
    return None if delay_s is None else now + timedelta(seconds=delay_s)


def recordset(text: str) -> list[Row]:
    """json_to_recordset: objects, of which missing fields are null. Raises UntranslatableCharacter for U+0000."""
    if "\\u0000" in text and _NUL.search(text):
        raise psycopg.errors.UntranslatableCharacter("unsupported Unicode escape sequence")
    return orjson.loads(text)


def stored(value: Any) -> Any:
    """A jsonb parameter as it is stored: nothing of the caller's objects is kept."""
    if isinstance(value, Jsonb):
        text = orjson.dumps(value.obj).decode()
        if "\\u0000" in text and _NUL.search(text):
            raise psycopg.errors.UntranslatableCharacter("unsupported Unicode escape sequence")
        return orjson.loads(text)
    return value


def seconds_since(then: datetime, now: datetime) -> float:
    """extract(epoch from now - then)::float8."""
    return (now - then).total_seconds()


def audit_row(row: Row) -> Row:
    """One audit row of a recordset, `leaf` decoded from hex."""
    return {
        "tenant": row.get("tenant"),
        "id": maybe_uid(row.get("id")),
        "recorded_at": moment(row.get("recorded_at")),
        "event_type": row.get("event_type"),
        "actor": row.get("actor"),
        "target_kind": row.get("target_kind"),
        "target_id": row.get("target_id"),
        "run_id": maybe_uid(row.get("run_id")),
        "record": row.get("record"),
        "leaf": None if row.get("leaf") is None else bytes.fromhex(row["leaf"]),
    }
