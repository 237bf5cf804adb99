"""A canary of every kind that registers, over real runs: who gets it, who keeps what he has, and what it leaves alone.

A kind joins by registering with a specimen (`blueprints.Specimen`); nothing here knows one by name.
"""

from __future__ import annotations

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

RUNS = 300
AGAIN = 40
KINDS = registered()
SPECIMENS = sorted(tried(KINDS))


def test_every_kind_that_a_run_depends_on_has_a_specimen() -> None:
    without = {name for name, kind in KINDS.items() if getattr(kind, "specimen", None) is None}
    wanted = without & (named_by_verbs() | {"blueprint"})
    assert not wanted, (
        f"{sorted(wanted)} registered without a specimen, so nobody sees that a rollout of it works. Give its KindSpec a"
        " `specimen`: two versions of a document, and a Blueprint whose runs output `first` or `second` by which they have"
        " (see blueprints.Specimen, and ConnectorKind for one with files)."
    )
    print(f"\nover real runs: {', '.join(SPECIMENS)}; no run depends on: {', '.join(sorted(without)) or 'none'}")


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
    """10 %, 50 %, 100 %, live, and back; `runs` runs at each step, each principal one."""
    one, people = scene.tried[kind], [f"person-{n}" for n in range(runs)]
    key = one.target.key
    assert await scene.said(await scene.start(one.blueprint, people[:4])) == ["first"] * 4
    early = await scene.start(one.blueprint, people[:8], hold=True)
    await scene.until(early, "SUSPENDED")
    before = await scene.standing()
    rollout = (await scene.begin(one, canary(10, 50, 100, salt=f"live-{kind}"))).rollout
    had: set[str] = set()
    for share in (10, 50, 100):
        scene.later()
        assert (rollout.state, rollout.share) == (State.ACTIVE, share)
        started = await scene.start(one.blueprint, people)
        said = await scene.said(started)
        got = {name for name, word in zip(people, said, strict=True) if word == "second"}
        low, high = binomial_bounds(runs, share / 100)
        print(f"\n{kind} at {share} %: {len(got)} of {runs} runs have the second (bounds {low} to {high})")
        assert low <= len(got) <= high
        assert got == {name for name, arm in zip(people, arms(rollout, people), strict=True) if arm is Arm.CANDIDATE}
        assert had <= got, "somebody who had the candidate lost it"
        assert [pins[key] for pins in await scene.pins(started)] == [2 if name in got else 1 for name in people]
        again = await scene.said(await scene.start(one.blueprint, people[:AGAIN]))
        assert again == said[:AGAIN], "the same principal got another version"
        await others_stay(scene, kind, people[:2])
        if share == 50:
            between = await scene.start(one.blueprint, people[:8], hold=True)
            await scene.until(between, "SUSPENDED")
            expected = said[:8]
        had = got
        rollout = await advance(scene.ctx, rollout.id, kinds=scene.kinds, reason="no complaints", rev=rollout.rev)
    assert rollout.state is State.DONE
    scene.later()
    assert await scene.said(await scene.start(one.blueprint, people[:8])) == ["second"] * 8
    await rollback(scene.ctx, one.target, kinds=scene.kinds, reason="it was better before")
    scene.later()
    assert await scene.said(await scene.start(one.blueprint, people[:8])) == ["first"] * 8
    # Whoever began before or in between ends on what he began with, whatever was promoted and taken back meanwhile.
    assert set(await scene.of([*early, *between], "status")) == {"SUSPENDED"}
    assert set(expected) == {"first", "second"}
    await scene.let_go()
    assert await scene.said(early) == ["first"] * 8
    assert await scene.said(between) == expected
    await others_stay(scene, kind, people[:2])
    await nothing_else_moved(scene, kind, before)


async def others_stay(scene: Scene, kind: str, people: list[str]) -> None:
    """Runs of every other kind's Blueprint say what they said before."""
    for other in scene.tried.values():
        if other.kind != kind:
            assert await scene.said(await scene.start(other.blueprint, people)) == ["first"] * len(people)


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
