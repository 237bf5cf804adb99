"""What an IP address is, and which IPv4 addresses hide in an IPv6 one. Pure.

Sources: the IANA special-purpose registries for IPv4 and IPv6 (RFC 6890, read 2025-10), RFC 6052 and 8215 (NAT64), RFC 3056
(6to4), RFC 4380 (Teredo), RFC 5214 (ISATAP), RFC 4291 §2.5.5 and RFC 2765 (addresses that carry an IPv4 one).
`ipaddress.is_global` is not used: in Python 3.11 it is true of `64:ff9b::7f00:1` and `2002:7f00:1::`.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


class AddressClass(StrEnum):
    """What an address is. The value is the word that messages use."""

    PUBLIC = "public"
    METADATA = "cloud metadata"
    MULTICAST = "multicast"
    BROADCAST = "broadcast"
    UNSPECIFIED = "unspecified"
    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    UNIQUE_LOCAL = "unique-local"
    SHARED = "carrier-shared"
    DOCUMENTATION = "documentation"
    BENCHMARKING = "benchmarking"
    PROTOCOL = "protocol assignment"
    RESERVED = "reserved"
    COMPATIBLE = "IPv4-compatible"
    TRANSLATED = "IPv4-translated"
    NAT64 = "NAT64"
    LOCAL_NAT64 = "local NAT64"
    SIX_TO_FOUR = "6to4"
    TEREDO = "Teredo"
    ISATAP = "ISATAP"


# No connector reaches these, whatever it lists.
NEVER: Final = frozenset(
    {AddressClass.METADATA, AddressClass.MULTICAST, AddressClass.BROADCAST, AddressClass.UNSPECIFIED}
)
# Where clouds hand out credentials or configuration to whoever asks from the machine: AWS (instance, ECS task, EKS pod),
# GCP, Azure, OpenStack, Oracle, DigitalOcean and others at 169.254.169.254; Azure's wire server, which looks public; Alibaba,
# Tencent, Scaleway, Oracle Classic; and their IPv6 forms.
_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "168.63.129.16",
        "100.100.100.200",
        "169.254.0.23",
        "169.254.42.42",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
        "fd00:42::42",
        "fe80::a9fe:a9fe",
    )
)
_BLOCKS_4: Final = tuple(
    (IPv4Network(text), found)
    for text, found in (
        ("0.0.0.0/8", AddressClass.UNSPECIFIED),
        ("10.0.0.0/8", AddressClass.PRIVATE),
        ("100.64.0.0/10", AddressClass.SHARED),
        ("127.0.0.0/8", AddressClass.LOOPBACK),
        ("169.254.0.0/16", AddressClass.LINK_LOCAL),
        ("172.16.0.0/12", AddressClass.PRIVATE),
        ("192.0.0.0/24", AddressClass.PROTOCOL),
        ("192.0.2.0/24", AddressClass.DOCUMENTATION),
        ("192.88.99.0/24", AddressClass.SIX_TO_FOUR),
        ("192.168.0.0/16", AddressClass.PRIVATE),
        ("198.18.0.0/15", AddressClass.BENCHMARKING),
        ("198.51.100.0/24", AddressClass.DOCUMENTATION),
        ("203.0.113.0/24", AddressClass.DOCUMENTATION),
        ("224.0.0.0/4", AddressClass.MULTICAST),
        ("255.255.255.255/32", AddressClass.BROADCAST),
        ("240.0.0.0/4", AddressClass.RESERVED),
    )
)
# The first that holds an address says what it is. What is outside 2000::/3 and in none of them is reserved.
_BLOCKS_6: Final = tuple(
    (IPv6Network(text), found)
    for text, found in (
        ("::/128", AddressClass.UNSPECIFIED),
        ("::1/128", AddressClass.LOOPBACK),
        ("::/96", AddressClass.COMPATIBLE),
        ("::ffff:0:0:0/96", AddressClass.TRANSLATED),
        ("64:ff9b::/96", AddressClass.NAT64),
        ("64:ff9b:1::/48", AddressClass.LOCAL_NAT64),
        ("2001::/32", AddressClass.TEREDO),
        ("2001:2::/48", AddressClass.BENCHMARKING),
        ("2001::/23", AddressClass.PROTOCOL),
        ("2001:db8::/32", AddressClass.DOCUMENTATION),
        ("2002::/16", AddressClass.SIX_TO_FOUR),
        ("3fff::/20", AddressClass.DOCUMENTATION),
        ("fc00::/7", AddressClass.UNIQUE_LOCAL),
        ("fe80::/10", AddressClass.LINK_LOCAL),
        ("fec0::/10", AddressClass.PRIVATE),
        ("ff00::/8", AddressClass.MULTICAST),
    )
)
_GLOBAL_6: Final = IPv6Network("2000::/3")
# The upper half of an interface identifier that ISATAP makes, with and without the universal bit.
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})
_LAST_32: Final = 0xFFFF_FFFF


def plain(address: IPAddress) -> IPAddress:
    """The address that a packet goes to: an IPv4-mapped one (`::ffff:a.b.c.d`) is its IPv4 address."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def classify(address: IPAddress) -> AddressClass:
    """What the address is, by itself. See `embedded` for what it may carry."""
    address = plain(address)
    if address in _METADATA:
        return AddressClass.METADATA
    if isinstance(address, IPv4Address):
        return next((found for block, found in _BLOCKS_4 if address in block), AddressClass.PUBLIC)
    for block, found in _BLOCKS_6:
        if address in block:
            return found
    if _isatap(address):
        return AddressClass.ISATAP
    return AddressClass.PUBLIC if address in _GLOBAL_6 else AddressClass.RESERVED


def embedded(address: IPAddress) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses at which a packet to this IPv6 address may come out, by what its prefix means."""
    address = plain(address)
    if isinstance(address, IPv4Address):
        return ()
    found, value = classify(address), int(address)
    inner: list[int] = [value & _LAST_32] if _isatap(address) else []
    if found in {AddressClass.COMPATIBLE, AddressClass.TRANSLATED, AddressClass.NAT64}:
        inner = [value & _LAST_32]
    elif found is AddressClass.LOCAL_NAT64:
        inner += _rfc6052(value)
    elif found is AddressClass.SIX_TO_FOUR:
        inner.append(value >> 80 & _LAST_32)
    elif found is AddressClass.TEREDO:
        # The server in the clear, the client inverted.
        inner += [value >> 64 & _LAST_32, ~value & _LAST_32]
    return tuple(IPv4Address(one) for one in dict.fromkeys(inner))


def _isatap(address: IPv6Address) -> bool:
    return int(address) >> 32 & _LAST_32 in _ISATAP


def _rfc6052(value: int) -> list[int]:
    """Where a prefix of 48, 56, 64 or 96 bits leaves the IPv4 address: around the octet of bits 64 to 71 (RFC 6052 §2.2)."""
    without = (value >> 64) << 56 | value & (1 << 56) - 1
    return [without >> 40 & _LAST_32, without >> 32 & _LAST_32, without >> 24 & _LAST_32, value & _LAST_32]


def address_of(text: str) -> IPAddress | None:
    """The address that `text` says in its plain form, or None. A zone id is not part of an address."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def block_of(network: IPNetwork) -> AddressClass | None:
    """The class that the whole network lies in, or None if it reaches into public space or into several."""
    if isinstance(network, IPv4Network):
        return next((found for block, found in _BLOCKS_4 if network.subnet_of(block)), None)
    return next((found for block, found in _BLOCKS_6 if network.subnet_of(block)), None)
