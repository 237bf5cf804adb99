"""Egress: which hosts and addresses a connector may connect to, and the only ways by which one is opened (adr/0023).

`Egress.of(connector)` is what its document allows. `session` and `connector` (aiohttp) serve HTTP; `Egress.dial` gives a
connected socket and `Egress.addresses` the checked addresses, for protocols that connect by themselves: they must connect
to one of these by number and verify TLS by name. `Egress.followed` says where a redirect may lead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from stanchion.tools.egress.document import EGRESS_SCHEMA, check_egress
from stanchion.tools.egress.hosts import Endpoint, host_of, origin_of
from stanchion.tools.egress.policy import MAX_BYTES_DEFAULT, Egress, Network, Resolve
from stanchion.tools.egress.problems import EgressProblem

if TYPE_CHECKING:
    from stanchion.tools.egress.sessions import Sessions, connector, session

__all__ = [
    "EGRESS_SCHEMA",
    "MAX_BYTES_DEFAULT",
    "Egress",
    "EgressProblem",
    "Endpoint",
    "Network",
    "Resolve",
    "Sessions",
    "check_egress",
    "connector",
    "host_of",
    "origin_of",
    "session",
]

# They bring an HTTP client, which a process that only reads documents, or calls through the broker, does not import.
_OF_SESSIONS: Final = frozenset({"Sessions", "connector", "session"})


def __getattr__(name: str) -> object:
    """What serves HTTP, imported by whoever names it. Raises AttributeError for what there is not."""
    if name not in _OF_SESSIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stanchion.tools.egress import sessions  # noqa: PLC0415 - see above

    return getattr(sessions, name)
