"""A broker in this process, over a real socket, with a service of a few lines behind it; and certificates."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import random
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from stanchion.base import SystemClock, SystemIds
from stanchion.telemetry import Telemetry
from stanchion.tools.broker import tokens
from stanchion.tools.broker.client import BrokerClient, Dial, unix_route
from stanchion.tools.broker.intake import Bounds
from stanchion.tools.broker.server import BrokerServer
from stanchion.tools.broker.sessions import Certificates, kinds_by_uid, unix_peer

CLOCK = SystemClock()


def an_env() -> Any:
    """As much of an Env as connections need."""
    return SimpleNamespace(clock=CLOCK, ids=SystemIds(CLOCK), telemetry=Telemetry(process="test", sample=0.0))


class Service:
    """Verifies the token, notes the call, and does what `then` says."""

    def __init__(self, then: Callable[[Any], Any] | None = None) -> None:
        self.calls: list[Any] = []
        self.peers: list[Any] = []
        self.ended: list[str] = []
        self.started = asyncio.Event()
        self._then = then

    async def perform(self, call, peer):
        tokens.verify(call, peer.session_key, CLOCK.now().timestamp())
        self.calls.append(call)
        self.peers.append(peer)
        self.started.set()
        try:
            answer = {"echo": call.arguments} if self._then is None else self._then(call)
            answer = await answer if asyncio.iscoroutine(answer) else answer
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return answer


def a_listener(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    path.unlink(missing_ok=True)
    listener.bind(str(path))
    listener.listen(16)
    listener.setblocking(False)
    return listener


def this_user(transport, key):
    return unix_peer(transport, kinds_by_uid((), own=os.geteuid(), supervised=False), key)


@asynccontextmanager
async def served(
    path: Path, service: Any, bounds: Bounds | None = None, who: Any = this_user, answer_ask: Any = None
) -> AsyncIterator[BrokerServer]:
    server = BrokerServer(service, an_env(), bounds, answer_ask)
    await server.listen(a_listener(path), who)
    try:
        yield server
    finally:
        await server.drain(0.0)


@asynccontextmanager
async def client_of(path: Path | None = None, dial: Dial | None = None) -> AsyncIterator[BrokerClient]:
    client = BrokerClient(dial or unix_route(path or Path()), where=str(path), clock=CLOCK, rng=random.Random(7))
    try:
        yield client
    finally:
        await client.close()


class Authority:
    """Makes certificates: of itself, and of others."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.path.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = dt.datetime.now(dt.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
        )

    def certificates(self, name: str, into: str | None = None) -> Certificates:
        """Files for a process with that DNS name, which believes this authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(subject, key.public_key()).add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False
        )
        files = Certificates(
            certificate=self.folder / f"{into or name}.pem",
            key=self.folder / f"{into or name}.key",
            authority=self.path,
        )
        files.certificate.write_bytes(made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files
