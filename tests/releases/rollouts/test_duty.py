"""Rollouts that go on by themselves, stop, and come back."""

from __future__ import annotations

from datetime import timedelta

import pytest

from stanchion.db import Database
from stanchion.http import PageParams
from stanchion.identity import CedarAuthorizer
from stanchion.releases.revoking import revoke
from stanchion.releases.rollouts import Judgement, State, Target, history, pause, service, show_rollout, watch
from tests.approvals.support import FrozenClock
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.rollouts.support import SOURCES, Stage, canary, document, second


class Guards:
    """Says what the test wants it to say."""

    def __init__(self, verdict: str) -> None:
        self.verdict = verdict
        self.asked = 0

    async def judge(self, ctx, rollout) -> Judgement:
        self.asked += 1
        return Judgement(verdict=self.verdict, why="so it is", evidence={"wealth": "41.5"})


@pytest.fixture
async def stage(fresh_database_urls, tmp_path):
    async with Database(fresh_database_urls) as db:
        clock = FrozenClock()
        # With the shipped policy: the scheduler's own role has to be allowed what it does.
        env = make_env(db, clock=clock, authorizer=CedarAuthorizer())
        await add_tenants(env, "acme")
        stage = Stage(env, tmp_path)
        stage.clock = clock
        await stage.apply(*(document(kind) for kind in SOURCES))
        yield stage


async def begun(stage: Stage, *shares: int, hold_s: int | None = 60):
    return (await stage.begin(canary(*shares, hold_s=hold_s), documents=[second("policy")])).rollout


async def test_a_rollout_goes_on_when_its_hold_is_over_and_ends_live(stage: Stage) -> None:
    rollout = await begun(stage, 10, 50)
    seen = []
    for _ in range(4):
        await watch(stage.env, stage.kinds)
        now = await show_rollout(stage.ctx, rollout.id)
        seen.append((now.state, now.step))
        stage.clock.at += timedelta(seconds=60)
    assert seen == [(State.ACTIVE, 0), (State.ACTIVE, 1), (State.DONE, 1), (State.DONE, 1)]
    assert (await stage.live())["policy"] == 2
    said = (await history(stage.ctx, "policy", "supervisor-approval", PageParams())).items
    assert [c.by for c in said[:3]] == ["system:scheduler"] * 3
    assert await watch(stage.env, stage.kinds) == 0


async def test_without_a_hold_a_person_goes_on(stage: Stage) -> None:
    rollout = await begun(stage, 10, 50, hold_s=None)
    stage.clock.at += timedelta(days=300)
    assert await watch(stage.env, stage.kinds) == 0
    assert (await show_rollout(stage.ctx, rollout.id)).step == 0


@pytest.mark.parametrize(
    ("verdict", "due", "state", "step"),
    [
        ("pass", False, State.ACTIVE, 0),
        ("pass", True, State.ACTIVE, 1),
        ("none", True, State.ACTIVE, 1),
        ("inconclusive", True, State.ACTIVE, 0),
        ("missing", False, State.ACTIVE, 0),
        ("missing", True, State.PAUSED, 0),
        ("fail", False, State.ROLLED_BACK, 0),
        ("fail", True, State.ROLLED_BACK, 0),
    ],
)
async def test_it_does_what_the_guards_say(stage: Stage, verdict: str, due: bool, state: State, step: int) -> None:
    rollout = await begun(stage, 10, 50)
    stage.clock.at += timedelta(seconds=60 if due else 59)
    changed = await watch(stage.env, stage.kinds, Guards(verdict))
    now = await show_rollout(stage.ctx, rollout.id)
    assert (now.state, now.step) == (state, step)
    assert changed == int((state, step) != (State.ACTIVE, 0))
    if changed and verdict != "none":
        (latest,) = (await history(stage.ctx, "policy", "supervisor-approval", PageParams(limit=1))).items
        assert latest.evidence == {"wealth": "41.5"}
        record = (await stage.records(latest.event))[-1]
        assert record["extra"]["evidence"].startswith("sha256:")
        assert record["actor"]["id"] == "system:scheduler"
    assert (await stage.live())["policy"] == 1


async def test_a_paused_rollout_is_left_alone(stage: Stage) -> None:
    rollout = await begun(stage, 10, 50)
    await pause(stage.ctx, rollout.id, reason="wait")
    guards = Guards("fail")
    stage.clock.at += timedelta(days=1)
    assert await watch(stage.env, stage.kinds, guards) == 0
    assert guards.asked == 0


@pytest.mark.parametrize("verdict", ["fail", "missing"])
async def test_nobody_goes_on_against_the_guards(stage: Stage, verdict: str) -> None:
    from stanchion.base import Conflict

    rollout = await begun(stage, 10, 50)
    with pytest.raises(Conflict) as caught:
        await service.advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="now", verdicts=Guards(verdict))
    assert caught.value.code == "rollout.guarded"
    await service.advance(stage.ctx, rollout.id, kinds=stage.kinds, reason="now", verdicts=Guards("inconclusive"))


async def test_one_that_cannot_go_on_keeps_no_other_waiting(stage: Stage) -> None:
    class Broken(Guards):
        async def judge(self, ctx, rollout) -> Judgement:
            from stanchion.base import Unavailable

            if rollout.members[0].kind == "policy":
                raise Unavailable("metrics.away", "No metrics.")
            return Judgement(verdict="pass")

    first = await begun(stage, 10, 50)
    other = (await stage.begin(canary(10, 50, hold_s=60), documents=[second("connector")])).rollout
    stage.clock.at += timedelta(seconds=60)
    assert await watch(stage.env, stage.kinds, Broken("pass")) == 1
    assert (await show_rollout(stage.ctx, first.id)).step == 0
    assert (await show_rollout(stage.ctx, other.id)).step == 1


async def test_a_candidate_that_is_revoked_meanwhile_stops_its_rollout(stage: Stage) -> None:
    """It would be refused at every look, and the units that it is dealt to with it."""
    rollout = await begun(stage, 10, 50)
    [member] = rollout.members
    await revoke(stage.ctx, member.candidate_digest, reason="It lets everything through.")
    stage.clock.at += timedelta(seconds=60)
    assert await watch(stage.env, stage.kinds) == 1
    now = await show_rollout(stage.ctx, rollout.id)
    assert (now.state, now.step) == (State.PAUSED, 0)
    last = (await history(stage.ctx, "policy", "supervisor-approval", PageParams())).items[0]
    assert "It lets everything through." in last.reason
    assert await watch(stage.env, stage.kinds) == 0


async def test_a_viewer_moves_nothing(stage: Stage) -> None:
    import dataclasses

    from stanchion.base import Denied
    from stanchion.releases.rollouts import rollback

    rollout = await begun(stage, 10)
    viewer = dataclasses.replace(stage.ctx, actor=dataclasses.replace(stage.ctx.actor, roles=frozenset({"viewer"})))
    target = Target(kind="policy", name="supervisor-approval")
    for verb in (
        stage.begin(canary(10), documents=[second("connector")], ctx=viewer),
        service.advance(viewer, rollout.id, kinds=stage.kinds, reason="x"),
        pause(viewer, rollout.id, reason="x"),
        rollback(viewer, target, kinds=stage.kinds, reason="x"),
    ):
        with pytest.raises(Denied):
            await verb
