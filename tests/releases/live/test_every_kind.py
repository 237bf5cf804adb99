"""A canary of every kind that registers, over real runs: who gets it, who keeps what he has, and what it leaves alone.

A kind joins by registering with a specimen (`blueprints.Specimen`); nothing here knows one by name.
"""

from __future__ import annotations

from uuid import UUID

import pytest

from stanchion.releases.rollouts import Arm, State, advance, rollback
from tests.releases.live.support import (
    Scene,
    arms,
    binomial_bounds,
    canary,
    named_by_verbs,
    registered,
    scene_on,
    tried,
)

RUNS = 200
AGAIN = 40
KINDS = registered()
SPECIMENS = sorted(tried(KINDS))


def test_every_kind_that_a_run_depends_on_has_a_specimen() -> None:
    without = {name for name, kind in KINDS.items() if getattr(kind, "specimen", None) is None}
    wanted = without & (named_by_verbs() | {"blueprint"})
    assert not wanted, (
        f"{sorted(wanted)} registered without a specimen, so nobody sees that a rollout of it works. Give its KindSpec a"
        " `specimen`: two versions of a document, and a Blueprint whose runs output `first` or `second` by which they have"
        " (see blueprints.Specimen, ConnectorKind for one with files, FlagKind for one that is asked)."
    )
    print(f"\nshown: {', '.join(SPECIMENS)}; not shown: {', '.join(sorted(without)) or 'none'}")


@pytest.fixture
async def scene(fresh_database_urls, tmp_path):
    async with scene_on(fresh_database_urls, tmp_path) as scene:
        yield scene


@pytest.mark.parametrize("kind", SPECIMENS)
async def test_a_canary_from_first_to_second_over_real_runs(scene: Scene, kind: str) -> None:
    await show_canary(scene, kind, RUNS)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", SPECIMENS)
async def test_a_canary_over_a_thousand_real_runs_a_step(scene: Scene, kind: str) -> None:
    await show_canary(scene, kind, 1000)


async def show_canary(scene: Scene, kind: str, runs: int) -> None:
    """10 %, 50 %, 100 %, live, and back; at each step `runs` runs (or questions), one of each principal."""
    one, people = scene.tried[kind], [f"person-{n}" for n in range(runs)]
    assert await scene.words(one, people[:4]) == ["first"] * 4
    early = await scene.held(one, people[:8])
    before = await scene.standing()
    rollout = (await scene.begin(one, canary(10, 50, 100, salt=f"live-{kind}"))).rollout
    had: set[str] = set()
    between, expected = [], []
    for share in (10, 50, 100):
        await scene.later()
        assert (rollout.state, rollout.share) == (State.ACTIVE, share)
        said = await scene.words(one, people)
        got = {name for name, word in zip(people, said, strict=True) if word == "second"}
        low, high = binomial_bounds(runs, share / 100)
        print(f"\n{kind} at {share} %: {len(got)} of {runs} have the second (bounds {low} to {high})")
        assert low <= len(got) <= high
        assert got == {name for name, arm in zip(people, arms(rollout, people), strict=True) if arm is Arm.CANDIDATE}
        assert had <= got, "somebody who had the candidate lost it"
        again = await scene.words(one, people[:AGAIN])
        assert again == said[:AGAIN], "the same principal got another version"
        await others_stay(scene, kind, people[:2])
        if share == 50:
            between, expected = await scene.held(one, people[:8]), said[:8]
        had = got
        rollout = await advance(scene.ctx, rollout.id, kinds=scene.kinds, reason="no complaints", rev=rollout.rev)
    assert rollout.state is State.DONE
    await scene.later()
    assert await scene.words(one, people[:8]) == ["second"] * 8
    await rollback(scene.ctx, one.target, kinds=scene.kinds, reason="it was better before")
    await scene.later()
    assert await scene.words(one, people[:8]) == ["first"] * 8
    if not one.asked:
        await ends_as_it_began(scene, early, ["first"] * 8)
        await ends_as_it_began(scene, between, expected)
    await others_stay(scene, kind, people[:2])
    await nothing_else_moved(scene, kind, before)


async def ends_as_it_began(scene: Scene, held: list[UUID], expected: list[str]) -> None:
    """Whoever began before or in between ends on what he began with, whatever was promoted and taken back meanwhile."""
    assert set(await scene.of(held, "status")) == {"SUSPENDED"}
    assert len(held) == len(expected) == 8
    await scene.let_go(held)
    assert await scene.said(held) == expected


async def others_stay(scene: Scene, kind: str, people: list[str]) -> None:
    """Every other kind's specimen says what it said before."""
    for other in scene.tried.values():
        if other.kind != kind:
            assert await scene.words(other, people) == ["first"] * len(people)


async def nothing_else_moved(scene: Scene, kind: str, before: dict) -> None:
    """Of every other artifact each row is the one it was; of this one there is one more version, and the first is live."""
    after, mine = await scene.standing(), "/".join(scene.tried[kind].target.key)
    assert set(after) == set(before)
    assert {name: rows for name, rows in after.items() if name != mine} == {
        name: rows for name, rows in before.items() if name != mine
    }
    assert [row["version"] for row in after[mine]["artifacts"]] == [1, 2]
    assert [row["digest"] for row in after[mine]["releases"]] == [before[mine]["artifacts"][0]["digest"]]
    events = [row["event"] for row in after[mine]["release_history"][len(before[mine]["release_history"]) :]]
    assert events == [
        "rollout.begun", "rollout.advanced", "rollout.advanced", "rollout.done", "release.promoted", "release.rolled_back",
    ]  # fmt: skip
