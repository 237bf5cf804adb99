"""Giving runs another version: which fit, what is recorded, what is refused and why; cancelling the rest."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.artifacts import Document
from stanchion.base import Conflict, Denied, NotFound
from stanchion.http import PageParams
from stanchion.releases import revoking
from stanchion.runs import reading
from stanchion.runs import revoking as runs_revoking
from tests.releases.revoking.support import Stage, blueprint, connector, policy

FLOW = """\
blueprint: flow
owner: tests
input: {type: object, properties: {amount: {type: number}}}
steps:
  - id: a
    probe: {name: a}
  - id: b
    use: {name: b, connector: ledger}
  - id: c
    probe: {name: c}
output: done
"""


async def stopped_at_b(stage: Stage, *, value=None) -> tuple:
    """A run that stopped before b, since its connector was revoked; (run, digest)."""
    await stage.apply(blueprint(FLOW))
    begun, let = stage.gate(stage.probe, "a")
    run = await stage.start("flow", value)
    await asyncio.wait_for(begun.wait(), 60)
    digest = await stage.revoke("connector", "ledger")
    let.set()
    await stage.stopped(run, digest)
    return run, digest


async def test_a_run_goes_on_with_the_live_version_and_both_are_recorded(stage: Stage) -> None:
    async with stage.working():
        run, digest = await stopped_at_b(stage)
        before = (await stage.run_row(run))["pins"]
        with pytest.raises(Conflict) as caught:
            await stage.repin(digest)
        assert caught.value.code == "repin.no_version"
        assert "connector/ledger@1 is itself the live version" in caught.value.message
        await stage.apply(connector(2))
        done = await stage.repin(digest)
        assert [(one.run_id, one.fate) for one in done.runs] == [(run, "repinned")]
        assert done.to is not None
        assert done.to.version == 2
        assert (await stage.ended(run))["status"] == "SUCCEEDED"
    second = await stage.digest("connector", "ledger", 2)
    assert [call.digests["connector", "ledger"] for call in stage.use.calls] == [second]
    assert await stage.pinned(run) == {"blueprint/flow": 1, "connector/ledger": 2}
    after = (await stage.run_row(run))["pins"]
    (record,) = await stage.records("run.repinned")
    assert (record["before"], record["after"], record["run_id"]) == (before, after, str(run))
    assert record["actor"]["id"] == "alice"
    (kept,) = await revoking.list_repins(stage.ctx, run)
    assert (kept.version_before, kept.version, kept.pins_before, kept.pins) == (1, 2, before, after)
    assert (kept.digest_before, kept.digest, kept.by, kept.reason) == (digest, second, "alice", "Another one.")
    detail = await reading.show(stage.ctx, run)
    assert {pin["digest"] for pin in detail.pins} >= {second}
    assert (await stage.repin(digest)).runs == ()


async def test_every_run_is_given_it_and_those_that_work_are_left(stage: Stage) -> None:
    async with stage.working():
        run, digest = await stopped_at_b(stage)
        await stage.reinstate(digest)
        assert (await stage.ended(run))["status"] == "SUCCEEDED"
        begun, let = stage.gate(stage.probe, "a")
        working = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        await stage.revoke("connector", "ledger")
        del stage.probe.script["a"]
        queued = [await start_unaware(stage) for _ in range(3)]
        for one in queued:
            await stage.stopped(one, digest)
        await stage.apply(connector(2))
        done = await stage.repin(digest)
        assert {one.run_id: one.fate for one in done.runs} == {working: "running", **dict.fromkeys(queued, "repinned")}
        let.set()
        await stage.stopped(working, digest)
        assert [one.fate for one in (await stage.repin(digest)).runs] == ["repinned"]
        for one in (*queued, working):
            assert (await stage.ended(one))["status"] == "SUCCEEDED"


async def start_unaware(stage: Stage):
    """A start on a process that does not know yet."""
    from stanchion.runs import Starter

    return (await Starter(stage.env, stage.resolver, stage.notifier).start(stage.ctx, "flow", {})).run_id


ASKING = """\
blueprint: flow
owner: tests
steps:
  - id: a
    probe: {name: a}
  - id: asked
    govern: {policy: supervise, facts: {amount: 200.0}, show: ["${steps.a.value}"]}
output: done
"""


async def test_a_version_that_does_not_fit_what_the_run_is_pinned_to_is_refused_with_the_reason(stage: Stage) -> None:
    await stage.apply(blueprint(ASKING))
    begun, let = stage.gate(stage.probe, "a")
    async with stage.working():
        run = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        digest = await stage.revoke("policy", "supervise")
        let.set()
        await stage.stopped(run, digest)
        needs_more = (
            policy(2).source.replace("[amount]", "[amount, why]").replace("{amount:", "{why: {type: string}, amount:")
        )
        says_more = ASKING.replace("amount: 200.0", "amount: 200.0, why: test")
        await stage.apply(Document(path="p.yaml", source=needs_more), blueprint(says_more))
        (one,) = (await stage.repin(digest)).runs
        assert one.fate == "refused"
        assert "blueprint flow 1 does not fit with policy supervise 2" in one.reason
        assert "needs the fact why" in one.reason
        assert (await stage.run_row(run))["status"] == "SUSPENDED"
        assert await stage.pinned(run) == {"blueprint/flow": 1, "policy/supervise": 1}
    with pytest.raises(NotFound):
        await stage.repin(digest, 9)
    with pytest.raises(Conflict) as caught:
        await stage.repin(digest, 1)
    assert (caught.value.code, "was revoked by alice" in caught.value.message) == ("release.revoked", True)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("{name: c}", "{name: d}", ""),
        ("output: done", "output: other", ""),
        ("{name: b, connector", "{name: bb, connector", ""),
        ("{name: a}", "{name: aa}", "step 'a', which it has passed, is another one there"),
        ("- id: b\n", "- id: bb\n", "step 'b', at which it stands, is not there"),
        ("    probe: {name: a}\n", '    if: "true"\n    probe: {name: a}\n', "step 'a', which it has passed"),
        ("{type: number}", "{type: string}", "its input does not fit the other version"),
    ],
    ids=["a later step", "the output", "the step it stands at", "a passed step", "no such step", "a guard", "the input"],
)  # fmt: skip
async def test_another_blueprint_fits_if_what_was_done_is_the_same(stage: Stage, old, new, why) -> None:
    await stage.apply(blueprint(FLOW))
    begun, let = stage.gate(stage.probe, "a")
    async with stage.working():
        run = await stage.start("flow", {"amount": 5})
        await asyncio.wait_for(begun.wait(), 60)
        digest = await stage.revoke("blueprint", "flow")
        let.set()
        await stage.stopped(run, digest)
        assert old in FLOW
        await stage.apply(blueprint(FLOW.replace(old, new)))
        (one,) = (await stage.repin(digest)).runs
        if why:
            assert one.fate == "refused"
            assert why in one.reason
            assert (await stage.run_row(run))["version"] == 1
        else:
            assert (one.fate, one.reason) == ("repinned", "")
            row = await stage.ended(run)
            assert (row["status"], row["version"]) == ("SUCCEEDED", 2)
            assert row["output"] == ("other" if "other" in new else "done")
    assert len(stage.probe.called("a")) == 1


async def test_cancelling_takes_those_that_stopped_and_only_if_asked_the_others(stage: Stage) -> None:
    async with stage.working():
        run, digest = await stopped_at_b(stage)
        begun, let = stage.gate(stage.probe, "a")
        working = await start_unaware(stage)
        await asyncio.wait_for(begun.wait(), 60)
        done = await stage.cancel_stopped(digest)
        assert [(one.run_id, one.fate) for one in done.runs] == [(run, "cancelled")]
        assert (await stage.run_row(run))["status"] == "CANCELLED"
        done = await stage.cancel_stopped(digest, everything=True)
        assert [one.run_id for one in done.runs] == [working]
        let.set()
        assert (await stage.ended(working))["status"] == "CANCELLED"
    assert [r["target"]["id"] for r in await stage.records("run.cancel_requested")] == [str(run), str(working)]


async def test_many_runs_come_in_pages(stage: Stage, monkeypatch) -> None:
    from stanchion.runs.revoking import service

    async with stage.working():
        _, digest = await stopped_at_b(stage)
        del stage.probe.script["a"]
        more = [await start_unaware(stage) for _ in range(4)]
        for one in more:
            await stage.stopped(one, digest)
        await stage.apply(connector(2))
        monkeypatch.setattr(service, "BATCH", 2)
        monkeypatch.setattr(revoking.service.revoking, "BATCH", 2)
        found, after = [], None
        while True:
            done = await revoking.repin(stage.ctx, digest, means=stage.means, reason="Another one.", after=after)
            found += [one.run_id for one in done.runs]
            after = done.next
            if after is None:
                break
        assert len(found) == len(set(found)) == 5


async def test_other_tenants_and_roles_can_do_nothing_of_it(stage: Stage) -> None:
    from stanchion.identity import CedarAuthorizer

    async with stage.working():
        run, digest = await stopped_at_b(stage)
    theirs = stage.as_principal("bob", "beta")
    with pytest.raises(NotFound):
        await revoking.revoke(theirs, digest, reason="Ours now.")
    with pytest.raises(NotFound):
        await revoking.repin(theirs, digest, means=stage.means, reason="Ours now.")
    with pytest.raises(NotFound):
        await revoking.cancel_stopped(theirs, digest, reason="x", notifier=stage.notifier, hook=None)
    assert (await revoking.list_revocations(theirs, PageParams(limit=5))).items == []
    assert await revoking.list_repins(theirs, run) == []
    import dataclasses

    env = dataclasses.replace(stage.env, authorizer=CedarAuthorizer())
    for role, may in (("viewer", ()), ("author", ()), ("operator", ("revoke", "repin")), ("admin", ("reinstate",))):
        ctx = dataclasses.replace(stage.as_role(role), env=env)
        for verb, call in (
            ("revoke", lambda ctx=ctx: revoking.revoke(ctx, digest, reason="x")),
            ("repin", lambda ctx=ctx: revoking.repin(ctx, digest, means=stage.means, reason="x")),
            ("reinstate", lambda ctx=ctx: revoking.reinstate(ctx, digest, reason="x")),
        ):
            if role == "admin" and verb != "reinstate":
                continue
            if verb in may:
                try:
                    await call()
                except Conflict:
                    continue  # it was let through to the rules
            else:
                with pytest.raises(Denied):
                    await call()


async def test_a_write_of_unknown_outcome_is_resolved_before_its_connector_is_another_one(stage: Stage) -> None:
    async with stage.working():
        run, digest = await stopped_at_b(stage)
        await stage.apply(connector(2))
        await stage.rows(
            "insert into effects (tenant, id, run_id, path, key, connector, connector_digest, operation, class,"
            " idempotency, args_digest, state, epoch, intent_at) values ('acme', %s, %s, 'b', 'k', 'ledger', %s,"
            " 'cases.push', 'write', 'probe', 'sha256:x', 'INTENT', 1, now())",
            stage.env.ids.new(), run, digest,
        )  # fmt: skip
        (one,) = (await stage.repin(digest)).runs
        assert (one.fate, "write of step 'b' happened is not known" in one.reason) == ("refused", True)
        await stage.rows("update effects set state = 'FAILED', outcome_at = now() where run_id = %s", run)
        assert [one.fate for one in (await stage.repin(digest)).runs] == ["repinned"]
        assert (await stage.ended(run))["status"] == "SUCCEEDED"


async def test_items_that_come_to_be_while_a_run_is_being_locked_are_locked_with_it(stage: Stage) -> None:
    await stage.apply(blueprint(FLOW))
    root = await stage.start("flow")
    first, second = await item(stage, root, 0), await item(stage, root, 1)

    async def locked() -> set:
        async with stage.ctx.tx() as tx:
            return {run.id for run in await runs_revoking.locked(tx, "acme", root)}

    async with stage.env.db.engine_tx() as tx:  # a worker writes the first item
        await tx.execute("select from runs where id = %s for update", (first,))
        locking = asyncio.create_task(locked())
        await stage.eventually(lambda: waits_for_a_row(stage))
        third = await item(stage, second, 0)  # meanwhile the second one fans out itself
    assert await asyncio.wait_for(locking, 60) == {root, first, second, third}


async def item(stage: Stage, parent, number: int):
    """An item that waits, of a run or of another item."""
    made = stage.env.ids.new()
    await stage.rows(
        "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, waiting_kind, input,"
        " requested_by, root_id, parent_id, parent_path, item_no) select tenant, %s, blueprint, version, pins, environment,"
        " engine_v, 'SUSPENDED', 'child', input, requested_by, root_id, id, 'each', %s from runs where id = %s",
        made, number, parent,
    )  # fmt: skip
    return made


async def waits_for_a_row(stage: Stage) -> bool:
    return bool(
        await stage.rows(
            "select 1 from pg_locks where locktype = 'transactionid' and not granted"
            " and pid in (select pid from pg_stat_activity where datname = current_database())"
        )
    )
