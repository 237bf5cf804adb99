"""Drift of the engine's SQL, planted: the text of a statement is altered on its way to PostgreSQL."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import psycopg

from tests.simulation.contract import scenarios_claims as claims
from tests.simulation.contract import scenarios_fanout as fanout
from tests.simulation.contract import scenarios_sessions as sessions
from tests.simulation.contract.arranged import Arranged

Scenario = Callable[[Arranged], Awaitable[None]]


@dataclass
class SqlMutant:
    """In every query that has `marks` in it, `old` becomes `new`. `seen_by` is the scenario that must fail of it, None if
    it is for the random sequences to see. `altered` counts the queries it changed."""

    name: str
    marks: str
    old: str
    new: str
    seen_by: Scenario | None = None
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
                self.altered += text != query
                query = text
            return await execute(cursor, query, params, **more)

        class Nobody:
            """Of whom no connection is: every statement goes through a cursor."""

        with (
            mock.patch.object(psycopg.AsyncCursor, "execute", altered),
            mock.patch.object(sys.modules["stanchion.db.direct"], "Session", Nobody),
        ):
            yield


_CHECKPOINT = "r.epoch = c.epoch and r.status || '' = 'RUNNING'"
_CLAIM = "cross join lateral"
_START = "insert into idempotency_keys"
_OWNED = "with parent as materialized"

MUTANTS = (
    SqlMutant(
        "a checkpoint does not look at the epoch",
        _CHECKPOINT,
        " and r.epoch = c.epoch",
        "",
    ),
    SqlMutant(
        "a checkpoint writes a run that is not RUNNING",
        _CHECKPOINT,
        " and r.status || '' = 'RUNNING'",
        "",
        claims.a_checkpoint_of_an_older_epoch_writes_nothing,
    ),
    SqlMutant(
        "a suspension does not look at its wake-ups",
        _CHECKPOINT,
        "r.wakes <> '{}'",
        "false",
        claims.a_wake_of_a_running_run_is_noted_and_its_suspension_does_not_wait,
    ),
    SqlMutant("a checkpoint leaves the strikes", _CHECKPOINT, "strikes = 0, ", ""),
    SqlMutant(
        "a claim waits for runs that another claims",
        _CLAIM,
        "for update skip locked",
        "for update",
        claims.claims_skip_what_another_claims,
    ),
    SqlMutant(
        "a claim does not lock its worker",
        _CLAIM,
        "state = 'live' for share",
        "state = 'live'",
        claims.a_claim_and_the_verdict_on_its_worker_exclude_each_other,
    ),
    SqlMutant(
        "a claim keeps its worker to itself",
        _CLAIM,
        "state = 'live' for share",
        "state = 'live' for update",
        claims.two_claims_of_one_worker_share_its_row,
    ),
    SqlMutant(
        "a claim tells of a step that changed while it waited",
        _CLAIM,
        " and old.rev = s.rev",
        "",
        claims.a_claim_that_waited_tells_nothing_of_a_step_that_changed,
    ),
    SqlMutant("a claim takes cancelled runs", _CLAIM, "and cancel_reason is null", ""),
    SqlMutant("a claim adds no strike", _CLAIM, "strikes = r.strikes + 1", "strikes = r.strikes"),
    SqlMutant(
        "a claim takes the newest first",
        _CLAIM,
        "order by priority desc, ready_at, id",
        "order by priority desc, ready_at desc, id",
        claims.claims_go_by_priority_then_age,
    ),
    SqlMutant(
        "a reclaim leaves the epoch", "waiting_kind = 'worker_lost', waiting_ref = queue", "epoch = epoch + 1,", ""
    ),
    SqlMutant(
        "a hand-back leaves the epoch",
        "id = any(%s) and worker_id",
        "epoch = epoch + 1,",
        "",
        claims.hand_backs_take_the_strike_and_raise_the_epoch,
    ),
    SqlMutant(
        "the hold of a claim locks nothing",
        "c.epoch = r.epoch",
        "for share of r",
        "",
        claims.holds_share_and_keep_others_out,
    ),
    SqlMutant("the hold of a claim is not fenced", "c.epoch = r.epoch", " and c.epoch = r.epoch", ""),
    SqlMutant(
        "a wake-up of a RUNNING run is not noted",
        "array_append",
        "when status = 'RUNNING' then array_append",
        "when false then array_append",
    ),
    SqlMutant(
        "a wake tells nobody",
        "array_append",
        "pg_notify('stanchion_ready', u.queue)",
        "u.queue",
        claims.a_wake_tells_at_its_commit_and_only_then,
    ),
    SqlMutant(
        "a repeated start fails",
        _START,
        "on conflict (id) do nothing returning id",
        "returning id",
        sessions.a_repeated_start_changes_nothing,
    ),
    SqlMutant(
        "a taken key starts a run",
        _START,
        "where key is null or id in (select run_id from k)",
        "",
        sessions.a_key_starts_one_run,
    ),
    SqlMutant(
        "the sweep waits for locked runs",
        "as lease_over",
        "for update of r skip locked",
        "for update of r",
        sessions.stranded_runs_are_taken_by_one,
    ),
    SqlMutant(
        "the sweep judges a worker amid a claim",
        "case when lease_until < clock_timestamp()",
        "for update skip locked",
        "",
        claims.a_claim_and_the_verdict_on_its_worker_exclude_each_other,
    ),
    SqlMutant(
        "a dead session is not seen",
        "case when lease_until < clock_timestamp()",
        " or pg_try_advisory_xact_lock(lock_key)",
        "",
        sessions.a_session_lock_ends_with_its_session,
    ),
    SqlMutant(
        "cancelled runs are woken",
        "with due as materialized",
        " and cancel_reason is null",
        "",
        sessions.due_runs_wake_in_the_order_of_their_time,
    ),
    SqlMutant("items are inserted by a lost claim", _OWNED, " and epoch = %(epoch)s", " and %(epoch)s >= 0"),
    SqlMutant(
        "items are inserted while the parent is reclaimed",
        _OWNED,
        "status = 'RUNNING' for share",
        "status = 'RUNNING'",
        fanout.items_are_inserted_by_the_claim_that_owns_the_parent,
    ),
    SqlMutant(
        "two advances of a fan-out at once",
        "s.fan_out is not null",
        "for update of r",
        "",
        fanout.advances_of_one_fan_out_follow_one_another,
    ),
    SqlMutant(
        "items are released from the end",
        "is not distinct from %s and status = 'SUSPENDED'",
        "order by item_no limit",
        "order by item_no desc limit",
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
        sessions.an_approval_is_settled_once,
    ),
    SqlMutant(
        "an approval of an earlier attempt counts",
        "with recursive chain",
        " and attempt = s.attempt",
        "",
        sessions.an_approval_counts_for_its_attempt,
    ),
    SqlMutant(
        "an ended run's step of unknown outcome stays open",
        "with e as materialized",
        "'SUSPENDED', 'UNKNOWN')",
        "'SUSPENDED')",
        claims.ended_runs_close_their_steps,
    ),
    SqlMutant("a new attempt keeps the old budget", "as item from runs", "first_attempt = s.attempt + 1, ", ""),
)
