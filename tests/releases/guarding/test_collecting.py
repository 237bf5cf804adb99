"""Each run of a rollout is counted for its arm, and once: whoever looks, however often, and however late it comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from pathlib import Path

import pytest

import stanchion
from stanchion.releases import guarding
from stanchion.releases.guarding import collecting, rules, store
from stanchion.releases.rollouts import Plan, State, Step, Strategy, Target, rollback, service
from tests.releases.guarding.support import Guarded
from tests.releases.rollouts.support import SOURCES, Stage, Statements, canary, document

ALL = {
    "guards": [
        {"metric": "error_rate"},
        {"metric": "latency_ms", "limit": 1000},
        {"metric": "denial_rate"},
        {"metric": "override_rate"},
    ]
}


async def test_ended_runs_count_for_the_arm_that_was_recorded(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=ALL)
    arms = await guarded.start_both(12)
    assert await guarded.collect() == 0
    await guarded.fail(arms["candidate"][:1])
    await guarded.end(arms["stable"], took_ms=2000)
    assert await guarded.collect() == 1 + len(arms["stable"])
    assert await guarded.counts(rollout) == (1, len(arms["stable"]))
    errors, latency = await guarded.figures(rollout, 0), await guarded.figures(rollout, 1)
    assert (errors["candidate_mean"], errors["stable_mean"]) == (1.0, 0.0)
    assert (latency["candidate_mean"], latency["stable_mean"]) == (0.0, 1.0)
    await guarded.end(arms["candidate"][1:])
    assert await guarded.collect() == len(arms["candidate"]) - 1
    assert await guarded.collect() == 0
    assert await guarded.counts(rollout) == (len(arms["candidate"]), len(arms["stable"]))


async def test_what_is_an_error_a_denial_an_override(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=ALL)
    runs = (await guarded.start(40))["stable"]
    cancelled, rejected, denied, earlier, plain = runs[:5]
    await guarded.end([cancelled], "CANCELLED")
    await guarded.end([rejected], "FAILED")  # a person's word, and no dead letter
    await guarded.step_error(denied, "effect.wrong_environment")
    await guarded.step_error(earlier, "approval.missing", earlier=True)
    await guarded.step_error(plain, "adapter.failed")
    await guarded.fail([denied, plain])
    await guarded.end([earlier])
    async with guarded.env.db.engine_tx() as tx:
        for run, status in ((rejected, "REJECTED"), (plain, "APPROVED"), (earlier, "EXPIRED")):
            await tx.execute(
                "insert into approvals (tenant, id, run_id, root_id, path, attempt, blueprint, policy, policy_digest, requested_by,"
                " title, facts, shown, args_digest, bound, nonce, may_decide, forbid_self, on_reject, on_expire, status, expires_at)"
                " values ('acme', %(id)s, %(id)s, %(id)s, 'a', 1, 'b', 'p', 'd', 'ada', 't', '{}', '[]', 'd', '{}', 'n', '{}', true,"
                " 'fail', 'fail', %(status)s, now())",
                {"id": run, "status": status},
            )
    assert await guarded.collect() == 5
    found = [await guarded.figures(rollout, n) for n in range(4)]
    assert [f["stable_count"] for f in found] == [4] * 4
    assert [f["stable_mean"] for f in found] == [0.5, 0.0, 0.5, 0.25]


async def test_what_the_rollout_did_not_deal_does_not_count(guarded: Guarded) -> None:
    before = [await guarded.stage.start() for _ in range(3)]
    rollout = await guarded.begin(50, 100)
    await guarded.start(4)
    await service.advance(guarded.ctx, rollout.id, kinds=guarded.stage.kinds, reason="all")
    guarded.wait(1)
    everybody = [await guarded.stage.start() for _ in range(3)]  # at 100 percent there is no other arm
    arms = await guarded.arms()
    dealt = [run for run in (*arms["candidate"], *arms["stable"]) if run not in everybody]
    assert len(dealt) == 4
    await guarded.fail([*before, *everybody])
    await guarded.end(dealt)
    assert await guarded.collect() == 4
    assert sum(await guarded.counts(rollout)) == 4
    assert (await guarded.figures(rollout))["candidate_mean"] in (0.0, None)


async def test_runs_without_a_unit_do_not_count(guarded: Guarded) -> None:
    rollout = await guarded.begin(plan=canary(50, 100, unit="input:customer"))
    with_unit = [await guarded.stage.start({"customer": f"c{n}"}) for n in range(3)]
    without = [await guarded.stage.start() for _ in range(3)]
    await guarded.fail([*with_unit, *without])
    assert await guarded.collect() == 3
    assert sum(await guarded.counts(rollout)) == 3


async def test_a_ring_is_compared_with_everybody_else(guarded: Guarded) -> None:
    plan = Plan(
        strategy=Strategy.RINGS, unit="input:customer", rings={"pilot": ("c1",)},
        steps=(Step(rings=("pilot",)), Step(share=100)),
    )  # fmt: skip
    rollout = await guarded.begin(plan=plan)
    runs = [await guarded.stage.start({"customer": f"c{n}"}) for n in range(3)]
    await guarded.end(runs)
    assert await guarded.collect() == 3
    assert await guarded.counts(rollout) == (1, 2)


async def test_two_that_count_at_once_count_once(guarded: Guarded) -> None:
    rollout = await guarded.begin()
    arms = await guarded.start(20)
    await guarded.end([*arms["candidate"], *arms["stable"]])
    counted = await asyncio.gather(*(guarded.collect() for _ in range(6)))
    assert sum(counted) == 20
    assert await guarded.counts(rollout) == (len(arms["candidate"]), len(arms["stable"]))


async def test_one_that_dies_before_its_commit_has_counted_nothing(guarded: Guarded) -> None:
    rollout = await guarded.begin()
    arms = await guarded.start(8)
    await guarded.end([*arms["candidate"], *arms["stable"]])

    class DiedError(Exception):
        pass

    with contextlib.suppress(DiedError):
        async with guarded.env.db.engine_tx() as tx:
            assert await collecting.collect_one(tx, "acme", rollout.id, guarded.moment) == 8
            # While it lives, nobody else counts; nothing of it is seen.
            assert await guarded.collect() == 0
            raise DiedError
    assert sum(await guarded.counts(rollout)) == 0
    assert await guarded.collect() == 8
    assert sum(await guarded.counts(rollout)) == 8


async def test_a_start_that_is_committed_late_counts_once(guarded: Guarded) -> None:
    """Its id is old when it comes to light: later runs were found and counted long before."""
    rollout = await guarded.begin()
    late = (await guarded.start(1))["candidate"] + (await guarded.arms())["stable"]
    async with guarded.env.db.engine_tx() as tx:  # as if its transaction were still under way
        (pins,) = await (await tx.execute("select pins from runs where id = %s", (late[0],))).fetchone()
        await tx.execute("update runs set pins = 'nowhere' where id = %s", (late[0],))
    guarded.wait(60)  # far beyond the look back
    arms = await guarded.start(6)
    others = [run for run in (*arms["candidate"], *arms["stable"]) if run != late[0]]
    await guarded.end(others)
    assert await guarded.collect() == 6
    async with guarded.env.db.engine_tx() as tx:
        await tx.execute("update runs set pins = %s where id = %s", (pins, late[0]))
    await guarded.fail(late)
    assert await guarded.collect() == 1
    assert await guarded.collect() == 0
    assert sum(await guarded.counts(rollout)) == 7


async def test_more_than_one_look_takes(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FRESH_MAX", "PATROL_MAX", "NEWEST_MAX", "TURN_MAX"):
        monkeypatch.setattr(collecting, name, 3)
    rollout = await guarded.begin()
    arms = await guarded.start(20)
    runs = sorted([*arms["candidate"], *arms["stable"]])
    for _ in range(8):  # all are found, none has ended
        assert await guarded.collect() == 0
    await guarded.end([runs[0], runs[9], runs[19]])
    assert sum([await guarded.collect() for _ in range(9)]) == 3
    await guarded.end([run for run in runs if run not in (runs[0], runs[9], runs[19])])
    assert sum([await guarded.collect() for _ in range(9)]) == 17
    assert await guarded.counts(rollout) == (len(arms["candidate"]), len(arms["stable"]))


async def test_tenants_do_not_count_each_others_runs(guarded: Guarded, tmp_path) -> None:
    other = Guarded(Stage(guarded.env, tmp_path, tenant="umbra"))
    await other.stage.apply(*(document(kind) for kind in SOURCES))
    mine, theirs = await guarded.begin(), await other.begin()
    ours, foreign = await guarded.start(6), await other.start(5)
    await guarded.end([*ours["candidate"], *ours["stable"]])
    await guarded.fail([*foreign["candidate"], *foreign["stable"]])
    assert await guarded.collect() == 11
    assert sum(await guarded.counts(mine)) == 6
    assert sum(await other.counts(theirs)) == 5
    async with other.ctx.tx() as tx:  # the second lock: row-level security
        assert await store.comparisons(tx, "acme", mine.id) is None
        assert await store.dealing(tx, "acme", ours["stable"][0] if ours["stable"] else ours["candidate"][0]) == []


async def test_one_that_cannot_be_counted_keeps_no_other_waiting(guarded: Guarded, tmp_path) -> None:
    other = Guarded(Stage(guarded.env, tmp_path, tenant="umbra"))
    await other.stage.apply(*(document(kind) for kind in SOURCES))
    broken, fine = await guarded.begin(), await other.begin()
    await guarded.collect()
    async with guarded.env.db.engine_tx() as tx:
        await tx.execute(
            """update rollout_watches set comparisons = '{"error_rate": {"v": 0}}' where rollout_id = %s""",
            (broken.id,),
        )
    foreign = await other.start(2)
    await guarded.end([*foreign["candidate"], *foreign["stable"]])
    assert await guarded.collect() == 2
    assert sum(await other.counts(fine)) == 2
    assert await guarded.tick() == 0  # and what cannot be judged does not go on
    guarded.wait(10_000)
    assert (await guarded.now(broken)).state is State.ACTIVE
    assert (await guarded.now(broken)).step == 0


async def test_what_was_kept_per_run_goes_when_the_rollout_is_over(guarded: Guarded, monkeypatch) -> None:
    monkeypatch.setattr(collecting, "_FORGET_MAX", 2)
    rollout = await guarded.begin()
    arms = await guarded.start(5)
    await guarding.report(guarded.ctx, [*arms["candidate"], *arms["stable"]][0], "cost", 1.0)
    await guarded.end([*arms["candidate"], *arms["stable"]])
    await guarded.collect()
    before = await guarded.counts(rollout)
    await service.pause(guarded.ctx, rollout.id, reason="x")
    await rollback(
        guarded.ctx, Target(kind="policy", name="supervisor-approval"), kinds=guarded.stage.kinds, reason="x"
    )
    for _ in range(5):
        assert await guarded.collect() == 0
    async with guarded.env.db.engine_tx() as tx:
        (left,) = await (await tx.execute("select count(*) from rollout_runs")).fetchone()
        assert left == 0
        assert await store.open_watches(tx, "local", past=None, limit=9) == []
    assert await guarded.counts(rollout) == before  # what was known stays


async def test_a_look_costs_the_same_however_many_runs_there_are(guarded: Guarded) -> None:
    await guarded.begin()
    totals = []
    for _ in range(2):
        arms = await guarded.start(10)
        await guarded.end([*arms["candidate"], *arms["stable"]])
        with Statements() as statements:
            await guarded.collect()
        totals.append(statements.total)
    assert totals[0] == totals[1] <= 12


def test_denials_are_what_steps_raise() -> None:
    """A code that a step can be denied with counts as a denial; what a kill or a revocation holds back does not."""
    root = Path(stanchion.__file__).parent
    raised = {
        code
        for path in (root / "tools").rglob("*.py")
        for code in re.findall(r"Denied\(\s*\"([a-z_.]+)\"", path.read_text())
    }
    assert raised
    # Nor what says that a worker is wrong, that the machine has no box or no folder, or that a run's deployment changed.
    elsewhere = ("broker.", "sandbox.", "connector.no_folder", "effect.was_")
    said = {code for code in raised if not code.endswith(".held_back") and not code.startswith(elsewhere)}
    assert said <= rules.DENIALS
