"""Runs of a killed Blueprint or tenant, with a real worker: refused at the start, waiting in flight, finished after the lift."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from stanchion.audit import list_records
from stanchion.base import Denied
from stanchion.bootstrap.web import killable_kinds
from stanchion.controls import kills
from stanchion.controls.kills import Kill, Snapshot
from stanchion.http import PageParams
from stanchion.runs import Starter, deadletters, killing, reading
from tests.runs.support import World

THREE = """
blueprint: {name}
owner: tests
steps:
  - id: a
    probe: {{name: {name}-a}}
  - id: b
    probe: {{name: {name}-b}}
  - id: c
    probe: {{name: {name}-c}}
output: done
"""
ITEMS = """
blueprint: {name}
owner: tests
steps:
  - id: numbers
    transform: {{value: [1, 2, 3, 4, 5, 6]}}
  - id: each
    for_each: {{in: steps.numbers.value, as: n, concurrency: 2}}
    call: {{name: {name}-item, value: "${{n}}"}}
output: "${{size(steps.each.succeeded)}}"
"""
BLOCK = """
blueprint: {name}
owner: tests
steps:
  - id: numbers
    transform: {{value: [1, 2, 3, 4, 5, 6]}}
  - id: each
    for_each:
      in: steps.numbers.value
      as: n
      concurrency: 2
      steps:
        - id: one
          probe: {{name: {name}-one, value: "${{n}}"}}
        - id: two
          probe: {{name: {name}-two, value: "${{n}}"}}
      output: "${{steps.two.value}}"
output: "${{size(steps.each.succeeded)}}"
"""


class Stage:
    """A world whose Blueprints are artifacts as well, so that they can be killed, and the snapshot of its one process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.snapshot = Snapshot(world.env, role="engine", notified=False)
        world.starter = Starter(world.env, world.resolver, world.notifier, self.snapshot)

    async def add(self, source: str, name: str, *, version: int = 1) -> str:
        added = self.world.resolver.add(source.format(name=name) + f"# {version}\n", version=version)
        digest = self.world.resolver.live[name].blueprint.digest
        async with self.world.ctx.tx() as tx:
            await tx.execute(
                "insert into artifacts (tenant, kind, name, version, digest, body, source, source_path, owner, author,"
                " changelog) values ('acme', 'blueprint', %s, %s, %s, '{}', '', 'x.yaml', 'tests', 'ada', '')",
                (name, version, digest),
            )
        await self.snapshot.refresh()
        return added

    async def kill(self, kind: str, name: str, *, version: int | None = None) -> Kill:
        made = await kills.set_kill(
            self.world.ctx, killable_kinds(), kind, name, version=version, reason="It is wrong."
        )
        await self.snapshot.refresh()
        return made

    async def lift(self, kill: Kill) -> None:
        await kills.lift_kill(self.world.ctx, kill.id, reason="Mended.")
        await self.snapshot.refresh()
        await killing.wake_lifted(self.world.env)

    @asynccontextmanager
    async def worker(self):
        async with self.world.worker(kills=self.snapshot) as worker:
            yield worker

    def gate(self, name: str) -> tuple[asyncio.Event, asyncio.Event]:
        """The step named so says that it has begun, and ends when it is let."""
        begun, let = asyncio.Event(), asyncio.Event()

        async def behave(call):
            begun.set()
            await let.wait()
            return {"value": call.config.get("value")}

        for probe in (self.world.probe, self.world.call):
            probe.script[name] = behave
        return begun, let


@pytest.fixture
async def stage(world) -> Stage:
    made = Stage(world)
    await made.snapshot.refresh()
    return made


async def test_a_start_is_denied_and_says_who_and_why_until_the_lift(stage) -> None:
    world = stage.world
    name = await stage.add(THREE, "begins")
    made = await stage.kill("blueprint", name)
    with pytest.raises(Denied) as caught:
        await world.start(name)
    assert caught.value.code == "kill.active"
    assert "blueprint/begins was killed by alice" in caught.value.message
    assert "It is wrong." in caught.value.message
    other = await stage.add(THREE, "begins-too")
    await world.start(other)
    await stage.lift(made)
    async with stage.worker():
        assert (await world.ended(await world.start(name)))["status"] == "SUCCEEDED"


async def test_a_run_in_flight_waits_before_its_next_step_and_finishes_after_the_lift(stage) -> None:
    world = stage.world
    name = await stage.add(THREE, "flies")
    begun, let = stage.gate("flies-a")
    async with stage.worker():
        run = await world.start(name)
        await asyncio.wait_for(begun.wait(), 60)
        made = await stage.kill("blueprint", name)
        in_flight = await kills.impact(world.ctx, killable_kinds(), "blueprint", name)
        assert (in_flight.running, in_flight.waiting, in_flight.queued) == (1, 0, 0)
        assert [a.run_id for a in in_flight.newest] == [run]
        let.set()
        row = await world.until(run, "SUSPENDED")
        assert (row["waiting_kind"], row["waiting_ref"], row["wake_at"]) == ("killed", str(made.id), None)
        waits = await reading.waiting_on(world.ctx, run)
        assert waits is not None
        assert str(made.id) in waits.text
        steps = await world.steps(run)
        assert [(s["status"], s["attempt"]) for s in steps.values()] == [("SUCCEEDED", 1), ("SUSPENDED", 1)]
        # Nothing but the lift lets it go on.
        await killing.wake_lifted(world.env)
        assert (await world.run_row(run))["status"] == "SUSPENDED"
        _, held = await kills.show_kill(world.ctx, killable_kinds(), made.id)
        assert (held.running, held.waiting, held.newest[0].waiting_on) == (0, 1, "killed")
        await stage.lift(made)
        assert (await world.ended(run))["status"] == "SUCCEEDED"
    assert [c.config["name"] for c in world.probe.calls] == ["flies-a", "flies-b", "flies-c"]
    assert all(s["attempt"] == 1 for s in (await world.steps(run)).values())


async def test_a_queued_run_waits_before_its_first_step(stage) -> None:
    world = stage.world
    run = await world.start(await stage.add(THREE, "queued"))
    made = await stage.kill("blueprint", "queued")
    async with stage.worker():
        await world.until(run, "SUSPENDED")
        assert world.probe.called("queued-a") == []
        await stage.lift(made)
        assert (await world.ended(run))["status"] == "SUCCEEDED"


async def test_a_killed_version_stops_its_runs_and_no_others(stage) -> None:
    world = stage.world
    old = await world.start(await stage.add(THREE, "versions"))
    await stage.add(THREE, "versions", version=2)
    new = await world.start("versions")
    made = await stage.kill("blueprint", "versions", version=1)
    async with stage.worker():
        assert (await world.ended(new))["status"] == "SUCCEEDED"
        await world.until(old, "SUSPENDED")
        await world.start("versions")  # the live version is not killed
        second = await stage.kill("blueprint", "versions", version=2)
        with pytest.raises(Denied):
            await world.start("versions")
        await stage.lift(second)
        assert (await world.run_row(old))["status"] == "SUSPENDED"
        await stage.lift(made)
        assert (await world.ended(old))["status"] == "SUCCEEDED"


async def test_a_killed_tenant_stands_still_and_another_does_not(stage) -> None:
    world = stage.world
    run = await world.start(await stage.add(THREE, "still"))
    theirs = (await world.starter.start(world.as_principal("bob", "beta"), "still", {})).run_id
    made = await stage.kill("tenant", "acme")
    async with stage.worker():
        assert (await world.ended(theirs))["status"] == "SUCCEEDED"
        row = await world.until(run, "SUSPENDED")
        assert row["waiting_ref"] == str(made.id)
        with pytest.raises(Denied) as caught:
            await world.start("still")
        assert "Everything of tenant acme" in caught.value.message
        with pytest.raises(Denied):
            await deadletters.requeue(world.ctx, world.notifier, run_ids=[run], reason="Again.", kills=stage.snapshot)
        await stage.lift(made)
        assert (await world.ended(run))["status"] == "SUCCEEDED"


async def test_two_kills_both_have_to_be_lifted(stage) -> None:
    world = stage.world
    run = await world.start(await stage.add(THREE, "twice"))
    one, two = await stage.kill("blueprint", "twice"), await stage.kill("tenant", "acme")
    async with stage.worker():
        row = await world.until(run, "SUSPENDED")
        assert row["waiting_ref"] == str(two.id)
        await stage.lift(two)
        await world.eventually(lambda: waits_on(world, run, one))
        await stage.lift(one)
        assert (await world.ended(run))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("source", [THREE, ITEMS, BLOCK], ids=["steps", "items", "child runs"])
async def test_what_nobody_could_read_holds_a_run_back_only_until_somebody_can(stage, source: str) -> None:
    """No scheduler is there to wake it: the worker looks again by itself."""
    world = stage.world
    run = await world.start(await stage.add(source, "unread"))
    unread = Snapshot(world.env, role="engine", notified=False)
    async with world.worker(kills=unread):
        await world.until(run, "SUSPENDED")
        while (waiting := (await reading.show(world.ctx, run)).waiting_on).kind != "killed":
            await asyncio.sleep(0.01)  # it was about to look again
        assert waiting.ref == "unread"
        assert "could not be read" in waiting.text
        assert waiting.until is not None
        assert not world.probe.calls
        await unread.refresh()
        assert (await world.ended(run))["status"] == "SUCCEEDED"


async def waits_on(world: World, run, kill: Kill) -> bool:
    row = await world.run_row(run)
    return (row["status"], row["waiting_ref"]) == ("SUSPENDED", str(kill.id))


async def test_a_lift_that_the_worker_does_not_know_of_yet_is_found_by_the_next_look(stage) -> None:
    world = stage.world
    run = await world.start(await stage.add(THREE, "late"))
    made = await stage.kill("blueprint", "late")
    async with stage.worker():
        await world.until(run, "SUSPENDED")
        await kills.lift_kill(world.ctx, made.id, reason="Mended.")
        before = (await world.run_row(run))["epoch"]
        await killing.wake_lifted(world.env)  # the worker's snapshot is older: the run waits again, on what is lifted
        await world.eventually(lambda: claimed_again(world, run, before))
        assert world.probe.called("late-a") == []
        await stage.snapshot.refresh()
        await killing.wake_lifted(world.env)
        assert (await world.ended(run))["status"] == "SUCCEEDED"


async def claimed_again(world: World, run, before: int) -> bool:
    row = await world.run_row(run)
    return row["status"] == "SUSPENDED" and row["epoch"] > before


@pytest.mark.parametrize(("source", "step"), [(ITEMS, "item"), (BLOCK, "one")], ids=["items", "child runs"])
async def test_a_fan_out_waits_in_the_middle_and_does_every_item_once(stage, source: str, step: str) -> None:
    world = stage.world
    name = await stage.add(source, f"fan-{step}")
    begun, let = stage.gate(f"{name}-{step}")
    async with stage.worker():
        run = await world.start(name)
        await asyncio.wait_for(begun.wait(), 60)
        await world.eventually(lambda: len(calls(world, f"{name}-{step}")) == 2)  # as many as there are places
        made = await stage.kill("blueprint", name)
        let.set()
        await world.eventually(lambda: stands_still(world, run))
        held = len(calls(world, f"{name}-{step}"))
        assert held == 2  # those that had begun
        await stage.lift(made)
        await world.eventually(lambda: woken_and_ended(world, run))
    done = sorted(c.config["value"] for c in calls(world, f"{name}-{step}"))
    assert done == [1, 2, 3, 4, 5, 6]
    assert (await world.run_row(run))["output"] == 6


def calls(world: World, name: str) -> list:
    return world.probe.called(name) + world.call.called(name)


async def stands_still(world: World, run) -> bool:
    """Each item waits for the kill too: those that waited for a place begin when the first ones stop, and stop as well."""
    rows = await world.rows("select status, waiting_kind from runs where id = %s or root_id = %s", run, run)
    waits = {row["waiting_kind"] for row in rows}
    return all(r["status"] == "SUSPENDED" for r in rows) and "killed" in waits and waits <= {"killed", "child"}


async def woken_and_ended(world: World, run) -> bool:
    """The scheduler's duty, as it comes round again and again, until the run has ended."""
    await killing.wake_lifted(world.env)
    return (await world.run_row(run))["status"] == "SUCCEEDED"


async def test_a_run_that_waits_for_a_kill_can_be_cancelled(stage) -> None:
    from stanchion.runs import cancel

    world = stage.world
    run = await world.start(await stage.add(THREE, "cancelled"))
    await stage.kill("blueprint", "cancelled")
    async with stage.worker():
        await world.until(run, "SUSPENDED")
        await cancel(world.ctx, world.notifier, run, reason="No longer wanted.")
        assert (await world.ended(run))["status"] == "CANCELLED"


async def test_a_retry_of_a_killed_version_is_denied(stage) -> None:
    world = stage.world
    name = await stage.add(THREE, "fails")
    world.probe.script["fails-a"] = lambda _: 1 / 0
    async with stage.worker():
        run = await world.start(name)
        assert (await world.ended(run))["status"] == "FAILED"
        made = await stage.kill("blueprint", name, version=1)
        with pytest.raises(Denied) as caught:
            await deadletters.retry(world.ctx, world.notifier, run, reason="Again.", kills=stage.snapshot)
        assert caught.value.code == "kill.active"
        await stage.lift(made)
        del world.probe.script["fails-a"]
        await deadletters.retry(world.ctx, world.notifier, run, reason="Again.", kills=stage.snapshot)
        assert (await world.ended(run))["status"] == "SUCCEEDED"


async def test_many_waiting_runs_are_all_woken(stage, monkeypatch) -> None:
    monkeypatch.setattr(killing.service, "BATCH", 4)
    world = stage.world
    name = await stage.add(THREE, "many")
    runs = [await world.start(name) for _ in range(10)]
    made = await stage.kill("blueprint", name)
    async with stage.worker():
        for run in runs:
            await world.until(run, "SUSPENDED")
        await stage.lift(made)
        for run in runs:
            assert (await world.ended(run))["status"] == "SUCCEEDED"
    records = await list_records(world.ctx, PageParams(limit=5), target_kind="run", target_id=str(runs[0]))
    assert [r.event_type for r in records.items] == ["run.ended", "run.started"]
