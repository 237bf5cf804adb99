"""A rollback that would leave runs with versions that do not fit together, asked for by a person at a terminal and over HTTP:
refused with the reason and the nearest set that fits, and made as soon as that set is asked for."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from stanchion.base import Conflict
from tests.processes.instance import clean_environment
from tests.support.deployment import Deployment

OLD_POLICY = """\
policy: fines
type: approval
owner: casework
facts: {type: object, required: [fine_eur], properties: {fine_eur: {type: number}}}
when: facts.fine_eur > 100000.0
"""
NEW_POLICY = OLD_POLICY.replace("fine_eur", "fine")
OLD = """\
blueprint: collect
owner: casework
description: first words
input: {type: object, required: [fine], properties: {fine: {type: number}}}
steps:
  - id: asked
    govern: {policy: fines, facts: {fine_eur: "${input.fine}"}, show: ["${input}"]}
output: ${steps.asked.decision}
"""
BETTER = OLD.replace("first words", "better words")
NEW = OLD.replace("fine_eur:", "fine:")


class Person:
    """Somebody at a terminal."""

    def __init__(self, deployment: Deployment) -> None:
        self.where = {"STANCHION_URL": deployment.apis[1].url, "STANCHION_TOKEN": deployment.key, "NO_COLOR": "1"}

    def asks(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stanchion", "release", *words],
            env=clean_environment(**self.where), text=True, capture_output=True, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip


@pytest.fixture
def live(deployment: Deployment):
    """Policy 2 and Blueprint 3, which belong together; Blueprints 1 and 2 belong to policy 1."""
    deployment.apply(fines=OLD_POLICY, collect=OLD)
    deployment.apply(collect=BETTER)
    deployment.apply(fines=NEW_POLICY, collect=NEW)
    assert versions(deployment) == (3, 2)
    return deployment


def versions(deployment: Deployment) -> tuple[int, int]:
    found = dict(deployment.rows("select name, version from releases where name in ('collect', 'fines')"))
    return found["collect"], found["fines"]


def test_an_incompatible_rollback_says_why_and_what_to_ask_for_instead(live: Deployment) -> None:
    ada, everything = (
        Person(live),
        "select kind, name, version from releases where name not in ('collect', 'fines') order by 1, 2",
    )
    others = live.rows(everything)
    with pytest.raises(Conflict) as caught:
        live.apis[0].post("/api/releases/policy/fines/rollback", {"reason": "It asks too often."})
    problem = caught.value
    assert problem.code == "rollout.incompatible"
    assert "Going back would let runs get versions that do not fit together" in problem.message
    assert "blueprint collect 3 does not fit with policy fines 1: " in problem.message
    assert problem.fields["misfits"][0]["reason"]
    assert [(m["kind"], m["name"], m["version"]) for m in problem.fields["misfits"]] == [("blueprint", "collect", 3)]
    # Of the two Blueprints that fit, the nearer one.
    assert problem.fields["nearest"] == [
        {"kind": "policy", "name": "fines", "version": 1},
        {"kind": "blueprint", "name": "collect", "version": 2},
    ]
    refused = ada.asks("rollback", "policy/fines", "--reason", "It asks too often.")
    print(f"\n{refused.stderr}")
    assert (refused.returncode, refused.stdout) == (5, "")
    for words in (
        "blueprint collect 3 does not fit with policy fines 1: Policy fines needs the fact fine_eur.",
        "The nearest set that fits: policy/fines@1, blueprint/collect@2.",
        "add --with blueprint/collect@2",
        "(rollout.incompatible",
    ):
        assert words in " ".join(refused.stderr.split())
    assert versions(live) == (3, 2), "what is refused changes nothing"
    # What it says is what works.
    told = re.search(r"(--with) (\S+@\d+)", refused.stderr)
    assert told
    done = ada.asks("rollback", "policy/fines", *told.groups(), "--reason", "It asks too often.")
    assert done.returncode == 0, done.stderr
    assert versions(live) == (2, 1)
    assert live.rows(everything) == others
    run = live.apis[1].post("/api/blueprints/collect/runs", {"input": {"fine": 5}, "queue": live.queues[0]})
    live.until(lambda: live.rows("select status from runs where id = %s", run["run_id"]) == [("SUCCEEDED",)], "its end")


def test_an_incompatible_candidate_is_refused_in_the_same_words(live: Deployment) -> None:
    refused = Person(live).asks("canary", "policy/fines@1", "--steps", "10,100", "--reason", "Try the old one.")
    said = " ".join(refused.stderr.split())
    assert refused.returncode == 5
    assert "This rollout would let runs get versions that do not fit together" in said
    assert "blueprint collect 3 does not fit with policy fines 1" in said
    assert "add --with blueprint/collect@2" in said
    assert versions(live) == (3, 2)
    assert live.rows("select count(*) from rollouts where ended_at is null") == [(0,)]
