"""Who is at the other end: a user id that the kernel tells (same machine), or a certificate (across machines)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stanchion.base import Denied, Invalid
from stanchion.tools.broker.types import Peer

# struct ucred (unix(7)): pid, uid, gid.
_UCRED = struct.Struct("3i")


def unix_peer(transport: asyncio.BaseTransport, uids: frozenset[int], key: bytes) -> Peer:
    """The peer of a Unix socket. Raises Denied `broker.stranger` unless its user is one of `uids`."""
    here: socket.socket = transport.get_extra_info("socket")
    _, uid, _ = _UCRED.unpack(here.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in uids:
        raise _stranger(f"user {uid}", "Name the user in broker.uids, if its processes are Stanchion's.")
    return Peer(how="unix", name=str(uid), session_key=key)


def certificate_peer(transport: asyncio.BaseTransport, names: frozenset[str], key: bytes) -> Peer:
    """The peer whose certificate TLS has verified.

    Raises Denied `broker.stranger` without one, or if `names` is not empty and holds none of its names.
    """
    found = _names(transport.get_extra_info("peercert") or {})
    if not found:
        raise _stranger("a peer without a certificate that has a name", "Give it a certificate with a DNS name.")
    known = [name for name in found if name in names] if names else found
    if not known:
        raise _stranger(f"a certificate for {found[0]}", "Name it in broker.names, if it is a process of Stanchion's.")
    return Peer(how="mtls", name=known[0], session_key=key)


def _names(certificate: Mapping[str, Any]) -> list[str]:
    alternatives = [value for kind, value in certificate.get("subjectAltName", ()) if kind in {"DNS", "URI"}]
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    return [*alternatives, *common]


def _stranger(who: str, hint: str) -> Denied:
    return Denied("broker.stranger", f"The broker does not speak with {who}.", hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files of one end of mTLS: its certificate, its key, and the authority that the other end's must come from."""

    certificate: Path
    key: Path
    authority: Path

    def context(self, side: Literal["server", "client"]) -> ssl.SSLContext:
        """A context for TLS 1.3 that verifies the other end. Raises Invalid `broker.bad_certificate`."""
        protocol = ssl.PROTOCOL_TLS_SERVER if side == "server" else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_cert_chain(self.certificate, self.key)
            context.load_verify_locations(self.authority)
        except (OSError, ssl.SSLError) as error:
            reason = error.strerror or getattr(error, "reason", "") or type(error).__name__
            raise Invalid(
                "broker.bad_certificate",
                f"The certificate {self.certificate}, its key or the authority {self.authority} cannot be used: {reason}.",
                hint="They are PEM files; the key belongs to the certificate and this process may read it.",
            ) from error
        return context

    def state(self) -> tuple[tuple[int, int, int], ...]:
        """What changes when a file is replaced or written: for a process that looks whether it must read them again."""
        found: list[tuple[int, int, int]] = []
        for path in (self.certificate, self.key, self.authority):
            try:
                stat = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(found)
