"""Revocations and drains over HTTP."""

from __future__ import annotations

import asyncio

import pytest

from stanchion.releases.draining import routes as draining_routes
from stanchion.releases.revoking import routes as revoking_routes
from tests.releases.revoking.support import Stage, blueprint, connector
from tests.releases.revoking.test_repinning import FLOW
from tests.support.http import app_of, client_of

WHY = {"reason": "It is wrong."}


@pytest.fixture
async def client(stage: Stage):
    await stage.apply(blueprint(FLOW))
    async with client_of(
        app_of(stage.ctx, revoking_routes.build_router(stage.means), draining_routes.build_router())
    ) as client:
        yield client


async def test_a_revocation_from_its_impact_to_the_repin_and_back(stage: Stage, client) -> None:
    digest = await stage.digest("connector", "ledger", 1)
    begun, let = stage.gate(stage.probe, "a")
    async with stage.working():
        run = await stage.start("flow")
        await asyncio.wait_for(begun.wait(), 60)
        impact = (await client.get(f"/api/revocations/{digest[:20]}/impact")).json()
        assert (impact["running"], impact["stopped"], impact["digest"]) == (1, 0, digest)
        assert impact["standing"] == [{"environment": "local", "version": 1, "standing": "live"}]
        assert (await client.get(f"/api/revocations/{digest}")).json()["code"] == "revocation.unknown"
        made = await client.post("/api/revocations", json={"digest": digest, **WHY})
        assert (made.status_code, made.json()["impact"]["running"]) == (201, 1)
        await stage.known.refresh()
        again = await client.post("/api/revocations", json={"digest": digest, **WHY})
        assert (again.status_code, again.json()["code"]) == (409, "release.already_revoked")
        let.set()
        await stage.stopped(run, digest)
        (shown,) = (await client.get("/api/revocations")).json()["items"]
        assert (shown["digest"], shown["reason"], shown["set_by"]) == (digest, "It is wrong.", "alice")
        (bound,) = (await client.get(f"/api/revocations/{digest}/runs", params={"stopped": True})).json()["items"]
        assert (bound["run_id"], bound["waiting_on"], bound["path"]) == (str(run), "revoked", "b")
        refused = await client.post(f"/api/revocations/{digest}/repin", json=WHY)
        assert (refused.status_code, refused.json()["code"]) == (409, "repin.no_version")
        await stage.apply(connector(2))
        done = (await client.post(f"/api/revocations/{digest}/repin", json={**WHY, "to": 2})).json()
        assert (done["repinned"], done["refused"], done["left"], done["next"]) == (1, 0, [], None)
        assert (done["version"]["version"], done["to"]["version"]) == (1, 2)
        assert (await stage.ended(run))["status"] == "SUCCEEDED"
    (kept,) = (await client.get(f"/api/runs/{run}/repins")).json()["items"]
    assert (kept["version_before"], kept["version"], kept["reason"]) == (1, 2, "It is wrong.")
    back = await client.post(f"/api/revocations/{digest}/reinstate", json=WHY)
    assert (back.status_code, back.json()["lifted_by"]) == (200, "alice")
    assert (await client.get("/api/revocations")).json()["items"] == []
    assert len((await client.get("/api/revocations", params={"lifted": True})).json()["items"]) == 1


async def test_those_that_stopped_are_cancelled(stage: Stage, client) -> None:
    run = await stage.start("flow")
    digest = await stage.revoke("blueprint", "flow")
    async with stage.working():
        await stage.stopped(run, digest)
        done = (await client.post(f"/api/revocations/{digest}/cancel", json=WHY)).json()
    assert (done["cancelled"], done["to"], done["left"]) == (1, None, [])


async def test_a_drain_and_its_end(stage: Stage, client) -> None:
    run = await stage.start("flow")
    body = {"kind": "blueprint", "name": "flow", "version": 1, **WHY}
    made = await client.post("/api/drains", json=body)
    assert (made.status_code, made.json()["left"], made.json()["queued"], made.json()["live"]) == (201, 1, 1, True)
    shown = (await client.get("/api/drains/blueprint/flow/1")).json()
    assert ([r["run_id"] for r in shown["impact"]["newest"]], shown["emptied_at"]) == ([str(run)], None)
    assert [row["left"] for row in (await client.get("/api/drains")).json()["items"]] == [1]
    lifted = await client.post("/api/drains/blueprint/flow/1/undrain", json=WHY)
    assert (lifted.status_code, lifted.json()["lifted_by"]) == (200, "alice")
    assert (await client.get("/api/drains")).json()["items"] == []
    assert (await client.get("/api/drains/blueprint/flow/9")).json()["code"] == "artifact.unknown"


@pytest.mark.parametrize("digest", ["md5:abc", "sha256:xyz", "sha256:abc"])
async def test_what_is_no_digest_is_said(client, digest: str) -> None:
    assert (await client.post("/api/revocations", json={"digest": digest, **WHY})).status_code == 422
