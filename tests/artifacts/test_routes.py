from __future__ import annotations

import pytest

from stanchion.artifacts.routes import build_router
from stanchion.context import Env
from tests.artifacts.support import add_tenants, ctx_of, publish_one
from tests.support.http import app_of, client_of


@pytest.fixture
async def client(env: Env):
    await add_tenants(env, "acme")
    async with client_of(app_of(ctx_of(env), build_router())) as client:
        yield client


async def test_versions_are_listed_and_shown(env: Env, client) -> None:
    ctx = ctx_of(env)
    first, _ = await publish_one(ctx, "shown", n=1)
    await publish_one(ctx, "shown", n=2, changelog="Second.")
    listed = (await client.get("/api/artifacts?kind=policy")).json()
    assert [(i["name"], i["version"]) for i in listed["items"]] == [("shown", 2)]
    assert "body" not in listed["items"][0]
    one = (await client.get("/api/artifacts/policy/shown?version=1")).json()
    assert one["digest"] == first.digest
    assert one["body"] == {"policy": "shown", "n": 1}
    assert one["source"] == "policy: shown\n"
    page = (await client.get("/api/artifacts/policy/shown/versions?limit=1")).json()
    assert [i["version"] for i in page["items"]] == [2]
    rest = (await client.get("/api/artifacts/policy/shown/versions", params={"after": page["next"]})).json()
    assert [i["version"] for i in rest["items"]] == [1]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/api/artifacts/policy/nobody", 404, "artifact.unknown"),
        ("/api/artifacts/policy/nobody?version=7", 404, "artifact.unknown"),
        ("/api/artifacts/policy/nobody/versions", 404, "artifact.unknown"),
        ("/api/artifacts/policy/a%00b", 400, "request.bad_parameter"),
        ("/api/artifacts/policy/nobody?version=99999999999", 400, "request.bad_parameter"),
        ("/api/artifacts?after=nonsense", 400, "page.bad_cursor"),
        ("/api/artifacts/policy/nobody/versions?after=eHh4", 400, "page.bad_cursor"),
        ("/api/artifacts/policy/nobody/versions?after=OTk5OTk5OTk5OTk5OTk", 400, "page.bad_cursor"),
    ],
)
async def test_what_is_wrong_is_said(client, path: str, status: int, code: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
