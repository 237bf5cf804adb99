"""for_each on a step and over a block."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg
import pytest

from stanchion.base import Invalid, Unavailable, canonical, digest_bytes, loads
from stanchion.runs import Suspend, WaitingKind, cancel, fanout, retry, show, wake
from stanchion.runs.rules import digest_of_steps
from stanchion.runs.store import load_steps
from stanchion.runs.sweeping import sweep
from tests.runs.test_flow import HEAD


def on_step(name: str, each: str = "", extra: str = "") -> str:
    return (
        HEAD.format(name=name)
        + f"""
    steps:
      - id: numbers
        transform: {{value: [0, 1, 2, 3, 4, 5, 6, 7]}}
      - id: each
        for_each: {{in: steps.numbers.value, as: number, concurrency: 3{each}}}
        call: {{name: each, value: "${{number}}"}}
{extra}
    output: "${{steps.each}}"
"""
    )


def over_block(name: str, each: str = "", n: int = 8) -> str:
    return (
        HEAD.format(name=name)
        + f"""
    steps:
      - id: numbers
        transform: {{value: {list(range(n))}}}
      - id: factor
        transform: {{value: 10}}
      - id: each
        for_each:
          in: steps.numbers.value
          as: number
          concurrency: 3{each}
          steps:
            - id: inner
              probe: {{name: inner, value: "${{number * steps.factor.value}}"}}
            - id: after
              transform: {{value: "${{steps.inner.value}}"}}
          output: "${{steps.after.value}}"
    output: "${{steps.each}}"
"""
    )


async def test_items_of_a_step(world):
    active, most = 0, 0

    async def each(call):
        nonlocal active, most
        active += 1
        most = max(most, active)
        rows = await world.rows(
            "select status from step_runs where run_id = %s and path = %s", call.claim.run_id, call.path
        )
        active -= 1
        return {"row": rows[0]["status"], "value": call.config["value"]}

    world.call.script["each"] = each
    async with world.worker():
        run_id = await world.start(on_step("items"))
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    assert run["output"]["failed"] == []
    assert run["output"]["succeeded"] == [{"item_no": n, "output": {"row": "RUNNING", "value": n}} for n in range(8)]
    assert most == 3
    assert list(await world.steps(run_id)) == ["numbers", "each", *(f"each[{n}]" for n in range(8))]


async def test_an_item_retries_alone_and_durably(world):
    def each(call):
        if call.config["value"] == 2 and call.attempt < 3:
            raise Unavailable("tests.away", "Away.")
        return call.attempt

    world.call.script["each"] = each
    source = on_step("retries", extra="        retry: {attempts: 3, backoff: constant, initial: 10ms, max: 10ms}")
    async with world.worker():
        run_id = await world.start(source)
        run = await world.ended(run_id)
    assert [s["output"] for s in run["output"]["succeeded"]] == [1, 1, 3, 1, 1, 1, 1, 1]
    assert run["epoch"] > 1
    assert len(world.call.calls) == 10


@pytest.mark.parametrize(("rule", "status"), [("", "FAILED"), (", on_item_error: continue", "SUCCEEDED")])
async def test_a_failed_item(world, rule, status):
    def each(call):
        if call.config["value"] == 2:
            raise Invalid("tests.bad", "Bad.")
        return call.config["value"]

    world.call.script["each"] = each
    async with world.worker():
        run_id = await world.start(on_step("fails" if rule else "stops", rule))
        run = await world.ended(run_id)
    assert run["status"] == status
    if status == "FAILED":
        assert run["error"]["code"] == run["dead_reason"] == "for_each.item_failed"
        assert len(world.call.calls) < 8
    else:
        assert run["output"]["failed"] == [{"item_no": 2, "error": {"code": "tests.bad", "message": "Bad."}}]
        assert len(run["output"]["succeeded"]) == 7


async def test_an_item_whose_output_cannot_be_stored_fails_alone(world):
    world.call.script["each"] = lambda call: "\x00" if call.config["value"] == 5 else 1
    async with world.worker():
        run = await world.ended(await world.start(on_step("unstorable", ", on_item_error: continue")))
    assert run["status"] == "SUCCEEDED", run["error"]
    assert [f["item_no"] for f in run["output"]["failed"]] == [5]


async def test_items_over_a_block(world):
    active, most = 0, 0

    async def inner(call):
        nonlocal active, most
        active += 1
        most = max(most, active)
        await world.rows("select 1")
        active -= 1
        return {"value": call.config["value"]}

    world.probe.script["inner"] = inner
    async with world.worker():
        run_id = await world.start(over_block("block"))
        run = await world.ended(run_id)
        detail = await show(world.ctx, run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    assert run["output"]["succeeded"] == [{"item_no": n, "output": n * 10} for n in range(8)]
    assert most <= 3
    assert (detail.items.total, detail.items.succeeded) == (8, 8)
    assert await audited(world, run_id) == {("run.started", None): 9, ("run.ended", "SUCCEEDED"): 9}
    [record] = await world.rows(
        "select a.record from audit_records a join runs r on r.id = a.run_id"
        " where r.parent_id = %s and r.item_no = 3 and a.event_type = 'run.started'",
        run_id,
    )
    facts = loads(record["record"])
    assert facts["after"] == digest_bytes(canonical(3))
    assert facts["extra"] == {
        "blueprint": "block",
        "version": 1,
        "pins": run["pins"],
        "queue": "default",
        "parent": str(run_id),
        "path": "each",
        "item_no": 3,
    }
    count = world.env.telemetry.registry.get_sample_value
    assert count("stanchion_runs_started_total", {"queue": "default"}) == 9
    assert count("stanchion_runs_ended_total", {"queue": "default", "status": "SUCCEEDED"}) == 9


async def audited(world, root_id) -> dict[tuple[str, str | None], int]:
    """Starts and ends of a run and its items, as (event, status) -> records; each run at most once (I6)."""
    rows = await world.rows(
        "select a.event_type, a.record::jsonb #>> '{extra,status}' as status, count(*) as n,"
        " count(distinct a.target_id) as runs"
        " from audit_records a join runs r on r.id = a.run_id"
        " where r.root_id = %s and a.event_type in ('run.started', 'run.ended') group by 1, 2",
        root_id,
    )
    assert all(row["n"] == row["runs"] for row in rows), rows
    return {(row["event_type"], row["status"]): row["n"] for row in rows}


async def test_an_item_is_recorded_in_the_commit_that_creates_it(world):
    def inner(call):
        raise Suspend(WaitingKind.EFFECT, ref="never")

    world.probe.script["inner"] = inner
    source = over_block("recorded", n=230).replace("concurrency: 3", "concurrency: 1")
    async with world.worker():
        run_id = await world.start(source)
        await world.until(run_id, "SUSPENDED")
        # Rows that no item's work has touched since show the transaction they were written in.
        rows = await world.rows(
            "select r.xmin::text as run, a.xmin::text as record, s.xmin::text as step from runs r"
            " left join audit_records a on a.run_id = r.id and a.event_type = 'run.started'"
            " join step_runs s on s.run_id = r.id and s.position = 0"
            " where r.parent_id = %s and r.waiting_kind = 'concurrency' and r.rev = 1 and s.rev = 1",
            run_id,
        )
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
    windows = Counter(row["run"] for row in rows)
    assert all(row["run"] == row["record"] == row["step"] for row in rows)
    assert len(windows) == 3
    assert max(windows.values()) <= 100


async def test_a_cancelled_step_leaves_no_item_open(world):
    """The end record's digest covers every StepRun, and none of an ended run stays open."""
    begun = asyncio.Event()

    async def each(call):
        if call.config["value"] == 0:
            raise Unavailable("tests.later", "later", retry_after_s=30)
        if call.config["value"] == 3:
            begun.set()
            await asyncio.Event().wait()
        return {"value": 1}

    world.call.script["each"] = each
    async with world.worker():
        run_id = await world.start(on_step("cut-short", extra="        retry: {attempts: 3, initial: 60s}"))
        await begun.wait()
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
        run = await world.ended(run_id)
    assert run["status"] == "CANCELLED"
    steps = await world.steps(run_id)
    assert {s["status"] for s in steps.values()} == {"SUCCEEDED", "FAILED"}
    assert steps["each[0]"]["error"]["code"] == steps["each[3]"]["error"]["code"] == "run.cancelled"
    async with world.env.db.engine_tx() as tx:
        stored = digest_of_steps(await load_steps(tx, [run_id]))
    [ended] = await world.rows(
        "select record from audit_records where run_id = %s and event_type = 'run.ended'", run_id
    )
    assert loads(ended["record"])["after"] == stored


async def test_more_items_than_a_window(world):
    async with world.worker():
        run = await world.ended(await world.start(over_block("windows", n=230)))
    assert [s["item_no"] for s in run["output"]["succeeded"]] == list(range(230))


async def test_a_look_after_a_fan_out_does_not_read_all_its_items(world):
    """Its cost must not grow with the items that are done, or n items would cost n² reads."""

    def inner(call):
        if call.config["value"] == 0:
            raise Suspend(WaitingKind.EFFECT, ref="never")
        return {"value": 1}

    world.probe.script["inner"] = inner
    async with world.worker():
        run_id = await world.start(over_block("looks", n=300))

        async def others_done() -> bool:
            detail = await show(world.ctx, run_id)
            return detail.items is not None and (detail.items.succeeded, detail.items.waiting) == (299, 1)

        await world.eventually(others_done)
        with psycopg.connect(world.owner_url, autocommit=True) as owner:
            owner.execute("analyze runs")  # as autovacuum does some time: the plan must be good with what it knows then
        async with world.env.db.engine_tx() as tx:
            before = await rows_read(tx)
            assert await fanout.advance_in(tx, run_id) is None
            read = await rows_read(tx) - before
        await cancel(world.ctx, world.notifier, run_id, reason="enough")
    assert 0 < read < 30


async def rows_read(tx) -> int:
    """Rows of `runs` that this connection has read and not yet reported."""
    cursor = await tx.execute(
        "select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) from pg_stat_xact_user_tables"
        " where relname = 'runs'"
    )
    row = await cursor.fetchone()
    return row[0] if row else 0


async def test_an_item_suspends_alone_and_frees_its_place(world):
    def inner(call):
        if call.config["value"] in (0, 10, 20) and not call.resumed:
            raise Suspend(WaitingKind.APPROVAL, ref=f"item-{call.config['value']}")
        return {"value": call.config["value"]}

    world.probe.script["inner"] = inner
    async with world.worker() as worker:
        run_id = await world.start(over_block("alone"))

        async def others_done() -> bool:
            detail = await show(world.ctx, run_id)
            return detail.items is not None and (detail.items.succeeded, detail.items.waiting) == (5, 3)

        await world.eventually(others_done)
        await world.eventually(lambda: worker.running == 0)
        assert (await show(world.ctx, run_id)).waiting_on.kind == "child"
        items = await world.rows(
            "select id, waiting_ref from runs where parent_id = %s and status = 'SUSPENDED'", run_id
        )
        for item in items:
            async with world.env.db.tenant_tx("acme") as tx:
                assert await wake(tx, "acme", item["id"], WaitingKind.APPROVAL, item["waiting_ref"])
        run = await world.ended(run_id)
    assert len(run["output"]["succeeded"]) == 8


async def test_stop_starts_no_further_item_and_a_retry_tries_the_failed_ones_again(world):
    broken = True

    def inner(call):
        if broken and call.config["value"] == 10:
            raise Invalid("tests.bad", "Bad.")
        return {"value": call.config["value"]}

    world.probe.script["inner"] = inner
    async with world.worker():
        run_id = await world.start(over_block("stop"))
        run = await world.ended(run_id)
        assert (run["status"], run["dead_reason"]) == ("FAILED", "for_each.item_failed")
        states = await world.rows("select status, count(*) as n from runs where parent_id = %s group by 1", run_id)
        counts = {row["status"]: row["n"] for row in states}
        assert counts["FAILED"] == 1
        assert counts["CANCELLED"] >= 1
        ended = {("run.ended", status): n for status, n in counts.items()}
        ended["run.ended", "FAILED"] += 1  # the parent
        assert await audited(world, run_id) == {("run.started", None): 9, **ended}
        [cancelled, *_] = await world.rows(
            "select a.record from audit_records a join runs r on r.id = a.run_id"
            " where r.parent_id = %s and r.status = 'CANCELLED' and a.event_type = 'run.ended'",
            run_id,
        )
        assert loads(cancelled["record"])["extra"] == {
            "status": "CANCELLED",
            "steps": 1,
            "attempt": 1,
            "code": "for_each.stopped",
        }
        calls = len(world.probe.calls)
        broken = False
        await retry(world.ctx, world.notifier, run_id, reason="mended")
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    assert run["attempt"] == 2
    assert [s["output"] for s in run["output"]["succeeded"]] == [n * 10 for n in range(8)]
    assert len(world.probe.calls) - calls == counts["FAILED"] + counts["CANCELLED"]


async def test_a_retry_leaves_accepted_failures_alone(world):
    """An earlier for_each went on over its failed item; what is retried is the step after it."""
    broken = True

    def later(call):
        if broken:
            raise Invalid("tests.bad", "Bad.")
        return "mended"

    def bad(call):
        raise Invalid("tests.item", "Bad item.")

    world.call.script["each"] = lambda call: bad(call) if call.config["value"] == 1 else 1
    world.probe.script["later"] = later
    source = on_step("accepted", ", on_item_error: continue", "      - id: later\n        probe: {name: later}")
    async with world.worker():
        run_id = await world.start(source)
        assert (await world.ended(run_id))["status"] == "FAILED"
        broken = False
        await retry(world.ctx, world.notifier, run_id, reason="mended")
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED", run["error"]
    steps = await world.steps(run_id)
    assert (steps["each[1]"]["status"], steps["each[1]"]["attempt"]) == ("FAILED", 1)
    assert (steps["later"]["status"], steps["later"]["attempt"]) == ("SUCCEEDED", 2)
    assert len(world.call.calls) == 8


async def test_continue_and_max_failures(world):
    def inner(call):
        if call.config["value"] in (10, 20):
            raise Invalid("tests.bad", "Bad.")
        return {"value": call.config["value"]}

    world.probe.script["inner"] = inner
    goes_on = "\n          on_item_error: continue"
    async with world.worker():
        run = await world.ended(await world.start(over_block("goes-on", goes_on)))
        assert run["status"] == "SUCCEEDED", run["error"]
        assert [f["item_no"] for f in run["output"]["failed"]] == [1, 2]
        limited = await world.ended(await world.start(over_block("limited", goes_on + "\n          max_failures: 1")))
    assert limited["status"] == "FAILED"


async def test_cancel_cascades(world):
    began = asyncio.Event()

    async def inner(call):
        if call.config["value"] == 0:
            raise Suspend(WaitingKind.APPROVAL, ref="x")
        began.set()
        await asyncio.Event().wait()

    world.probe.script["inner"] = inner
    async with world.worker():
        run_id = await world.start(over_block("cascade"))
        await began.wait()
        await world.until(run_id, "SUSPENDED")
        detail = await cancel(world.ctx, world.notifier, run_id, reason="enough")
        assert detail.run.status == "CANCELLED"

        async def all_ended() -> bool:
            rows = await world.rows("select distinct status from runs where root_id = %s", run_id)
            return rows == [{"status": "CANCELLED"}]

        await world.eventually(all_ended)


async def test_a_fan_out_whose_last_look_was_lost_is_found_by_the_sweep(world):
    """A worker died between its child's end and the look after the fan-out."""
    async with world.worker() as worker:
        worker._host.item_ended = lambda tenant, parent: None
        run_id = await world.start(over_block("forgotten", n=2))
        query = "select 1 as x from runs where parent_id = %s and status = 'SUCCEEDED'"

        async def items_ended() -> bool:
            return len(await world.rows(query, run_id)) == 2

        await world.eventually(items_ended)
        assert (await world.run_row(run_id))["status"] == "SUSPENDED"
    queues = await sweep(world.env)
    assert "default" in queues
    async with world.worker():
        run = await world.ended(run_id)
    assert run["status"] == "SUCCEEDED"


async def test_nothing_to_fan_out_over(world):
    async with world.worker():
        for source in (over_block("none", n=0), on_step("none-too").replace("[0, 1, 2, 3, 4, 5, 6, 7]", "[]")):
            run = await world.ended(await world.start(source))
            assert run["output"] == {"succeeded": [], "failed": []}
