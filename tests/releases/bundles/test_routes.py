"""Bundles, trusted keys and plans over HTTP, between two deployments; the second is production, whose gates judge."""

from __future__ import annotations

import dataclasses
import json

import pytest

from stanchion.base import Denied
from stanchion.context import Environment
from stanchion.db import Database
from stanchion.releases.bundles import SigningKey
from stanchion.releases.bundles.routes import build_router
from stanchion.releases.gates import Which, approve
from stanchion.releases.routes import build_router as releases_router
from tests.artifacts.support import add_tenants, ctx_of
from tests.conftest import make_env
from tests.releases.bundles.support import KINDS, blueprint, policy
from tests.support.http import app_of, client_of


@pytest.fixture
def served(cluster, tmp_path):
    """A client of a deployment with a database and a key of its own."""

    class Served:
        def __init__(self, name: str, *, production: bool = False, principal: str = "ada") -> None:
            self.name, self.production, self.principal = name, production, principal
            self.database = Database(cluster.clone())

        async def __aenter__(self):
            env = make_env(await self.database.__aenter__(), environment=self.name)
            env = dataclasses.replace(env, environment=Environment(name=self.name, production=self.production))
            self.env = env
            await add_tenants(env, "acme")
            file = tmp_path / self.name
            routers = (build_router(KINDS, lambda: SigningKey.from_file(file, env.ids)), releases_router(KINDS))
            self.context = client_of(app_of(ctx_of(env, principal=self.principal), *routers))
            return await self.context.__aenter__()

        async def __aexit__(self, *_) -> None:
            await self.context.__aexit__(None, None, None)
            await self.database.__aexit__(None, None, None)

    return Served


def body_of(*documents, **more):
    return {"documents": [{"path": d.path, "source": d.source} for d in documents], **more}


async def said(answer, status: int = 200):
    assert answer.status_code == status, answer.text
    return answer.json()


async def trusting(one, other, **more) -> dict:
    key = await said(await one.get("/api/signing-key"))
    body = {"name": "staging", "public_key": key["public_key"], "reason": "ours", **more}
    return await said(await other.post("/api/trusted-keys", json=body), 201)


async def test_a_release_goes_from_one_to_the_other_with_its_digests(served) -> None:
    async with served("staging") as staging, served("sandbox") as sandbox:
        applied = await said(
            await staging.post("/api/artifacts/apply", json=body_of(policy(), blueprint(), changelog="First."))
        )
        made = await said(
            await staging.post(
                "/api/bundles/export",
                json={"artifacts": [{"kind": "blueprint", "name": "case-triage"}], "reason": "Next."},
            )
        )
        assert [(a["kind"], a["selected"], a["live"]) for a in made["artifacts"]] == [
            ("blueprint", True, True),
            ("policy", False, True),
        ]
        assert made["origin"]["environment"] == "staging"
        refused = await said(
            await sandbox.post("/api/bundles/import", json={"bundle": made["bundle"], "reason": "x"}), 403
        )
        assert refused["code"] == "bundle.untrusted_key"
        trusted = await trusting(staging, sandbox, environment="staging")
        assert (trusted["fingerprint"], trusted["tenant"]) == (made["fingerprint"], "acme")
        wrong = {"bundle": made["bundle"], "reason": "x", "environment": "production"}
        assert (await said(await sandbox.post("/api/bundles/import", json=wrong), 409))["code"] == (
            "release.other_environment"
        )
        sent = {"bundle": made["bundle"], "reason": "Tried.", "environment": "sandbox", "apply": True}
        dry = await said(await sandbox.post("/api/bundles/import", json=sent | {"dry_run": True}))
        assert {c["change"] for c in dry["applied"]["changes"]} == {"created"}
        assert (await said(await sandbox.get("/api/releases")))["items"] == []
        done = await said(await sandbox.post("/api/bundles/import", json=sent))
        assert (done["signer"], done["known"], done["misfits"]) == ("staging", False, [])
        digests = {(c["kind"], c["digest"]) for c in applied["changes"]}
        assert {(r["kind"], r["digest"]) for r in (await said(await sandbox.get("/api/releases")))["items"]} == digests
        again = await said(await sandbox.post("/api/bundles/import", json=sent))
        assert again["known"]
        assert {c["change"] for c in again["applied"]["changes"]} == {"unchanged"}
        listed = await said(await sandbox.get("/api/bundles"))
        assert [row["digest"] for row in listed["items"]] == [made["digest"]]
        assert (await said(await sandbox.get(f"/api/bundles/{made['digest']}")))["imported_by"] == "ada"
        origins = await said(await sandbox.get("/api/artifacts/policy/supervisor-approval/origins"))
        assert [o["author"] for o in origins["origins"]] == ["ada"]
        gone = await said(await sandbox.post("/api/trusted-keys/staging/remove", json={"reason": "New key."}))
        assert gone["removal_reason"] == "New key."
        assert (await said(await sandbox.get("/api/trusted-keys")))["items"] == []
        assert len((await said(await sandbox.get("/api/trusted-keys?removed=true")))["items"]) == 1


async def test_the_gates_of_production_judge_what_arrives(served) -> None:
    async with served("staging") as staging, served("production", production=True, principal="bob") as production:
        await staging.post("/api/artifacts/apply", json=body_of(policy(), blueprint(), changelog="First."))
        made = await said(await staging.post("/api/bundles/export", json={"everything": True, "reason": "Next."}))
        await trusting(staging, production)
        sent = {"bundle": made["bundle"], "reason": "Tried.", "apply": True}
        dry = await said(await production.post("/api/bundles/import", json=sent | {"dry_run": True}))
        assert dry["applied"]["gates"]["verdict"] == "INCONCLUSIVE"
        refused = await said(await production.post("/api/bundles/import", json=sent), 409)
        assert refused["code"] == "release.gated"
        # What came is published and waits for its gates; nothing is live.
        assert (await said(await production.get("/api/releases")))["items"] == []
        assert len((await said(await production.get("/api/bundles")))["items"]) == 1
        loud = await said(
            await production.post("/api/bundles/import", json=sent | {"break_glass": "The old one leaks."})
        )
        assert loud["applied"]["gates"]["broken_glass"]
        live = (await said(await production.get("/api/releases")))["items"]
        assert {r["digest"] for r in live} == {a["digest"] for a in made["artifacts"]}


async def test_a_plan_says_what_an_apply_would_do_and_on_what_that_rests(served) -> None:
    async with served("local") as here:
        new = await said(await here.post("/api/artifacts/plan", json=body_of(policy(), blueprint())))
        assert [(c["kind"], c["change"], c["live_version"], c["reaches"]) for c in new["changes"]] == [
            ("blueprint", "created", 0, ["case-triage"]),
            ("policy", "created", 0, ["case-triage"]),
        ]
        assert new["expected"] == {"blueprint/case-triage": 0, "policy/supervisor-approval": 0}
        await here.post("/api/artifacts/apply", json=body_of(policy(), blueprint()))
        stricter = policy(("100000.0", "50000.0"))
        plan = await said(await here.post("/api/artifacts/plan", json=body_of(stricter)))
        (change,) = plan["changes"]
        assert (change["change"], change["live_version"], change["version"], change["reaches"]) == (
            "updated",
            1,
            2,
            ["case-triage"],
        )
        assert [(e["path"], e["op"]) for e in change["diff"]["changes"]] == [("when", "changed")]
        # The Blueprint is not in the set; the plan rests on it, because its runs get the policy.
        assert plan["expected"] == {"blueprint/case-triage": 1, "policy/supervisor-approval": 1}
        assert (await said(await here.get("/api/releases")))["items"][1]["version"] == 1
        await here.post("/api/artifacts/apply", json=body_of(blueprint(("Ask a", "Always ask a"))))
        late = await here.post("/api/artifacts/apply", json=body_of(stricter, expected=plan["expected"]))
        assert (await said(late, 409))["code"] == "release.superseded"
        other = await here.post("/api/artifacts/apply", json=body_of(stricter, environment="production"))
        assert (await said(other, 409))["code"] == "release.other_environment"
        unchanged = await said(await here.post("/api/artifacts/plan", json=body_of(policy())))
        assert (unchanged["changes"][0]["change"], unchanged["changes"][0]["diff"], unchanged["gates"]) == (
            "unchanged",
            None,
            None,
        )
        wrong = await here.post("/api/artifacts/plan", json=body_of(policy(("when:", "wen:"))))
        assert (await said(wrong, 422))["code"] == "apply.invalid"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("bundles/export", {"reason": "x"}, 422, "bundle.nothing"),
        ("bundles/export", {"everything": True, "reason": "x"}, 422, "bundle.nothing"),
        ("bundles/export", {"artifacts": [{"kind": "policy", "name": "x"}], "reason": "x"}, 404, "release.unknown"),
        ("bundles/import", {"bundle": "x", "reason": "x"}, 422, "bundle.malformed"),
        ("bundles/import", {"bundle": "", "reason": "x"}, 422, "request.invalid"),
        ("trusted-keys", {"name": "a", "public_key": "ed25519:AAAA", "reason": "x"}, 422, "bundle.bad_key"),
        ("trusted-keys/nobody/remove", {"reason": "x"}, 404, "bundle.not_trusted"),
    ],
)
async def test_problems(served, path: str, body: dict, status: int, code: str) -> None:
    async with served("local") as here:
        answer = await said(await here.post(f"/api/{path}", json=body), status)
        assert answer["code"] == code
        assert json.dumps(answer)


async def test_who_wrote_it_there_does_not_approve_it_here(served) -> None:
    async with served("staging") as staging:
        await staging.post("/api/artifacts/apply", json=body_of(policy(), changelog="First."))
        made = await said(await staging.post("/api/bundles/export", json={"everything": True, "reason": "Next."}))
        production = served("production", production=True, principal="bob")
        async with production as here:
            await trusting(staging, here)
            await said(await here.post("/api/bundles/import", json={"bundle": made["bundle"], "reason": "Tried."}))
            # Ada wrote it in staging; Bob, who imported it, is its author here. Neither is somebody else.
            for principal in ("ada", "bob"):
                ctx = ctx_of(production.env, principal=principal)
                with pytest.raises(Denied) as caught:
                    await approve(
                        ctx, Which(versions=(("policy", "supervisor-approval", 1),)), reason="It is mine, and good."
                    )
                assert caught.value.code == "release.own_approval"
