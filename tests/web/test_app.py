"""Ids, traces, headers, bodies, defects, health, metrics and pages of the whole application."""

from __future__ import annotations

import asyncio
import hashlib
import re
import warnings
from base64 import b64encode

import pytest
from fastapi import APIRouter

from stanchion.base import Denied, Internal, Unavailable
from stanchion.context import Env
from stanchion.db import Database, DatabaseUrls
from stanchion.http import CtxDep, Model
from stanchion.telemetry import current_traceparent
from stanchion.web import Dependency, Waiting, WebSettings, build_openapi, without_example
from tests.conftest import make_env
from tests.support.web import PEPPER, Stage, client


class Thing(Model):
    text: str


def router() -> APIRouter:
    made = APIRouter()

    @made.post("/api/things")
    async def make_thing(ctx: CtxDep, thing: Thing) -> int:
        return len(thing.text)

    @made.get("/api/things/{id}/boom")
    async def boom_thing(id: str) -> int:  # noqa: A002 - the name in the path
        raise ValueError(f"secret of {id}")

    @made.get("/api/trace")
    async def trace(ctx: CtxDep) -> dict[str, str | None]:
        return {"ctx": ctx.traceparent, "span": current_traceparent(), "request_id": ctx.request_id}

    return made


@pytest.fixture
async def http(stage):
    async with client(stage.app(router()), stage.admin_key) as made:
        yield made


async def test_every_answer_carries_an_id_a_trace_and_the_security_headers(http):
    for path in ("/health/live", "/api/whoami", "/nope", "/", "/api/things/1/boom", "/sign-in"):
        headers = (await http.get(path)).headers
        assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-request-id"]), path
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", headers["traceparent"]), path
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


async def test_a_sane_request_id_is_kept_and_another_is_not(http):
    assert (await http.get("/health/live", headers={"x-request-id": "ci-build.42_7"})).headers[
        "x-request-id"
    ] == "ci-build.42_7"
    for bad in ("short", "x" * 129, "with space here", "in\tside-tab", "ünicode-id".encode()):
        answer = await http.get("/nope", headers={"x-request-id": bad})
        assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_the_trace_goes_on(http):
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    answer = await http.get("/api/trace", headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"})
    body = answer.json()
    assert body["ctx"].split("-")[1] == body["span"].split("-")[1] == trace_id
    assert answer.headers["traceparent"].split("-")[1] == trace_id
    assert body["request_id"] == answer.headers["x-request-id"]
    broken = await http.get("/api/trace", headers={"traceparent": "00-zz"})
    assert trace_id not in broken.headers["traceparent"]


async def test_a_defect_is_a_500_without_content_and_an_event(http, stage, capsys):
    answer = await http.get("/api/things/abc/boom")
    body = answer.json()
    assert (answer.status_code, body["code"]) == (500, "internal.defect")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert "ValueError" not in answer.text
    logged = capsys.readouterr().out
    assert "defect" in logged
    assert body["request_id"] in logged
    assert "test_app.py:" in logged
    assert "secret" not in logged


async def test_routes_are_labels_and_ids_are_not(http, stage):
    await http.get("/api/things/one/boom")
    await http.get("/api/things/two/boom")
    await http.get("/nope/three")
    await http.request("BREW", "/nope")
    text = stage.env.telemetry.expose().decode()
    label = 'stanchion_http_requests_total{method="GET",route="/api/things/{id}/boom",status="500"} 2.0'
    assert label in text
    assert "three" not in text
    assert "BREW" not in text
    assert 'stanchion_http_requests_total{method="OTHER",route="unmatched",status="404"} 1.0' in text


@pytest.fixture
async def small(stage):
    app = stage.app(router(), settings=WebSettings(body_bytes_max=100, body_timeout_s=0.2))
    async with client(app, stage.admin_key) as made:
        yield made


async def test_a_body_is_bounded(small):
    assert (await small.post("/api/things", json={"text": "x" * 80})).json() == 80
    answer = await small.post("/api/things", json={"text": "x" * 100})
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")
    assert answer.headers["connection"] == "close"
    assert answer.json()["limit_bytes"] == 100


async def test_a_chunked_body_is_bounded_too(small):
    async def chunks(n):
        for _ in range(n):
            yield b"y" * 30

    assert (await small.post("/api/things", content=chunks(4))).status_code == 413
    short = await small.post("/api/things", content=chunks(2), headers={"content-type": "application/json"})
    assert short.status_code == 400


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'{"text": "a\\u0000"}', "request.nul_character"),
        (b'{"text": "\\\\\\u0000"}', "request.nul_character"),
        (b'{"text": NaN}', "json.malformed"),
        (b'{"text": "\\ud800"}', "json.malformed"),
        (b'{"text": "\xff"}', "json.malformed"),
        (b"[" * 90, "json.malformed"),
        (b'{"text": "x"', "json.malformed"),
    ],
)
async def test_a_body_is_strict_json_without_nul(small, content, code):
    answer = await small.post("/api/things", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_backslash_before_u0000_is_text(small):
    body = b'{"text": "\\\\u0000"}'
    assert (await small.post("/api/things", content=body, headers={"content-type": "application/json"})).json() == 6


@pytest.mark.parametrize("path", ["/api/principals/a%00", "/api/keys?principal=%00", "/api/audit?after=%00"])
async def test_no_nul_in_paths_and_queries(http, path):
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "request.nul_character")


async def test_a_trickled_body_is_cut(small):
    async def trickle():
        yield b'{"text":'
        await asyncio.sleep(5)
        yield b'"x"}'

    answer = await small.post("/api/things", content=trickle())
    assert (answer.status_code, answer.json()["code"]) == (408, "request.timeout")


async def test_the_body_of_a_stranger_is_not_read(stage):
    read = []

    async def body():
        read.append(1)
        yield b"{}"

    async with client(stage.app()) as http:
        assert (await http.post("/api/keys", content=body())).status_code == 401
    assert read == []


async def test_metrics_need_operations_read(stage):
    seen = []

    async def gauge(env: Env) -> None:
        seen.append(env)
        env.telemetry.emit("approvals.pending", 4)

    app = stage.app(gauges=[gauge])
    scraper = await stage.key("operator", name="scraper", scopes=["operations.read"])
    async with client(app, scraper) as http:
        answer = await http.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert "stanchion_approvals_pending 4.0" in answer.text
        assert (await http.get("/api/whoami")).status_code == 403
    async with client(app, await stage.key("viewer")) as http:
        assert (await http.get("/metrics")).status_code == 403
    assert len(seen) == 1


async def test_health_is_honest(stage):
    async def provider(env: Env) -> None:
        raise Unavailable("provider.away", "host db-7.internal is away")

    async def stuck(env: Env) -> None:
        raise OSError("host db-7.internal refused")

    app = stage.app(dependencies=[Dependency(name="provider", check=provider), Dependency(name="stuck", check=stuck)])
    async with client(app) as http:
        assert (await http.get("/health/ready")).json() == {"status": "ready"}
        answer = await http.get("/health/dependencies")
        found = {d["name"]: d for d in answer.json()["items"]}
        assert [(n, d["state"], d["code"]) for n, d in found.items()] == [
            ("database", "up", ""),
            ("schema", "up", ""),
            ("provider", "down", "provider.away"),
            ("stuck", "down", "health.OSError"),
        ]
        assert "internal" not in answer.text


async def test_asking_often_asks_the_dependency_once_a_second(stage):
    asked = []

    async def check(env: Env) -> None:
        asked.append(1)

    async with client(stage.app(dependencies=[Dependency(name="x", check=check)])) as http:
        await asyncio.gather(*(http.get("/health/dependencies") for _ in range(20)))
    assert len(asked) == 1


async def test_without_a_database_it_lives_but_is_not_ready():
    away = "postgresql://stanchion@127.0.0.1:1/stanchion"
    async with Database(DatabaseUrls(app=away, engine=away), acquire_timeout_s=0.3) as database:
        env = make_env(database)
        from stanchion.identity import Authenticator

        stage = Stage(env=env, authenticator=Authenticator(env, PEPPER), tenant="default", admin_key="")
        async with client(stage.app()) as http:
            assert (await http.get("/health/live")).status_code == 200
            ready = await http.get("/health/ready")
            assert ready.status_code == 503
            assert ready.json()["code"] == "health.not_ready"
            assert {c["name"] for c in ready.json()["checks"]} == {"database", "schema"}
            assert (await http.get("/health/dependencies")).status_code == 200
            key = "stn_local_" + "0" * 32 + "_" + "0" * 43
            import zlib

            headers = {"authorization": f"Bearer {key}_{zlib.crc32(key.encode()):08x}"}
            answer = await http.get("/api/whoami", headers=headers)
            assert answer.status_code == 503
            assert answer.headers["retry-after"]


async def test_a_database_that_lacks_a_migration_is_not_ready(stage, monkeypatch):
    from stanchion.db import Migration
    from stanchion.web import health

    missing = Migration(number=9999, name="9999_pre_future", sql="", digest="")
    monkeypatch.setattr(health, "migrations", lambda: [missing])
    async with client(stage.app()) as http:
        answer = await http.get("/health/ready")
        assert answer.status_code == 503
        assert [c["code"] for c in answer.json()["checks"]] == ["schema.behind"]


async def test_the_front_page_counts_what_waits_and_fits_its_policy(stage):
    async def approvals(ctx) -> Waiting:
        return Waiting(what="approvals <wait>", count=3, path="/api/approvals?status=PENDING")

    async def dead(ctx) -> Waiting:
        return Waiting(what="dead letters", count=0, path="/api/dlq", shape="fail")

    async def hidden(ctx) -> Waiting:
        raise Denied("auth.denied", "no")

    app = stage.app(counters=[approvals, hidden, dead])
    async with client(app, stage.admin_key) as http:
        page = await http.get("/")
        assert "approvals &lt;wait&gt;" in page.text
        assert page.text.count('class="n"') == 2
        assert '<svg class="attention"' in page.text
        assert '<svg class="ok"' in page.text
        assert "fail" not in page.text.split("</style>")[1]
        style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
        assert style
        digest = b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in page.headers["content-security-policy"]
        for outside in ("<script", "style=", "onclick", "src=", "http://", "https://"):
            assert outside not in page.text.split("</style>")[1]


def test_openapi_is_complete(stage):
    app = stage.app()
    doc = app.openapi()
    assert without_example(doc) == []
    assert doc["info"]["title"] == "Stanchion"
    assert set(doc["components"]["securitySchemes"]) == {"apiKey", "session"}
    assert "HTTPValidationError" not in str(doc)
    responses = doc["paths"]["/api/keys"]["post"]["responses"]
    assert {"201", "400", "401", "403", "409", "413", "422", "429", "503"} <= set(responses)
    assert doc["paths"]["/api/keys"]["post"]["operationId"] == "create_key"
    page = doc["paths"]["/api/keys"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    assert page["next"] is None
    assert page["items"][0]["label"] == "nightly build"


def test_an_operation_without_example_is_found(stage):
    assert without_example(stage.app(router()).openapi()) == [
        "POST /api/things request application/json",
        "POST /api/things 200 application/json",
        "GET /api/things/{id}/boom 200 application/json",
        "GET /api/trace 200 application/json",
    ]


def test_two_operations_of_one_id_are_refused(stage):
    made = APIRouter()

    @made.get("/api/whoami2")
    async def whoami() -> int:
        return 1

    app = stage.app(made)
    with warnings.catch_warnings():
        # FastAPI says so too, in a way that nobody would see in production.
        warnings.simplefilter("ignore")
        with pytest.raises(Internal):
            build_openapi(app)
