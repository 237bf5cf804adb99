"""Drift of the engine's SQL, planted: the text of a statement is altered on its way to PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import psycopg


@dataclass
class SqlMutant:
    """In every query that has `marks` in it, `old` becomes `new`. `altered` counts the queries it changed."""

    name: str
    marks: str
    old: str
    new: str
    altered: int = field(default=0)

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Within the block PostgreSQL gets the altered text; the model knows nothing of it."""
        execute = psycopg.AsyncCursor.execute
        known: dict[str, str] = {}

        async def altered(cursor: Any, query: Any, params: Any = None, **more: Any) -> Any:
            if isinstance(query, str):
                text = known.get(query)
                if text is None:
                    text = known[query] = query.replace(self.old, self.new) if self.marks in query else query
                if text is not query and text != query:
                    self.altered += 1
                query = text
            return await execute(cursor, query, params, **more)

        with mock.patch.object(psycopg.AsyncCursor, "execute", altered):
            yield


_CHECKPOINT = "cancel_reason, duration_s, told"
_CLAIM = "cross join lateral"

MUTANTS = (
    SqlMutant("checkpoint without the epoch", _CHECKPOINT, " and r.epoch = c.epoch", ""),
    SqlMutant("checkpoint of a run that is not RUNNING", _CHECKPOINT, " and r.status = 'RUNNING'", ""),
    SqlMutant("a suspension does not look at its wake-ups", _CHECKPOINT, "r.wakes <> '{}'", "false"),
    SqlMutant("a checkpoint leaves the strikes", _CHECKPOINT, "strikes = 0, ", ""),
    SqlMutant("claim waits for locked runs", _CLAIM, "for update skip locked", "for update"),
    SqlMutant("claim does not lock its worker", _CLAIM, "state = 'live' for share", "state = 'live'"),
    SqlMutant("claim takes cancelled runs", _CLAIM, "and cancel_reason is null", ""),
    SqlMutant("claim adds no strike", _CLAIM, "strikes = r.strikes + 1", "strikes = r.strikes"),
    SqlMutant(
        "claim takes the newest first", _CLAIM, "order by priority desc, ready_at, id", "order by ready_at desc, id"
    ),
    SqlMutant(
        "a reclaim leaves the epoch", "waiting_kind = 'worker_lost', waiting_ref = queue", "epoch = epoch + 1,", ""
    ),
    SqlMutant("a hand-back leaves the epoch", "id = any(%s) and worker_id", "epoch = epoch + 1,", ""),
    SqlMutant("the hold of a claim locks nothing", "c.epoch = r.epoch", "for share of r", ""),
    SqlMutant("the hold of a claim is not fenced", "c.epoch = r.epoch", " and c.epoch = r.epoch", ""),
    SqlMutant(
        "a wake-up of a RUNNING run is not noted",
        "array_append",
        "when status = 'RUNNING' then array_append",
        "when false then array_append",
    ),
    SqlMutant("a wake tells nobody", "array_append", "pg_notify('stanchion_ready', u.queue)", "u.queue"),
    SqlMutant(
        "a repeated start fails",
        "insert into idempotency_keys",
        "on conflict (id) do nothing returning id",
        "returning id",
    ),
    SqlMutant(
        "a taken key starts a run",
        "insert into idempotency_keys",
        "where key is null or id in (select run_id from k)",
        "",
    ),
    SqlMutant("the sweep waits for locked runs", "as lease_over", "for update of r skip locked", "for update of r"),
    SqlMutant(
        "a dead session is not seen",
        "case when lease_until < clock_timestamp()",
        " or pg_try_advisory_xact_lock(lock_key)",
        "",
    ),
    SqlMutant("due runs are woken though cancelled", "with due as materialized", " and cancel_reason is null", ""),
    SqlMutant(
        "items are inserted by a lost claim",
        "with parent as materialized",
        " and epoch = %(epoch)s",
        " and %(epoch)s >= 0",
    ),
    SqlMutant(
        "items are released from the end",
        "is not distinct from %s and status = 'SUSPENDED'",
        "order by item_no limit",
        "order by item_no desc limit",
    ),
    SqlMutant(
        "a fan-out counts items of no place as queued",
        "with active as materialized",
        "and waiting_kind = 'concurrency'",
        "",
    ),
    SqlMutant(
        "a cancel stops at the first level",
        "set cancel_reason = %(reason)s, rev",
        "join tree on c.parent_id = tree.id",
        "join tree on c.parent_id = tree.id and false",
    ),
    SqlMutant(
        "a decision about other arguments counts",
        "update approvals set status",
        " and args_digest = %(args_digest)s",
        "",
    ),
    SqlMutant("an approval of an earlier attempt counts", "with recursive chain", " and a.attempt = s.attempt", ""),
    SqlMutant("an ended run's steps stay open", "with e as materialized", "'SUSPENDED', 'UNKNOWN')", "'SUSPENDED')"),
    SqlMutant("a retry keeps the attempt's budget", "as item from runs", "first_attempt = s.attempt + 1, ", ""),
)
