"""Who is at the other end: a user id that the kernel tells (same machine), or a certificate (across machines)."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from stanchion.base import Denied, Invalid
from stanchion.tools.broker.types import PEER_KINDS, Peer, PeerKind

# struct ucred (unix(7)): pid, uid, gid.
_UCRED = struct.Struct("3i")


def kinds_by_uid(said: Sequence[str], *, own: int, supervised: bool) -> Mapping[int, frozenset[PeerKind]]:
    """What `broker.uids` says: as which types of process a user's may call, before any has shown a ticket.

    The broker's own user is everything where nothing else can tell its processes apart, unless it is listed; under `up`
    (`supervised`), where each has a ticket, one without is no more than a worker.
    """
    own_kinds: frozenset[PeerKind] = frozenset({"worker"}) if supervised else frozenset(PEER_KINDS)
    return {own: own_kinds, **{int(who): kinds for who, kinds in kinds_by_name(said).items()}}


def kinds_by_name(said: Sequence[str]) -> Mapping[str, frozenset[PeerKind]]:
    """What `broker.names` says, in the form `name=type+type` that the settings have checked."""
    found: dict[str, frozenset[PeerKind]] = {}
    for item in said:
        name, _, kinds = item.rpartition("=")
        found[name] = frozenset(cast("list[PeerKind]", kinds.split("+")))
    return found


def unix_peer(transport: asyncio.BaseTransport, uids: Mapping[int, frozenset[PeerKind]], key: bytes) -> Peer:
    """The peer of a Unix socket. Raises Denied `broker.stranger` unless its user is one of `uids`."""
    here: socket.socket = transport.get_extra_info("socket")
    _, uid, _ = _UCRED.unpack(here.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in uids:
        raise _stranger(f"user {uid}", "Name the user in broker.uids, if its processes are Stanchion's.")
    return Peer(how="unix", name=str(uid), session_key=key, kinds=uids[uid])


def certificate_peer(transport: asyncio.BaseTransport, names: Mapping[str, frozenset[PeerKind]], key: bytes) -> Peer:
    """The peer whose certificate TLS has verified; it may call as everything that `names` says of any of its names.

    Raises Denied `broker.stranger` without one, or if `names` holds none of its names.
    """
    found = _names(transport.get_extra_info("peercert") or {})
    if not found:
        raise _stranger("a peer without a certificate that has a name", "Give it a certificate with a DNS name.")
    known = [name for name in found if name in names]
    if not known:
        raise _stranger(f"a certificate for {found[0]}", "Name it in broker.names, if it is a process of Stanchion's.")
    kinds = frozenset[PeerKind]().union(*(names[name] for name in known))
    return Peer(how="mtls", name=known[0], session_key=key, kinds=kinds)


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
