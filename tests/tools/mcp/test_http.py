"""MCP over streamable HTTP: the newest protocol, credentials at their sites and rotated, egress, servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from mcp.server.mcpserver import MCPServer
from uvicorn import Config, Server

from stanchion.base import SystemClock
from stanchion.tools import AdapterProblem
from stanchion.tools.adapters.mcp import McpAdapter
from stanchion.tools.connectors import connector_of
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import EgressProblem
from tests.tools.mcp.support import discovered, result_of, target


class Held:
    """A secret as the broker has it."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value


def body(url: str, **more: Any) -> dict[str, Any]:
    return {
        "connector": "remote",
        "owner": "tests",
        "adapter": "mcp",
        "environment": "local",
        "transport": "http",
        "url": url,
        "egress": {"private": ["127.0.0.1"]},
        **more,
    }


@pytest.fixture
async def adapter(tmp_path: Path) -> AsyncIterator[McpAdapter]:
    found = McpAdapter(tmp_path, SystemClock())
    yield found
    await found.close()


class Modern:
    """A server of the official Python SDK, and the headers of every request it got."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.server = MCPServer("modern")
        self.accepted: set[str] = set()
        self.server.tool()(self.add)

    def add(self, a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        inner = self.server.streamable_http_app()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                headers = {name.decode(): value.decode() for name, value in scope["headers"]}
                self.headers.append(headers)
                if self.accepted and headers.get("authorization") not in self.accepted:
                    await send({"type": "http.response.start", "status": 401, "headers": []})
                    await send({"type": "http.response.body", "body": b"who are you, hunter2?"})
                    return
            await inner(scope, receive, send)

        server = Server(Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="on"))
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}/mcp"
        finally:
            server.should_exit = True
            await task


async def test_the_newest_protocol_and_the_credential_at_its_site(adapter: McpAdapter) -> None:
    modern = Modern()
    modern.accepted = {"Bearer first"}
    async with modern.serving() as url:
        document = body(url, auth={"bearer": {"token": "secret://local/t"}})
        connector = connector_of(document)
        first = Credentials({"/auth/bearer/token": Held("first")})  # type: ignore[dict-item]
        found = await adapter.discover(connector, 10, first)
        declared = {name: {**operation, "effect": "read"} for name, operation in found.operations.items()}
        for operation in declared.values():
            operation.pop("idempotency")
        complete = {**document, "execute": declared}
        assert list(adapter.check(complete)) == []
        at = replace(target(connector_of(complete, "sha256:1"), "add"), credentials=first)
        assert (await result_of(adapter, at, a=2, b=3))["structured"] == {"result": 5}
        calls = [h for h in modern.headers if h.get("mcp-method") == "tools/call"]
        assert {h["mcp-protocol-version"] for h in calls} == {"2026-07-28"}
        assert {h["authorization"] for h in modern.headers} == {"Bearer first"}
        # Rotated: the same session goes on with the new one.
        modern.accepted = {"Bearer second"}
        second = Credentials({"/auth/bearer/token": Held("second")})  # type: ignore[dict-item]
        assert (await result_of(adapter, replace(at, credentials=second), a=1, b=1))["structured"] == {"result": 2}
        # And one that is refused says so, and nothing of what the server or the credential say.
        with pytest.raises(AdapterProblem) as caught:
            await result_of(adapter, replace(at, credentials=first), a=1, b=1)
        assert (caught.value.code, caught.value.fields["status"], caught.value.sent) == ("adapter.status", 401, False)
        said = caught.value.message + caught.value.hint + str(caught.value.fields)
        assert "hunter2" not in said
        assert "first" not in said


async def test_without_credentials_nothing_is_asked(adapter: McpAdapter) -> None:
    modern = Modern()
    async with modern.serving() as url:
        connector = connector_of(body(url, auth={"header": {"X-Api-Key": "secret://local/t"}}))
        with pytest.raises(AdapterProblem) as caught:
            await adapter.test(connector, 10)
        assert caught.value.code == "adapter.no_credentials"
        assert modern.headers == []
        key = Credentials({"/auth/header/X-Api-Key": Held("k")})  # type: ignore[dict-item]
        assert "has 1 tool." in await adapter.test(connector, 10, key)
        assert {headers.get("x-api-key") for headers in modern.headers} == {"k"}


async def test_an_address_that_is_not_listed_is_not_called(adapter: McpAdapter) -> None:
    modern = Modern()
    async with modern.serving() as url:
        with pytest.raises(EgressProblem) as caught:
            await adapter.test(connector_of(body(url, egress={})), 10)
        assert caught.value.code == "egress.address_denied"
        assert modern.headers == []


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/mcp", handler)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()


async def redirecting(_: web.Request) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest/meta-data/")


async def a_page(_: web.Request) -> web.StreamResponse:
    return web.Response(text="<html>hunter2</html>", content_type="text/html")


async def broken(_: web.Request) -> web.StreamResponse:
    return web.Response(text='{"jsonrpc": "2.0", hunter2', content_type="application/json")


async def failing(_: web.Request) -> web.StreamResponse:
    return web.Response(status=503, text="hunter2")


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(400):
        await response.write(b" " * 65_536)
    return response


@pytest.mark.parametrize("handler", [redirecting, a_page, broken, failing, endless])
async def test_what_is_no_server_is_said_without_its_words(adapter: McpAdapter, handler: Handler) -> None:
    async with serving(handler) as url:
        with pytest.raises(AdapterProblem) as caught:
            await adapter.test(connector_of(body(url)), 10)
    assert caught.value.code == "adapter.unreachable"
    assert "hunter2" not in caught.value.message + caught.value.hint + str(caught.value.fields)
    assert "169.254" not in caught.value.message + caught.value.hint


async def test_nobody_there(adapter: McpAdapter) -> None:
    async with serving(failing) as url:
        pass
    with pytest.raises(AdapterProblem) as caught:
        await adapter.test(connector_of(body(url)), 10)
    assert caught.value.code == "adapter.unreachable"
    assert caught.value.retryable


async def test_a_server_that_went_away_is_connected_to_again(adapter: McpAdapter) -> None:
    modern = Modern()
    async with modern.serving() as url:
        found = await discovered(adapter, body(url))
        at = target(found, "add")
        assert (await result_of(adapter, at, "k", a=2, b=3))["structured"] == {"result": 5}
    with pytest.raises(AdapterProblem):
        await result_of(adapter, at, "k", a=2, b=3)
    async with Modern().serving() as elsewhere:
        moved = replace(found, settings={**found.settings, "url": elsewhere}, digest="sha256:2")
        assert (await result_of(adapter, target(moved, "add"), "k", a=2, b=3))["structured"] == {"result": 5}


async def test_a_token_is_fetched_kept_and_replaced_when_it_is_refused(adapter: McpAdapter) -> None:
    issued: list[str] = []

    async def token(request: web.Request) -> web.StreamResponse:
        form = await request.post()
        assert (form["grant_type"], form["client_secret"]) == ("client_credentials", "hunter2")
        issued.append(f"t{len(issued) + 1}")
        return web.json_response({"access_token": issued[-1], "token_type": "Bearer", "expires_in": 3600})

    modern = Modern()
    modern.accepted = {"Bearer t1"}
    async with modern.serving() as url, serving(token) as token_url:
        grant = {
            "grant": "client_credentials",
            "token_url": token_url,
            "client_id": "stanchion",
            "client_secret": "secret://local/s",
            "client_auth": "body",
        }
        document = body(url, auth={"oauth2": grant})
        secrets = Credentials({"/auth/oauth2/client_secret": Held("hunter2")})  # type: ignore[dict-item]
        found = await adapter.discover(connector_of(document), 10, secrets)
        connector = connector_of({**document, "execute": dict(found.operations)}, "sha256:1")
        assert list(adapter.check({**document, "execute": dict(found.operations)})) == []
        at = replace(target(connector, "add"), credentials=secrets)
        for _ in range(2):
            assert (await result_of(adapter, at, "k", a=2, b=3))["structured"] == {"result": 5}
        assert issued == ["t1"]
        # The target has forgotten the token: the call gets another, and is performed once.
        modern.accepted = {"Bearer t2"}
        assert (await result_of(adapter, at, "k", a=2, b=3))["structured"] == {"result": 5}
        assert issued == ["t1", "t2"]
        assert {"hunter2", "t1", "t2"} <= set(secrets.plain_values())
        # One that no token satisfies fails, and asks for no more than one token each time.
        modern.accepted = {"Bearer nobody's"}
        with pytest.raises(AdapterProblem) as caught:
            await result_of(adapter, at, "k", a=2, b=3)
        assert (caught.value.fields["status"], caught.value.sent) == (401, False)
        assert len(issued) == 3
