"""How a process under `up` shows the broker what it is, where all have one user and the kernel cannot tell them apart. Pure.

The parent makes one master key. The broker has it; each start of another process has a ticket (`worker/worker-1/7`) and the
key that follows from the master key and that ticket, over a descriptor that nobody else has. Both ends show over fresh
nonces that they have it, and compute the session's key from it: who sits between them has no key for a call or a question.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace
from typing import Final, cast

from stanchion.base import Denied
from stanchion.tools.broker.types import Peer, PeerKind

KEY_BYTES: Final = 32
_NONCE_BYTES_MIN: Final = 16
_TICKET: Final = re.compile(r"(web|worker|scheduler|cli)/[A-Za-z0-9_.-]{1,100}/[0-9]{1,12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What one start of one process is known by: `text` is public, `key` is the process's alone."""

    text: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What a client shows of its ticket, over its own nonce and the broker's."""

    ticket: str
    nonce: bytes
    mac: bytes


def issue(master: bytes, kind: PeerKind, name: str, start: int) -> Ticket:
    """The ticket for the `start`-th process that was started, of that type and name."""
    text = f"{kind}/{name}/{start}"
    return Ticket(text=text, key=_mac(master, "ticket", text.encode()))


def mac_of_client(key: bytes, broker_nonce: bytes, client_nonce: bytes) -> bytes:
    """What the client shows."""
    return _mac(key, "client", broker_nonce, client_nonce)


def mac_of_broker(key: bytes, broker_nonce: bytes, client_nonce: bytes) -> bytes:
    """What the broker shows."""
    return _mac(key, "broker", broker_nonce, client_nonce)


def session_key(key: bytes, broker_nonce: bytes, client_nonce: bytes) -> bytes:
    """With which this connection's tokens are signed."""
    return _mac(key, "session", broker_nonce, client_nonce)


def proven(peer: Peer, master: bytes | None, broker_nonce: bytes, shown: Proof) -> tuple[Peer, bytes]:
    """The peer as what its ticket says, with the key of both, and what the broker shows in turn.

    `broker_nonce`: empty where none was given, or something else was said first. Raises Denied `broker.stranger`.
    """
    known = master is not None and bool(broker_nonce) and _TICKET.fullmatch(shown.ticket) is not None
    if master is not None and known and len(shown.nonce) >= _NONCE_BYTES_MIN:
        key = _mac(master, "ticket", shown.ticket.encode())
        if hmac.compare_digest(mac_of_client(key, broker_nonce, shown.nonce), shown.mac):
            kind = cast("PeerKind", shown.ticket.partition("/")[0])
            session = session_key(key, broker_nonce, shown.nonce)
            return (
                replace(peer, name=shown.ticket, kinds=frozenset({kind}), session_key=session),
                mac_of_broker(key, broker_nonce, shown.nonce),
            )
    raise Denied(
        "broker.stranger",
        "The broker does not speak with a process that shows a ticket and not its key.",
        hint="Processes of an earlier `up` are known to it alone; start this one again.",
    )


def _mac(key: bytes, what: str, *parts: bytes) -> bytes:
    bound = b"".join(len(part).to_bytes(4, "big") + part for part in (what.encode(), *parts))
    return hmac.new(key, bound, hashlib.sha256).digest()
