"""One owner (I3): fencing, dead workers, strikes and poison, idempotent starts."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import psycopg
import pytest

from stanchion.base import Conflict, Denied, Invalid, NotFound, Unavailable, loads
from stanchion.http import PageParams
from stanchion.runs import (
    Claim,
    DeadFilter,
    LostClaim,
    cancel,
    discard,
    fanout,
    hold,
    list_dead,
    list_workers,
    requeue,
    retry,
    show,
    show_dead,
)
from stanchion.runs.engine import store as engine_store
from stanchion.runs.engine.worker import retire
from stanchion.runs.engine.writer import Checkpoint, CheckpointWriter
from stanchion.runs.rules import FanOut, digest_of_steps
from stanchion.runs.store import load_steps
from stanchion.runs.sweeping import Gauges, expire_keys, sweep
from tests.runs.test_fan_out import over_block
from tests.runs.test_flow import one_probe


class Corpse:
    """A worker of another process that registered, claimed, and then died or froze."""

    def __init__(self, world, connection, worker):
        self.world, self.connection, self.worker = world, connection, worker

    @classmethod
    async def of(cls, world, *, queues=("default",), probation_of=None, lease_s=10.0):
        env = world.env
        connection = await env.db.dedicated("engine")
        worker = env.ids.new()
        key = worker.int & ((1 << 63) - 1)
        assert await engine_store.try_session_lock(connection, key)
        async with env.db.engine_tx() as tx:
            await engine_store.register(
                tx,
                worker=worker,
                name="corpse",
                host="here",
                pid=1,
                engine_v=1,
                queues=queues,
                capacity=1,
                lock_key=key,
                probation_of=probation_of,
                lease_s=lease_s,
            )
        return cls(world, connection, worker)

    async def claim(self, *, any_strikes=True, probation=False, queues=("default",), limit=10):
        async with self.world.env.db.connection("engine") as tx:
            return await engine_store.claim(
                tx,
                worker=self.worker,
                queues=queues,
                engine_v=1,
                limit=limit,
                probation=probation,
                any_strikes=any_strikes,
            )

    async def die(self):
        await self.connection.close()


async def test_a_zombie_writes_nothing(world):
    """A worker freezes past its lease in the middle of a step; another finishes the run; the first one's write is refused."""
    frozen, thaw = asyncio.Event(), asyncio.Event()

    async def first(call):
        if call.claim.epoch == 1:
            frozen.set()
            await thaw.wait()
            return "zombie"
        return {"epoch": call.claim.epoch, "resumed": call.resumed}

    world.probe.script["first"] = first
    async with world.worker() as zombie:
        run_id = await world.start(one_probe("zombie"))
        await frozen.wait()
        held = zombie._claims._held[run_id][1]
        # The sweep of another process sees the lease over; the zombie itself has not noticed yet.
        await world.rows("update workers set lease_until = clock_timestamp() - interval '1 s' where id = %s", zombie.id)
        zombie._claims._queues = ()
        await sweep(world.env)
        run = await world.run_row(run_id)
        assert (run["status"], run["epoch"], run["waiting_kind"]) == ("PENDING", 2, "worker_lost")
        text = (await show(world.ctx, run_id)).waiting_on.text
        assert "No live worker" in text
        async with world.worker():
            run = await world.ended(run_id)
            assert run["status"] == "SUCCEEDED"
            thaw.set()
            await asyncio.wait([held], timeout=60)
        assert (await world.steps(run_id))["first"]["output"] == {"epoch": 3, "resumed": True}
        fenced = world.env.telemetry.registry.get_sample_value("stanchion_fenced_writes_total")
        assert fenced == 1.0


async def test_a_run_whose_step_the_claim_did_not_see_is_claimed_anew(world, monkeypatch):
    """Found by the contract suite: a claim that waited for its worker's row looks at steps as they were before it."""
    claims = 0

    async def blind(tx, **question):
        nonlocal claims
        claimed = await original(tx, **question)
        for run in claimed:
            claims += 1
            if claims == 2:  # the claim after the retry's wait
                run.step_status = run.step_attempt = run.step_first_attempt = run.step_errors = run.step_began = None
        return claimed

    original = engine_store.claim
    monkeypatch.setattr(engine_store, "claim", blind)
    attempts = []

    async def first(call):
        attempts.append(call.attempt)
        if call.attempt == 1:
            raise Unavailable("probe.away", "Away for a moment.")
        return "done"

    world.probe.script["first"] = first
    async with world.worker():
        run_id = await world.start(one_probe("blind", "        retry: {attempts: 3, initial: 10ms}"))
        run = await world.ended(run_id)
    assert (run["status"], attempts) == ("SUCCEEDED", [1, 2])
    assert claims == 3
    assert run["strikes"] == 0


async def test_a_stale_checkpoint_is_not_carried_along_by_a_newer_one_of_the_same_run(world):
    """Found by the simulation: a worker that lost a run and claimed it again may have both in one batch."""
    corpse = await Corpse.of(world, queues=("twice",))
    run_id = await world.start(one_probe("twice"), queue="twice")
    [claimed] = await corpse.claim(queues=("twice",))
    writer = CheckpointWriter(world.env, lambda _: False)

    def checkpoint(epoch: int, output: str) -> Checkpoint:
        run = {"id": run_id, "epoch": epoch, "status": "RUNNING", "cursor": 0, "path": "first"}
        step = {"run_id": run_id, "path": f"first[{epoch}]", "position": 0, "item_no": epoch, "verb": "probe"}
        step |= {"status": "SUCCEEDED", "attempt": 1, "output": output, "ended": True}
        return Checkpoint(run_id=run_id, run=run, steps=[step])

    stale, fresh = checkpoint(claimed.epoch - 1, "stale"), checkpoint(claimed.epoch, "fresh")
    for batch in ((stale, fresh), (fresh, stale)):
        written = await asyncio.gather(*(writer.write(one) for one in batch))
        assert [w is not None for w in written] == [one is fresh for one in batch]
    steps = await world.steps(run_id)
    assert [s["output"] for s in steps.values() if s["item_no"] is not None] == ["fresh"]
    await corpse.die()


async def test_items_created_after_a_cancel_are_cancelled_too(world):
    """Found by the simulation: the parent is RUNNING and about to fan out when it is cancelled, and has no items yet."""
    corpse = await Corpse.of(world, queues=("late",))
    run_id = await world.start(over_block("late-items"), queue="late")
    [claimed] = await corpse.claim(queues=("late",))
    await cancel(world.ctx, world.notifier, run_id, reason="enough")
    opening = fanout.Opening(
        tenant="acme",
        environment="local",
        blueprint="late-items",
        version=1,
        pins=claimed.pins,
        queue="late",
        traceparent=None,
        block="each",
        path="each/inner",
        verb="probe",
        empty=False,
    )
    rule = FanOut(total=2, concurrency=1, on_item_error="stop", max_failures=None)
    claim = Claim(tenant="acme", run_id=run_id, epoch=claimed.epoch)
    await fanout.create(world.env, claim, "each", opening, [1, 2], rule)
    await corpse.die()
    await world.eventually(lambda: sweep(world.env))
    await sweep(world.env)
    items = await world.rows("select status, cancel_reason from runs where parent_id = %s", run_id)
    assert [(item["status"], item["cancel_reason"]) for item in items] == [("CANCELLED", "enough")] * 2
    assert (await world.run_row(run_id))["status"] == "CANCELLED"


async def test_hold_fences_other_domains(world):
    corpse = await Corpse.of(world, queues=("held",))
    run_id = await world.start(one_probe("held"), queue="held")
    [claimed] = await corpse.claim(queues=("held",))
    mine = Claim(tenant="acme", run_id=run_id, epoch=claimed.epoch)
    stale = Claim(tenant="acme", run_id=run_id, epoch=claimed.epoch - 1)
    async with world.env.db.engine_tx() as tx:
        assert await hold(tx, [mine]) == {run_id}
    with pytest.raises(LostClaim):
        async with world.env.db.engine_tx() as tx:
            await hold(tx, [stale])
    await corpse.die()


async def test_a_dead_worker_is_seen_by_its_lock_and_its_runs_resumed(world):
    corpse = await Corpse.of(world, queues=("dead",))
    ids = [await world.start(one_probe("dead"), queue="dead") for _ in range(3)]
    assert len(await corpse.claim(queues=("dead",))) == 3
    assert "dead" not in await sweep(world.env)  # it lives
    await corpse.die()
    await world.eventually(lambda: sweep_of(world, corpse.worker))
    runs = [await world.run_row(run_id) for run_id in ids]
    assert {(r["status"], r["strikes"], r["epoch"], r["waiting_kind"]) for r in runs} == {
        ("PENDING", 1, 2, "worker_lost")
    }
    assert await corpse.claim(queues=("dead",)) == []  # a lost worker claims nothing
    row = (
        await world.rows("select state, reclaimed_at is not null as closed from workers where id = %s", corpse.worker)
    )[0]
    assert row == {"state": "lost", "closed": True}
    async with world.worker(queues=("dead",)):
        assert {(await world.ended(run_id))["status"] for run_id in ids} == {"SUCCEEDED"}


async def die_with(world, queue, times, **kwargs):
    for _ in range(times):
        corpse = await Corpse.of(world, queues=(queue,), **kwargs)
        assert await corpse.claim(queues=(queue,), any_strikes=True)
        await corpse.die()
        await world.eventually(lambda worker=corpse.worker: sweep_of(world, worker))


async def sweep_of(world, worker) -> bool:
    await sweep(world.env)
    return bool(await world.rows("select 1 as x from workers where id = %s and reclaimed_at is not null", worker))


async def test_a_step_that_kills_three_workers_is_poison(world):
    told = []

    class Hook:
        async def runs_ended(self, tx, tenant, run_ids):
            told.extend(run_ids)

    run_id = await world.start(one_probe("poison"), queue="poison")
    await die_with(world, "poison", 2)
    assert (await world.run_row(run_id))["strikes"] == 2
    # An ordinary worker with a spawner leaves it alone.
    ordinary = await Corpse.of(world, queues=("poison",))
    assert await ordinary.claim(queues=("poison",), any_strikes=False) == []
    assert len(await ordinary.claim(queues=("poison",), any_strikes=False, probation=True)) == 1
    await ordinary.die()
    await world.eventually(lambda: sweep_of(world, ordinary.worker))
    run = await world.run_row(run_id)
    assert (run["status"], run["dead_reason"], run["error"]["step"]) == ("FAILED", "poison", "first")
    assert (await world.steps(run_id))["first"]["status"] == "FAILED"
    records = await world.rows("select event_type from audit_records where run_id = %s order by id", run_id)
    assert [r["event_type"] for r in records] == ["run.started", "run.ended"]


async def test_a_probation_child_that_its_parent_took_along_blames_nobody(world):
    run_id = await world.start(one_probe("spared"), queue="spared")
    await die_with(world, "spared", 2)
    parent = await Corpse.of(world, queues=("other",))
    child = await Corpse.of(world, queues=("spared",), probation_of=parent.worker)
    assert len(await child.claim(queues=("spared",), any_strikes=False, probation=True)) == 1
    await child.die()
    await sweep(world.env)
    # The parent lives and has not spoken: nobody is judged yet.
    assert (await world.run_row(run_id))["status"] == "RUNNING"
    await parent.die()
    await world.eventually(lambda: sweep_of(world, child.worker))
    run = await world.run_row(run_id)
    assert (run["status"], run["strikes"]) == ("PENDING", 2)


async def test_a_probation_child_whose_parent_testifies_is_poison(world):
    run_id = await world.start(one_probe("blamed"), queue="blamed")
    await die_with(world, "blamed", 2)
    parent = await Corpse.of(world, queues=("other",))
    child = await Corpse.of(world, queues=("blamed",), probation_of=parent.worker)
    await child.claim(queues=("blamed",), any_strikes=False, probation=True)
    await child.die()
    async with world.env.db.connection("engine") as tx:
        await engine_store.confirm_crash(tx, parent.worker)
    await world.eventually(lambda: sweep_of(world, child.worker))
    assert (await world.run_row(run_id))["dead_reason"] == "poison"
    await parent.die()


async def test_a_run_handed_back_from_probation_is_looked_for_again(world):
    """Found by a loaded machine: without its reason it was left to probation, which nobody began."""
    run_id = await world.start(one_probe("handed"), queue="handed")
    await die_with(world, "handed", 2)
    child = await Corpse.of(world, queues=("handed",))
    assert await child.claim(queues=("handed",), any_strikes=True)
    async with world.env.db.engine_tx() as tx:
        assert await engine_store.hand_back_all(tx, child.worker) == 1
    row = await world.run_row(run_id)
    assert (row["status"], row["strikes"], row["waiting_kind"]) == ("PENDING", 2, "worker_lost")
    async with world.env.db.connection("engine") as tx:
        tick = await engine_store.tick(tx, worker=child.worker, queues=("handed",), engine_v=1, fans=False)
    assert tick.probation
    await child.die()


async def test_a_claim_that_commits_while_its_worker_leaves_is_handed_back(world):
    """Found by the simulation (seed 4839): its answer was lost, its worker registered anew, and the run was called poison."""
    run_id = await world.start(one_probe("late"), queue="late")
    leaver = await Corpse.of(world, queues=("late",))

    async def leave() -> int:
        async with world.env.db.engine_tx() as tx:
            return await retire(tx, leaver.worker)

    async with world.env.db.engine_tx() as tx:
        taken = await engine_store.claim(
            tx, worker=leaver.worker, queues=("late",), engine_v=1, limit=1, probation=False, any_strikes=True
        )
        assert [run.id for run in taken] == [run_id]
        leaving = asyncio.create_task(leave())
        await world.eventually(lambda: somebody_waits(world))
    assert await leaving == 1
    row = await world.run_row(run_id)
    assert (row["status"], row["strikes"], row["worker_id"]) == ("PENDING", 0, None)
    await leaver.die()


async def somebody_waits(world) -> bool:
    return bool(await world.rows("select 1 from pg_locks where not granted and locktype = 'transactionid'"))


async def test_a_worker_has_a_run_on_probation_executed_apart(world):
    spawned = []

    async def spawn(parent) -> int:
        spawned.append(parent)
        async with world.worker(queues=("apart",), probation_of=parent) as child:
            await world.eventually(lambda: child._stopped.is_set())
        return 0

    run_id = await world.start(one_probe("apart"), queue="apart")
    await die_with(world, "apart", 2)
    async with world.worker(queues=("apart",), spawn_probation=spawn) as worker:
        run = await world.ended(run_id)
        assert spawned == [worker.id]
        await world.eventually(lambda: worker._probation is None)
    assert (run["status"], run["strikes"]) == ("SUCCEEDED", 0)


async def test_a_lost_session_abandons_and_registers_anew(world):
    began = asyncio.Event()

    async def first(call):
        if call.claim.epoch == 1:
            began.set()
            await asyncio.Event().wait()
        return "again"

    world.probe.script["first"] = first
    async with world.worker() as worker:
        before = worker.id
        run_id = await world.start(one_probe("session"))
        await began.wait()
        await world.rows(
            "select 1 as x from (select pg_terminate_backend(l.pid) from pg_locks l where l.locktype = 'advisory') t"
        )
        run = await world.ended(run_id)
        assert worker.id != before
    assert (run["status"], run["strikes"]) == ("SUCCEEDED", 0)
    assert (await world.steps(run_id))["first"]["output"] == "again"


async def test_a_repeated_start_is_the_same_run(world):
    name = world.resolver.add(one_probe("again"))
    ids = await asyncio.gather(*(world.start(name, {"n": 1}, idempotency_key="k1") for _ in range(8)))
    assert len(set(ids)) == 1
    assert await world.start(name, {"n": 1}, idempotency_key="k1") == ids[0]
    with pytest.raises(Conflict) as caught:
        await world.start(name, {"n": 2}, idempotency_key="k1")
    assert caught.value.code == "run.idempotency_mismatch"
    rows = await world.rows("select count(*) as n from runs where blueprint = 'again'")
    assert rows == [{"n": 1}]
    records = await world.rows("select count(*) as n from audit_records where run_id = %s", ids[0])
    assert records == [{"n": 1}]
    assert await expire_keys(world.env) == 0
    with psycopg.connect(world.owner_url, autocommit=True) as owner:
        owner.execute("alter table idempotency_keys no force row level security")
        owner.execute("update idempotency_keys set created_at = created_at - interval '25 hours'")
        owner.execute("alter table idempotency_keys force row level security")
    assert await expire_keys(world.env) == 1
    assert await world.start(name, {"n": 2}, idempotency_key="k1") != ids[0]


async def test_many_starts_share_transactions(world):
    name = world.resolver.add(one_probe("many"))
    ids = await asyncio.gather(*(world.start(name, {"n": n}) for n in range(100)))
    assert len(set(ids)) == 100
    made = await world.rows("select count(distinct xmin::text) as n from runs where blueprint = 'many'")
    assert made[0]["n"] < 30
    rows = await world.rows(
        "select count(*) as n from runs r join step_runs s on s.run_id = r.id where blueprint = 'many'"
    )
    assert rows == [{"n": 100}]


async def fail_some(world, name, n):

    def fail(call):
        raise Invalid("tests.down", "Down.")

    world.probe.script["first"] = fail
    ids = [await world.start(one_probe(name)) for _ in range(n)]
    async with world.worker():
        for run_id in ids:
            await world.ended(run_id)
    world.probe.script.clear()
    return ids


async def test_dead_letters_are_listed_requeued_and_discarded(world):
    ids = await fail_some(world, "letters", 3)
    where = DeadFilter(reason="tests.down", blueprint="letters")
    found = await list_dead(world.ctx, PageParams(), where)
    assert [d.id for d in found.items] == sorted(ids, reverse=True)
    dead = await show_dead(world.ctx, ids[0])
    letter = dead.letter
    assert (letter.reason, letter.path, dead.steps[0].error["code"]) == ("tests.down", "first", "tests.down")
    assert await discard(world.ctx, run_ids=[ids[0]], reason="hopeless") == [ids[0]]
    assert await requeue(world.ctx, world.notifier, where=where, most=1, reason="up") == [ids[2]]
    assert await requeue(world.ctx, world.notifier, run_ids=[ids[1], ids[1]], reason="up") == [ids[1]]
    assert await requeue(world.ctx, world.notifier, where=where, reason="up") == []
    async with world.worker():
        for run_id in ids[1:]:
            run = await world.ended(run_id)
            assert (run["status"], run["attempt"], run["dead_reason"]) == ("SUCCEEDED", 2, None)
    step = (await world.steps(ids[1]))["first"]
    assert (step["attempt"], step["first_attempt"], step["errors"][0]["code"]) == (2, 2, "tests.down")
    assert (await list_dead(world.ctx, PageParams(), where)).items == []
    events = await world.rows("select event_type from audit_records where run_id = %s order by id", ids[0])
    assert [e["event_type"] for e in events] == ["run.started", "run.ended", "run.discarded"]
    gauges = Gauges()
    await gauges.measure(world.env)
    with pytest.raises(Conflict):
        await retry(world.ctx, world.notifier, ids[1], reason="for fun")


@pytest.mark.parametrize("verb", ["requeue", "discard"])
async def test_ids_are_decided_about_all_or_none(world, verb):
    """An id that is no dead letter is a mistake of the caller: said, and nothing is decided about the others."""

    async def decide(ctx, *run_ids, **kwargs):
        if verb == "requeue":
            return await requeue(ctx, world.notifier, run_ids=run_ids, reason="x", **kwargs)
        return await discard(ctx, run_ids=run_ids, reason="x", **kwargs)

    dead, gone = await fail_some(world, f"{verb}-ids", 2)
    await discard(world.ctx, run_ids=[gone], reason="hopeless")
    waits = await world.start(one_probe(f"{verb}-waits"))
    for run_id, state, way in ((gone, "FAILED and discarded", "run retry"), (waits, "PENDING", "run watch")):
        with pytest.raises(Conflict) as caught:
            await decide(world.ctx, dead, run_id)
        problem = caught.value
        assert problem.code == "dlq.not_dead"
        assert f"Run {run_id} is {state}" in problem.message
        assert f"stanchion {way} {run_id}" in problem.hint
        assert problem.fields["runs"] == [{"run_id": str(run_id), "status": state.split()[0]}]
    with pytest.raises(Conflict) as caught:
        await decide(world.ctx, gone, waits, dead)
    assert "2 of 3 runs are no dead letters" in caught.value.message
    for ctx, run_ids in ((world.ctx, (dead, uuid4())), (world.as_principal("bob", "beta"), (dead,))):
        with pytest.raises(NotFound) as caught:
            await decide(ctx, *run_ids)
        assert (caught.value.code, str(run_ids[-1]) in caught.value.message) == ("run.unknown", True)
    with pytest.raises(Invalid) as caught:
        await decide(world.ctx, dead, gone, most=1)
    assert caught.value.code == "dlq.bad_selection"
    row = await world.run_row(dead)
    assert (row["status"], row["discarded_at"], row["attempt"]) == ("FAILED", None, 1)
    assert await decide(world.ctx, dead) == [dead]


async def test_what_is_no_dead_letter_says_what_it_is(world):
    run_id = await world.start(one_probe("not-dead"))
    with pytest.raises(NotFound) as caught:
        await show_dead(world.ctx, run_id)
    assert (caught.value.code, "is PENDING" in caught.value.message) == ("dlq.not_dead", True)
    async with world.worker():
        await world.ended(run_id)
    with pytest.raises(Conflict) as conflict:
        await discard(world.ctx, run_ids=[run_id], reason="x")
    assert f"stanchion run show {run_id}" in conflict.value.hint


async def test_another_tenant_sees_nothing(world):
    run_id = await world.start(one_probe("walled"))
    beta = world.as_principal("bob", "beta")
    with pytest.raises(NotFound):
        await show(beta, run_id)
    with pytest.raises(NotFound):
        await retry(beta, world.notifier, run_id, reason="mine")
    assert (await list_dead(beta, PageParams(), DeadFilter())).items == []


async def test_verbs_ask_for_permission(world):
    from dataclasses import replace

    class Nobody:
        def check(self, actor, action, resource):
            raise Denied("auth.denied", action)

    run_id = await world.start(one_probe("asked"))
    ctx = replace(world.ctx, env=replace(world.env, authorizer=Nobody()))
    for verb in (
        show(ctx, run_id),
        retry(ctx, world.notifier, run_id, reason="x"),
        requeue(ctx, world.notifier, run_ids=[run_id], reason="x"),
        discard(ctx, run_ids=[run_id], reason="x"),
        list_dead(ctx, PageParams(), DeadFilter()),
        list_workers(ctx),
    ):
        with pytest.raises(Denied):
            await verb


@pytest.mark.parametrize("error", [KeyError("a defect"), Invalid("tests.gone", "Gone.")])
async def test_a_program_that_cannot_be_loaded_is_a_dead_letter_and_stops_nobody(world, error):
    queue = "broken" if isinstance(error, KeyError) else "gone"
    broken = await world.start(one_probe(f"{queue}-program"), queue=queue)
    fine = await world.start(one_probe(f"{queue}-fine"), queue=queue)
    load, bad = world.resolver.load, world.resolver.live[f"{queue}-program"].pins.digest

    async def load_or_fail(tenant, pins):
        if pins == bad:
            raise error
        return await load(tenant, pins)

    world.resolver.load = load_or_fail
    async with world.worker(queues=(queue,)):
        assert (await world.ended(fine))["status"] == "SUCCEEDED"
        run = await world.ended(broken)
    assert (run["status"], run["dead_reason"]) == (
        "FAILED",
        "engine.defect" if queue == "broken" else "tests.gone",
    )
    # It ends like any other failure: recorded, counted, its step failed by the same.
    [end] = await world.rows("select record from audit_records where run_id = %s and event_type = 'run.ended'", broken)
    record = loads(end["record"])
    assert record["extra"] == {"status": "FAILED", "steps": 1, "attempt": 1, "code": run["dead_reason"]}
    async with world.env.db.connection("engine") as tx:
        assert record["after"] == digest_of_steps(await load_steps(tx, [broken]))
    assert (await world.steps(broken))["first"]["error"]["code"] == run["dead_reason"]
    count = world.env.telemetry.registry.get_sample_value
    assert count("stanchion_runs_ended_total", {"queue": queue, "status": "FAILED"}) == 1
    assert count("stanchion_dead_letters_total", {"queue": queue, "reason": run["dead_reason"]}) == 1


async def test_items_whose_program_cannot_be_loaded_let_their_fan_out_go_on(world, monkeypatch):
    """Their parent hears of it from the worker, not from the sweep; and an item is no dead letter of its own."""

    async def nothing(env):
        return set()

    monkeypatch.setattr("stanchion.runs.sweeping.service.fanout.advance_all", nothing)
    load, calls = world.resolver.load, 0

    async def load_or_fail(tenant, pins):
        nonlocal calls
        calls += 1
        if calls in (2, 3):  # the two items; the first and the fourth time it is the parent
            raise Invalid("tests.gone", "Gone.")
        return await load(tenant, pins)

    world.resolver.load = load_or_fail
    source = over_block("refused", "\n          on_item_error: continue", n=2)
    async with world.worker(queues=("refused",)):
        run = await world.ended(await world.start(source, queue="refused"))
    assert run["status"] == "SUCCEEDED", run["error"]
    assert [item["error"]["code"] for item in run["output"]["failed"]] == ["tests.gone", "tests.gone"]
    items = await world.rows("select status, dead_reason from runs where parent_id = %s", run["id"])
    assert items == [{"status": "FAILED", "dead_reason": None}] * 2


async def test_a_program_that_cannot_be_loaded_just_now_is_tried_again(world):
    load, away = world.resolver.load, True

    async def load_or_fail(tenant, pins):
        if away:
            raise Unavailable("tests.away", "Away.")
        return await load(tenant, pins)

    world.resolver.load = load_or_fail
    async with world.worker(queues=("away",)):
        run_id = await world.start(one_probe("away"), queue="away")
        run = await world.until(run_id, "SUSPENDED")
        assert (run["waiting_kind"], run["waiting_ref"]) == ("retry", "first")
        away = False
        await world.rows("update runs set wake_at = clock_timestamp() where id = %s", run_id)
        assert (await world.ended(run_id))["status"] == "SUCCEEDED"
    count = world.env.telemetry.registry.get_sample_value
    assert count("stanchion_runs_suspended_total", {"queue": "away", "waiting_on": "retry"}) == 1


async def test_a_worker_that_ended_holds_no_runs(world):
    """Stopped or lost, it says that it runs nothing."""

    async def hold_on(call):
        await asyncio.Event().wait()

    world.probe.script["first"] = hold_on
    async with world.worker(grace_s=0.5, queues=("busy",)) as worker:
        await world.start(one_probe("busy"), queue="busy")
        await world.eventually(lambda: worker.running == 1)
        stopped = worker.id
        await world.rows("update workers set running = 1 where id = %s", stopped)
    corpse = await Corpse.of(world, queues=("nothing",))
    await world.rows("update workers set running = 16 where id = %s", corpse.worker)
    await corpse.die()
    await world.eventually(lambda: sweep_of(world, corpse.worker))
    shown = {row.id: (row.state, row.running) for row in await list_workers(world.ctx)}
    assert shown[stopped] == ("stopped", 0)
    assert shown[corpse.worker] == ("lost", 0)
