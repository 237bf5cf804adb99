"""Where a PostgreSQL URL leads: its hosts, each pinned to checked addresses before libpq sees them (adr/0023).

The URL file is the operator's, so its hosts are endpoints of the connector; whether an address that is not public may be
reached is said by the connector like anywhere else. A Unix socket is a file of this machine and leaves it by no network.
"""

from __future__ import annotations

from collections.abc import Mapping

from stanchion.base import Invalid
from stanchion.tools.egress import Egress

# libpq's own default; said, so that no variable of the environment says another.
_PORT = "5432"


async def way(egress: Egress, params: Mapping[str, object]) -> dict[str, str]:
    """The connection parameters with `hostaddr` given for every host: libpq connects to these and verifies TLS by `host`.

    Raises EgressProblem; Invalid `connector.bad_url` for a URL whose hosts cannot be known or paired.
    """
    if params.get("service") or params.get("servicefile"):
        raise _bad("names a service, whose hosts stand elsewhere", egress.connector)
    hosts, given, ports = (str(params.get(name) or "").split(",") for name in ("host", "hostaddr", "port"))
    count = max(len(hosts), len(given))
    hosts, given = (found * count if found == [""] else found for found in (hosts, given))
    ports = ports * count if len(ports) == 1 else ports
    if not len(hosts) == len(given) == len(ports):
        raise _bad("has lists of hosts, addresses and ports of unlike length", egress.connector)
    rows: list[tuple[str, str, str]] = []
    for host, address, port in zip(hosts, given, ports, strict=True):
        rows += await _pinned(egress, host, address, port or _PORT)
    return {
        **{name: str(value) for name, value in params.items()},
        "host": ",".join(host for host, _, _ in rows),
        "hostaddr": ",".join(address for _, address, _ in rows),
        "port": ",".join(port for _, _, port in rows),
    }


async def _pinned(egress: Egress, host: str, address: str, port: str) -> list[tuple[str, str, str]]:
    if not address and (not host or host.startswith(("/", "@"))):
        return [(host, "", port)]
    if not (port.isascii() and port.isdigit()):
        raise _bad("has a port that is no number", egress.connector)
    to = address or host
    found = await egress.beside(to, int(port)).addresses(to, int(port))
    return [(host, str(one), port) for one in found]


def _bad(reason: str, connector: str) -> Invalid:
    return Invalid(
        "connector.bad_url",
        f"The URL file of the connector {connector!r} {reason}.",
        hint="One line: postgresql://user:password@host:5432/database?sslmode=verify-full",
    )
