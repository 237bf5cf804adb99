"""A resolver that says what a test wants, servers that count who reaches them, and connectors to them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from stanchion.tools.connectors import connector_of
from stanchion.tools.egress import Egress, Network
from stanchion.tools.types import Connector

# Public, and answered by nobody here: a connection to it is taken by `Wire`.
PUBLIC = "93.184.216.34"
GOOD, EVIL = "127.0.0.2", "127.0.0.3"


class Names:
    """Answers in turn for each name, the last one again and again; counts how often it was asked."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(turns) for name, turns in answers.items()}
        self.asked: dict[str, int] = defaultdict(int)

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked[host] += 1
        turns = self.answers.get(host)
        if turns is None:
            raise OSError(f"no {host}")
        return turns[min(self.asked[host], len(turns)) - 1]


@dataclass
class Reached:
    """A server and the requests that reached it."""

    port: int = 0
    requests: list[web.Request] = field(default_factory=list)
    answers: list[web.Response] = field(default_factory=list)
    certificates: list[Any] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


@asynccontextmanager
async def server(address: str, port: int = 0, **site: Any) -> AsyncIterator[Reached]:
    """A real HTTP server at an address of this machine. Answers `[]`, or what `answers` holds, in turn."""
    reached = Reached()

    async def handle(request: web.Request) -> web.Response:
        reached.requests.append(request)
        reached.certificates.append(request.get_extra_info("peercert"))
        return reached.answers.pop(0) if reached.answers else web.json_response([])

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, port, **site).start()
    reached.port = runner.addresses[0][1]
    try:
        yield reached
    finally:
        await runner.cleanup()


def redirect(location: str, status: int = 302) -> web.Response:
    return web.Response(status=status, headers={"Location": location})


class Wire:
    """Records where every TCP connection of the loop goes; one to a key of `routes` is made to its value instead."""

    def __init__(self, monkeypatch: Any, **routes: tuple[str, int] | None) -> None:
        self.to: list[tuple[str, int]] = []
        self.routes: dict[str, tuple[str, int] | None] = dict(routes)
        real = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

        async def sock_connect(loop: Any, sock: Any, address: Any) -> None:
            self.to.append((address[0], address[1]))
            if address[0] in self.routes:
                route = self.routes[address[0]]
                if route is None:
                    raise ConnectionRefusedError("nobody there")
                address = route
            await real(loop, sock, address)

        monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)

    @property
    def addresses(self) -> list[str]:
        return [address for address, _ in self.to]


def connector(base_url: str, **egress: Any) -> Connector:
    body: dict[str, Any] = {
        "connector": "registry",
        "owner": "casework",
        "adapter": "http",
        "environment": "local",
        "base_url": base_url,
        "headers": {"X-Client": "stanchion"},
        "resources": {
            "cases": {
                "key": "case_id",
                "fields": {"case_id": {"type": "string"}},
                "fetch": {"path": "/cases", "page": {"style": "link"}},
                "lookup": {"path": "/cases/{key}"},
            }
        },
    }
    return connector_of({**body, **({"egress": egress} if egress else {})}, "sha256:test")


def egress_of(base_url: str, names: Names | None = None, **egress: Any) -> Egress:
    return Egress.of(connector(base_url, **egress), Network(resolve=(names or Names()).resolve))
