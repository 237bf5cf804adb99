"""The registry as its users meet it: documents applied, then asked about, over HTTP and on PostgreSQL."""

from __future__ import annotations

import json

import pytest

from stanchion.artifacts import KINDS as EVERY_KIND
from stanchion.artifacts import Document, publish
from stanchion.artifacts.routes import build_router as artifact_routes
from stanchion.base import Conflict, Invalid, digest
from stanchion.blueprints import ABOUT_PROPERTIES, BlueprintKind, Parsed, check_document
from stanchion.context import Env
from stanchion.releases import retire, store, usage, validate
from stanchion.releases.routes import build_router
from tests.artifacts.support import add_tenants, ctx_of, publish_one
from tests.releases.support import KINDS, apply_all, blueprint, policy
from tests.support.http import app_of, client_of


@pytest.fixture(autouse=True)
async def tenants(env: Env) -> None:
    await add_tenants(env, "acme", "umbra")


@pytest.fixture
async def client(env: Env):
    async with client_of(app_of(ctx_of(env), build_router(KINDS), artifact_routes())) as client:
        yield client


async def records(env: Env, target: str) -> list[dict]:
    async with env.db.engine_tx() as tx:
        rows = await (
            await tx.execute("select record from audit_records where target_id = %s order by id", (target,))
        ).fetchall()
    return [json.loads(row[0]) for row in rows]


async def start_runs(env: Env, name: str, statuses: dict[str, int], *, number: int = 0, tenant: str = "acme") -> list:
    """Runs of the live version of a Blueprint, made as the engine's start makes them: pin set and rows."""
    async with env.db.engine_tx() as tx:
        rows = await (
            await tx.execute(
                "select kind, name, version, digest from releases where tenant = %s and name = any(%s) order by kind",
                (tenant, [name, "supervisor-approval"]),
            )
        ).fetchall()
        pins = [dict(zip(("kind", "name", "version", "digest"), row, strict=True)) for row in rows]
        await tx.execute(
            "insert into pin_sets (tenant, digest, pins) values (%s, %s, %s) on conflict do nothing",
            (tenant, digest(pins), json.dumps(pins)),
        )
        ids = []
        for status, count in statuses.items():
            for _ in range(count):
                run_id = env.ids.new()
                ids.append(run_id)
                await tx.execute(
                    "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status,"
                    " waiting_kind, input, requested_by, root_id)"
                    " values (%s, %s, %s, 1, %s, 'local', 1, %s, %s, '{}', 'ada', %s)",
                    (tenant, run_id, name, digest(pins), status, "child" if status == "SUSPENDED" else None, run_id),
                )
                for item in range(number):
                    await tx.execute(
                        "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input,"
                        " requested_by, root_id, parent_id, parent_path, item_no)"
                        " values (%s, %s, %s, 1, %s, 'local', 1, %s, '{}', 'ada', %s, %s, 'each', %s)",
                        (tenant, env.ids.new(), name, digest(pins), "SUCCEEDED", run_id, run_id, item),
                    )
    return ids


ABOUT = ("owner: casework", "owner: casework\nlabels: {team: casework, tier: 'one'}\nrisk: high")


async def test_a_version_carries_what_its_document_says_of_it(env: Env, client) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy("about", ABOUT), blueprint("about-it", ABOUT, of="about"), changelog="Because.")
    for kind, name in (("policy", "about"), ("blueprint", "about-it")):
        shown = (await client.get(f"/api/artifacts/{kind}/{name}")).json()
        assert (shown["labels"], shown["risk"]) == ({"team": "casework", "tier": "one"}, "high")
        assert (shown["owner"], shown["author"], shown["changelog"]) == ("casework", "ada", "Because.")
        listed = (await client.get(f"/api/artifacts/{kind}/{name}/versions")).json()["items"]
        assert listed[0]["risk"] == "high"
    await apply_all(ctx, policy("plain"))
    plain = (await client.get("/api/artifacts/policy/plain")).json()
    assert (plain["labels"], plain["risk"]) == ({}, "low")


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ("risk: enormous", "/risk"),
        ("labels: [a]", "/labels"),
        ("labels: {tier: 1}", "/labels/tier"),
        ("labels: {Tier: x}", "/labels/Tier"),
        ("labels: {" + ", ".join(f"k{n}: x" for n in range(9)) + "}", "/labels"),
    ],
)
@pytest.mark.parametrize("make", [policy, blueprint])
async def test_a_wrong_label_or_risk_is_refused_at_its_place(env: Env, make, said: str, pointer: str) -> None:
    checked = await validate(ctx_of(env), [make("wrong", ("owner: casework", f"owner: casework\n{said}"))], kinds=KINDS)
    assert pointer in [issue.pointer for issue in checked.errors]


PLANTED = ("description: Ask a supervisor", "description: password=" + "Sw0rd" + "fish1 Ask a supervisor")


async def test_a_secret_is_refused_with_its_place_and_nothing_is_published(env: Env, client) -> None:
    documents = [blueprint("planted", PLANTED, of="planted-policy"), policy("planted-policy")]
    body = {"documents": [{"path": d.path, "source": d.source} for d in documents]}
    answer = await client.post("/api/artifacts/apply", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["code"], error["file"], error["line"]) == ("artifact.secret", "blueprints/planted.yaml", 4)
    assert "Sw0rd" not in answer.text
    assert (await client.get("/api/artifacts/policy/planted-policy")).status_code == 404
    issues = (await client.post("/api/blueprints/validate", json=body)).json()["issues"]
    assert [issue["code"] for issue in issues] == ["artifact.secret"]


async def test_publish_itself_refuses_a_secret_as_well(env: Env) -> None:
    ctx = ctx_of(env)
    source = "policy: sneaky\npassword: " + "sword" + "fish\n"
    parsed = Parsed(name="sneaky", body={"policy": "sneaky"}, owner="", references=(), issues=())
    async with ctx.tx() as tx:
        with pytest.raises(Invalid) as caught:
            await publish(tx, ctx, "policy", parsed, Document(path="s.yaml", source=source))
    assert caught.value.code == "artifact.secret"
    assert (caught.value.fields["line"], caught.value.fields["column"]) == (2, 11)
    assert "swordfish" not in f"{caught.value.message} {caught.value.hint} {caught.value.fields}"


async def test_an_accepted_false_positive_is_in_the_audit_record(env: Env) -> None:
    accepted = ("about high fines.", "about fines.  # stanchion: not-a-secret the title of a film")
    await apply_all(
        ctx_of(env), policy("film-policy"), blueprint("film", PLANTED, accepted, of="film-policy"), changelog="Film."
    )
    (published,) = [r for r in await records(env, "blueprint/film") if r["event_type"] == "artifact.published"]
    assert published["extra"]["not_a_secret"] == [
        {"line": 4, "what": "a credential beside `password`", "reason": "the title of a film"}
    ]
    assert "Sw0rd" not in json.dumps(published)


async def test_every_change_of_an_artifact_has_author_reason_before_and_after(env: Env) -> None:
    ctx = ctx_of(env, principal="grace")
    first, _ = await publish_one(ctx, "traced", n=1, changelog="First.")
    second, _ = await publish_one(ctx, "traced", n=2, changelog="Second.")
    told = [(r["actor"]["id"], r["reason"], r["before"], r["after"]) for r in await records(env, "policy/traced")]
    assert told == [
        ("grace", digest("First."), None, first.digest),
        ("grace", digest("Second."), first.digest, second.digest),
    ]


async def test_diff_over_http(env: Env, client) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy("compared"), changelog="First.")
    await apply_all(ctx, policy("compared", ("> 100000.0", "> 50000.0  # since May")), changelog="Lower.")
    whole = (await client.get("/api/artifacts/policy/compared/diff")).json()
    assert whole == (await client.get("/api/artifacts/policy/compared/diff?from=1&to=2")).json()
    assert [(e["op"], e["path"], e["before"], e["after"]) for e in whole["changes"]] == [
        ("changed", "when", "facts.fine_eur > 100000.0", "facts.fine_eur > 50000.0")
    ]
    assert [c["text"] for c in whole["comments_added"]] == ["since May"]
    assert (whole["before"]["version"], whole["after"]["version"], whole["after"]["changelog"]) == (1, 2, "Lower.")
    back = (await client.get("/api/artifacts/policy/compared/diff?from=2&to=1")).json()
    assert back["changes"][0]["after"] == "facts.fine_eur > 100000.0"
    first = (await client.get("/api/artifacts/policy/compared/diff?to=1")).json()
    assert first["before"] is None
    assert {e["op"] for e in first["changes"]} == {"added"}
    for query in ("?from=7", "?to=7"):
        assert (await client.get(f"/api/artifacts/policy/compared/diff{query}")).status_code == 404
    assert (await client.get("/api/artifacts/policy/compared/diff?from=0")).status_code == 400


async def test_a_file_is_compared_with_what_is_live(env: Env, client) -> None:
    ctx = ctx_of(env)
    await apply_all(ctx, policy("filed"))
    await apply_all(ctx, policy("filed", ("> 100000.0", "> 7.0")))
    await apply_all(ctx, policy("filed"))  # the live version is the first again, the latest the second
    changed = policy("filed", ("> 100000.0", "> 9.0"))

    async def compared(**more):
        document = {"path": changed.path, "source": changed.source}
        return await client.post("/api/artifacts/diff", json={"document": document, **more})

    found = (await compared()).json()
    assert (found["before"]["version"], found["after"]["version"]) == (1, None)
    assert found["changes"][0]["before"] == "facts.fine_eur > 100000.0"
    assert (await compared(version=2)).json()["changes"][0]["before"] == "facts.fine_eur > 7.0"
    new = policy("never-seen")
    answer = await client.post("/api/artifacts/diff", json={"document": {"path": new.path, "source": new.source}})
    assert (answer.json()["kind"], answer.json()["name"], answer.json()["before"]) == ("policy", "never-seen", None)
    for source, code in (("nonsense: 1", "artifact.unknown_kind"), ("policy: [", "document.syntax")):
        wrong = await client.post("/api/artifacts/diff", json={"document": {"path": "w.yaml", "source": source}})
        assert wrong.status_code == 422
        assert code in [error["code"] for error in wrong.json()["errors"]]


async def test_usage_says_where_it_is_live_what_refers_to_it_and_which_runs_are_pinned(fresh_env: Env) -> None:
    env = fresh_env
    ctx = ctx_of(env)
    async with client_of(app_of(ctx, build_router(KINDS), artifact_routes())) as client:
        await apply_all(ctx, policy(), blueprint())
        first = await start_runs(env, "case-triage", {"RUNNING": 2, "SUCCEEDED": 3}, number=4)
        await apply_all(ctx, policy("supervisor-approval", ("> 100000.0", "> 7.0")))
        second = await start_runs(env, "case-triage", {"SUSPENDED": 1})
        whole = (await client.get("/api/artifacts/policy/supervisor-approval/usage")).json()
        assert whole["live"] == [{"environment": "local", "version": 2, "standing": "live"}]
        assert [(r["kind"], r["name"]) for r in whole["referrers"]] == [("blueprint", "case-triage")]
        assert whole["runs"] == {"RUNNING": 2, "SUCCEEDED": 3, "SUSPENDED": 1}
        assert whole["newest"] == [str(run) for run in reversed([*first, *second])]
        old = (await client.get("/api/artifacts/policy/supervisor-approval/usage?version=1")).json()
        assert (old["live"], old["referrers"]) == ([], [])
        assert old["runs"] == {"RUNNING": 2, "SUCCEEDED": 3}
        shown = (await client.get("/api/artifacts/policy/supervisor-approval?version=1")).json()
        by_digest = await client.get(f"/api/artifacts/policy/supervisor-approval/usage?digest={shown['digest']}")
        assert by_digest.json() == old
        for query in ("?version=9", f"?digest=sha256:{'0' * 64}", f"?version=2&digest={shown['digest']}"):
            answer = await client.get(f"/api/artifacts/policy/supervisor-approval/usage{query}")
            assert (answer.status_code, answer.json()["code"]) == (404, "artifact.unknown")
            assert (
                answer.json()["hint"] == "`stanchion artifact history policy/supervisor-approval` lists its versions."
            )
        nobody = (await client.get("/api/artifacts/policy/nobody/usage")).json()
        assert nobody["hint"] == "`stanchion artifact list --kind policy` lists what there is."
        other = ctx_of(env, "umbra")
        with pytest.raises(Exception, match="There is no policy"):
            await usage(other, "policy", "supervisor-approval")


async def test_usage_is_bounded_and_reads_by_index(fresh_env: Env) -> None:
    env = fresh_env
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint())
    await start_runs(env, "case-triage", {"SUCCEEDED": 1})
    async with env.db.engine_tx() as tx:
        await tx.execute(
            "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input,"
            " requested_by, root_id) select tenant, gen_random_uuid(), blueprint, version, pins || (n % 400),"
            " environment, engine_v, status, input, requested_by, root_id from runs, generate_series(1, 30000) n"
        )
        await tx.execute(
            "insert into runs (tenant, id, blueprint, version, pins, environment, engine_v, status, input,"
            " requested_by, root_id) select tenant, gen_random_uuid(), blueprint, version, pins, environment, engine_v,"
            " status, input, requested_by, root_id from (select * from runs where pins not like '%% %%'"
            " and length(pins) = 71 limit 1) r, generate_series(1, 10500) n"
        )
    found = await usage(ctx, "blueprint", "case-triage")
    assert (found.runs, found.runs_cut, len(found.newest)) == ({"SUCCEEDED": 10_001}, True, 10)
    plans = []
    async with env.db.tenant_tx("acme") as tx:
        original = tx.cursor

        class Explaining:
            def __init__(self, **options) -> None:
                options.pop("row_factory", None)
                self.cursor = original()

            async def __aenter__(self):
                await self.cursor.__aenter__()
                return self

            async def __aexit__(self, *error):
                await self.cursor.__aexit__(*error)

            async def execute(self, query, params=()):
                await self.cursor.execute("explain (costs off) " + query, params)
                plans.append("\n".join(row[0] for row in await self.cursor.fetchall()))

            async def fetchall(self):
                return []

        tx.cursor = Explaining
        await store.pinned_runs(tx, "acme", "blueprint", "case-triage", 1, sets_max=1000, runs_max=10_001)
        await store.newest_pinned(tx, "acme", "blueprint", "case-triage", 1, sets_max=1000, limit=10)
    assert len(plans) == 2
    for plan in plans:
        assert "runs_by_pins" in plan, plan
        assert "Seq Scan on runs" not in plan, plan


async def test_a_version_in_use_cannot_be_retired(fresh_env: Env) -> None:
    env = fresh_env
    ctx = ctx_of(env)
    await apply_all(ctx, policy(), blueprint())
    with pytest.raises(Conflict) as caught:
        await retire(ctx, "policy", "supervisor-approval", 1, reason="Not needed any more.")
    assert caught.value.code == "artifact.in_use"
    assert caught.value.fields["holders"] == [
        "version 1 is live in local",
        "the live blueprint case-triage (version 1) refers to it",
    ]
    await start_runs(env, "case-triage", {"RUNNING": 1, "SUCCEEDED": 2})
    await apply_all(ctx, policy("supervisor-approval", ("> 100000.0", "> 7.0")))
    with pytest.raises(Conflict) as caught:
        await retire(ctx, "policy", "supervisor-approval", 1, reason="Not needed any more.")
    assert caught.value.fields["holders"] == ["1 RUNNING run is pinned to it"]
    assert [r for r in await records(env, "policy/supervisor-approval") if "retired" in r["event_type"]] == []


async def test_what_nothing_refers_to_is_retired_once_and_comes_back_by_being_applied(fresh_env: Env) -> None:
    env = fresh_env
    ctx = ctx_of(env)
    async with client_of(app_of(ctx, build_router(KINDS), artifact_routes())) as client:
        await apply_all(ctx, policy(), blueprint())
        await start_runs(env, "case-triage", {"SUCCEEDED": 2, "CANCELLED": 1})
        await apply_all(ctx, policy("supervisor-approval", ("> 100000.0", "> 7.0")))
        body = {"version": 1, "reason": "Superseded by the second."}
        gone = (await client.post("/api/artifacts/policy/supervisor-approval/retire", json=body)).json()
        assert (gone["version"], bool(gone["retired_at"]), bool(gone["source"])) == (1, True, True)
        again = (await client.post("/api/artifacts/policy/supervisor-approval/retire", json=body)).json()
        assert again["retired_at"] is not None
        listed = (await client.get("/api/artifacts/policy/supervisor-approval/versions")).json()["items"]
        assert [(i["version"], bool(i["retired_at"])) for i in listed] == [(2, False), (1, True)]
        back = await apply_all(ctx, policy(), changelog="Back to the first.")
        assert [(c.version, c.change.value) for c in back.changes] == [(1, "updated")]
        assert (await client.get("/api/artifacts/policy/supervisor-approval?version=1")).json()["retired_at"] is None
        told = [
            (r["event_type"], r["reason"])
            for r in await records(env, "policy/supervisor-approval")
            if r["event_type"].startswith("artifact.re")
        ]
        assert told == [
            ("artifact.retired", digest("Superseded by the second.")),
            ("artifact.reinstated", digest("Back to the first.")),
        ]
        assert (await client.post("/api/artifacts/policy/nobody/retire", json=body)).status_code == 404


class PromptKind:
    """A kind as it will come: it refers to a schema-like artifact of another kind."""

    kind = "prompt"
    refs = frozenset(["policy"])

    def parse(self, document: Document, lookup) -> Parsed:
        schema = {
            "type": "object",
            "required": ["prompt"],
            "properties": {
                "prompt": {"type": "string"},
                "owner": {"type": "string"},
                "uses": {"type": "array"},
                **ABOUT_PROPERTIES,
            },
        }
        body, issues, _ = check_document(document, schema)
        references = tuple((kind, name) for use in body.get("uses", []) for kind, _, name in [use.partition("/")])
        return Parsed(name=body["prompt"], body=body, owner="", references=references, issues=issues)


@pytest.mark.parametrize(
    ("uses", "code", "said"),
    [
        ("policy/ghost", "artifact.unknown_reference", "There is no policy 'ghost'"),
        ("connector/casebook", "artifact.reference", "A prompt cannot refer to connector 'casebook'"),
        ("policy/referred", None, ""),
    ],
)
async def test_references_of_any_kind_are_checked_at_publish(env: Env, uses: str, code: str | None, said: str) -> None:
    kinds = {**KINDS, "prompt": PromptKind()}
    prompt = Document(path="p.yaml", source=f"prompt: greeting\nowner: casework\nuses: [{uses}]\n")
    checked = await validate(ctx_of(env), [prompt, policy("referred")], kinds=kinds)
    assert [issue.code for issue in checked.errors] == ([code] if code else [])
    assert all(said in issue.message for issue in checked.errors)


def test_a_blueprint_may_refer_to_every_kind_but_what_starts_it() -> None:
    assert BlueprintKind.refs == EVERY_KIND - {"trigger"}


async def test_what_is_expected_to_be_live_is_held_against_what_is(env: Env, client) -> None:
    def body_of(source: Document, **expected: int):
        return {
            "documents": [{"path": source.path, "source": source.source}],
            "changelog": "x",
            "expected": {f"policy/{name}": version for name, version in expected.items()},
        }

    first = await client.post("/api/artifacts/apply", json=body_of(policy("guarded"), guarded=0))
    assert first.status_code == 200
    late = await client.post(
        "/api/artifacts/apply", json=body_of(policy("guarded", ("> 100000.0", "> 1.0")), guarded=0)
    )
    problem = late.json()
    assert (late.status_code, problem["code"]) == (409, "release.superseded")
    assert (problem["live_version"], problem["released_by"], problem["expected"]) == (1, "ada", 0)
    on_top = await client.post(
        "/api/artifacts/apply", json=body_of(policy("guarded", ("> 100000.0", "> 1.0")), guarded=1)
    )
    assert on_top.json()["changes"][0]["version"] == 2
    for wrong in ({"policy": 1}, {"policy/x": -1}):
        answer = await client.post("/api/artifacts/apply", json={**body_of(policy("guarded")), "expected": wrong})
        assert answer.status_code == 422
