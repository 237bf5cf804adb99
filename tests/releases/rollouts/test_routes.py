from __future__ import annotations

import pytest

from stanchion.db import Database
from stanchion.releases import routes as releases_routes
from stanchion.releases.rollouts.routes import build_router
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.releases.rollouts.support import SOURCES, Stage, document, second
from tests.support.http import app_of, client_of

BEGIN = {"strategy": "canary", "steps": [{"share": 10}, {"share": 100, "hold_s": 60}], "reason": "try it"}


def sent(*documents) -> list[dict]:
    return [{"path": d.path, "source": d.source} for d in documents]


@pytest.fixture
async def client(fresh_database_urls, tmp_path):
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme")
        stage = Stage(env, tmp_path)
        await stage.apply(*(document(kind) for kind in SOURCES))
        routers = (releases_routes.build_router(stage.kinds), build_router(stage.kinds))
        async with client_of(app_of(stage.ctx, *routers)) as client:
            yield client


async def test_a_rollout_from_its_plan_to_its_end_and_back(client) -> None:
    body = BEGIN | {"documents": sent(second("policy"))}
    planned = await client.post("/api/rollouts/plan", json=body)
    assert planned.status_code == 200
    assert planned.json()["blueprints"] == ["case-triage"]
    assert (await client.get("/api/rollouts")).json()["items"] == []
    made = await client.post("/api/rollouts", json=body)
    assert made.status_code == 201
    rollout = made.json()["rollout"]
    assert (rollout["step"], rollout["share"], rollout["state"], rollout["rev"]) == (1, 10, "ACTIVE", 1)
    shown = (await client.get("/api/releases/policy/supervisor-approval")).json()
    assert (shown["version"], shown["leaving"], shown["rollout"]["id"]) == (1, 2, rollout["id"])
    where = f"/api/rollouts/{rollout['id']}"
    assert (await client.post(f"{where}/pause", json={"reason": "wait", "rev": 1})).json()["state"] == "PAUSED"
    stale = await client.post(f"{where}/resume", json={"reason": "go", "rev": 1})
    assert (stale.status_code, stale.json()["code"], stale.json()["rev"]) == (409, "rollout.moved", 2)
    assert (await client.post(f"{where}/resume", json={"reason": "go", "rev": 2})).json()["state"] == "ACTIVE"
    on = (await client.post(f"{where}/promote", json={"reason": "on"})).json()
    assert (on["step"], on["share"]) == (2, 100)
    assert on["due_at"]
    assert (await client.post(f"{where}/promote", json={"reason": "on"})).json()["state"] == "DONE"
    assert (await client.get(where)).json()["ended_at"]
    back = await client.post("/api/releases/policy/supervisor-approval/rollback", json={"reason": "no", "leaving": 2})
    assert back.json() == {
        "moved": [{"kind": "policy", "name": "supervisor-approval", "version_before": 2, "version": 1}],
        "rollouts": [],
    }
    again = await client.post("/api/releases/policy/supervisor-approval/rollback", json={"reason": "no", "leaving": 2})
    assert (again.status_code, again.json()["code"]) == (409, "release.moved")
    said = (await client.get("/api/releases/policy/supervisor-approval/history?limit=3")).json()
    assert [c["event"] for c in said["items"]] == ["release.rolled_back", "release.promoted", "rollout.done"]
    rest = (await client.get(f"/api/releases/policy/supervisor-approval/history?after={said['next']}")).json()
    assert [c["event"] for c in rest["items"]][-2:] == ["rollout.begun", "release.applied"]
    listed = (await client.get("/api/rollouts?state=DONE&kind=policy&name=supervisor-approval")).json()["items"]
    assert [r["id"] for r in listed] == [rollout["id"]]
    assert (await client.get("/api/rollouts?state=open")).json()["items"] == []


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"unit": "dice"}, 422, "rollout.bad_plan"),
        ({"steps": []}, 422, "rollout.bad_plan"),
        ({"steps": [{"share": 50}, {"share": 10}]}, 422, "rollout.bad_plan"),
        ({"steps": [{"rings": ["nobody"]}]}, 422, "rollout.bad_plan"),
        ({"strategy": "blue_green"}, 422, "rollout.bad_plan"),
        ({"strategy": "rings"}, 422, "rollout.bad_plan"),
        ({"rings": {"pilot": ["a"]}}, 422, "rollout.bad_plan"),
        ({"salt": "a b"}, 422, "rollout.bad_plan"),
        ({"reason": ""}, 422, None),
        ({"force": True}, 422, None),
        ({"documents": []}, 422, "rollout.nothing"),
        ({"documents": sent(document("policy"))}, 422, "rollout.nothing"),
        ({"documents": [], "members": [{"kind": "policy", "name": "nobody"}]}, 404, "artifact.unknown"),
    ],
)
async def test_what_is_refused(client, change, status: int, code: str | None) -> None:
    answer = await client.post("/api/rollouts", json=BEGIN | {"documents": sent(second("policy"))} | change)
    assert answer.status_code == status
    assert code in (None, answer.json()["code"])
    assert (await client.get("/api/rollouts")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/rollouts/019a9f3e-2f60-7c1c-9e0e-3a1f5d1b7c10", 404, "rollout.unknown"),
        ("GET", "/api/rollouts/x", 400, "request.bad_parameter"),
        ("GET", "/api/rollouts?state=gone", 422, "rollout.bad_state"),
        ("GET", "/api/rollouts?after=eHh4", 422, "page.bad_cursor"),
        ("GET", "/api/releases/policy/nobody", 404, "release.unknown"),
        ("GET", "/api/releases/policy/nobody/history", 404, "release.unknown"),
        ("GET", "/api/releases/policy/supervisor-approval/history?after=eHh4", 422, "page.bad_cursor"),
        ("POST", "/api/releases/policy/nobody/rollback", 404, "release.unknown"),
        ("POST", "/api/releases/policy/supervisor-approval/rollback", 409, "release.no_previous"),
    ],
)
async def test_what_is_not_there(client, method: str, path: str, status: int, code: str) -> None:
    answer = await client.request(method, path, json={"reason": "x"} if method == "POST" else None)
    assert answer.json()["code"] == code
    assert answer.status_code in (status, 400)
