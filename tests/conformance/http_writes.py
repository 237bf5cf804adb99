"""A system that is written to over HTTP: JSON, forms, its own paths, JSON-RPC; with a log of what it received and faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from stanchion.tools.adapters.registry import Adapters
from tests.conformance.worlds import OUTCOME_FIELDS, World, checked, document

KEY_HEADER = "Idempotency-Key"


@dataclass(kw_only=True)
class Server:
    """What the system has. `log` is every write that it took, in order: (case, key)."""

    log: list[tuple[str, str]] = field(default_factory=list)
    asked: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    # Each answers one request in place of the server, or after it (`after`).
    instead: list[Callable[[web.Request], Awaitable[web.StreamResponse]]] = field(default_factory=list)
    after: list[Callable[[web.Request, web.StreamResponse], Awaitable[web.StreamResponse]]] = field(
        default_factory=list
    )
    by_key: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_case: dict[str, dict[str, Any]] = field(default_factory=dict)
    url: str = ""

    def take(self, record: dict[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        """Write once under a key; 409 for one that is known."""
        if key and key in self.by_key:
            return 409, {"error": "duplicate key"}
        self.log.append((str(record["case_id"]), key))
        made = {"id": len(self.log), "record": record}
        self.by_case[str(record["case_id"])] = made
        if key:
            self.by_key[key] = made
        return 201, made


class HttpWriteWorld(World):
    server: Server

    async def received(self) -> list[tuple[str, str]]:
        return list(self.server.log)


def rpc_answer(server: Server, call: dict[str, Any]) -> dict[str, Any]:
    """JSON-RPC 2.0: `outcome.create`, `outcome.find`, `add`."""
    said: dict[str, Any] = {"jsonrpc": "2.0", "id": call["id"]}
    match call["method"]:
        case "outcome.create":
            status, made = server.take(call["params"]["outcome"], call["params"]["reference"])
            if status == 409:
                return {**said, "error": {"code": 1409, "message": "duplicate"}}
            return {**said, "result": made["id"]}
        case "outcome.find":
            found = server.by_key.get(call["params"][0])
            return {**said, "result": [found] if found else []}
        case "add":
            return {**said, "result": sum(call["params"])}
        case _:
            return {**said, "error": {"code": -32601, "message": "no such method"}}


@asynccontextmanager
async def http_write_server() -> AsyncIterator[Server]:
    server = Server()

    @web.middleware
    async def faulty(request: web.Request, handler):
        server.asked.append(request)
        server.bodies.append(await request.read())
        if server.instead:
            return await server.instead.pop(0)(request)
        response = await handler(request)
        return await server.after.pop(0)(request, response) if server.after else response

    async def create(request: web.Request) -> web.Response:
        if request.content_type == "application/json":
            record = await request.json()
        else:
            form = await request.post()
            record = {**form, "articles": [int(str(a)) for a in form.getall("articles", [])]}
        status, made = server.take(record, request.headers.get(KEY_HEADER, ""))
        return web.json_response(made, status=status)

    async def put(request: web.Request) -> web.Response:
        record = await request.json()
        server.log.append((record["case_id"], request.headers.get(KEY_HEADER, "")))
        server.by_case[request.match_info["case"]] = {"record": record}
        return web.json_response({"id": request.match_info["case"]})

    async def find(request: web.Request) -> web.Response:
        found = server.by_key.get(request.query.get("reference", ""))
        return web.json_response({"items": [found] if found else []})

    async def close(request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else {}
        server.log.append((request.match_info["case"], request.headers.get(KEY_HEADER, "")))
        return web.json_response(
            {
                "closed": {"case": request.match_info["case"], "at": "2026-03-31"},
                "seen": {"query": dict(request.query), "reason": request.headers.get("X-Reason"), "body": body},
            }
        )

    async def rpc(request: web.Request) -> web.Response:
        return web.json_response(rpc_answer(server, json.loads(await request.read())))

    app = web.Application(middlewares=[faulty])
    app.router.add_post("/api/outcomes", create)
    app.router.add_get("/api/outcomes", find)
    app.router.add_put("/api/outcomes/{case}", put)
    app.router.add_post("/api/cases/{case}/close", close)
    app.router.add_delete("/api/cases/{case}", close)
    app.router.add_post("/api/rpc", rpc)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    try:
        yield server
    finally:
        await runner.cleanup()


PROBE: dict[str, Any] = {"path": "/outcomes", "query": {"reference": "{idempotency_key}"}, "found": "/items/0"}
PUSHES: dict[str, dict[str, Any]] = {
    "json": {"path": "/outcomes", "idempotency": "probe", "probe": PROBE, "answers": {"already": [409]}},
    "form": {
        "path": "/outcomes",
        "encoding": "form",
        "idempotency": "probe",
        "probe": PROBE,
        "answers": {"already": [409]},
    },
    "rpc": {
        "path": "/rpc",
        "idempotency": "probe",
        "rpc": {
            "method": "outcome.create",
            "params": {"outcome": "{record}", "reference": "{idempotency_key}"},
            "already": [1409],
        },
        "probe": {"path": "/rpc", "rpc": {"method": "outcome.find", "params": ["{idempotency_key}"]}},
    },
}
EXECUTE: dict[str, Any] = {
    "close": {
        "description": "Close a case.",
        "method": "POST",
        "path": "/cases/{case_id}/close",
        "effect": "write",
        "idempotency": "key",
        "parameters": {
            "case_id": {"type": "string"},
            "note": {"type": ["string", "null"]},
            "notify": {"type": "boolean"},
            "reason": {"type": ["string", "null"]},
        },
        "places": {"notify": {"in": "query"}, "reason": {"in": "header", "name": "X-Reason"}},
        "result_at": "/closed",
        "result": {
            "type": "object",
            "required": ["case"],
            "properties": {"case": {"type": "string"}, "at": {"type": "string"}},
        },
    },
    "find": {
        "method": "GET",
        "path": "/outcomes",
        "effect": "read",
        "parameters": {"reference": {"type": "string"}},
        "result_at": "/items",
        "result": {"type": "array"},
    },
    "remove": {
        "method": "DELETE",
        "path": "/cases/{case_id}",
        "effect": "destructive",
        "idempotency": "natural",
        "parameters": {"case_id": {"type": "string"}},
    },
    "add": {
        "path": "/rpc",
        "effect": "read",
        "rpc": {"method": "add", "params": ["{a}", "{b}"]},
        "parameters": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "result": {"type": "integer"},
    },
}


def make_http_writes(adapters: Adapters, server: Server, form: str, **push: Any) -> HttpWriteWorld:
    """The connector to it. `push` replaces what its push declares; None takes a field away."""
    declared = {name: value for name, value in {**PUSHES[form], **push}.items() if value is not None}
    resources = {"outcomes": {"fields": OUTCOME_FIELDS, "push": declared}}
    body = document(
        "http",
        resources,
        base_url=server.url,
        egress={"private": ["127.0.0.1"]},
        execute=json.loads(json.dumps(EXECUTE)),
    )
    world = HttpWriteWorld(adapter=adapters.get("http"), body=checked(adapters, body), reads=False)
    world.server = server
    return world


async def drop(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """The connection breaks: before the server took the write (`instead`), or after (`after`)."""
    transport = request.transport
    assert transport is not None
    transport.abort()
    return web.Response()


async def hang(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Nothing comes back until the caller has given up."""
    await asyncio.sleep(30)
    return web.Response()


async def torn(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """A status and half of the body."""
    half = web.StreamResponse(status=201, headers={"Content-Type": "application/json", "Content-Length": "100"})
    await half.prepare(request)
    await half.write(b'{"id": ')
    assert request.transport is not None
    request.transport.abort()
    return half


def says(status: int, body: bytes = b"{}", content_type: str = "application/json", **headers: str):
    """An answer in place of the server's own."""

    async def answer(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type=content_type, headers=headers)

    return answer
