"""OAuth 2: one token for all who wait, used until shortly before its end, fetched anew when the target refuses it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.credentials.oauth import Granted, Tokens, granted_of
from tests.conformance import worlds
from tests.tools.credentials.support import Seen, Values, connector_body, showing, target

CLIENT = "cl13nt-secret"


@pytest.fixture
async def adapters(tmp_path: Path) -> AsyncIterator[Adapters]:
    made = worlds.new_adapters(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    async with showing() as server:
        yield server


def body(seen: Seen, **oauth: Any) -> dict[str, Any]:
    section = {
        "grant": "client_credentials",
        "token_url": f"{seen.url}/token",
        "client_id": "stanchion",
        "client_secret": "secret://local/client",
        "scope": "post",
        **oauth,
    }
    return connector_body(seen.url, {"oauth2": {n: v for n, v in section.items() if v is not None}})


VALUES = {"secret://local/client": CLIENT, "secret://local/refresh": "r0"}


def says(document: Any, status: int = 200):
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(document, status=status)

    return answer


def token(number: int, **more: Any):
    return says({"access_token": f"t{number}", "token_type": "Bearer", "expires_in": 3600, **more})


async def test_a_token_is_fetched_once_for_all_who_wait(adapters: Adapters, seen: Seen) -> None:
    seen.answers.append(token(1))
    aims = [await target(adapters, body(seen), Values(values=VALUES)) for _ in range(5)]
    await asyncio.gather(*(adapters.get("http").execute(aim, {}, None) for aim in aims))
    tokens = [r for r in seen.requests if r.path == "/token"]
    assert len(tokens) == 1
    assert parse_qs(seen.bodies[0].decode()) == {"grant_type": ["client_credentials"], "scope": ["post"]}
    basic = base64.b64encode(f"stanchion:{CLIENT}".encode()).decode()
    assert tokens[0].headers["Authorization"] == f"Basic {basic}"
    assert {r.headers["Authorization"] for r in seen.requests if r.path == "/look"} == {"Bearer t1"}
    for aim in aims:
        assert {CLIENT, "t1"} <= aim.credentials.plain_values(), "what answers are scrubbed of"
    assert basic in frozenset().union(*(aim.credentials.plain_values() for aim in aims))


async def test_who_waits_for_anothers_request_for_a_token_waits_no_longer_than_its_own_time(
    adapters: Adapters, seen: Seen
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return await token(1)(request)

    seen.answers.append(slow)
    aim = await target(adapters, body(seen), Values(values=VALUES))
    first = asyncio.create_task(adapters.get("http").execute(aim, {}, None))
    await asked.wait()
    with pytest.raises(AdapterProblem) as caught:
        async with asyncio.timeout(60):
            await adapters.get("http").execute(replace(aim, timeout_s=0.2), {}, None)
    assert (caught.value.code, caught.value.sent, caught.value.retryable) == ("adapter.timeout", False, True)
    go_on.set()
    await first


async def test_a_client_may_say_who_it_is_in_the_body(adapters: Adapters, seen: Seen) -> None:
    seen.answers.append(token(1))
    aim = await target(adapters, body(seen, client_auth="body", audience="erp"), Values(values=VALUES))
    await adapters.get("http").execute(aim, {}, None)
    said = parse_qs(seen.bodies[0].decode())
    assert (said["client_id"], said["client_secret"], said["audience"]) == (["stanchion"], [CLIENT], ["erp"])
    assert "Authorization" not in seen.requests[0].headers


async def test_a_refused_token_is_fetched_anew_once(adapters: Adapters, seen: Seen) -> None:
    seen.answers += [token(1), says({}, 401), token(2), says({"done": True})]
    aim = await target(adapters, body(seen), Values(values=VALUES), "post")
    envelope = await adapters.get("http").execute(aim, {"amount": 1}, "k")
    assert envelope.metadata["applied"] is True
    assert [r.headers.get("Authorization", "")[-2:] for r in seen.requests if r.path == "/post"] == ["t1", "t2"]
    seen.answers += [says({}, 401), token(3), says({}, 401)]
    with pytest.raises(AdapterProblem) as caught:
        await adapters.get("http").execute(aim, {"amount": 1}, "k")
    assert (caught.value.fields["status"], caught.value.sent) == (401, False)


async def test_a_refresh_token_and_the_one_that_takes_its_place(adapters: Adapters, seen: Seen) -> None:
    seen.answers += [token(1, refresh_token="r1"), says({}), says({}, 401), token(2), says({})]
    document = body(seen, grant="refresh_token", refresh_token="secret://local/refresh")
    aim = await target(adapters, document, Values(values=VALUES))
    for _ in range(2):
        await adapters.get("http").execute(aim, {}, None)
    sent = [
        parse_qs(b.decode())["refresh_token"]
        for r, b in zip(seen.requests, seen.bodies, strict=True)
        if r.path == "/token"
    ]
    assert sent == [["r0"], ["r1"]]
    assert "r1" in aim.credentials.plain_values()


async def test_another_secret_means_another_token(adapters: Adapters, seen: Seen) -> None:
    seen.answers += [token(1), says({}), token(2), says({})]
    for secret in (CLIENT, "rotated"):
        aim = await target(adapters, body(seen), Values(values={**VALUES, "secret://local/client": secret}))
        await adapters.get("http").execute(aim, {}, None)
    assert [r.headers["Authorization"] for r in seen.requests if r.path == "/look"] == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize(
    ("document", "status", "retryable", "said"),
    [
        ({"error": "invalid_client", "error_description": "secret words"}, 401, False, "invalid_client"),
        ({"error": "secret words"}, 400, False, "400"),
        ({}, 503, True, "503"),
        ({"access_token": "two words"}, 200, False, "200"),
        ({"access_token": "t", "token_type": "mac"}, 200, False, "200"),
        ([], 200, False, "200"),
    ],
)
async def test_a_refusal_of_the_token_endpoint(
    adapters: Adapters, seen: Seen, document: Any, status: int, retryable: bool, said: str
) -> None:
    seen.answers.append(says(document, status))
    aim = await target(adapters, body(seen), Values(values=VALUES), "post")
    with pytest.raises(AdapterProblem) as caught:
        await adapters.get("http").execute(aim, {"amount": 1}, "k")
    assert (caught.value.code, caught.value.sent, caught.value.retryable) == ("adapter.token_refused", False, retryable)
    assert said in caught.value.message
    assert "secret words" not in str(caught.value)
    assert [r.path for r in seen.requests] == ["/token"]


async def test_a_token_is_not_used_in_the_last_of_its_seconds() -> None:
    now, fetched = [0.0], [0]

    async def fetch(_: str | None) -> Granted:
        fetched[0] += 1
        return Granted(access_token=f"t{fetched[0]}", life_s=100.0)

    tokens = Tokens(lambda: now[0])
    for at, wanted in ((0.0, "t1"), (89.0, "t1"), (90.0, "t2"), (150.0, "t2"), (181.0, "t3")):
        now[0] = at
        assert await tokens.token(b"key", fetch, wait_s=1.0) == wanted


def test_the_life_of_a_token() -> None:
    assert granted_of({"access_token": "t"}).life_s == 300.0
    assert granted_of({"access_token": "t", "expires_in": "60"}).life_s == 60.0
    assert granted_of({"access_token": "t", "expires_in": True}).life_s == 300.0
