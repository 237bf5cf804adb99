"""Where looks for runs go on, and what a guard sees of what was counted."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from stanchion.base import SystemIds
from stanchion.releases.guarding import rules
from stanchion.releases.guarding.types import EndedRun, Measured, Scan
from stanchion.releases.watching import Arm, parse_guards
from tests.approvals.support import FrozenClock

AT = datetime(2026, 11, 18, 9, tzinfo=UTC)
RUN = EndedRun(
    id=UUID(int=1), arm=Arm.STABLE, is_cancelled=False, failed=True, denied=False, overridden=True, latency_ms=12.5, at=AT
)  # fmt: skip


def ids(*seconds: float) -> list[UUID]:
    clock = FrozenClock()
    made = []
    for after in seconds:
        clock.at = AT + timedelta(seconds=after)
        made.append(SystemIds(clock).new())
    return made


def test_before_is_by_the_time_of_an_id() -> None:
    early, middle, late = ids(0, 2.999, 6)
    assert early < rules.before(late, 3_001) <= middle < rules.before(late, 3_000) < late
    assert rules.before(UUID(int=5), 1000) == UUID(int=0)


def test_the_look_at_new_runs_stays_a_little_behind_and_never_goes_back() -> None:
    start, near, far = ids(0, 1, 10)
    assert rules.fresh_after(start, Scan(passed=0, last_id=None), 5) == start
    # A run whose id is up to three seconds older may still be committed.
    assert rules.fresh_after(start, Scan(passed=4, last_id=far), 5) == rules.before(far, 3_000)
    assert rules.fresh_after(start, Scan(passed=4, last_id=near), 5) == start
    # There is more than one look takes: it goes on where it stopped, or it would stay there for ever.
    assert rules.fresh_after(start, Scan(passed=5, last_id=near), 5) == near


def test_the_patrol_goes_round() -> None:
    (last,) = ids(1)
    assert rules.patrol_after(Scan(passed=5, last_id=last), 5) == last
    assert rules.patrol_after(Scan(passed=4, last_id=last), 5) is None
    assert rules.patrol_after(Scan(passed=0, last_id=None), 5) is None


def guard(**fields):
    return parse_guards({"guards": [fields]}).guards[0]


@pytest.mark.parametrize(
    ("metric", "value"), [("error_rate", 1.0), ("denial_rate", 0.0), ("override_rate", 1.0), ("latency_ms", 12.5)]
)
def test_what_the_runtime_measures(metric: str, value: float) -> None:
    more = {"limit": 100} if metric == "latency_ms" else {}
    cancelled = replace(RUN, is_cancelled=True)
    (seen,) = rules.observations(guard(metric=metric, **more), [RUN, cancelled], [])
    assert (seen.arm, seen.value, seen.at) == (Arm.STABLE, value, AT)


def test_a_run_that_was_never_claimed_has_no_latency() -> None:
    run = replace(RUN, latency_ms=None)
    assert rules.observations(guard(metric="latency_ms", limit=5), [run], []) == []
    assert len(rules.observations(guard(metric="error_rate"), [run], [])) == 1


def test_they_are_seen_in_the_order_of_their_ends() -> None:
    runs = [replace(RUN, at=AT + timedelta(seconds=n), failed=n == 2) for n in (3, 1, 2)]
    assert [seen.value for seen in rules.observations(guard(metric="error_rate"), runs, [])] == [0.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("fields", "fitting", "odd"),
    [
        ({"kind": "rate"}, [0.0, 1.0], [0.5, 2.0, -1.0]),
        ({"kind": "score"}, [0.0, 0.5, 1.0], [1.01, -0.1]),
        ({"kind": "exceedance", "limit": 3}, [0.0, 1e9], [-0.1]),
    ],
)
def test_values_that_do_not_fit_do_not_count(fields, fitting, odd) -> None:
    one = guard(metric="cost", **fields)
    reported = [
        Measured(run_id=UUID(int=n), metric=metric, arm=Arm.CANDIDATE, value=value, at=AT + timedelta(seconds=n))
        for n, (metric, value) in enumerate([("cost", v) for v in (*fitting, *odd)] + [("other", 1.0)])
    ]
    assert [seen.value for seen in rules.observations(one, [RUN], reported)] == fitting
