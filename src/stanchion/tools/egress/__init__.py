"""Egress: which hosts and addresses a connector may connect to, and the only ways by which one is opened (adr/0023).

`Egress.of(connector)` is what its document allows. `session` and `connector` (aiohttp) serve HTTP; `Egress.dial` gives a
connected socket and `Egress.addresses` the checked addresses, for protocols that connect by themselves: they must connect
to one of these by number and verify TLS by name. `Egress.followed` says where a redirect may lead.
"""

from stanchion.tools.egress.document import EGRESS_SCHEMA, check_egress
from stanchion.tools.egress.hosts import Endpoint, host_of, origin_of
from stanchion.tools.egress.policy import MAX_BYTES_DEFAULT, Egress, Network, Resolve
from stanchion.tools.egress.problems import EgressProblem
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
