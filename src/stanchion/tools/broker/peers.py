"""Who may ask the broker what: one table, by the type of the process that asks. Pure.

What is in no row is asked by nobody. Where a person is behind it, `PERSON` says which right they need; the broker looks
itself whether they have it (`asking`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stanchion.base import Denied
from stanchion.tools.broker.types import Peer, PeerKind

_WORKER: Final[frozenset[PeerKind]] = frozenset({"worker"})
_WEB: Final[frozenset[PeerKind]] = frozenset({"web"})

MAY: Final[Mapping[str, frozenset[PeerKind]]] = {
    "fetch": _WORKER,
    "lookup": _WORKER,
    "push": _WORKER,
    "probe": _WORKER,
    "execute": _WORKER,
    "test": _WEB,
    "discover": _WEB,
    "secrets.sealing_key": _WEB,
    "secrets.encrypt": _WEB,
    "secrets.check": _WEB,
    "secrets.rekey": _WEB,
    "triggers.verify": _WEB,
}
# The right that the person behind it needs. A webhook has no person: its signature is what is asked about.
PERSON: Final[Mapping[str, str]] = {
    "test": "connectors.test",
    "discover": "connectors.test",
    "secrets.sealing_key": "secrets.write",
    "secrets.encrypt": "secrets.write",
    "secrets.check": "secrets.read",
    "secrets.rekey": "secrets.rekey",
}


def check_may(peer: Peer, operation: str) -> None:
    """Return if a peer of this type may ask for `operation`. Raises Denied `broker.not_for_peer`."""
    allowed = MAY.get(operation, frozenset())
    if peer.kinds & allowed:
        return
    is_a = " and ".join(sorted(peer.kinds)) or "nothing"
    who = " or ".join(sorted(allowed)) or "no process"
    raise Denied(
        "broker.not_for_peer",
        f"The broker knows this peer ({peer.name}) as {is_a}, and {operation} is asked by {who}; nothing was done.",
        hint="Under `up` each process is known as what it was started as; elsewhere broker.uids and broker.names say it.",
        operation=operation,
        peer=peer.name,
    )
