"""Fifty people who publish, begin, promote and roll back one name at the same time, over HTTP: versions are gapless, of
those who want the same one wins and the others are told who, and every change is on record with its before and after."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from stanchion.base import digest
from tests.releases.live.support import Scene, scene_on, who
from tests.releases.live.test_statements import nobody

PEOPLE = 50
TURNS = 3
POLICY = "specimen-policy"
WHERE = f"/api/releases/policy/{POLICY}"
# What a loser may be told: somebody else's change is in the way, or was first.
LOST = {"rollout.open", "rollout.moved", "rollout.ended", "release.moved", "rollout.nothing", "release.no_previous"}
MOVES = ("release.applied", "release.promoted", "release.rolled_back")


@pytest.fixture
async def scene(fresh_database_urls, tmp_path):
    async with scene_on(fresh_database_urls, tmp_path, working=nobody, only=("policy",)) as scene:
        yield scene


def threshold(scene: Scene, amount: int) -> dict:
    document = scene.tried["policy"].first
    return {"path": document.path, "source": document.source.replace("100", str(amount))}


async def as_person(scene: Scene, n: int, call):
    who.set(scene.as_(f"person-{n}", "admin"))
    return await call


async def all_at_once(scene: Scene, calls) -> list:
    return list(await asyncio.gather(*(as_person(scene, n, call) for n, call in enumerate(calls))))


async def test_of_fifty_promotes_one_wins_and_the_others_are_told_by_whom(scene: Scene) -> None:
    who.set(scene.ctx)
    client = scene.client
    body = {
        "strategy": "canary", "steps": [{"share": 10}, {"share": 50}], "reason": "begin",
        "documents": [threshold(scene, 10)],
    }  # fmt: skip
    made = (await client.post("/api/rollouts", json=body)).json()["rollout"]
    for rev, state in ((1, "ACTIVE"), (2, "DONE")):
        promote = f"/api/rollouts/{made['id']}/promote"
        answers = await all_at_once(
            scene, (client.post(promote, json={"reason": f"on {n}", "rev": rev}) for n in range(PEOPLE))
        )
        won = [(n, a.json()) for n, a in enumerate(answers) if a.status_code == 200]
        assert len(won) == 1
        winner, rollout = won[0]
        assert (rollout["state"], rollout["rev"], rollout["changed_by"]) == (state, rev + 1, f"person-{winner}")
        told = [a.json() for a in answers if a.status_code == 409]
        assert len(told) == PEOPLE - 1
        assert {t["code"] for t in told} == {"rollout.moved"}
        assert all(f"person-{winner} was first" in t["detail"] for t in told)
    await nothing_is_unrecorded(scene)


async def test_promotes_and_rollbacks_at_once(scene: Scene) -> None:
    who.set(scene.ctx)
    client = scene.client
    body = {"strategy": "canary", "steps": [{"share": 50}], "reason": "begin", "documents": [threshold(scene, 10)]}
    made = (await client.post("/api/rollouts", json=body)).json()["rollout"]
    promote = f"/api/rollouts/{made['id']}/promote"
    answers = await all_at_once(
        scene,
        (
            client.post(promote, json={"reason": f"on {n}", "rev": 1})
            if n % 2
            else client.post(f"{WHERE}/rollback", json={"reason": f"back {n}", "leaving": 2})
            for n in range(PEOPLE)
        ),
    )
    done = [n for n, a in enumerate(answers) if a.status_code == 200]
    # Whoever was first, the candidate is gone in the end: an open one is taken back, one that was promoted too.
    assert 1 <= len(done) <= 2
    assert len([n for n in done if n % 2 == 0]) == 1
    assert Counter(a.status_code for a in answers) == {200: len(done), 409: PEOPLE - len(done)}
    for answer in answers:
        if answer.status_code == 409:
            said = answer.json()
            assert said["code"] in LOST
            assert any(f"person-{n} " in said["detail"] or said["changed_by"] == f"person-{n}" for n in done), said
    assert (await client.get(WHERE)).json()["version"] == 1
    await nothing_is_unrecorded(scene)


async def test_fifty_who_publish_begin_promote_and_roll_back(scene: Scene) -> None:
    who.set(scene.ctx)
    client = scene.client

    async def one(n: int) -> list:
        return [await turn(client, n, documents[n, t], f"person {n}, turn {t}") for t in range(TURNS)]

    documents = {(n, t): threshold(scene, 1000 + n * TURNS + t) for n in range(PEOPLE) for t in range(TURNS)}
    answers = [a for said in await all_at_once(scene, (one(n) for n in range(PEOPLE))) for a in said]
    did, lost = [a for a in answers if a.is_success], [a.json() for a in answers if not a.is_success]
    assert {said["code"] for said in lost} <= LOST
    told = Counter(said["code"] for said in lost)
    print(f"\n{len(did)} of {len(answers)} changes were made; the others were told {dict(told)}")
    assert len(answers) == PEOPLE * TURNS
    assert len(did) >= TURNS  # each time they look there is somebody who is first
    assert told["rollout.open"]
    assert told["release.moved"] or told["rollout.moved"] or told["rollout.ended"]
    print(f"the history: {dict(await nothing_is_unrecorded(scene))}")


async def turn(client, n: int, document: dict, reason: str):
    """Look, and do what comes to mind then: with a rollout under way go on with it or take it back, else begin one,
    publish, or go back."""
    shown = (await client.get(WHERE)).json()
    rollout, back = shown["rollout"], {"reason": reason, "leaving": shown["leaving"]}
    if rollout is not None and n % 3:
        return await client.post(
            f"/api/rollouts/{rollout['id']}/promote", json={"reason": reason, "rev": rollout["rev"]}
        )
    if rollout is not None or n % 5 == 0:
        return await client.post(f"{WHERE}/rollback", json=back)
    if n % 2:
        return await client.post("/api/artifacts/apply", json={"documents": [document], "changelog": reason})
    body = {"strategy": "canary", "steps": [{"share": 10}], "reason": reason, "documents": [document]}
    return await client.post("/api/rollouts", json=body)


async def nothing_is_unrecorded(scene: Scene) -> Counter[str]:
    """Versions are gapless; what was live passes from one change to the next without a gap or a fork; and of every change
    there is one audit record with who, why, before and after, which says the same as the history. The events there were."""
    standing = (await scene.standing())[f"policy/{POLICY}"]
    versions = {row["version"]: row["digest"] for row in standing["artifacts"]}
    assert list(versions) == list(range(1, len(versions) + 1))
    history = standing["release_history"]
    moves = [row for row in history if row["event"] in MOVES]
    assert moves[0]["version_before"] is None
    assert [row["version_before"] for row in moves[1:]] == [row["version"] for row in moves[:-1]]
    assert [row["version"] for row in standing["releases"]] == [moves[-1]["version"]]
    records = [r for r in await scene.records(*MOVES) if r["target"]["id"] == f"policy/{POLICY}"]
    assert Counter((r["event_type"], r["actor"]["id"], r["before"], r["after"]) for r in records) == Counter(
        (row["event"], row["by"], versions.get(row["version_before"]), versions[row["version"]]) for row in moves
    )
    changes = [row for row in history if row["event"].startswith("rollout.")]
    said = await scene.records(*{row["event"] for row in changes})
    assert Counter((r["event_type"], r["actor"]["id"], r["reason"]) for r in said) == Counter(
        (row["event"], row["by"], digest(row["reason"])) for row in changes
    )
    for record in (*records, *said):
        assert record["reason"]
        assert record["after"]
        assert record["before"] or record["event_type"] in ("release.applied", "rollout.begun")
    published = [r for r in await scene.records("artifact.published") if r["target"]["id"] == f"policy/{POLICY}"]
    assert Counter(r["after"] for r in published) == Counter(versions.values())
    assert all(r["actor"]["id"] and r["reason"] for r in published)
    return Counter(row["event"] for row in history)
