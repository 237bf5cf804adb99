"""How soon a rollback and a kill are effective in every process of a deployment, under load.

`.venv/bin/pytest tests/releases/live/test_processes.py -m slow -s` prints the figures of 40 changes each.
"""

from __future__ import annotations

import pytest

from stanchion.processes.sockets import ask_unix
from tests.support.deployment import POSTING, Deployment, Load, said, within_promise

SECOND = POSTING.replace("value: first", "value: second")
# In each cycle one rollback is of an open rollout, and one of a release that is finished.
PLANS = (
    {"strategy": "canary", "steps": [{"share": 100}]},
    {"strategy": "all_at_once"},
)


def test_a_rollback_and_a_kill_reach_every_process(deployment: Deployment) -> None:
    show(deployment, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_forty_rollbacks_and_kills_reach_every_process(deployment: Deployment) -> None:
    show(deployment, 40)


def show(deployment: Deployment, changes: int) -> None:
    deployment.clear()
    deployment.apply(posting=SECOND)
    deployment.apply(posting=POSTING)
    load = Load(deployment)
    refused: list[float] = []
    held: list[float] = []
    rolled_back: list[float] = []
    try:
        for number in range(changes):
            load.flows()
            rolled_back += rollback_seen(deployment, load, PLANS[number % 2])
            idle = deployment.kill(("blueprint", "idle"))
            refused += deployment.refused_after(idle)
            ledger = deployment.kill(("connector", "ledger"))
            held += deployment.held_after(ledger)
            for kill_id in (idle, ledger):
                deployment.lift(kill_id)
    finally:
        per_s = load.stop()
    print(
        f"\n2 web processes and 2 workers, {per_s:.0f} starts a second, {changes} changes each; effective everywhere after"
        f"\n  rollback, at the starts: {said(rolled_back)}"
        f"\n  kill, at the starts:     {said(refused)}"
        f"\n  kill, at the workers:    {said(held)}"
    )
    # Whoever executes a run does what it was started with, and nothing is lost or doubled over all of it.
    wrong = "select count(*) from runs where blueprint = 'posting' and output #>> '{}' <> case version when 1 then 'first' else 'second' end"
    assert deployment.rows(wrong) == [(0,)]
    assert deployment.written() == load.numbers
    for took in (rolled_back, refused, held):
        assert within_promise(took)


def rollback_seen(deployment: Deployment, load: Load, plan: dict) -> list[float]:
    """Make the second version live for everybody and take it back; of each web process, for how many seconds after the
    rollback it still started runs of it."""
    members = [{"kind": "blueprint", "name": "posting", "version": 2}]
    began = deployment.rows("select clock_timestamp()")[0][0]
    deployment.apis[0].post("/api/rollouts", {**plan, "members": members, "reason": "Try it."})
    webs = [(n,) for n in range(len(deployment.apis))]
    since = (
        "select distinct (input ->> 'by')::int from runs where blueprint = 'posting' and version = %s and created_at > %s"
        " order by 1"
    )
    deployment.until(lambda: deployment.rows(since, 2, began) == webs, "every web process starts the second")
    deployment.apis[1].post("/api/releases/blueprint/posting/rollback", {"reason": "No."})
    at = deployment.rows("select max(at) from release_history where name = 'posting'")[0][0]
    deployment.until(lambda: deployment.rows(since, 1, at) == webs, "every web process starts the first again")
    load.flows()
    late = dict(
        deployment.rows(
            "select (input ->> 'by')::int, extract(epoch from max(created_at) - %s)::float8 from runs"
            " where blueprint = 'posting' and version = 2 and created_at > %s group by 1", at, at,
        )
    )  # fmt: skip
    return [late.get(web, 0.0) for (web,) in webs]


def test_every_process_tells_how_old_what_it_knows_of_kills_is(deployment: Deployment) -> None:
    api = deployment.apis[0]
    found = {d["name"]: d for d in api.get("/health/dependencies")["items"]}["kill switches"]
    assert found["state"] == "up"
    assert found["serving"] is False
    assert found["age_s"] <= 10
    for worker in deployment.workers:
        _, body = ask_unix(worker, "/metrics")
        age = next(line for line in body.decode().splitlines() if line.startswith("stanchion_kills_age_seconds "))
        assert float(age.split()[1]) <= 10
