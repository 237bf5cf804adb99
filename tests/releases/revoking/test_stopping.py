"""Runs that are pinned to a revoked version, with a real worker: they stop before their next use of it, and go on."""

from __future__ import annotations

import asyncio

import pytest

from stanchion import approvals
from stanchion.approvals import Verdict
from stanchion.base import Conflict
from stanchion.controls import withdrawals
from stanchion.http import PageParams
from stanchion.releases import revoking
from stanchion.releases.draining import service as drains
from stanchion.releases.revoking import service
from stanchion.runs import deadletters, reading
from tests.releases.revoking.support import Stage, blueprint, connector, policy

FLOW = """\
blueprint: flow
owner: tests
steps:
  - id: a
    probe: {name: a}
  - id: x
    probe: {name: x}
  - id: b
    use: {name: b, connector: ledger}
  - id: c
    probe: {name: c}
output: done
"""
GATED = """\
blueprint: flow
owner: tests
steps:
  - id: a
    probe: {name: a}
  - id: high
    logic_gate:
      if: "true"
      then:
        - id: inside
          probe: {name: inside}
output: done
"""
ONE = """\
blueprint: flow
owner: tests
steps:
  - id: a
    probe: {name: a}
output: done
"""
ITEMS = """\
blueprint: flow
owner: tests
steps:
  - id: numbers
    transform: {value: [1, 2, 3, 4, 5, 6]}
  - id: each
    for_each: {in: steps.numbers.value, as: n, concurrency: 2}
    use: {name: item, value: "${n}", connector: ledger}
output: "${size(steps.each.succeeded)}"
"""
BLOCK = """\
blueprint: flow
owner: tests
steps:
  - id: numbers
    transform: {value: [1, 2, 3, 4, 5, 6]}
  - id: each
    for_each:
      in: steps.numbers.value
      as: n
      concurrency: 2
      steps:
        - id: one
          probe: {name: item, value: "${n}"}
        - id: two
          use: {name: two, value: "${n}", connector: ledger}
      output: "${steps.two.value}"
output: "${size(steps.each.succeeded)}"
"""
ASKING = """\
blueprint: flow
owner: tests
steps:
  - id: a
    probe: {name: a}
  - id: asked
    govern: {policy: supervise, facts: {amount: 200.0}, show: ["${steps.a.value}"]}
  - id: c
    probe: {name: c}
output: done
"""


async def names(stage: Stage) -> list[str]:
    return [call.config["name"] for call in (*stage.probe.calls, *stage.use.calls)]


async def test_a_run_stops_before_its_next_use_and_not_before_it(stage: Stage) -> None:
    await stage.apply(blueprint(FLOW))
    begun, let = stage.gate(stage.probe, "a")
    async with stage.working():
        run = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        digest = await stage.revoke("connector", "ledger")
        shown = await revoking.show_revocation(stage.ctx, digest)
        assert (shown.impact.counts.running, shown.impact.counts.stopped) == (1, 0)
        let.set()
        row = await stage.stopped(run, digest)
        assert (row["path"], row["wake_at"]) == ("b", None)
        assert sorted(await names(stage)) == ["a", "x"]  # what comes before the use is done
        steps = await stage.steps(run)
        assert [(s["status"], s["attempt"]) for s in steps.values()] == [
            ("SUCCEEDED", 1), ("SUCCEEDED", 1), ("SUSPENDED", 1),
        ]  # fmt: skip
        assert steps["b"]["started_at"] is None
        waits = await reading.waiting_on(stage.ctx, run)
        assert waits is not None
        assert digest in waits.text
        assert "stanchion release repin" in waits.text
        shown = await revoking.show_revocation(stage.ctx, digest)
        assert (shown.impact.counts.running, shown.impact.counts.stopped) == (0, 1)
        assert [(r.run_id, r.stopped) for r in shown.impact.newest] == [(run, True)]
        await stage.reinstate(digest)
        assert (await stage.ended(run))["status"] == "SUCCEEDED"
    assert [call.config["name"] for call in stage.use.calls] == ["b"]
    assert all(s["attempt"] == 1 for s in (await stage.steps(run)).values())


@pytest.mark.parametrize(
    ("source", "at"), [(FLOW, "x"), (GATED, "high"), (ONE, "")], ids=["a step", "a gate", "the end"]
)
async def test_a_run_of_a_revoked_blueprint_does_nothing_more(stage: Stage, source: str, at: str) -> None:
    await stage.apply(blueprint(source))
    begun, let = stage.gate(stage.probe, "a")
    async with stage.working():
        run = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        digest = await stage.revoke("blueprint", "flow")
        let.set()
        assert (await stage.stopped(run, digest))["path"] == at
        assert await names(stage) == ["a"]
        assert (await stage.run_row(run))["output"] is None
        await stage.reinstate(digest)
        assert (await stage.ended(run))["output"] == "done"


async def test_a_queued_run_stops_before_it_begins_and_a_retried_one_before_it_goes_on(stage: Stage) -> None:
    await stage.apply(blueprint(ONE))
    stage.probe.script["a"] = lambda _: 1 / 0
    async with stage.working():
        dead = await stage.start("flow")
        assert (await stage.ended(dead))["status"] == "FAILED"
    run = await stage.start("flow")
    digest = await stage.revoke("blueprint", "flow")
    await deadletters.retry(stage.ctx, stage.notifier, dead, reason="Again.")
    del stage.probe.script["a"]
    async with stage.working():
        for one in (run, dead):
            await stage.stopped(one, digest)
        assert await names(stage) == ["a"]  # the one that failed
        await stage.reinstate(digest)
        for one in (run, dead):
            assert (await stage.ended(one))["status"] == "SUCCEEDED"


@pytest.mark.parametrize("source", [ITEMS, BLOCK], ids=["items", "child runs"])
async def test_a_fan_out_stops_in_the_middle_and_does_every_item_once_with_another_version(
    stage: Stage, source
) -> None:
    await stage.apply(blueprint(source))
    probe = stage.use if source is ITEMS else stage.probe
    begun, let = stage.gate(probe, "item")
    async with stage.working():
        run = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        await stage.eventually(lambda: len(probe.calls) == 2)  # as many as there are places
        digest = await stage.revoke("connector", "ledger")
        await stage.apply(connector(2))
        let.set()
        await stage.eventually(lambda: stands_still(stage, run))
        assert len(stage.use.calls) == (2 if source is ITEMS else 0)  # those that had begun
        shown = await revoking.show_revocation(stage.ctx, digest)
        assert (shown.impact.counts.stopped, shown.impact.counts.waiting) == (1, 0)
        done = await stage.repin(digest)
        assert [one.fate for one in done.runs] == ["repinned"]
        assert (await stage.ended(run))["output"] == 6
    assert sorted(call.config["value"] for call in stage.use.calls) == [1, 2, 3, 4, 5, 6]
    second = await stage.digest("connector", "ledger", 2)
    assert {call.digests["connector", "ledger"] for call in stage.use.calls[-4:]} == {second}
    pins = {row["pins"] for row in await stage.rows("select pins from runs where root_id = %s", run)}
    assert len(pins) == 1 or source is BLOCK  # items that had ended keep what they ran on


async def stands_still(stage: Stage, run) -> bool:
    """Each item has stopped too: those that waited for a place begin when the first ones stop, and stop as well."""
    rows = await stage.rows("select status, waiting_kind from runs where id = %s or root_id = %s", run, run)
    waits = {row["waiting_kind"] for row in rows}
    return all(r["status"] == "SUSPENDED" for r in rows) and "revoked" in waits and waits <= {"revoked", "child"}


async def pending(stage: Stage, run):
    found = await approvals.list_approvals(stage.ctx, PageParams(limit=5), run_id=run)
    return found.items


async def approve(stage: Stage, approval) -> None:
    supervisor = stage.as_principal("sam")
    await approvals.decide(
        supervisor, approval.id, Verdict.APPROVE, reason="It looks right.", args_digest=approval.args_digest
    )


async def test_deciding_an_approval_does_not_slip_past_and_the_other_policy_asks_anew(stage: Stage) -> None:
    await stage.apply(blueprint(ASKING))
    async with stage.working():
        run = await stage.start("flow")
        await stage.until(run, "SUSPENDED")
        digest = await stage.revoke("policy", "supervise")
        (asked,) = await pending(stage, run)
        await approve(stage, asked)
        await stage.stopped(run, digest)
        assert await names(stage) == ["a"]
        await stage.apply(policy(2))
        done = await stage.repin(digest)
        assert [one.fate for one in done.runs] == ["repinned"], done
        await stage.eventually(lambda: asks(stage, run, 2))
        first, again = await pending(stage, run)
        assert (first.status, again.status, again.attempt) == ("APPROVED", "PENDING", 2)
        assert again.policy_digest == await stage.digest("policy", "supervise", 2)
        await approve(stage, again)
        assert (await stage.ended(run))["status"] == "SUCCEEDED"
    assert await names(stage) == ["a", "c"]


async def asks(stage: Stage, run, count: int) -> bool:
    return len(await pending(stage, run)) == count


async def test_what_waits_for_a_person_asks_anew_by_the_other_policy_and_the_old_request_is_cancelled(stage) -> None:
    await stage.apply(blueprint(ASKING))
    async with stage.working():
        run = await stage.start("flow")
        await stage.until(run, "SUSPENDED")
        digest = await stage.revoke("policy", "supervise")
        await stage.apply(policy(2))
        await stage.repin(digest)
        await stage.eventually(lambda: asks(stage, run, 2))
        first, again = await pending(stage, run)
        assert (first.status, again.status) == ("CANCELLED", "PENDING")
        with pytest.raises(Conflict):
            await approve(stage, first)
        await approve(stage, again)
        assert (await stage.ended(run))["status"] == "SUCCEEDED"


UNDER = ASKING.replace(
    "    probe: {name: c}\n",
    """\
    probe: {name: c}
  - id: d
    record: {name: d, value: "${steps.a.value}"}
""",
)


async def test_what_a_revoked_policy_approved_is_not_written_and_can_only_be_cancelled(stage: Stage) -> None:
    await stage.apply(blueprint(UNDER))
    begun, let = stage.gate(stage.probe, "c")
    async with stage.working():
        run = await stage.start("flow")
        await stage.until(run, "SUSPENDED")
        (asked,) = await pending(stage, run)
        await approve(stage, asked)
        await asyncio.wait_for(begun.wait(), 60)
        digest = await stage.revoke("policy", "supervise")
        let.set()
        assert (await stage.stopped(run, digest))["path"] == "d"
        await stage.apply(policy(2))
        done = await stage.repin(digest)
        assert [one.fate for one in done.runs] == ["refused"]
        assert "step 'asked' was decided by the revoked version" in done.runs[0].reason
        assert (await stage.run_row(run))["status"] == "SUSPENDED"
        done = await stage.cancel_stopped(digest)
        assert [one.fate for one in done.runs] == ["cancelled"]
        assert (await stage.run_row(run))["status"] == "CANCELLED"
    assert stage.writer.calls == []


@pytest.mark.parametrize(("verbs", "mode"), [(service, "revoke"), (drains, "drain")], ids=["revoke", "drain"])
async def test_a_withdrawal_waits_for_no_count_of_runs(stage: Stage, verbs, mode: str, monkeypatch) -> None:
    counted, in_force = verbs.impact, []

    async def counting(tx, ctx, version):
        async with ctx.tx() as other:
            in_force.append(await withdrawals.find(other, ctx.tenant, withdrawals.Mode(mode), version.digest))
        return await counted(tx, ctx, version)

    monkeypatch.setattr(verbs, "impact", counting)
    await (stage.revoke if mode == "revoke" else stage.drain)("connector", "ledger")
    (found,) = in_force
    assert found is not None  # while it was still being counted what this stops
