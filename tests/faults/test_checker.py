"""The checker finds what it is for: each anomaly, planted into a good outcome, is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.faults.checker import Received, check
from tests.faults.load import LIMIT, Notes
from tests.faults.scene import Scene

Plant = Callable[[Notes, list[Received]], None]


def twice(_notes: Notes, received: list[Received]) -> None:
    received.append(received[0])


def never(_notes: Notes, received: list[Received]) -> None:
    del received[0]


def another_amount(_notes: Notes, received: list[Received]) -> None:
    received[0] = replace(received[0], amount=received[0].amount + 1)


def before_the_decision(notes: Notes, received: list[Received]) -> None:
    at = next(n for n, write in enumerate(received) if write.amount > LIMIT)
    received[at] = replace(received[at], at=notes.decided[received[at].posting][1] - 0.001)


def against_the_decision(notes: Notes, received: list[Received]) -> None:
    gated = next(write for write in received if write.amount > LIMIT)
    notes.decided[gated.posting] = ("reject", gated.at - 1)


def an_intrusion_let_in(notes: Notes, _received: list[Received]) -> None:
    notes.intrusions[200] += 1


def a_run_nobody_has(notes: Notes, _received: list[Received]) -> None:
    notes.sent += 1
    notes.accepted["p-000001000"] = "00000000-0000-7000-8000-000000000000"


def a_run_nobody_asked_for(notes: Notes, _received: list[Received]) -> None:
    notes.accepted.popitem()
    notes.sent -= 1


def a_write_without_record(_notes: Notes, received: list[Received]) -> None:
    received[0] = replace(received[0], key="eff_unknown")


MEMORY: list[Plant] = [
    twice, never, another_amount, before_the_decision, against_the_decision, an_intrusion_let_in, a_run_nobody_has,
    a_run_nobody_asked_for, a_write_without_record,
]  # fmt: skip
TABLES = {
    "an attempt without its record": "delete from audit_records where event_type = 'effect.attempted' and id in (select id from audit_records where event_type = 'effect.attempted' limit 1)",
    "an outcome without its record": "delete from audit_records where event_type = 'effect.completed' and id in (select id from audit_records where event_type = 'effect.completed' limit 1)",
    "an end without its record": "delete from audit_records where event_type = 'run.ended' and id in (select id from audit_records where event_type = 'run.ended' limit 1)",
    "a decision by another": "update approvals set decided_by = 'analyst' where id = (select min(id::text)::uuid from approvals where status = 'APPROVED')",
    "a run that hangs": "update runs set status = 'PENDING' where id = (select min(id::text)::uuid from runs)",
    "an effect that is open": "update effects set state = 'UNKNOWN' where id = (select min(id::text)::uuid from effects)",
}


async def passes(scene: Scene, received: list[Received]) -> bool:
    try:
        await check(scene.query, scene.notes, received)
    except AssertionError:
        return False
    return True


async def test_every_planted_anomaly_is_found(scene: Scene) -> None:
    async with scene.playing(workers=1):
        await scene.flowing(runs=20)
        await scene.settle()
        good = scene.received()
        for plant in MEMORY:
            notes, received = copy.deepcopy(scene.notes), list(good)
            plant(notes, received)
            with pytest.raises((AssertionError, KeyError)):
                await check(scene.query, notes, received)
        for name, sql in TABLES.items():
            async with scene.changed(sql):
                found = not await passes(scene, good)
            assert found, name
        await check(scene.query, scene.notes, good)
