"""Defects of ours and of handlers: they are reported and end one run or one session, never the worker."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.runs import fanout, retry
from stanchion.runs.engine import execution, store
from stanchion.runs.engine import worker as workers
from stanchion.runs.rules import digest_of_steps
from stanchion.runs.store import load_steps
from tests.runs.test_fan_out import over_block
from tests.runs.test_flow import HEAD, one_probe


@pytest.fixture
def defects(world, monkeypatch) -> list[dict]:
    """What was reported as `defect`."""
    found: list[dict] = []
    emit = world.env.telemetry.emit

    def listening(event, value=1.0, /, *labels, **facts):
        if event == "defect":
            found.append(facts)
        emit(event, value, *labels, **facts)

    monkeypatch.setattr(world.env.telemetry, "emit", listening)
    return found


@pytest.fixture
def no_pause(monkeypatch):
    monkeypatch.setattr(workers, "_RECONNECT_S", (0.0,))


async def failed_well(world, run_id, path: str, code: str) -> dict:
    """The run has failed at `path`, with every step in a final state and an end record that says so."""
    run = await world.ended(run_id)
    assert (run["status"], run["error"]["code"], run["error"]["step"]) == ("FAILED", code, path)
    steps = await world.steps(run_id)
    assert {step["status"] for step in steps.values()} <= {"SUCCEEDED", "FAILED"}
    async with world.env.db.connection("engine") as tx:
        digest = digest_of_steps(await load_steps(tx, [run_id]))
    [end] = await world.rows(
        "select record::jsonb ->> 'after' as digest from audit_records where run_id = %s and event_type = 'run.ended'",
        run_id,
    )
    assert end["digest"] == digest
    return run


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, asyncio.CancelledError, RecursionError])
async def test_whatever_a_handler_raises_fails_its_step(world, defects, error):
    def crash(call):
        raise error("content")

    world.probe.script["first"] = crash
    async with world.worker() as worker:
        before = worker.id
        run_id = await world.start(one_probe(f"raises-{error.__name__.lower()}"))
        await failed_well(world, run_id, "first", "step.defect")
        world.probe.script.clear()
        assert (await world.ended(await world.start(one_probe("fine"))))["status"] == "SUCCEEDED"
        assert worker.id == before
    assert [d["step"] for d in defects] == ["first"]


async def test_a_defect_after_a_step_fails_that_step_and_a_retry_begins_there(world, defects, monkeypatch):
    go_on = execution.Execution._next

    def broken(self, op, done):
        if op.path == "second":
            raise KeyError("a defect")
        return go_on(self, op, done)

    source = (
        HEAD.format(name="between")
        + """
    steps:
      - id: first
        probe: {name: first, value: 1}
      - id: second
        probe: {name: second, value: 2}
    output: "${steps.second.value}"
"""
    )
    async with world.worker() as worker:
        before = worker.id
        monkeypatch.setattr(execution.Execution, "_next", broken)
        run_id = await world.start(source)
        await failed_well(world, run_id, "second", "engine.defect")
        assert {p: s["status"] for p, s in (await world.steps(run_id)).items()} == {
            "first": "SUCCEEDED",
            "second": "FAILED",
        }
        monkeypatch.undo()
        await retry(world.ctx, world.notifier, run_id, reason="mended")
        run = await world.ended(run_id)
        assert worker.id == before
    assert (run["status"], run["output"]) == ("SUCCEEDED", 2)
    assert [len(world.probe.called(name)) for name in ("first", "second")] == [1, 2]
    assert len(defects) == 1


async def test_a_defect_in_the_output_fails_the_run_and_no_step(world, defects, monkeypatch):
    async def broken(self, op):
        self.at = op
        raise KeyError("a defect")

    async with world.worker():
        monkeypatch.setattr(execution.Execution, "_succeed", broken)
        run_id = await world.start(one_probe("output"))
        await failed_well(world, run_id, "output", "engine.defect")
    assert {s["status"] for s in (await world.steps(run_id)).values()} == {"SUCCEEDED"}


async def test_a_defect_in_ending_a_run_still_ends_it(world, defects, monkeypatch):
    def broken(**kwargs):
        raise KeyError("a defect")

    async with world.worker() as worker:
        before = worker.id
        monkeypatch.setattr(execution, "build_audit", broken)
        run_id = await world.start(one_probe("ending"))
        run = await world.ended(run_id)
        assert worker.id == before
    assert (run["status"], run["error"]["code"], run["dead_reason"]) == ("FAILED", "engine.defect", "engine.defect")
    assert len(defects) >= 1
    assert {s["status"] for s in (await world.steps(run_id)).values()} <= {"SUCCEEDED", "FAILED"}


async def test_a_defect_of_a_duty_begins_the_session_anew(world, defects, monkeypatch, no_pause):
    advance, calls = fanout.advance, 0

    async def once(env, parent):
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyError("a defect")
        return await advance(env, parent)

    monkeypatch.setattr(fanout, "advance", once)
    async with world.worker() as worker:
        before = worker.id
        run = await world.ended(await world.start(over_block("duty")))
        assert worker.id != before
    assert (run["status"], run["strikes"]) == ("SUCCEEDED", 0)
    assert defects == [{"duty": "worker session", "error": "KeyError('a defect')"}]
    [row] = await world.rows("select state from workers where id = %s", before)
    assert row == {"state": "stopped"}


async def test_a_duty_cancelled_by_its_own_doing_begins_the_session_anew(world, defects, monkeypatch, no_pause):
    advance, calls = fanout.advance, 0

    async def once(env, parent):
        nonlocal calls
        calls += 1
        if calls == 1:
            raise asyncio.CancelledError
        return await advance(env, parent)

    monkeypatch.setattr(fanout, "advance", once)
    async with world.worker():
        run = await world.ended(await world.start(over_block("cancelled-duty")))
    assert run["status"] == "SUCCEEDED"
    assert len(defects) == 1


async def test_a_defect_that_repeats_at_once_ends_the_worker_and_blames_no_run(world, defects, monkeypatch, no_pause):
    began = asyncio.Event()

    async def hold_on(call):
        began.set()
        await asyncio.Event().wait()

    tick = store.tick

    async def broken(tx, **kwargs):
        if began.is_set():
            raise KeyError("a defect")
        return await tick(tx, **kwargs)

    world.probe.script["first"] = hold_on
    monkeypatch.setattr(store, "tick", broken)
    monkeypatch.setattr(workers, "TICK_S", 0.01)
    run_id = await world.start(one_probe("repeats"))
    worker = workers.Worker(world.env, world.handlers, world.resolver, specs=world.specs)
    with pytest.raises(KeyError):
        await asyncio.wait_for(worker.run(), 60)
    assert len(defects) == workers.DEFECTS_MAX
    run = await world.run_row(run_id)
    assert (run["status"], run["strikes"]) == ("PENDING", 0)
    live = await world.rows("select count(*) as n from workers where state in ('live', 'draining')")
    assert live == [{"n": 0}]


async def test_a_wake_up_that_says_nothing_is_ignored(world, defects):
    async with world.worker() as worker:
        before = worker.id
        await world.rows("select pg_notify('stanchion_cancel', 'no id')")
        assert (await world.ended(await world.start(one_probe("heard"))))["status"] == "SUCCEEDED"
        assert worker.id == before
    assert defects == []


async def test_a_probation_that_cannot_be_begun_is_told_and_begun_again(world, monkeypatch):
    told: list[str] = []
    emit = world.env.telemetry.emit

    def listening(event, value=1.0, /, *labels, **facts):
        if event == "duty.failed":
            told.append(facts["duty"])
        emit(event, value, *labels, **facts)

    monkeypatch.setattr(world.env.telemetry, "emit", listening)
    monkeypatch.setattr(workers, "TICK_S", 0.01)

    async def spawn(parent) -> int:
        raise OSError("no process can be made")

    run_id = await world.start(one_probe("unbegun"), queue="unbegun")
    await world.rows("update runs set strikes = 2, waiting_kind = 'worker_lost' where id = %s", run_id)
    async with world.worker(queues=("unbegun",), spawn_probation=spawn):
        await world.eventually(lambda: len(told) >= 2)
    assert set(told) == {"probation"}
