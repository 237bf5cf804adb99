"""/api/connectors and /api/effects over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from stanchion.tools.routes import build_router
from tests.support.http import app_of, client_of
from tests.tools.support import Bench, Crash, admin, call_of, new_run, reclaim, suspend_of


@pytest.fixture
async def bench(env, cluster, database_urls, tmp_path: Path) -> Bench:
    return Bench(env, cluster.superuser(database_urls), tmp_path, idempotency="none")


async def publish(bench: Bench, name: str) -> None:
    body = {**bench.world.body, "connector": name}
    async with await psycopg.AsyncConnection.connect(bench.superuser, autocommit=True) as tx:
        await tx.execute("insert into tenants (name, display_name) values ('acme', 'Acme') on conflict do nothing")
        await tx.execute(
            "insert into artifacts (tenant, kind, name, version, digest, body, source, source_path, owner, author,"
            " changelog) values ('acme', 'connector', %s, 1, %s, %s, 'the source', 'x.yaml', 'casework', 'ada', '')",
            (name, f"sha256:{name}", json.dumps(body)),
        )
        await tx.execute(
            "insert into releases (tenant, environment, kind, name, version, digest, released_by)"
            " values ('acme', 'local', 'connector', %s, 1, %s, 'ada')",
            (name, f"sha256:{name}"),
        )


async def test_connectors_are_listed_shown_and_tested(bench: Bench) -> None:
    for name in ("casebook", "ledger", "register"):
        await publish(bench, name)
    async with client_of(app_of(admin(bench.env), build_router(bench.adapters))) as client:
        first = (await client.get("/api/connectors", params={"limit": 2})).json()
        assert [c["name"] for c in first["items"]] == ["casebook", "ledger"]
        rest = (await client.get("/api/connectors", params={"after": first["next"]})).json()
        assert [c["name"] for c in rest["items"]] == ["register"]
        assert rest["next"] is None
        shown = (await client.get("/api/connectors/casebook")).json()
        assert shown["adapter"] == "sql"
        assert shown["source"] == "the source"
        assert [r["name"] for r in shown["resources"]] == ["cases", "outcomes"]
        assert shown["resources"][0]["operations"] == ["fetch", "lookup"]
        tested = (await client.post("/api/connectors/casebook/test")).json()
        assert tested["ok"] is True
        assert "SQLite" in tested["detail"]
        found = (await client.post("/api/connectors/casebook/discover")).json()
        assert found["adapter"] == "sql"
        assert found["resources"]["cases"]["key"] == "case_id"
        assert found["resources"]["cases"]["fields"]["articles"] == {"type": ["string", "null"]}
        assert found["truncated"] is False
        assert (await client.post("/api/connectors/nothing/discover")).status_code == 404
        (bench.world.path).rename(bench.world.path.with_suffix(".gone"))
        failed = await client.post("/api/connectors/casebook/test")
        assert failed.status_code == 200
        assert failed.json()["ok"] is False
        assert failed.json()["code"] == "adapter.unreachable"
        gone = await client.post("/api/connectors/casebook/discover")
        assert (gone.status_code, gone.json()["code"]) == (502, "adapter.unreachable")
        missing = await client.get("/api/connectors/nothing")
        assert missing.status_code == 404
        assert missing.json()["code"] == "connector.unknown"


async def test_another_tenant_sees_none(bench: Bench) -> None:
    async with client_of(app_of(admin(bench.env, tenant="other"), build_router(bench.adapters))) as client:
        assert (await client.get("/api/connectors")).json() == {"items": [], "next": None}
        assert (await client.get("/api/connectors/casebook")).status_code == 404


async def test_an_unknown_effect_is_resolved_over_http(bench: Bench) -> None:
    run_id = await new_run(bench.env, bench.superuser)
    with pytest.raises(Crash):
        await bench.handler("after_call").execute(bench.env, call_of(bench.world, run_id))
    await reclaim(bench.superuser, run_id, 2)
    await suspend_of(bench, call_of(bench.world, run_id, epoch=2, attempt=2))
    async with client_of(app_of(admin(bench.env), build_router(bench.adapters))) as client:
        listed = (await client.get("/api/effects", params={"state": "UNKNOWN", "run": str(run_id)})).json()
        assert len(listed["items"]) == 1
        effect_id = listed["items"][0]["id"]
        assert (await client.get(f"/api/effects/{effect_id}")).json()["state"] == "UNKNOWN"
        for wrong in ({}, {"happened": True}, {"happened": True, "evidence": ""}, {"happened": "x", "evidence": "y"}):
            answer = await client.post(f"/api/effects/{effect_id}/resolve", json=wrong)
            assert answer.status_code in {400, 422}
        body = {"happened": True, "evidence": "Row 1 is there."}
        done = await client.post(f"/api/effects/{effect_id}/resolve", json=body)
        assert done.status_code == 200
        assert done.json()["state"] == "DONE"
        assert done.json()["resolved_by"] == "olga"
        again = await client.post(f"/api/effects/{effect_id}/resolve", json=body)
        assert again.status_code == 409
        assert again.json()["code"] == "effect.settled"
        assert (await client.get(f"/api/effects/{uuid4()}")).status_code == 404
        assert (await client.get("/api/effects", params={"after": "x"})).status_code in {400, 422}
