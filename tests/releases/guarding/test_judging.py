"""What a rollout does by what its guards say, from the runs' ends to the record of the change."""

from __future__ import annotations

import pytest

from stanchion.base import Conflict, Invalid
from stanchion.http import PageParams
from stanchion.releases.rollouts import (
    Plan,
    State,
    Step,
    Strategy,
    advance,
    history,
    pause,
    resume,
    watch,
)
from stanchion.releases.rollouts.rules import evidence_digest
from tests.releases.guarding.support import ERRORS, Guarded
from tests.releases.rollouts.support import canary

# Proof comes after few comparisons, so that the tests are short.
SHARP = {"guards": [{"metric": "error_rate", "samples_min": 5, "exclude": 0.9, "alpha": 0.2}], "alpha": 0.2}


async def feed(guarded: Guarded, rounds: int, *, worse: bool) -> None:
    """Runs of both arms that start and end; the candidate's fail if it is worse."""
    for _ in range(rounds):
        before = await guarded.arms()
        after = await guarded.start(4)
        new = {arm: [run for run in runs if run not in before[arm]] for arm, runs in after.items()}
        await guarded.end(new["stable"])
        await (guarded.fail if worse else guarded.end)(new["candidate"])
        await guarded.collect()


async def until(guarded: Guarded, rollout, verdict: str, *, worse: bool) -> None:
    for _ in range(60):
        await feed(guarded, 5, worse=worse)
        if (await guarded.judge(rollout)).verdict == verdict:
            return
    raise AssertionError(await guarded.judge(rollout))


async def test_a_candidate_that_fails_is_taken_back_and_the_change_is_explained(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=SHARP, hold_s=86_400)
    await until(guarded, rollout, "fail", worse=True)
    judged = await guarded.judge(rollout)
    assert await guarded.tick() == 1
    assert (await guarded.now(rollout)).state is State.ROLLED_BACK
    assert (await guarded.stage.live())["policy"] == 1
    assert await guarded.stage.versions(await guarded.stage.start()) != []
    guarded.wait(1)
    assert (await guarded.stage.versions(await guarded.stage.start()))[0]["policy"] == 1

    (latest, *_) = (await history(guarded.ctx, "policy", "supervisor-approval", PageParams())).items
    assert (latest.event, latest.by) == ("rollout.rolled_back", "system:scheduler")
    assert latest.reason.startswith("Its guards say FAIL: Regression: error_rate. By error_rate the candidate is worse")
    assert latest.before == {"state": "ACTIVE", "step": 1, "share": 50, "rings": []}
    assert latest.after == {"state": "ROLLED_BACK", "step": 1, "share": 50, "rings": []}
    assert latest.evidence == judged.evidence
    (finding,) = latest.evidence["guards"]
    assert finding["verdict"] == "fail"
    assert finding["evidence"]["candidate_mean"] == 1.0
    assert finding["evidence"]["stable_mean"] == 0.0

    (record,) = await guarded.stage.records("rollout.rolled_back")
    assert record["actor"]["id"] == "system:scheduler"
    assert record["extra"]["evidence"] == evidence_digest(latest.evidence)  # as it was read back
    assert (record["extra"]["before"]["state"], record["extra"]["now"]["state"]) == ("ACTIVE", "ROLLED_BACK")
    assert record["reason"].startswith("sha256:")
    assert await guarded.tick() == 0
    # What was counted is still shown, of a rollout that is over.
    assert (await guarded.judge(rollout)).verdict == "fail"


async def test_a_paused_candidate_that_fails_is_taken_back_too(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=SHARP)
    await pause(guarded.ctx, rollout.id, reason="Lunch.")
    await feed(guarded, 1, worse=True)
    assert await guarded.tick() == 0
    await until(guarded, rollout, "fail", worse=True)
    assert await guarded.tick() == 1
    assert (await guarded.now(rollout)).state is State.ROLLED_BACK


async def test_what_is_proven_harmless_goes_on_and_ends_live(guarded: Guarded) -> None:
    rollout = await guarded.begin(20, 100, guards=SHARP)
    await feed(guarded, 1, worse=False)
    guarded.wait(60)
    await feed(guarded, 1, worse=False)
    assert (await guarded.judge(rollout)).verdict == "inconclusive"
    assert await guarded.tick() == 0  # the hold is over, and not enough is known
    await until(guarded, rollout, "pass", worse=False)
    assert await guarded.tick() == 1
    assert (await guarded.now(rollout)).step == 1
    (latest,) = (await history(guarded.ctx, "policy", "supervisor-approval", PageParams(limit=1))).items
    assert latest.event == "rollout.advanced"
    assert latest.evidence["verdict"] == "pass"
    # At 100 percent no stable run comes any more. What was proven holds, however old it gets.
    guarded.wait(30)
    assert await guarded.tick() == 0
    guarded.wait(100_000)
    assert (await guarded.judge(rollout)).verdict == "pass"
    assert await guarded.tick() == 1
    assert (await guarded.now(rollout)).state is State.DONE
    assert (await guarded.stage.live())["policy"] == 2


async def test_at_everybody_what_was_not_proven_waits_for_a_person(guarded: Guarded) -> None:
    rollout = await guarded.begin(50, 100, guards=SHARP)
    await feed(guarded, 1, worse=False)
    await advance(guarded.ctx, rollout.id, kinds=guarded.stage.kinds, reason="I know.", verdicts=guarded.guards)
    guarded.wait(100_000)
    assert (await guarded.judge(rollout)).verdict == "inconclusive"
    assert await guarded.tick() == 0
    now = await guarded.now(rollout)
    assert (now.state, now.step) == (State.ACTIVE, 1)
    await advance(guarded.ctx, rollout.id, kinds=guarded.stage.kinds, reason="Still.", verdicts=guarded.guards)
    assert (await guarded.now(rollout)).state is State.DONE


async def test_without_measurements_it_pauses_and_nobody_promotes_it(guarded: Guarded) -> None:
    rollout = await guarded.begin()
    await guarded.tick()
    guarded.wait(60)
    assert await guarded.tick() == 0  # the hold is over; data may still come for so long as the guard allows
    guarded.wait(841)
    assert await guarded.tick() == 1
    now = await guarded.now(rollout)
    assert (now.state, now.step) == (State.PAUSED, 0)
    (latest,) = (await history(guarded.ctx, "policy", "supervisor-approval", PageParams(limit=1))).items
    assert latest.reason.startswith("Its measurements are missing: Data is missing, the rollout pauses: error_rate.")
    assert latest.evidence["guards"][0]["evidence"]["candidate_count"] == 0
    await resume(guarded.ctx, rollout.id, reason="Go on.")
    with pytest.raises(Conflict) as caught:
        await advance(guarded.ctx, rollout.id, kinds=guarded.stage.kinds, reason="Now.", verdicts=guarded.guards)
    assert caught.value.code == "rollout.guarded"
    for _ in range(3):
        guarded.wait(1000)
        await guarded.tick()
    now = await guarded.now(rollout)
    assert (now.state, now.step) == (State.PAUSED, 0)


async def test_data_of_one_arm_alone_is_missing_data(guarded: Guarded) -> None:
    rollout = await guarded.begin()
    arms = await guarded.start_both(12)
    await guarded.end(arms["stable"])
    await guarded.collect()
    guarded.wait(901)
    assert (await guarded.judge(rollout)).verdict == "missing"
    await guarded.end(arms["candidate"])
    await guarded.collect()
    assert (await guarded.judge(rollout)).verdict == "missing"  # now the stable arm's is too old


async def test_before_the_first_look_nothing_is_known(guarded: Guarded) -> None:
    rollout = await guarded.begin()
    assert (await guarded.judge(rollout)).verdict == "inconclusive"
    guarded.wait(901)
    # No scheduler has looked: a rollout does not go on for want of one.
    assert (await guarded.judge(rollout)).verdict == "missing"
    assert await watch(guarded.env, guarded.stage.kinds, guarded.guards) == 1
    assert (await guarded.now(rollout)).state is State.PAUSED


async def test_a_rollout_without_guards_says_none(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=None)
    assert (await guarded.judge(rollout)).verdict == "none"
    guarded.wait(60)
    assert await guarded.tick() == 1


async def test_guards_are_kept_with_every_default(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards={"guards": [{"metric": "latency_ms", "quantile": 0.9}]})
    (guard,) = (await guarded.now(rollout)).guards["guards"]
    assert guard == {
        "name": "latency_ms", "metric": "latency_ms", "kind": "exceedance", "better": "lower", "margin": 0.0,
        "exclude": 0.1, "alpha": 0.05, "samples_min": 100, "staleness_s_max": 900.0, "window": 1000, "quantile": 0.9,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "guards", "code"),
    [
        (canary(100, hold_s=60), ERRORS, "rollout.bad_plan"),
        (Plan(strategy=Strategy.BLUE_GREEN, steps=()), ERRORS, "rollout.bad_plan"),
        (Plan(strategy=Strategy.ALL_AT_ONCE, steps=(Step(share=100),)), ERRORS, "rollout.bad_plan"),
        (canary(50), {"guards": []}, "guard.invalid"),
        (canary(50), {}, "guard.invalid"),
        (canary(50), {"guards": [{"metric": "latency_ms"}]}, "guard.invalid"),
        (canary(50), {"guards": [{"metric": "latency_ms", "kind": "rate"}]}, "guard.invalid"),
        (canary(50), {"guards": [{"metric": "cost"}]}, "guard.invalid"),
    ],
)
async def test_guards_that_cannot_be_are_refused_before_anything_begins(guarded: Guarded, plan, guards, code) -> None:
    with pytest.raises(Invalid) as caught:
        await guarded.begin(plan=plan, guards=guards)
    assert caught.value.code == code
    assert caught.value.hint
    assert await guarded.stage.records("rollout.begun") == []


def test_the_digest_of_evidence_survives_the_store() -> None:
    evidence = {"a": 1.0, "b": [1e-7, 2.5, 1e16, 3, None, True], "c": {"d": "x", "e": 1e300}}
    stored = {"c": {"e": int(1e300), "d": "x"}, "b": [0.0000001, 2.5, 10**16, 3.0, None, True], "a": 1}
    assert evidence_digest(evidence) == evidence_digest(stored)
    assert evidence_digest(evidence) != evidence_digest({**evidence, "a": 1.5})
    assert evidence_digest({}) is None
