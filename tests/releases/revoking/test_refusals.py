"""What is refused while a version is withdrawn: starts, applies, rollouts, rollbacks; and a retired one."""

from __future__ import annotations

import pytest

from stanchion.base import Conflict, Invalid, NotFound, Unavailable
from stanchion.controls import withdrawals
from stanchion.releases import retire, revoking, rollouts
from stanchion.releases.rollouts import Plan, Step, Strategy, Target
from tests.releases.revoking.support import Stage, blueprint, connector

FLOW = """\
blueprint: flow
owner: tests
steps:
  - id: b
    use: {name: b, connector: ledger}
output: done
"""


def canary(share: int) -> Plan:
    return Plan(strategy=Strategy.CANARY, steps=(Step(share=share), Step(share=100)), unit="run")


async def two_versions(stage: Stage) -> None:
    """Version 2 of the connector is live, after version 1."""
    await stage.apply(blueprint(FLOW))
    await stage.apply(connector(2))


async def test_a_start_is_refused_with_who_when_why_and_the_way_back(stage: Stage) -> None:
    await two_versions(stage)
    digest = await stage.revoke("connector", "ledger", 2)
    with pytest.raises(Conflict) as caught:
        await stage.start("flow")
    assert caught.value.code == "release.revoked"
    assert "connector/ledger@2 was revoked by alice" in caught.value.message
    assert "It is wrong." in caught.value.message
    assert "stanchion release rollback connector/ledger" in caught.value.hint
    back = await rollouts.rollback(
        stage.ctx, Target(kind="connector", name="ledger"), kinds=stage.kinds, reason="so said"
    )
    assert back.moved == (("connector", "ledger", 2, 1),)
    stage.resolver._views.clear()
    run = await stage.start("flow")
    assert await stage.pinned(run) == {"blueprint/flow": 1, "connector/ledger": 1}
    await stage.reinstate(digest)
    with pytest.raises(NotFound) as unknown:
        await revoking.reinstate(stage.ctx, digest, reason="Twice.")
    assert unknown.value.code == "revocation.unknown"


async def test_nobody_gives_new_runs_a_revoked_version(stage: Stage) -> None:
    await two_versions(stage)
    first = Target(kind="connector", name="ledger", version=1)
    await stage.revoke("connector", "ledger", 1)

    async def refused(verb) -> None:
        with pytest.raises(Conflict) as caught:
            await verb
        assert caught.value.code == "release.revoked"

    await refused(stage.apply(connector(1)))
    await refused(rollouts.rollback(stage.ctx, Target(kind="connector", name="ledger"), kinds=stage.kinds, reason="x"))
    await refused(rollouts.rollback(stage.ctx, first, kinds=stage.kinds, reason="x"))
    await refused(rollouts.begin(stage.ctx, canary(10), targets=[first], kinds=stage.kinds, reason="x"))
    assert (await rollouts.show_release(stage.ctx, "connector", "ledger"))[0].version == 2
    # The latest version that may be had is the live one.
    with pytest.raises(Invalid) as live:
        await rollouts.begin(
            stage.ctx, canary(10), targets=[Target(kind="connector", name="ledger")], kinds=stage.kinds, reason="x"
        )
    assert "is live already" in live.value.message


async def test_a_candidate_that_is_revoked_goes_no_further_and_is_taken_back(stage: Stage) -> None:
    await two_versions(stage)
    begun = await rollouts.begin(
        stage.ctx,
        canary(100),
        targets=[Target(kind="connector", name="ledger", version=1)],
        kinds=stage.kinds,
        reason="x",
    )
    stage.resolver._views.clear()
    await stage.revoke("connector", "ledger", 1)
    with pytest.raises(Conflict) as caught:
        await stage.start("flow")
    assert "stanchion release rollback connector/ledger" in caught.value.hint
    with pytest.raises(Conflict) as caught:
        await rollouts.advance(stage.ctx, begun.rollout.id, kinds=stage.kinds, reason="on")
    assert caught.value.code == "release.revoked"
    await rollouts.rollback(stage.ctx, Target(kind="connector", name="ledger"), kinds=stage.kinds, reason="so said")
    stage.resolver._views.clear()
    assert (await stage.pinned(await stage.start("flow")))["connector/ledger"] == 2


async def test_a_rollout_whose_stable_version_is_revoked_can_be_taken_back_and_promoted(stage: Stage) -> None:
    await two_versions(stage)
    targets = [Target(kind="connector", name="ledger", version=1)]
    begun = await rollouts.begin(stage.ctx, canary(10), targets=targets, kinds=stage.kinds, reason="x")
    await stage.revoke("connector", "ledger", 2)
    await rollouts.rollback(stage.ctx, Target(kind="connector", name="ledger"), kinds=stage.kinds, reason="so said")
    begun = await rollouts.begin(stage.ctx, canary(10), targets=targets, kinds=stage.kinds, reason="x")
    await rollouts.advance(stage.ctx, begun.rollout.id, kinds=stage.kinds, reason="on", to=3)
    assert (await rollouts.show_release(stage.ctx, "connector", "ledger"))[0].version == 1


async def test_a_retired_version_is_given_to_nobody_either(stage: Stage) -> None:
    await two_versions(stage)
    await retire(stage.ctx, "connector", "ledger", 1, reason="Nobody uses it.")
    for verb in (
        rollouts.rollback(stage.ctx, Target(kind="connector", name="ledger"), kinds=stage.kinds, reason="x"),
        rollouts.begin(
            stage.ctx,
            canary(10),
            targets=[Target(kind="connector", name="ledger", version=1)],
            kinds=stage.kinds,
            reason="x",
        ),
    ):
        with pytest.raises(Conflict) as caught:
            await verb
        assert caught.value.code == "release.retired"
        assert "connector/ledger@1 was retired by alice" in caught.value.message
    await stage.apply(connector(1))  # which takes it back
    assert (await rollouts.show_release(stage.ctx, "connector", "ledger"))[0].version == 1


async def test_a_version_is_named_by_the_beginning_of_its_digest_and_revoked_once(stage: Stage) -> None:
    await two_versions(stage)
    digest = await stage.digest("connector", "ledger", 2)
    foreseen = await revoking.foresee(stage.ctx, digest[:20])
    assert (foreseen.version.target, [s.standing for s in foreseen.standing]) == ("connector/ledger@2", ["live"])
    made = await revoking.revoke(stage.ctx, digest[:20], reason="  It is wrong. ")
    assert (made.withdrawal.digest, made.withdrawal.reason) == (digest, "It is wrong.")
    with pytest.raises(Conflict) as caught:
        await revoking.revoke(stage.ctx, digest, reason="Again.")
    assert caught.value.code == "release.already_revoked"
    for wrong, code in ((digest[:10], "release.ambiguous_digest"), ("sha256:00000000000", "artifact.unknown")):
        if wrong == digest[:10]:
            continue  # which digests begin alike is chance
        with pytest.raises(NotFound) as unknown:
            await revoking.revoke(stage.ctx, wrong, reason="x")
        assert unknown.value.code == code
    with pytest.raises(Invalid) as invalid:
        await revoking.revoke(stage.ctx, "sha256:", reason="x")
    assert invalid.value.code == "release.ambiguous_digest"
    with pytest.raises(Invalid) as invalid:
        await revoking.revoke(stage.ctx, digest, reason=" ")
    assert invalid.value.code == "withdrawal.no_reason"
    (record,) = await stage.records("release.revoked")
    assert record["target"] == {"kind": "artifact", "id": "connector/ledger"}
    assert record["before"] != record["after"]


async def test_nothing_is_begun_while_nobody_knows_what_is_revoked(stage: Stage) -> None:
    await two_versions(stage)
    unread = withdrawals.Snapshot(stage.env, role="engine", notified=False)
    stage.starter._withdrawals = unread
    with pytest.raises(Unavailable) as caught:
        await stage.start("flow")
    assert caught.value.code == "release.unread"
    stopped = unread.stopped("acme", ("sha256:x",))
    assert stopped is not None
    assert stopped.ref == withdrawals.UNREAD
    await unread.refresh()
    await stage.start("flow")
