"""What a connector may reach: its hosts, and of their addresses those that are public or listed. Pure.

Everything is refused that is not allowed here (I11): a host that the connector does not name, and an address that is not
public, unless the connector lists it under `egress.private`. Addresses of the classes in NEVER cannot be listed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from stanchion.tools.egress.addresses import (
    NEVER,
    AddressClass,
    IPAddress,
    IPNetwork,
    address_of,
    block_of,
    classify,
    embedded,
    plain,
)
from stanchion.tools.egress.hosts import host_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """What `egress.private` lists: networks whose addresses are approved, and hosts whose every address is."""

    networks: frozenset[IPNetwork] = frozenset()
    hosts: frozenset[str] = frozenset()

    def lists(self, host: str, address: IPAddress) -> bool:
        """Whether this address of this host is listed."""
        return host in self.hosts or any(
            network.version == address.version and address in network for network in self.networks
        )


def private_of(entries: Iterable[str]) -> Private:
    """What the entries list. Raises ValueError with what is wrong, to follow the entry."""
    networks, hosts = set[IPNetwork](), set[str]()
    for entry in entries:
        if "/" in entry or address_of(entry.strip("[]")) is not None:
            networks.add(_network(entry))
        else:
            hosts.add(host_of(entry))
    return Private(networks=frozenset(networks), hosts=frozenset(hosts))


def _network(entry: str) -> IPNetwork:
    address = address_of(entry.strip("[]"))
    try:
        network = ip_network(plain(address) if address is not None else entry)
    except ValueError:
        try:
            loose = ip_network(entry, strict=False)
        except ValueError:
            raise ValueError("is no network such as 10.1.0.0/16") from None
        raise ValueError(f"has bits behind its prefix; the network is {loose}") from None
    only = classify(network.network_address) if network.num_addresses == 1 else block_of(network)
    if only is None or only is AddressClass.PUBLIC:
        raise ValueError("holds public addresses, which need no listing; list the private network alone")
    if only in NEVER:
        raise ValueError(f"is of the class {only}, which is never allowed")
    return network


def refusal(host: str, address: IPAddress, private: Private) -> AddressClass | None:
    """The class for which this address of `host` may not be connected to, or None if it may.

    An address that carries another (NAT64, 6to4, Teredo …) is listed itself, and what it carries must be allowed too. Of a
    local NAT64 prefix it is unknown where it carries one (RFC 8215), and leading to private addresses is what it is for:
    there only metadata addresses are looked for, at each place.
    """
    address = plain(address)
    found = classify(address)
    if found in NEVER:
        return found
    inner = embedded(address)
    if any(classify(one) is AddressClass.METADATA for one in inner):
        return AddressClass.METADATA
    if found is not AddressClass.PUBLIC and not private.lists(host, address):
        return found
    if found is AddressClass.LOCAL_NAT64:
        return None
    return next((denied for one in inner if (denied := refusal(host, one, private)) is not None), None)


def refused(host: str, addresses: Iterable[IPAddress], private: Private) -> AddressClass | None:
    """The class of the first address that may not be connected to. One is enough: an answer that mixes public and private
    addresses is an attack or a mistake, and which of them a client would take is chance."""
    return next((denied for one in addresses if (denied := refusal(host, one, private)) is not None), None)
