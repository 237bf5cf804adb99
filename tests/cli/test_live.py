"""The command line against real processes: the demo sets them up and keeps them, every noun is used on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.instance import clean_environment

ONE_STEP = """\
blueprint: doubled
description: Doubles a number.
owner: tests
input: {type: object, required: [n], properties: {n: {type: integer}}}
steps:
  - id: twice
    transform: {value: {n: "${input.n * 2}"}}
output: "${steps.twice.value}"
"""


class Place:
    """A folder of its own with an empty HOME, in which `stanchion` is called as a user would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = clean_environment(HOME=str(folder / "home"), XDG_CONFIG_HOME=str(folder / "xdg"))

    def __call__(self, *arguments: str, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "stanchion", *arguments],
            cwd=self.folder, env=self.environment | environment, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str, **options):
        return json.loads(self(*arguments, "-o", "json", **options).stdout)


@pytest.fixture(scope="module")
def stanchion(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("live"))
    # `up` of the demo takes the next free port by itself; others may test on this machine.
    place.told = place("demo", "--keep").stderr
    yield place
    place("demo", "stop")


@pytest.fixture
def run_id(stanchion):
    return stanchion(
        "run", "list", "--blueprint", "case-triage", "--status", "SUSPENDED", "-o", "id"
    ).stdout.splitlines()[0]


def test_the_demo_tells_what_became_true(stanchion, run_id):
    for said in (
        "112 cases that needed nobody, 112 writes received, 0 twice",
        "19 cases above €100,000 wait",
        "severe, close and collect the fine",
        "http://127.0.0.1:",
    ):
        assert said in stanchion.told
    assert "\x1b" not in stanchion.told
    progress = [line.strip() for line in stanchion.told.splitlines() if line.startswith("  ")]
    assert "open: started" in progress or any(line.startswith("open: succeeded after ") for line in progress)
    assert "items: 112 of 131 done · 19 waiting" in progress
    assert not [line for line in progress if line.startswith(("PENDING", "RUNNING", "SUSPENDED"))]
    assert len([line for line in progress if line.startswith("items: ")]) <= 22
    assert "items         131: 113 succeeded, 18 waiting" in stanchion("run", "show", run_id).stdout
    late = stanchion("run", "watch", run_id, "--timeout", "0.5", code=7)
    assert f"waits: items on approvals  (stanchion approval list --run {run_id})" in late.stderr
    assert f"Return to it: stanchion run watch {run_id}" in late.stderr
    run = stanchion.json("run", "show", run_id)
    assert run["items"] == {
        "total": 131,
        "succeeded": 113,
        "failed": 0,
        "cancelled": 0,
        "running": 0,
        "waiting": 18,
        "queued": 0,
    }
    assert run["waiting_on"]["kind"] == "child"
    assert {path.name for path in stanchion.folder.iterdir()} == {".stanchion"}  # nothing outside the data folder


def test_the_next_approval_as_the_demo_says(stanchion, run_id):
    words = next(line for line in stanchion.told.splitlines() if "approval approve" in line).split("stanchion ", 1)[1]
    approval_id = words.split()[2]
    stanchion("approval", "approve", approval_id, "--reason", "I read it.", code=4)  # admin started the run
    assert stanchion.json("approval", "show", approval_id)["status"] == "PENDING"
    decided = stanchion.json("approval", "approve", approval_id, "--reason", "I read it.", "--profile", "supervisor")
    assert (decided["status"], decided["decided_by"]) == ("APPROVED", "supervisor")
    assert (
        stanchion(
            "approval", "approve", approval_id, "--reason", "I read it again.", "--profile", "supervisor", code=5
        ).stdout
        == ""
    )
    item = stanchion.json("run", "watch", str(decided["run_id"]), "--timeout", "30")
    assert item["status"] == "SUCCEEDED"
    assert len(stanchion.json("approval", "list", "--run", run_id)) == 17
    rejected = stanchion.json("approval", "list", "--run", run_id)[0]["id"]
    assert (
        stanchion.json("approval", "reject", rejected, "--reason", "It is too high.", "--profile", "supervisor")[
            "status"
        ]
        == "REJECTED"
    )


def test_publishing_and_running_a_blueprint_of_ones_own(stanchion):
    folder = stanchion.folder / "mine"
    folder.mkdir()
    (folder / "doubled.yaml").write_text(ONE_STEP.replace("input.n * 2", "input.m * 2"))
    refused = stanchion("apply", "-f", "mine", code=1)
    assert "mine/doubled.yaml:7:" in refused.stderr
    assert "step twice" in refused.stderr
    stanchion("blueprint", "validate", "-f", "mine", code=1)
    (folder / "doubled.yaml").write_text(ONE_STEP)
    assert "no errors" in stanchion("blueprint", "validate", "-f", "mine").stderr
    assert stanchion.json("apply", "-f", "mine", "--dry-run")["changes"][0]["change"] == "created"
    assert stanchion.json("apply", "-f", "mine")["changes"][0]["change"] == "created"
    assert "Everything is unchanged" in stanchion("apply", "-f", "mine").stderr
    assert "doubled" in stanchion("blueprint", "list", "-o", "id").stdout.split()
    assert stanchion("blueprint", "show", "doubled", "--source").stdout == ONE_STEP
    assert "twice  TRANSFORM" in stanchion("blueprint", "graph", "doubled").stdout
    run = stanchion.json("run", "start", "doubled", "-i", "n=21", "--wait", "--idempotency-key", "k")
    assert (run["status"], run["output"]) == ("SUCCEEDED", {"n": 42})
    again = stanchion("run", "start", "doubled", "-i", "n=21", "--idempotency-key", "k", "-o", "id").stdout.strip()
    assert again == run["id"]
    stanchion("run", "start", "doubled", "-i", "n=22", "--idempotency-key", "k", code=5)
    assert "input" in stanchion("run", "start", "doubled", "-i", "n=many", code=1).stderr.lower()
    assert [step["path"] for step in stanchion.json("run", "steps", run["id"][-12:])] == ["twice"]
    lines = stanchion("run", "events", run["id"]).stdout.splitlines()
    assert {"run", "step"} <= {json.loads(line)["event"] for line in lines}
    task = stanchion.json("task", "submit", "doubled", "-i", "n=1")["task_id"]
    stanchion("run", "watch", task, "--timeout", "30")
    assert stanchion.json("task", "show", task)["result"] == {"n": 2}
    stanchion("run", "retry", run["id"], "--reason", "Once more.", code=5)
    stanchion("run", "start", "doubbled", code=3)


def test_looking_at_what_is_there(stanchion, run_id):
    for words in (
        ["connector", "list"],
        ["artifact", "list"],
        ["release", "list"],
        ["worker", "list"],
        ["tenant", "list"],
        ["audit", "list"],
        ["auth", "principal", "list"],
        ["auth", "token", "list"],
        ["effect", "list"],
    ):
        items = stanchion.json(*words)
        assert items, words
        table = stanchion(*words)
        assert len(table.stdout.splitlines()) == min(len(items), 50) + 1, words
    assert stanchion.json("dlq", "list") == []
    assert len(stanchion.json("run", "items", run_id, "--all")) == 131
    assert stanchion.json("connector", "show", "casebook")["name"] == "casebook"
    assert "SQLite" in stanchion("connector", "test", "casebook").stderr
    stanchion("connector", "test", "outcomes")
    assert stanchion.json("artifact", "show", "policy", "supervisor-approval")["version"] == 1
    assert len(stanchion.json("artifact", "history", "blueprint", "case-triage")) == 1
    effect = stanchion.json("effect", "list", "--limit", "1")[0]
    assert stanchion.json("effect", "show", effect["id"])["state"] == "DONE"
    stanchion("effect", "resolve", effect["id"], "--happened", "--evidence", "I saw it.", code=5)
    assert {record["event_type"] for record in stanchion.json("audit", "list", "--event", "approval.approved")} <= {
        "approval.approved"
    }
    stanchion("dlq", "requeue", "--reason", "x", code=2)
    assert stanchion.json("dlq", "requeue", "--reason", "None is there.", "--filter-blueprint", "doubled")["count"] == 0


def test_people_and_their_keys(stanchion):
    stanchion("auth", "principal", "create", "vera", "--role", "viewer")
    key = stanchion(
        "auth", "token", "create", "--principal", "vera", "--label", "test", "--expires-in", "1h"
    ).stdout.strip()
    url = json.loads((stanchion.folder / ".stanchion" / "profile.json").read_text())["url"]
    as_vera = {"STANCHION_URL": url, "STANCHION_TOKEN": key}
    assert stanchion.json("auth", "whoami", **as_vera)["principal"]["name"] == "vera"
    stanchion("run", "start", "case-triage", code=4, **as_vera)
    stanchion("auth", "grant", "vera", "analyst")
    stanchion("auth", "revoke", "vera", "viewer")
    assert stanchion("auth", "login", url, "--name", "vera", STANCHION_TOKEN=key).stdout
    assert stanchion.json("auth", "whoami", "--profile", "vera")["principal"]["name"] == "vera"
    assert "/sign-in?token=" in stanchion("auth", "link", "--data", ".stanchion").stdout
    tokens = stanchion.json("auth", "token", "list", "--data", ".stanchion")
    stanchion(
        "auth", "token", "revoke", next(t["id"] for t in tokens if t["principal"] == "vera"), "--data", ".stanchion"
    )
    stanchion("auth", "whoami", code=4, **as_vera)
    stanchion("auth", "principal", "disable", "vera", "--data", ".stanchion")
    stanchion("auth", "logout", "--name", "vera")
    assert stanchion("tenant", "create", "acme").stdout.startswith("stn_")


def test_a_crash_loses_nothing_and_writes_nothing_twice(stanchion):
    done = stanchion("demo", "crash")
    assert "No case was lost, and none was written twice." in done.stderr
    facts = {line.split("  ")[0]: line.split()[-2:] for line in done.stdout.splitlines()}
    assert "writes received" in facts
    assert "the one running" in done.stderr
