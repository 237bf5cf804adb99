"""Guards over HTTP: declared with a rollout, shown with what they found; and measurements."""

from __future__ import annotations

import pytest

from stanchion.base import Invalid
from stanchion.cli.nouns import release_guards
from stanchion.releases import routes as releases_routes
from stanchion.releases.guarding import routes as guarding_routes
from stanchion.releases.rollouts import routes as rollouts_routes
from tests.releases.guarding.support import ERRORS, Guarded
from tests.releases.rollouts.support import second
from tests.support.http import app_of, client_of

BODY = {
    "strategy": "canary",
    "steps": [{"share": 50}, {"share": 100}],
    "reason": "try it",
    "guards": ERRORS,
    "documents": [{"path": second("policy").path, "source": second("policy").source}],
}
SHOWN = "/api/releases/policy/supervisor-approval"


@pytest.fixture
async def client(guarded: Guarded):
    kinds = guarded.stage.kinds
    routers = (
        releases_routes.build_router(kinds),
        rollouts_routes.build_router(kinds, guarded.guards),
        guarding_routes.build_router(),
    )
    async with client_of(app_of(guarded.ctx, *routers)) as client:
        yield client


async def test_a_guarded_rollout_shows_what_its_guards_found(client, guarded: Guarded) -> None:
    planned = (await client.post("/api/rollouts/plan", json=BODY)).json()["rollout"]
    assert planned["guards"]["guards"][0]["kind"] == "rate"
    made = (await client.post("/api/rollouts", json=BODY)).json()["rollout"]
    assert made["guards"] == planned["guards"]
    guarded.wait(1)
    arms = await guarded.start_both(6)
    await guarded.fail(arms["candidate"])
    await guarded.end(arms["stable"])
    await guarded.collect()
    for where in (SHOWN, f"/api/rollouts/{made['id']}"):
        judgement = (await client.get(where)).json()["judgement"]
        assert judgement["verdict"] == "inconclusive"
        assert judgement["why"].startswith("Not enough is known yet: error_rate.")
        (finding,) = judgement["guards"]
        assert finding["guard"] == "error_rate"
        assert finding["evidence"]["candidate_count"] == len(arms["candidate"])
        assert finding["evidence"]["stable_mean"] == 0.0
    listed = (await client.get("/api/rollouts")).json()["items"][0]
    assert listed["guards"] == made["guards"]


async def test_without_guards_nothing_is_judged(client) -> None:
    await client.post("/api/rollouts", json={**BODY, "guards": None})
    shown = (await client.get(SHOWN)).json()
    assert (shown["judgement"], shown["rollout"]["guards"]) == (None, None)


async def test_flaws_are_said_all_at_once(client) -> None:
    wrong = {"guards": [{"metric": "error_rate", "margn": 1}, {"metric": "latency_ms"}]}
    answer = await client.post("/api/rollouts", json={**BODY, "guards": wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "guard.invalid")
    assert [flaw["pointer"] for flaw in answer.json()["errors"]] == ["/guards/0/margn", "/guards/1/limit"]
    for odd in ([], "x", 7, {"guards": {"a": 1}}, {"guards": [None]}, {"guards": [], "alpha": []}):
        assert (await client.post("/api/rollouts/plan", json={**BODY, "guards": odd})).status_code == 422


async def test_nobody_promotes_against_the_guards(client, guarded: Guarded) -> None:
    made = (await client.post("/api/rollouts", json=BODY)).json()["rollout"]
    guarded.wait(901)
    answer = await client.post(f"/api/rollouts/{made['id']}/promote", json={"reason": "on"})
    assert (answer.status_code, answer.json()["code"]) == (409, "rollout.guarded")
    assert answer.json()["evidence"]["verdict"] == "missing"


async def test_measurements(client, guarded: Guarded) -> None:
    body = {**BODY, "guards": {"guards": [{"metric": "answer_score", "kind": "score"}]}}
    await client.post("/api/rollouts", json=body)
    guarded.wait(1)
    run = (await guarded.start(1))["stable"] + (await guarded.arms())["candidate"]
    where = f"/api/runs/{run[0]}/measurements"
    made = await client.post(where, json={"metric": "answer_score", "value": 0.5})
    assert made.status_code == 201
    assert {**made.json(), "reported_at": None} == {
        "run_id": str(run[0]), "metric": "answer_score", "value": 0.5, "reported_by": "ada", "reported_at": None,
        "rollouts": 1,
    }  # fmt: skip
    assert (await client.post(where, json={"metric": "answer_score", "value": 0.5})).json() == made.json()
    other = await client.post(where, json={"metric": "answer_score", "value": 0.75})
    assert (other.status_code, other.json()["code"]) == (409, "measurement.reported")
    for odd in (
        {"metric": "x", "value": -1},
        {"metric": "", "value": 1},
        {"metric": "x"},
        {"metric": "\x00", "value": 1},
    ):
        assert (await client.post(where, json=odd)).status_code == 422


def test_guards_are_said_in_short() -> None:
    assert release_guards.declared(None, ()) is None
    assert release_guards.declared(None, ["error_rate", "latency_ms:quantile=0.9, margin=0.05", "s:kind=score"]) == {
        "guards": [
            {"metric": "error_rate"},
            {"metric": "latency_ms", "quantile": 0.9, "margin": 0.05},
            {"metric": "s", "kind": "score"},
        ]
    }


def test_guards_of_a_file(tmp_path) -> None:
    file = tmp_path / "guards.yaml"
    file.write_text("alpha: 0.1\nguards: [{metric: error_rate, samples_min: 50}]\n")
    assert release_guards.declared(file, ["latency_ms:limit=2000"]) == {
        "alpha": 0.1,
        "guards": [{"metric": "error_rate", "samples_min": 50}, {"metric": "latency_ms", "limit": 2000}],
    }
    for text in ("[1]", "guards: {a: 1}", "guards: [", "guards: [{metric: 2026-01-01}]"):
        file.write_text(text)
        with pytest.raises(Invalid) as caught:
            release_guards.declared(file, ())
        assert caught.value.hint
    with pytest.raises(Invalid):
        release_guards.declared(None, ["error_rate:margin"])


def test_findings_are_a_table(capsys) -> None:
    guards = {"guards": [{"name": "error_rate", "kind": "rate"}, {"name": "score", "kind": "score"}]}
    evidence = {
        "candidate_count": 12, "candidate_mean": 0.25, "stable_count": 108, "stable_mean": 0.01, "difference": 0.24,
        "e_worse_peak": 3.21, "e_harmless": 0.5, "threshold": 40.0,
    }  # fmt: skip
    nothing = {"candidate_count": 0, "candidate_mean": None, "stable_count": 3, "stable_mean": 0.5, "difference": None}
    release_guards.show(
        {"guards": [
            {"guard": "error_rate", "verdict": "inconclusive", "evidence": evidence},
            {"guard": "score", "verdict": "missing", "evidence": nothing},
        ]},
        guards,
    )  # fmt: skip
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.strip().splitlines()]
    assert lines == [
        "GUARD VERDICT CANDIDATE STABLE WORSE BY AGAINST IT FOR IT",
        "error_rate INCONCLUSIVE 25.0% of 12 1.0% of 108 24 points 3.21 of 40 0.5 of 40",
        "score MISSING 0 runs 0.500 of 3",
    ]
    release_guards.show(None, None)
    assert capsys.readouterr().out == ""
