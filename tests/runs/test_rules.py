"""Pure decisions, and that the database agrees with them."""

from __future__ import annotations

import random
import re
from datetime import UTC, datetime

import pytest

from stanchion.base import Unavailable
from stanchion.blueprints import Retry
from stanchion.db import migrations
from stanchion.runs import RunStatus, StepStatus, WaitingKind
from stanchion.runs.rules import (
    ERRORS_KEPT,
    STEP_TRANSITIONS,
    TRANSITIONS,
    FanOut,
    ItemCounts,
    error_json,
    kept_errors,
    may,
    may_retry,
    next_of_fan_out,
    retry_delay_s,
    retry_text,
    run_digest,
    step_entry,
    verdict_on_lost,
)


def check_of(table: str, column: str) -> set[str]:
    sql = "\n".join(m.sql for m in migrations())
    body = sql[sql.index(f"create table {table} (") :]
    found = re.search(rf"\b{column}\s+text[^,]*check \({column} in \(([^)]*)\)\)", body)
    assert found
    # A later migration may have put another check in its place.
    later = re.findall(rf"add constraint {table}_{column}_check check \({column} in \(([^)]*)\)\)", sql)
    return set(re.findall(r"'([^']+)'", [found.group(1), *later][-1]))


def test_the_states_are_those_of_the_check_constraints():
    assert {s.value for s in TRANSITIONS} == {s.value for s in RunStatus} == check_of("runs", "status")
    assert {s.value for s in STEP_TRANSITIONS} == {s.value for s in StepStatus} == check_of("step_runs", "status")
    assert {k.value for k in WaitingKind} == check_of("runs", "waiting_kind")


def test_transitions():
    assert may(RunStatus.PENDING, RunStatus.RUNNING)
    assert not may(RunStatus.SUCCEEDED, RunStatus.PENDING)
    assert not may(RunStatus.PENDING, RunStatus.SUCCEEDED)
    assert not may(RunStatus.SUSPENDED, RunStatus.FAILED)


def test_backoff_is_full_jitter_within_its_bound():
    rng = random.Random(1)
    policy = Retry(attempts=9, initial_s=1.0, max_s=10.0)
    for failed, bound in ((1, 1.0), (2, 2.0), (4, 8.0), (5, 10.0), (2000, 10.0)):
        delays = [retry_delay_s(policy, failed, rng) for _ in range(300)]
        assert 0 <= min(delays) < bound * 0.1
        assert bound * 0.9 < max(delays) <= bound
    constant = Retry(attempts=3, backoff="constant", initial_s=2.0)
    assert max(retry_delay_s(constant, 9, rng) for _ in range(300)) <= 2.0


@pytest.mark.parametrize(
    ("attempt", "first", "retryable", "allowed"),
    [(1, 1, True, True), (3, 1, True, False), (2, 1, False, False), (5, 4, True, True), (6, 4, True, False)],
)
def test_the_budget_of_attempts(attempt, first, retryable, allowed):
    policy = Retry(attempts=3)
    assert may_retry(policy, attempt=attempt, first_attempt=first, retryable=retryable) is allowed


@pytest.mark.parametrize(
    ("strikes", "on_probation", "parent_alive", "confirmed", "lease_over", "verdict"),
    [
        (1, False, False, False, False, "reclaim"),
        (2, False, False, False, False, "reclaim"),
        (3, False, False, False, False, "poison"),
        (3, True, True, True, False, "poison"),
        (3, True, True, False, False, "wait"),
        (3, True, True, False, True, "poison"),
        (3, True, False, False, True, "spare"),
        (2, True, True, True, True, "reclaim"),
    ],
)
def test_who_is_to_blame(strikes, on_probation, parent_alive, confirmed, lease_over, verdict):
    assert verdict == verdict_on_lost(
        strikes=strikes,
        on_probation=on_probation,
        parent_alive=parent_alive,
        confirmed=confirmed,
        lease_over=lease_over,
    )


def counts(**given) -> ItemCounts:
    return ItemCounts(**{"queued": 0, "active": 0, "waiting": 0, "succeeded": 0, "failed": 0, "cancelled": 0, **given})


@pytest.mark.parametrize(
    ("rule", "state", "release", "done"),
    [
        ({}, counts(queued=5), 3, False),
        ({}, counts(queued=5, active=2), 1, False),
        ({}, counts(queued=5, active=4), 0, False),
        ({}, counts(queued=5, waiting=9), 3, False),
        ({}, counts(succeeded=5), 0, True),
        ({}, counts(waiting=1), 0, False),
        ({}, counts(queued=5, failed=1), 0, True),
        ({}, counts(queued=5, failed=1, active=1), 0, False),
        ({}, counts(queued=5, cancelled=1), 0, True),
        ({"on_item_error": "continue"}, counts(queued=5, failed=4), 3, False),
        ({"on_item_error": "continue", "max_failures": 3}, counts(queued=5, failed=4), 0, True),
        ({"on_item_error": "continue", "max_failures": 4}, counts(queued=5, failed=4), 3, False),
    ],
)
def test_how_a_fan_out_goes_on(rule, state, release, done):
    fan_out = FanOut(**{"total": 9, "concurrency": 3, "on_item_error": "stop", "max_failures": None, **rule})
    step = next_of_fan_out(fan_out, state)
    assert (step.release, step.done) == (release, done)


def test_errors_are_bounded_and_without_fields():
    problem = Unavailable("a.b", "m" * 9000, hint="h", line=7, secret="s")
    error = error_json(problem, step="x")
    assert error == {"code": "a.b", "message": "m" * 4000, "hint": "h", "step": "x", "line": 7}
    errors = None
    for attempt in range(1, 40):
        errors = kept_errors(errors, error, attempt)
    assert len(errors) == ERRORS_KEPT
    assert errors[-1]["attempt"] == 39


def test_the_digest_tells_every_difference():
    base = ["a", "transform", "SUCCEEDED", 1, b"1", None]
    others = [
        ["b", "transform", "SUCCEEDED", 1, b"1", None],
        ["a", "probe", "SUCCEEDED", 1, b"1", None],
        ["a", "transform", "FAILED", 1, None, "x"],
        ["a", "transform", "SUCCEEDED", 2, b"1", None],
        ["a", "transform", "SUCCEEDED", 1, b"2", None],
    ]
    digests = {run_digest([step_entry(*entry)]) for entry in [base, *others]}
    assert len(digests) == 6
    two = [step_entry(*base), step_entry(*others[0])]
    assert run_digest(two) != run_digest(reversed(two))


def test_the_text_of_a_retry_is_one_short_sentence():
    until = datetime(2026, 11, 22, 12, 0, 5, tzinfo=UTC)
    error = {"code": "http.status", "message": "It answered 503."}
    said = retry_text(path="a/b[2]", attempt=3, error=error, until=until)
    assert (
        said == "Step a/b[2] is tried again at 2026-11-22 12:00:05 UTC, attempt 3, after http.status (It answered 503)."
    )
    said = retry_text(path="a", attempt=2, error={"code": "x.y", "message": "long " * 200}, until=None)
    assert said.startswith("Step a is tried again, attempt 2, after x.y (long ")
    assert said.endswith("…).")
    assert len(said) < 260
