"""Every problem has the shape of RFC 9457, whatever raised it, and tells nothing it should not."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import pytest
from fastapi import APIRouter, Body
from pydantic import Field

from stanchion.base import (
    Conflict,
    Denied,
    Internal,
    Invalid,
    LimitExceeded,
    NotFound,
    Problem,
    Unauthenticated,
    Unavailable,
)
from stanchion.context import Actor, Ctx
from stanchion.http import CtxDep, Model, Page, PageDep, decode_cursor, encode_cursor, problem_response, slice_of
from tests.support.http import app_of, client_of

STANDARD = {"type", "title", "status", "code", "detail", "hint", "request_id"}


@dataclasses.dataclass
class Odd:
    x: int


@pytest.mark.parametrize(
    ("problem", "status"),
    [
        (Invalid("a.b", "m"), 422),
        (Invalid("json.malformed", "m"), 400),
        (Invalid("page.bad_cursor", "m"), 400),
        (Invalid("request.timeout", "m"), 408),
        (Unauthenticated("a.b", "m"), 401),
        (Denied("a.b", "m"), 403),
        (NotFound("a.b", "m"), 404),
        (Conflict("a.b", "m"), 409),
        (LimitExceeded("a.b", "m"), 429),
        (LimitExceeded("request.too_large", "m"), 413),
        (LimitExceeded("run.input_too_large", "m"), 413),
        (Unavailable("a.b", "m"), 503),
        (Internal("a.b", "m"), 500),
        (Problem("a.b", "m"), 500),
    ],
)
def test_status_and_shape_of_every_kind(problem, status):
    import json

    response = problem_response(problem, "req-1")
    body = json.loads(response.body)
    assert response.status_code == body["status"] == status
    assert response.media_type == "application/problem+json"
    assert set(body) == STANDARD
    assert body["type"] == f"urn:stanchion:problem:{problem.code}"
    assert (body["code"], body["detail"], body["request_id"]) == (problem.code, "m", "req-1")
    assert ("retry-after" in response.headers) == (status == 503)
    assert ("www-authenticate" in response.headers) == (status == 401)


def test_fields_are_members_and_never_override_the_standard_ones():
    import json

    problem = Conflict("a.b", "m", errors=[{"x": 1}], run_id=UUID(int=1), status="RUNNING", detail="other")
    body = json.loads(problem_response(problem).body)
    assert body["errors"] == [{"x": 1}]
    assert body["run_id"] == str(UUID(int=1))
    assert (body["status"], body["detail"]) == (409, "m")
    odd = json.loads(problem_response(Conflict("a.b", "m", odd={1, 2}, at=datetime(2026, 1, 1, tzinfo=UTC))).body)
    assert odd["status"] == 409
    assert odd["odd"] == "{1, 2}"


@pytest.mark.parametrize(("wait", "header"), [(0.2, "1"), (1.2, "2"), (30, "30")])
def test_retry_after_is_whole_seconds_rounded_up(wait, header):
    assert problem_response(LimitExceeded("a.b", "m", retry_after_s=wait)).headers["retry-after"] == header


class Item(Model):
    name: Annotated[str, Field(max_length=5)]
    n: int = 0


def router() -> APIRouter:
    made = APIRouter()

    @made.post("/items")
    async def post(ctx: CtxDep, items: Annotated[list[Item], Body()]) -> int:
        return len(items)

    @made.get("/items/{n}")
    async def get(n: int) -> int:
        return n

    @made.get("/pages")
    async def pages(page: PageDep) -> Page[int]:
        start = int(decode_cursor(page.after, 1)[0]) if page.after else 0
        rows = list(range(start + 1, min(12, start + page.limit + 1) + 1))
        found = slice_of(rows, page.limit, lambda n: (str(n),))
        return Page(items=list(found.items), next=found.next)

    return made


@pytest.fixture
async def http():
    actor = Actor(tenant="t", principal="p", principal_id="", kind="user", roles=frozenset(), credential="")
    async with client_of(app_of(Ctx(env=None, actor=actor), router())) as client:
        yield client


async def test_validation_names_every_place_and_repeats_no_input(http):
    answer = await http.post("/items", json=[{"name": "okay"}, {"name": "secret-value", "n": "x", "extra/~": 1}])
    body = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["code"] == "request.invalid"
    assert {(e["in"], e["pointer"]) for e in body["errors"]} == {
        ("body", "/1/name"),
        ("body", "/1/n"),
        ("body", "/1/extra~1~0"),
    }
    assert body["request_id"] == "req-test"
    assert "secret-value" not in answer.text


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[1,"])
async def test_a_body_that_is_not_json(http, content):
    answer = await http.post("/items", content=content, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert set(answer.json()) >= STANDARD
    if content:
        assert answer.status_code == 400
        assert answer.json()["code"] == "request.malformed"


async def test_a_parameter_of_the_wrong_form_is_400(http):
    body = (await http.get("/items/x")).json()
    assert (body["status"], body["code"], body["errors"][0]["pointer"]) == (400, "request.bad_parameter", "/n")


async def test_unknown_paths_and_methods(http):
    assert (await http.get("/nope")).json()["code"] == "request.no_such_path"
    wrong = await http.delete("/items")
    assert (wrong.status_code, wrong.json()["code"], wrong.headers["allow"]) == (
        405,
        "request.method_not_allowed",
        "POST",
    )


async def test_without_a_ctx_nothing_is_served():
    from fastapi import FastAPI

    from stanchion.http import install_problem_handlers

    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(router())
    async with client_of(app) as client:
        assert (await client.post("/items", json=[])).status_code == 401


@pytest.mark.parametrize("limit", [1, 3, 11, 12, 13, 200])
async def test_pages_hold_every_item_once(http, limit):
    seen, after = [], None
    while True:
        params = {"limit": limit} | ({"after": after} if after else {})
        page = (await http.get("/pages", params=params)).json()
        assert 0 < len(page["items"]) <= limit
        seen += page["items"]
        after = page["next"]
        if after is None:
            break
    assert seen == list(range(1, 13))


@pytest.mark.parametrize("bad", ["x", "!!!!", encode_cursor("a", "b"), encode_cursor("a\x00")])
async def test_a_cursor_of_another_list_is_refused(http, bad):
    answer = await http.get("/pages", params={"after": bad})
    assert (answer.status_code, answer.json()["code"]) == (400, "page.bad_cursor")


@pytest.mark.parametrize("limit", [0, 201, -1])
async def test_the_limit_is_bounded(http, limit):
    assert (await http.get("/pages", params={"limit": limit})).status_code == 400


def test_cursors_read_back():
    assert decode_cursor(encode_cursor("2026", "ä"), 2) == ("2026", "ä")
