"""A real uvicorn with our options, and clients that do not play along."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
import uvicorn
from fastapi import APIRouter
from starlette.responses import Response, StreamingResponse

from stanchion.web import WebSettings, uvicorn_options

# Where a test must be quicker than the server's patience, that is much longer than the test needs.
BOUNDS = WebSettings(
    header_timeout_s=0.4, body_timeout_s=1.5, send_timeout_s=1.0, header_bytes_max=4096, keep_alive_s=1
)


def router() -> APIRouter:
    made = APIRouter()

    @made.get("/api/flood")
    async def flood() -> Response:
        return Response(b"x" * 30_000_000)

    @made.get("/api/stream")
    async def stream() -> StreamingResponse:
        async def pieces():
            for _ in range(1000):
                yield b"y" * 100_000

        return StreamingResponse(pieces())

    @made.get("/api/half")
    async def half() -> StreamingResponse:
        async def pieces():
            yield b"one"
            raise ValueError("secret")

        return StreamingResponse(pieces())

    @made.post("/api/echo")
    async def echo() -> str:
        return "ok"

    return made


@pytest.fixture
async def server(stage):
    config = uvicorn.Config(
        stage.app(router(), settings=BOUNDS),
        host="127.0.0.1",
        port=0,
        lifespan="off",
        **uvicorn_options(BOUNDS) | {"loop": "none"},
    )
    running = uvicorn.Server(config)
    running.install_signal_handlers = lambda: None
    task = asyncio.create_task(running.serve())
    while not running.started:
        await asyncio.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    running.port, running.head = port, f"Host: test\r\nAuthorization: Bearer {stage.admin_key}\r\n"
    yield running
    running.should_exit = True
    await asyncio.wait_for(task, 60)


async def until_closed(reader) -> bytes:
    """All that the server still says; it must hang up by itself."""
    with contextlib.suppress(ConnectionResetError):
        return await asyncio.wait_for(reader.read(-1), 60)
    return b""


async def test_a_connection_that_says_nothing_is_cut(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    started = time.monotonic()
    assert b"408" in await until_closed(reader)
    assert time.monotonic() - started < 9  # by default it has 10 s
    writer.close()


@pytest.mark.parametrize("drip", [b"X", b"\r\n"])
async def test_a_head_that_trickles_is_cut(server, drip):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    if drip == b"X":
        writer.write(b"GET /health/live HTTP/1.1\r\nHost: test\r\nX-Slow: ")

    async def trickle():
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(drip)
                await writer.drain()
                await asyncio.sleep(0.05)

    task = asyncio.create_task(trickle())
    said = await until_closed(reader)
    task.cancel()
    assert said.startswith(b"HTTP/1.1 408 ") or said == b""
    writer.close()


async def test_a_second_request_has_a_deadline_too(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    writer.write(b"GET /health/live HTTP/1.1\r\nHo")
    assert b"408" in await until_closed(reader)
    writer.close()


async def test_a_head_that_is_too_large_is_400(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /health/live HTTP/1.1\r\nHost: test\r\n")
    writer.writelines(b"X-%d: %s\r\n" % (n, b"a" * 100) for n in range(60))
    assert b"400 Bad Request" in await until_closed(reader)
    writer.close()


async def test_a_body_that_trickles_is_408_and_the_connection_ends(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"POST /api/echo HTTP/1.1\r\n{server.head}Content-Length: 100\r\n\r\n".encode())

    async def trickle():
        with contextlib.suppress(ConnectionError):
            # It falls silent before the server's patience (1.5 s) ends: a byte that meets the closed socket would have
            # the kernel throw the answer away with a reset.
            for _ in range(6):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)

    task = asyncio.create_task(trickle())
    said = await until_closed(reader)
    task.cancel()
    assert b" 408 " in said.split(b"\r\n")[0]
    assert b"request.timeout" in said
    assert b"connection: close" in said.lower()
    writer.close()


@pytest.mark.parametrize("path", ["/api/flood", "/api/stream"])
async def test_a_client_that_does_not_read_is_cut(server, path):
    """Also when the whole answer was written at once and only the kernel still waits for the client."""
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
    writer.transport.pause_reading()
    writer.write(f"GET {path} HTTP/1.1\r\n{server.head}\r\n".encode())
    deadline = time.monotonic() + 25  # by default it has 30 s to read
    while not server.server_state.connections and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert server.server_state.connections
    while server.server_state.connections and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    assert not server.server_state.connections
    assert not server.server_state.tasks
    writer.close()


async def test_a_client_that_reads_slowly_but_reads_is_served(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
    writer.write(f"GET /api/flood HTTP/1.1\r\n{server.head}Connection: close\r\n\r\n".encode())
    size = 0
    while piece := await reader.read(2_000_000):
        size += len(piece)
        await asyncio.sleep(0.02)
    assert size > 30_000_000
    writer.close()


async def test_a_defect_in_mid_answer_does_not_look_whole(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET /api/half HTTP/1.1\r\n{server.head}\r\n".encode())
    said = await until_closed(reader)
    assert b"0\r\n\r\n" not in said
    assert b"secret" not in said
    writer.close()


async def test_keep_alive_serves_many_and_hides_what_serves(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for _ in range(3):
        writer.write(f"GET /api/whoami HTTP/1.1\r\n{server.head}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"200 OK" in head
        assert b"uvicorn" not in head
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


def test_the_options_close_what_uvicorn_leaves_open():
    options = uvicorn_options(WebSettings(trusted_proxies=("10.0.0.1",)))
    assert options["access_log"] is False
    assert options["limit_concurrency"] == 1000
    assert options["forwarded_allow_ips"] == ["10.0.0.1"]
    assert uvicorn_options(WebSettings())["proxy_headers"] is False
