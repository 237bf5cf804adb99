"""Drains: no new run begins on the version, those that began finish, and it is told when the last has ended."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta

import pytest

from stanchion.base import Conflict, Denied, NotFound
from stanchion.http import PageParams
from stanchion.releases import draining, rollouts
from stanchion.releases.draining import rules
from stanchion.releases.rollouts import Target
from tests.releases.revoking.support import Stage, blueprint
from tests.releases.revoking.test_refusals import canary

FLOW = """\
blueprint: flow
owner: tests
description: version {version}
steps:
  - id: a
    probe: {{name: a}}
  - id: b
    probe: {{name: b}}
output: done
"""


def flow(version: int):
    return blueprint(FLOW.format(version=version))


async def test_a_live_version_is_drained_finishes_its_runs_and_tells_when_it_is_empty(
    stage: Stage, monkeypatch
) -> None:
    monkeypatch.setattr(rules, "SETTLED_AFTER", timedelta())
    await stage.apply(flow(1))
    begun, let = stage.gate(stage.probe, "a")
    async with stage.working():
        run = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        made = await stage.drain("blueprint", "flow")
        assert (made.counts.left, made.counts.running, made.live) == (1, 1, True)
        with pytest.raises(Conflict) as caught:
            await stage.start("flow")
        assert caught.value.code == "release.drained"
        assert "blueprint/flow@1 was drained by alice" in caught.value.message
        assert "stanchion release undrain blueprint/flow@1" in caught.value.hint
        await draining.watch(stage.env)
        shown, now = await draining.show_drain(stage.ctx, "blueprint", "flow", 1)
        assert (shown.withdrawal.emptied_at, [r.run_id for r in now.newest]) == (None, [run])
        let.set()
        assert (await stage.ended(run))["status"] == "SUCCEEDED"
    await draining.watch(stage.env)
    await draining.watch(stage.env)
    (listed,) = (await draining.list_drains(stage.ctx, PageParams(limit=5))).items
    assert listed.withdrawal.emptied_at is not None
    assert (listed.counts.left, listed.live) == (0, True)
    assert [r["event_type"] for r in await stage.records("release.drained", "release.drain_emptied")] == [
        "release.drained", "release.drain_emptied",
    ]  # fmt: skip
    await draining.undrain(stage.ctx, "blueprint", "flow", 1, reason="Needed.")
    await stage.known.refresh()
    await stage.start("flow")
    with pytest.raises(NotFound) as unknown:
        await draining.undrain(stage.ctx, "blueprint", "flow", 1, reason="Twice.")
    assert unknown.value.code == "drain.unknown"


async def test_an_old_version_is_drained_while_the_new_one_is_live(stage: Stage) -> None:
    await stage.apply(flow(1))
    await stage.apply(flow(2))
    made = await stage.drain("blueprint", "flow", 1)
    assert (made.counts.left, made.live) == (0, False)
    assert (await stage.pinned(await stage.start("flow")))["blueprint/flow"] == 2
    with pytest.raises(Conflict) as caught:
        await rollouts.rollback(stage.ctx, Target(kind="blueprint", name="flow"), kinds=stage.kinds, reason="x")
    assert caught.value.code == "release.drained"
    with pytest.raises(Conflict) as caught:
        await stage.drain("blueprint", "flow", 1)
    assert caught.value.code == "release.already_drained"
    await draining.watch(stage.env)  # too early: a start may still be on its way
    assert (await draining.show_drain(stage.ctx, "blueprint", "flow", 1))[0].withdrawal.emptied_at is None


async def test_the_candidate_of_a_rollout_is_not_drained(stage: Stage) -> None:
    await stage.apply(flow(1))
    await stage.apply(flow(2))
    target = Target(kind="blueprint", name="flow", version=1)
    await rollouts.begin(stage.ctx, canary(10), targets=[target], kinds=stage.kinds, reason="x")
    with pytest.raises(Conflict) as caught:
        await stage.drain("blueprint", "flow", 1)
    assert caught.value.code == "drain.candidate"
    assert "stanchion release rollback blueprint/flow" in caught.value.hint


async def test_a_drained_version_can_be_revoked_too(stage: Stage) -> None:
    await stage.apply(flow(1))
    await stage.drain("blueprint", "flow", 1)
    digest = await stage.revoke("blueprint", "flow", 1)
    with pytest.raises(Conflict) as caught:
        await stage.start("flow")
    assert caught.value.code == "release.revoked"
    await stage.reinstate(digest)
    with pytest.raises(Conflict) as caught:
        await stage.start("flow")
    assert caught.value.code == "release.drained"


async def test_who_may(stage: Stage) -> None:
    from stanchion.identity import CedarAuthorizer

    await stage.apply(flow(1))
    env = dataclasses.replace(stage.env, authorizer=CedarAuthorizer())
    with pytest.raises(Denied):
        await draining.drain(dataclasses.replace(stage.as_role("author"), env=env), "blueprint", "flow", 1, reason="x")
    with pytest.raises(NotFound):
        await draining.drain(stage.as_principal("bob", "beta"), "blueprint", "flow", 1, reason="x")
    operator = dataclasses.replace(stage.as_role("operator"), env=env)
    await draining.drain(operator, "blueprint", "flow", 1, reason="x")
    assert (await draining.list_drains(stage.as_principal("bob", "beta"), PageParams(limit=5))).items == []
