"""What others measured of a run: it counts once, for the rollouts that dealt the run."""

from __future__ import annotations

import asyncio
import dataclasses
from uuid import UUID

import pytest

from stanchion.base import Conflict, Denied, Invalid, NotFound
from stanchion.releases.guarding import report
from stanchion.releases.rollouts import Target, rollback
from tests.releases.guarding.support import Guarded

SCORES = {
    "guards": [
        {"metric": "answer_score", "kind": "score"},
        {"metric": "cost_eur", "kind": "exceedance", "limit": 0.4},
        {"metric": "was_helpful", "kind": "rate", "better": "higher"},
    ]
}


async def test_reported_values_count_once_for_the_runs_arm(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=SCORES)
    arms = await guarded.start(30)
    made = await report(guarded.ctx, arms["candidate"][0], "answer_score", 0.25)
    assert (made.rollouts, made.reported_by) == (1, "ada")
    for run in arms["stable"]:
        await report(guarded.ctx, run, "answer_score", 0.75)
    await report(guarded.ctx, arms["stable"][0], "cost_eur", 3.0)
    assert await guarded.collect() == 2 + len(arms["stable"])
    assert (await report(guarded.ctx, arms["candidate"][0], "answer_score", 0.25)).reported_at == made.reported_at
    assert await guarded.collect() == 0
    assert await guarded.counts(rollout) == (1, len(arms["stable"]))
    score, cost = await guarded.figures(rollout, 0), await guarded.figures(rollout, 1)
    assert (score["candidate_mean"], score["stable_mean"]) == (0.25, 0.75)
    assert (cost["candidate_count"], cost["stable_mean"]) == (0, 1.0)


async def test_it_may_come_before_and_long_after_the_end(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=SCORES)
    arms = await guarded.start(30)
    early, late = arms["stable"][0], (arms["stable"] + arms["candidate"])[-1]
    await report(guarded.ctx, early, "answer_score", 1.0)
    await guarded.end([*arms["stable"], *arms["candidate"]])
    await guarded.collect()
    await report(guarded.ctx, late, "answer_score", 0.0)
    await guarded.collect()
    assert sum(await guarded.counts(rollout)) == 2


async def test_many_reports_at_once_are_one(guarded: Guarded) -> None:
    rollout = await guarded.begin(guards=SCORES)
    run = (await guarded.start(30))["stable"][0]
    await asyncio.gather(*(report(guarded.ctx, run, "answer_score", 0.5) for _ in range(8)))
    assert sum(await asyncio.gather(*(guarded.collect() for _ in range(4)))) == 1
    assert await guarded.counts(rollout) == (0, 1)
    (record,) = await guarded.stage.records("run.measured")
    assert record["target"] == {"kind": "run", "id": str(run)}
    assert record["extra"] == {"metric": "answer_score"}


async def test_another_value_is_refused_and_says_whose_the_first_was(guarded: Guarded) -> None:
    await guarded.begin(guards=SCORES)
    run = (await guarded.start(1))["stable"] + (await guarded.arms())["candidate"]
    await report(guarded.ctx, run[0], "answer_score", 0.5)
    with pytest.raises(Conflict) as caught:
        await report(guarded.stage.as_("eve"), run[0], "answer_score", 0.75)
    assert caught.value.code == "measurement.reported"
    assert "ada reported answer_score 0.5" in caught.value.message


async def test_what_no_rollout_dealt_is_kept_and_counts_for_none(guarded: Guarded) -> None:
    before = await guarded.stage.start()
    rollout = await guarded.begin(guards=SCORES)
    assert (await report(guarded.ctx, before, "answer_score", 0.5)).rollouts == 0
    dealt = (await guarded.start(1))["stable"] + (await guarded.arms())["candidate"]
    assert (await report(guarded.ctx, dealt[0], "unwatched", 7.0)).rollouts == 0
    await rollback(
        guarded.ctx, Target(kind="policy", name="supervisor-approval"), kinds=guarded.stage.kinds, reason="x"
    )
    assert (await report(guarded.ctx, dealt[0], "answer_score", 0.5)).rollouts == 0
    assert await guarded.collect() == 0
    assert sum(await guarded.counts(rollout)) == 0


@pytest.mark.parametrize(
    ("metric", "value", "code"),
    [
        ("Answer", 0.5, "measurement.bad_metric"),
        ("x" * 64, 0.5, "measurement.bad_metric"),
        ("error_rate", 1.0, "measurement.bad_metric"),
        ("answer_score", -0.5, "measurement.bad_value"),
        ("answer_score", float("nan"), "measurement.bad_value"),
        ("answer_score", float("inf"), "measurement.bad_value"),
        ("answer_score", 1.5, "measurement.bad_value"),
        ("was_helpful", 0.5, "measurement.bad_value"),
    ],
)
async def test_what_no_guard_could_take_is_refused(guarded: Guarded, metric: str, value: float, code: str) -> None:
    await guarded.begin(guards=SCORES)
    dealt = (await guarded.start(1))["stable"] + (await guarded.arms())["candidate"]
    with pytest.raises(Invalid) as caught:
        await report(guarded.ctx, dealt[0], metric, value)
    assert caught.value.code == code
    assert caught.value.hint


async def test_walls(guarded: Guarded) -> None:
    await guarded.begin(guards=SCORES)
    dealt = (await guarded.start(1))["stable"] + (await guarded.arms())["candidate"]
    actor = guarded.ctx.actor
    stranger = dataclasses.replace(guarded.ctx, actor=dataclasses.replace(actor, tenant="umbra"))
    viewer = dataclasses.replace(guarded.ctx, actor=dataclasses.replace(actor, roles=frozenset({"viewer"})))
    with pytest.raises(NotFound):
        await report(stranger, dealt[0], "answer_score", 0.5)
    with pytest.raises(NotFound):
        await report(guarded.ctx, UUID(int=7), "answer_score", 0.5)
    with pytest.raises(Denied):
        await report(viewer, dealt[0], "answer_score", 0.5)
