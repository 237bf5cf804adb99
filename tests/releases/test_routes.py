from __future__ import annotations

import pytest

from stanchion.db import Database
from stanchion.releases.routes import build_router
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.support import KINDS, blueprint, policy
from tests.support.http import app_of, client_of


@pytest.fixture
async def client(fresh_database_urls):
    async with Database(fresh_database_urls) as db:
        env = make_env(db)
        await add_tenants(env, "acme")
        async with client_of(app_of(ctx_of(env), build_router(KINDS))) as client:
            yield client


def body_of(*documents, **more):
    return {"documents": [{"path": d.path, "source": d.source} for d in documents], **more}


async def test_apply_show_and_list(client) -> None:
    first = await client.post("/api/artifacts/apply", json=body_of(policy(), blueprint(), changelog="First."))
    assert first.status_code == 200
    assert first.json()["environment"] == "local"
    assert [(c["kind"], c["change"]) for c in first.json()["changes"]] == [
        ("blueprint", "created"),
        ("policy", "created"),
    ]
    again = (await client.post("/api/artifacts/apply", json=body_of(policy(), blueprint()))).json()
    assert {c["change"] for c in again["changes"]} == {"unchanged"}
    listed = (await client.get("/api/blueprints")).json()
    assert [(i["name"], i["version"]) for i in listed["items"]] == [("case-triage", 1)]
    shown = (await client.get("/api/blueprints/case-triage")).json()
    assert shown["source"] == blueprint().source
    assert shown["document"]["blueprint"] == "case-triage"
    assert shown["input_schema"]["required"] == ["fine_eur"]
    assert (shown["version"], shown["live_version"], shown["changelog"]) == (1, 1, "First.")
    live = (await client.get("/api/releases")).json()
    assert [(i["kind"], i["name"], i["released_by"]) for i in live["items"]] == [
        ("blueprint", "case-triage", "ada"),
        ("policy", "supervisor-approval", "ada"),
    ]


async def test_errors_come_with_their_places(client) -> None:
    answer = await client.post("/api/artifacts/apply", json=body_of(blueprint("case-triage", ("show:", "shw:"))))
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "apply.invalid"
    assert {"file", "line", "column", "step", "code", "message", "hint", "pointer"} == set(problem["errors"][0])
    assert (await client.get("/api/blueprints")).json()["items"] == []


async def test_validate_and_dry_run_write_nothing(client) -> None:
    issues = (await client.post("/api/blueprints/validate", json=body_of(blueprint()))).json()["issues"]
    assert [(i["code"], i["severity"]) for i in issues] == [("blueprint.unknown_artifact", "error")]
    fine = await client.post("/api/blueprints/validate", json=body_of(blueprint(), policy()))
    assert fine.json() == {"issues": []}
    dry = await client.post("/api/artifacts/apply", json=body_of(blueprint(), policy(), dry_run=True))
    assert [c["change"] for c in dry.json()["changes"]] == ["created", "created"]
    assert (await client.get("/api/releases")).json()["items"] == []


@pytest.mark.parametrize(
    ("method", "path", "json", "status", "code"),
    [
        ("GET", "/api/blueprints/nobody", None, 404, "blueprint.unknown"),
        ("GET", "/api/blueprints/nobody?version=3", None, 404, "blueprint.unknown"),
        ("GET", "/api/blueprints/a%00b", None, 400, "request.bad_parameter"),
        ("GET", "/api/blueprints?after=%25", None, 400, "page.bad_cursor"),
        ("GET", "/api/releases?after=eHh4", None, 400, "page.bad_cursor"),
        ("POST", "/api/artifacts/apply", {"documents": []}, 422, None),
        ("POST", "/api/artifacts/apply", {"documents": [{"path": "x", "source": "a\x00"}]}, 422, None),
        ("POST", "/api/artifacts/apply", {"documents": [{"path": "a\nb", "source": ""}]}, 422, None),
        ("POST", "/api/artifacts/apply", {"documents": [{"path": "x", "source": ""}], "force": True}, 422, None),
        ("POST", "/api/artifacts/apply", {"documents": [{"path": "x", "source": ""}]}, 422, "apply.invalid"),
        ("POST", "/api/blueprints/validate", {"documents": [{"path": "x", "source": ""}], "dry_run": True}, 422, None),
    ],
)
async def test_what_is_wrong_is_said(client, method: str, path: str, json, status: int, code: str | None) -> None:
    answer = await client.request(method, path, json=json)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    if code:
        assert answer.json()["code"] == code


async def test_a_lone_surrogate_is_refused_and_no_defect(client) -> None:
    raw = b'{"documents": [{"path": "x", "source": "policy: \\ud800"}], "changelog": "\\ud800"}'
    answer = await client.post("/api/artifacts/apply", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
