"""Egress of one connector: the endpoints it may call, and the checked addresses behind them (adr/0023).

A name is resolved once per connection. All its addresses are checked, and the connection is made to one of exactly these:
there is no second question to a resolver whose answer could be another (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import cast

from yarl import URL

from stanchion.base import Json
from stanchion.tools.egress import problems
from stanchion.tools.egress.addresses import AddressClass, IPAddress, address_of, classify, plain
from stanchion.tools.egress.hosts import Endpoint, endpoint_of, host_of, origin_of
from stanchion.tools.egress.problems import EgressProblem
from stanchion.tools.egress.rules import Private, private_of, refused
from stanchion.tools.types import Connector

# Addresses of (host, port) as text, in order of preference. Raises OSError.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

# One response's body, decompressed, unless the connector says less or more.
MAX_BYTES_DEFAULT = 16 * 1_048_576
MAX_BYTES_MAX = 256 * 1_048_576
# For one address, seconds; the call's own time bounds all of them together.
CONNECT_S = 10.0
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


async def system_resolve(host: str, port: int) -> Sequence[str]:
    """What this machine's resolver says (getaddrinfo). An address with a zone is given with it, and refused later."""
    # Without AI_ADDRCONFIG: on a machine whose only interface is its own, it would leave `localhost` without an address.
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    texts = [f"{at[0]}%{at[3]}" if len(at) == 4 and at[3] else str(at[0]) for *_, at in found]
    return list(dict.fromkeys(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What the deployment says about the way out.

    Attributes:
        root: the connectors' folder, which a connector's `ca_file` is relative to.
        proxy: URL of the proxy all calls over HTTP take, unless a connector names its own. The operator's: not checked.
        ca_file: further certificate authorities to trust, PEM.
        resolve: how names become addresses.
    """

    root: Path | None = None
    proxy: str | None = None
    ca_file: Path | None = None
    resolve: Resolve = system_resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """See the module. Equal for equal rules, so that what is opened for one can be kept for the other.

    Attributes:
        connector: its name, for messages.
        allowed: endpoints it may call.
        within: those of them that are called without TLS though secrets or signed messages go there: only at listed addresses
            that are not public, for on the way to any other they could be read.
        private: what it lists of addresses that are not public.
        proxy: URL of the proxy, or None.
        proxy_checked: whether the proxy's address is checked like any other: a connector named it, not the operator.
        ca_file: certificate authorities instead of the system's, below the connectors' folder.
        max_bytes: largest body of one response, decompressed.
    """

    connector: str
    allowed: frozenset[Endpoint]
    within: frozenset[Endpoint] = frozenset()
    private: Private = field(default_factory=Private)
    proxy: str | None = None
    proxy_checked: bool = True
    ca_file: str | None = None
    max_bytes: int = MAX_BYTES_DEFAULT
    network: Network = field(default_factory=Network, compare=False)

    @classmethod
    def of(cls, connector: Connector, network: Network | None = None, *urls: str) -> Egress:
        """The egress of a connector: the host of its `base_url`, `egress.hosts`, and those of `urls`, which the caller
        takes from its document or its private files. Raises EgressProblem `egress.bad_host`."""
        network = network or Network()
        said = cast("Mapping[str, Json]", connector.settings.get("egress") or {})
        base = connector.settings.get("base_url")
        proxy = said.get("proxy")
        try:
            origins = _origins((*((str(base),) if base else ()), *urls))
            hosts = _endpoints(_texts(said.get("hosts")))
            private = _private(_texts(said.get("private")))
        except ValueError as error:
            raise problems.bad_host(connector.name, str(error)) from None
        secret = connector.adapter == "webhook" or bool(connector.settings.get("auth"))
        return cls(
            connector=connector.name,
            allowed=hosts.union(endpoint for _, endpoint in origins),
            within=frozenset(endpoint for scheme, endpoint in origins if secret and scheme == "http"),
            private=private,
            proxy=str(proxy) if proxy else network.proxy,
            proxy_checked=bool(proxy),
            ca_file=str(said["ca_file"]) if "ca_file" in said else None,
            max_bytes=cast("int", said.get("max_bytes", MAX_BYTES_DEFAULT)),
            network=network,
        )

    def beside(self, host: str, port: int) -> Egress:
        """The same with one more endpoint: a database or mail server that the document names in other ways than by URL.

        Raises EgressProblem `egress.bad_host`.
        """
        return replace(self, allowed=self.allowed | {self._endpoint(host, port)})

    def admit(self, host: str, port: int) -> Endpoint:
        """The endpoint in its one spelling, if it is allowed and, being an address, may be connected to.

        Raises EgressProblem `egress.bad_host`, `egress.host_not_allowed`, `egress.address_denied`.
        """
        endpoint = self._endpoint(host, port)
        literal = address_of(endpoint.host)
        if endpoint not in self.allowed:
            raise problems.host_not_allowed(self.connector, "another address" if literal else f"{endpoint}")
        if literal is not None:
            self._check(endpoint, [literal])
        elif self.proxy is not None and endpoint in self.within and endpoint.host not in self.private.hosts:
            raise problems.not_within(self.connector, endpoint.host)
        return endpoint

    def admit_url(self, url: str) -> URL:
        """An absolute http(s) URL whose endpoint is allowed. Raises as `admit`."""
        try:
            _, endpoint = origin_of(url)
        except ValueError as error:
            raise problems.bad_host(self.connector, str(error)) from None
        self.admit(endpoint.host, endpoint.port)
        return URL(url)

    def followed(self, current: URL, reference: str) -> URL:
        """Where a redirect or link of an answer to `current` leads, if that is allowed: every hop is checked as the first
        was, and none goes from https back to http. Without a fragment.

        Raises EgressProblem as `admit`.
        """
        odd = not reference.isascii() or "\\" in reference
        if odd or any(ord(character) <= 0x20 or ord(character) == 0x7F for character in reference):
            raise problems.bad_host(self.connector, "holds a space, a backslash or another character that no URL has")
        try:
            url = current.join(URL(reference, encoded=True)).with_fragment(None)
        except ValueError:
            raise problems.bad_host(self.connector, "is no URL") from None
        if reference.startswith("//"):
            self.admit_url(f"{current.scheme}:{reference}")
        elif _SCHEME.match(reference):
            self.admit_url(reference)
        url = self.admit_url(str(url))
        if current.scheme == "https" and url.scheme != "https":
            raise problems.host_not_allowed(self.connector, "a URL without TLS")
        return url

    async def addresses(self, host: str, port: int) -> tuple[IPAddress, ...]:
        """The checked addresses of an allowed endpoint, in the resolver's order: connect to one of these, by number, and
        verify TLS by `host`.

        Raises EgressProblem: as `admit`, and `egress.unresolved`.
        """
        endpoint = self.admit(host, port)
        try:
            return await self.resolved(endpoint)
        except OSError:
            raise problems.unresolved(self.connector, endpoint.host) from None

    async def resolved(self, endpoint: Endpoint) -> tuple[IPAddress, ...]:
        """The addresses of an endpoint that was admitted, all of them checked. Raises OSError, EgressProblem."""
        literal = address_of(endpoint.host)
        if literal is not None:
            return (literal,)
        texts = await self.network.resolve(endpoint.host, endpoint.port)
        found = [(text, address_of(text)) for text in texts]
        if any(address is None for _, address in found):
            # A zone, or something that a resolver should not say: it can't be judged, so it is not called.
            raise problems.address_denied(self.connector, endpoint.host, AddressClass.LINK_LOCAL)
        if not found:
            raise OSError("no address")
        addresses = [plain(address) for _, address in found if address is not None]
        self._check(endpoint, addresses)
        return tuple(dict.fromkeys(addresses))

    async def dial(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """A connected socket, non-blocking, to a checked address of an allowed endpoint: for protocols other than HTTP.
        TLS is the caller's, by `tls_context` and `server_hostname=host`.

        Raises EgressProblem as `addresses`, OSError, TimeoutError (`timeout_s` is for all addresses together).
        """
        loop, last = asyncio.get_running_loop(), OSError("no address")
        async with asyncio.timeout(timeout_s):
            for address in await self.addresses(host, port):
                family = socket.AF_INET if address.version == 4 else socket.AF_INET6
                opened = socket.socket(family, socket.SOCK_STREAM)
                opened.setblocking(False)
                try:
                    async with asyncio.timeout(CONNECT_S):
                        await loop.sock_connect(opened, (str(address), port))
                except OSError as error:  # TimeoutError is one
                    opened.close()
                    last = error
                except BaseException:
                    opened.close()
                    raise
                else:
                    return opened
        raise last

    def tls_context(self) -> ssl.SSLContext:
        """A new context that verifies certificate and host name, TLS 1.2 or newer; there is no way to turn that off. A
        connector's `ca_file` is trusted alone, the deployment's beside the system's. For client certificates, load them
        into it.

        Raises EgressProblem `egress.bad_ca_file`.
        """
        try:
            if self.ca_file is not None:
                return ssl.create_default_context(cafile=self._ca_path(self.ca_file))
            context = ssl.create_default_context()
            if self.network.ca_file is not None:
                context.load_verify_locations(cafile=self.network.ca_file)
        except (OSError, ValueError):
            raise EgressProblem(
                "egress.bad_ca_file",
                f"The certificate authorities of the connector {self.connector!r} cannot be read.",
                hint="`egress.ca_file` is a PEM file below the connectors' folder; `tools.ca_file` one of the deployment.",
                sent=False,
                connector=self.connector,
            ) from None
        return context

    def _ca_path(self, text: str) -> Path:
        if self.network.root is None:
            raise ValueError("no connectors' folder")
        root = self.network.root.resolve()
        found = (root / text).resolve()
        if not found.is_relative_to(root):
            raise ValueError("leads out of the connectors' folder")
        return found

    def _endpoint(self, host: str, port: int) -> Endpoint:
        try:
            return Endpoint(host_of(host), port)
        except ValueError as error:
            raise problems.bad_host(self.connector, str(error)) from None

    def _check(self, endpoint: Endpoint, addresses: Sequence[IPAddress]) -> None:
        denied = refused(endpoint.host, addresses, self.private)
        said = "an address" if address_of(endpoint.host) is not None else endpoint.host
        if denied is not None:
            raise problems.address_denied(self.connector, said, denied)
        if endpoint in self.within and any(classify(one) is AddressClass.PUBLIC for one in addresses):
            raise problems.not_within(self.connector, said)


# What a document says is read anew for each call, and is the same text each time. No URL of a call is kept here.


@lru_cache(1024)
def _origins(urls: tuple[str, ...]) -> tuple[tuple[str, Endpoint], ...]:
    return tuple(origin_of(url) for url in urls)


@lru_cache(1024)
def _endpoints(hosts: tuple[str, ...]) -> frozenset[Endpoint]:
    return frozenset(endpoint_of(host, 443) for host in hosts)


@lru_cache(1024)
def _private(entries: tuple[str, ...]) -> Private:
    return private_of(entries)


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
