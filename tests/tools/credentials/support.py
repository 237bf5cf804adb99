"""A source of secrets for tests, which notes what was asked, and a server that shows what reached it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from stanchion.base import NotFound
from stanchion.secrets import Secret, SecretRef
from stanchion.tools.adapter import Target
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors import connector_of, resource_of
from stanchion.tools.credentials import resolve
from tests.conformance.worlds import checked


@dataclass(kw_only=True)
class Values:
    """Fills `secrets.Secrets` with these values, by reference without its version."""

    values: dict[str, str]
    asked: list[tuple[str, str, str, str]] = field(default_factory=list)

    async def resolve(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret:
        self.asked.append((tenant, str(ref), environment, connector))
        if str(ref) not in self.values:
            raise NotFound("secret.unknown", f"There is no secret {ref.name}.")
        return Secret(self.values[str(ref)], ref=ref)

    async def previous(self, tenant: str, ref: SecretRef, *, environment: str, connector: str) -> Secret | None:
        return None


@dataclass(kw_only=True)
class Seen:
    """What reached the server; `answers` are given in turn, then 200 with an empty object."""

    requests: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    certificates: list[Any] = field(default_factory=list)
    answers: list[Callable[[web.Request], Awaitable[web.Response]]] = field(default_factory=list)
    url: str = ""


@asynccontextmanager
async def showing(tls: ssl.SSLContext | None = None) -> AsyncIterator[Seen]:
    """A server that takes everything."""
    seen = Seen()

    async def take(request: web.Request) -> web.Response:
        seen.requests.append(request)
        seen.bodies.append(await request.read())
        assert request.transport is not None
        seen.certificates.append(request.transport.get_extra_info("peercert"))
        if seen.answers:
            return await seen.answers.pop(0)(request)
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    seen.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield seen
    finally:
        await runner.cleanup()


def connector_body(url: str, auth: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A connector with an operation that reads and one that writes."""
    return {
        "connector": "erp",
        "owner": "ledgers",
        "adapter": "http",
        "environment": "local",
        "base_url": url,
        "auth": auth,
        "egress": {"private": ["127.0.0.1"]},
        **settings,
        "execute": {
            "look": {"method": "GET", "path": "/look", "effect": "read"},
            "post": {
                "method": "POST",
                "path": "/post",
                "effect": "write",
                "idempotency": "key",
                "parameters": {"amount": {"type": "integer"}},
            },
        },
    }


async def target(adapters: Adapters, body: dict[str, Any], values: Values, name: str = "look") -> Target:
    """A call of an operation with its credentials resolved."""
    connector = connector_of(checked(adapters, body), "sha256:test")
    resource, operation = resource_of(connector, name, "execute")
    credentials = await resolve(connector, values, tenant="acme", environment="local")
    return Target(connector=connector, resource=resource, operation=operation, timeout_s=20.0, credentials=credentials)
