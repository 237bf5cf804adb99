"""HTTP sessions whose every connection, redirects included, passes the egress of their connector.

The guard stands at three places, each enough by itself for what it sees: before a request, its URL's endpoint (also where a
proxy does the resolving, and for addresses, about which aiohttp asks no resolver); at resolution, all addresses of a name;
at the socket, that it goes to an address which one of the two let through.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_middlewares import ClientHandlerType
from yarl import URL

from stanchion.base import Clock, invariant
from stanchion.tools.egress.addresses import IPAddress, address_of, plain
from stanchion.tools.egress.hosts import Endpoint, host_of, origin_of
from stanchion.tools.egress.policy import CONNECT_S, Egress
from stanchion.tools.egress.problems import EgressProblem, bad_host

# (family, type, protocol, canonical name, address), as getaddrinfo gives it.
_AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
# A session that no call asked for in this time, longer than any call may take, is given back.
_UNUSED_S = 900.0
_CONNECTIONS_PER_HOST = 16


class _Guard(AbstractResolver):
    """What one session asks before it connects. Fits aiohttp's resolver, middleware and socket factory."""

    def __init__(self, egress: Egress) -> None:
        self._egress = egress
        self._proxy = _proxy_of(egress)
        self._checked: dict[Endpoint, tuple[IPAddress, ...]] = {}

    async def request(self, req: aiohttp.ClientRequest, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        """Before each request, each hop of a redirect too: is its endpoint allowed, and is TLS verified?"""
        self._egress.admit(req.url.raw_host or "", req.url.port or 0)
        invariant(_verifies(req.ssl), "TLS is always verified")
        return await handler(req)

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - aiohttp takes those of the family it wants
    ) -> list[ResolveResult]:
        """The addresses of a name, all of them checked. Raises EgressProblem, OSError."""
        addresses = await self._addresses(host, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def _addresses(self, host: str, port: int) -> tuple[IPAddress, ...]:
        if self._proxy is not None and (host_of(host), port) == (self._proxy.host, self._proxy.port):
            found = await self._proxy_addresses(self._proxy)
        else:
            found = await self._egress.resolved(self._egress.admit(host, port))
        endpoint = Endpoint(host_of(host), port)
        # As many as the connector names, at most.
        self._checked[endpoint] = found
        return found

    async def _proxy_addresses(self, proxy: Endpoint) -> tuple[IPAddress, ...]:
        """A proxy that the operator named is theirs; one of a connector is an endpoint like any other."""
        if self._egress.proxy_checked:
            return await self._egress.resolved(
                self._egress.beside(proxy.host, proxy.port).admit(proxy.host, proxy.port)
            )
        texts = await self._egress.network.resolve(proxy.host, proxy.port)
        return tuple(ip_address(text) for text in texts)

    def opened(self, info: _AddrInfo) -> socket.socket:
        """The socket for one connection, if it goes where a check let it."""
        family, kind, proto, _, to = info
        if not self._let_through(str(to[0]), int(to[1])):
            raise PermissionError(errno.EACCES, "not an address that was checked")
        return socket.socket(family, kind, proto)

    def _let_through(self, text: str, port: int) -> bool:
        address = address_of(text)
        if address is None:
            return False
        if any(address in found for endpoint, found in self._checked.items() if endpoint.port == port):
            return True
        literal = Endpoint(str(plain(address)), port)
        if literal == self._proxy and not self._egress.proxy_checked:
            return True
        allowing = self._egress.beside(literal.host, port) if literal == self._proxy else self._egress
        try:
            return allowing.admit(literal.host, port) == literal
        except EgressProblem:
            return False

    async def close(self) -> None:
        """Nothing is held."""


def _verifies(said: object) -> bool:
    """Whether what a request says about TLS leaves the certificate and the host name verified."""
    if isinstance(said, ssl.SSLContext):
        return said.verify_mode is ssl.CERT_REQUIRED and said.check_hostname
    return said is True


def _proxy_of(egress: Egress) -> Endpoint | None:
    if egress.proxy is None:
        return None
    try:
        # A proxy of the operator may carry a user and password, which are not part of its endpoint.
        found = origin_of(str(URL(egress.proxy).with_user(None)))[1]
    except ValueError as error:
        raise bad_host(egress.connector, str(error)) from None
    return egress.beside(found.host, found.port).admit(found.host, found.port) if egress.proxy_checked else found


def connector(egress: Egress, *, at_once: int = _CONNECTIONS_PER_HOST) -> aiohttp.TCPConnector:
    """A connector of aiohttp that connects to checked addresses alone. Use `session`, which also checks each request: where
    a proxy resolves, a connector sees the proxy alone. Raises EgressProblem."""
    return _connector(_Guard(egress), at_once, egress.tls_context())


def _connector(guard: _Guard, at_once: int, tls: ssl.SSLContext) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(
        resolver=guard,
        # Each connection resolves once, and what it was told is what it takes.
        use_dns_cache=False,
        socket_factory=guard.opened,
        ssl=tls,
        limit_per_host=at_once,
    )


def session(
    egress: Egress, *, at_once: int = _CONNECTIONS_PER_HOST, tls: ssl.SSLContext | None = None
) -> aiohttp.ClientSession:
    """A new session for the calls of one connector: no cookies, no proxy from the environment. Raises EgressProblem.

    `tls`: made of `egress.tls_context()` before; without, it is made now.

    `proxy=`, `middlewares=` and `ssl=` of a request replace the session's: only `ssl=` may be given, made of
    `egress.tls_context()`.
    """
    guard = _Guard(egress)
    return aiohttp.ClientSession(
        connector=_connector(guard, at_once, egress.tls_context() if tls is None else tls),
        middlewares=(guard.request,),
        proxy=egress.proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        max_line_size=16_384,
        max_field_size=16_384,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
    )


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A session, what it trusts, and when a call last asked for it."""

    session: aiohttp.ClientSession
    tls: ssl.SSLContext
    asked_at: float


class Sessions:
    """The sessions of a process, one per egress, opened by the first call in the loop of that call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[Egress, _Kept] = {}

    async def of(self, egress: Egress) -> aiohttp.ClientSession:
        """The session of this egress. Raises EgressProblem."""
        return (await self._kept(egress)).session

    @asynccontextmanager
    async def alone(self, egress: Egress) -> AsyncGenerator[aiohttp.ClientSession]:
        """A session for one call, over connections of its own. It trusts what the kept one does: reading the certificate
        authorities anew would take the loop tens of milliseconds, for each such call. Raises EgressProblem."""
        kept = await self._kept(egress)
        async with session(egress, tls=kept.tls) as opened:
            yield opened

    async def _kept(self, egress: Egress) -> _Kept:
        now = self._clock.monotonic()
        found = self._open.get(egress)
        if found is None or found.session.closed:
            tls = egress.tls_context()
            found = self._open[egress] = _Kept(session=session(egress, tls=tls), tls=tls, asked_at=now)
        found.asked_at = now
        # Taken out all at once, before anything is waited for: another call may come back to one of them meanwhile.
        unused = [other for other, kept in self._open.items() if now - kept.asked_at > _UNUSED_S]
        for ended in [self._open.pop(other) for other in unused]:
            await ended.session.close()
        return found

    async def close(self) -> None:
        """Close all of them and their connections."""
        while self._open:
            await self._open.popitem()[1].session.close()
