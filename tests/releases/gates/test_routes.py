"""The same over HTTP: what is sent, what comes back, and how it is refused."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from stanchion.cli import problems
from stanchion.db import Database
from stanchion.releases import routes as releases_routes
from stanchion.releases.gates.routes import build_router
from stanchion.releases.rollouts import routes as rollouts_routes
from tests.releases.gates.support import SUITE, GateStage, document, second
from tests.support.http import app_of, client_of

RULE = "kinds: [blueprint], needs: [{gate: approval}, {gate: eval, suite: answers}]"
EVAL = {
    "report_id": "r1", "suite": "answers", "suite_digest": SUITE, "cases": 10, "passed": 10, "failed": 0, "errored": 0,
    "verdict": "PASS", "why": "All of them.",
}  # fmt: skip
SET = {"members": [{"kind": "blueprint", "name": "case-triage", "version": 2}]}
GATES = "/api/release-gates"
WHY = "There is no other way tonight."


def sent(*documents) -> list[dict]:
    return [{"path": d.path, "source": d.source} for d in documents]


@pytest.fixture
async def stage(fresh_database_urls, tmp_path):
    async with Database(fresh_database_urls) as db:
        stage = await GateStage.make(db, tmp_path)
        await stage.rule(RULE)
        yield stage


@asynccontextmanager
async def as_(stage: GateStage, who: str):
    routers = (
        build_router(stage.kinds),
        releases_routes.build_router(stage.kinds),
        rollouts_routes.build_router(stage.kinds),
    )
    async with client_of(app_of(stage.by(who), *routers)) as client:
        yield client


async def test_from_a_refusal_to_the_move_and_its_history(stage: GateStage) -> None:
    body = {"documents": sent(second("blueprint")), "changelog": "why"}
    async with as_(stage, "ada") as ada, as_(stage, "olga") as olga, as_(stage, "ci") as ci:
        no = await ada.post("/api/artifacts/apply", json=body)
        assert (no.status_code, no.json()["code"], no.json()["verdict"]) == (409, "release.gated", "INCONCLUSIVE")
        assert [g["gate"] for g in no.json()["gates"]] == ["approval", "eval"]
        assert no.json()["policy"] == "policy/release-gates@1"
        assert (await ada.post("/api/artifacts/apply", json=body | {"dry_run": True})).json()["gates"][
            "verdict"
        ] == "INCONCLUSIVE"

        made = await ada.post(f"{GATES}/prepared", json={"documents": body["documents"], "reason": "Have a look."})
        assert made.status_code == 201
        subject, which = made.json()["gates"]["subject"], made.json()["prepared"]["id"]
        assert (await olga.get(f"{GATES}/prepared")).json()["items"][0]["id"] == which
        assert (await olga.get(f"{GATES}/prepared/{which}")).json()["gates"]["subject"] == subject
        assert (await olga.post(f"{GATES}/judgements", json=SET)).json()["gates"]["subject"] == subject

        own = await ada.post(f"{GATES}/approvals", json=SET | {"reason": "It is mine, and good."})
        assert (own.status_code, own.json()["code"]) == (403, "auth.denied")
        wrong = await olga.post(f"{GATES}/approvals", json=SET | {"reason": "It is good.", "subject": SUITE})
        assert (wrong.status_code, wrong.json()["code"]) == (409, "release.other_set")
        yes = await olga.post(f"{GATES}/approvals", json={"id": which, "reason": "It is good.", "subject": subject})
        assert (yes.status_code, yes.json()["verdict"], yes.json()["by"]) == (201, "PASS", "olga")
        member = {"kind": "blueprint", "name": "case-triage"}
        for exact in ({"version": 2}, {"digest": made.json()["members"][0]["digest"]}):
            told = await ci.post(f"{GATES}/evals", json=EVAL | {"members": [member | exact]})
            assert told.status_code == 201
        listed = (await olga.get(f"{GATES}/evidence?kind=blueprint&name=case-triage")).json()["items"]
        assert [e["gate"] for e in listed] == ["eval", "approval"]

        done = await ada.post("/api/artifacts/apply", json=body)
        assert done.status_code == 200
        assert [f["verdict"] for f in done.json()["gates"]["findings"]] == ["PASS", "PASS"]
        entry = (await ada.get("/api/releases/blueprint/case-triage/history")).json()["items"][0]
        assert entry["evidence"]["gates"]["policy"] == "policy/release-gates@1"
        assert (await olga.get(f"{GATES}/prepared")).json()["items"] == []

        gone = await olga.post(f"{GATES}/evidence/{yes.json()['id']}/withdraw", json={"reason": "Too late, I know."})
        assert gone.json()["withdrawn_by"] == "olga"


async def test_broken_glass_over_http(stage: GateStage) -> None:
    begin = {
        "strategy": "canary",
        "steps": [{"share": 10}, {"share": 100}],
        "documents": sent(second("blueprint")),
        "reason": WHY,
    }
    async with (
        as_(stage, "root") as root,
        as_(stage, "opal") as opal,
        as_(stage, "olga") as olga,
        as_(stage, "ada") as ada,
    ):
        planned = await ada.post("/api/rollouts/plan", json=begin)
        assert planned.json()["gates"]["verdict"] == "INCONCLUSIVE"
        assert (await ada.post("/api/rollouts", json=begin)).json()["code"] == "release.gated"
        assert (await ada.post("/api/rollouts", json=begin | {"break_glass": True})).status_code == 403
        begun = (await root.post("/api/rollouts", json=begin | {"break_glass": True})).json()
        assert begun["gates"]["broken_glass"]
        where = f"/api/rollouts/{begun['rollout']['id']}/promote"
        assert (await opal.post(where, json={"reason": WHY})).json()["code"] == "release.gated"
        assert (await opal.post(where, json={"reason": WHY, "break_glass": True})).status_code == 200
        found = (await olga.get(f"{GATES}/broken-glass?rollout_id={begun['rollout']['id']}")).json()["items"]
        assert [(b["by"], b["move"], b["overdue"]) for b in found] == [
            ("opal", "advance", False),
            ("root", "begin", False),
        ]
        stage.clock.at = stage.clock.at.replace(year=2027)
        late = (await olga.get(f"{GATES}/broken-glass")).json()["items"]
        assert all(b["overdue"] for b in late)
        body = {"finding": "JUSTIFIED", "reason": "It could not wait."}
        reviewed = await olga.post(f"{GATES}/broken-glass/{found[0]['id']}/review", json=body)
        assert (reviewed.json()["review"], reviewed.json()["overdue"]) == ("JUSTIFIED", False)
        left = [b["id"] for b in (await olga.get(f"{GATES}/broken-glass")).json()["items"]]
        assert found[0]["id"] not in left
        applied = await root.post(
            "/api/artifacts/apply", json={"documents": sent(document("connector", ("first", "x"))), "break_glass": WHY}
        )
        assert applied.json()["gates"]["broken_glass"] is None


@pytest.mark.parametrize(
    ("where", "body", "status", "code"),
    [
        ("approvals", {"reason": "It is good."}, 422, "release.empty_set"),
        (
            "approvals",
            {"id": "01a201e3-dd6c-7038-9f99-fa850ad64075", "reason": "It is good."},
            404,
            "release.unknown_set",
        ),
        ("approvals", SET | {"reason": "It is good."}, 404, "artifact.unknown"),
        ("approvals", SET | {"reason": "ok"}, 422, "release.no_reason"),
        ("approvals", SET | {"reason": "It is good.", "verdict": "INCONCLUSIVE"}, 422, "request.invalid"),
        ("prepared", {"reason": "Have a look."}, 403, "auth.denied"),
        ("judgements", {"members": SET["members"] * 2}, 422, "release.empty_set"),
        ("evidence/01a201e3-dd6c-7038-9f99-fa850ad64075/withdraw", {"reason": "Not so good."}, 404, "evidence.unknown"),
        (
            "broken-glass/01a201e3-dd6c-7038-9f99-fa850ad64075/review",
            {"finding": "JUSTIFIED", "reason": "It was right."},
            404,
            "broken_glass.unknown",
        ),
    ],
)
async def test_what_cannot_be_is_refused_with_its_code(
    stage: GateStage, where: str, body, status: int, code: str
) -> None:
    async with as_(stage, "olga") as olga:
        said = await olga.post(f"{GATES}/{where}", json=body)
    assert (said.status_code, said.json()["code"]) == (status, code)


@pytest.mark.parametrize("exact", [{}, {"digest": SUITE, "version": 1}])
async def test_an_eval_names_each_version_once(stage: GateStage, exact) -> None:
    async with as_(stage, "ci") as ci:
        said = await ci.post(f"{GATES}/evals", json=EVAL | {"members": [{"kind": "blueprint", "name": "x"} | exact]})
    assert said.status_code == 422


async def test_the_command_line_says_a_gate_says_no_with_6(stage: GateStage) -> None:
    from stanchion.base import Conflict

    assert problems.exit_code(Conflict("release.gated", "No.")) == 6
    assert problems.exit_code(Conflict("release.superseded", "No.")) == 5
