"""What is public and what is not, what hides in what, and how a host may be spelt."""

# ruff: noqa: S104 - 0.0.0.0 is an address to refuse here

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stanchion.tools.egress.addresses import AddressClass, address_of, block_of, classify, embedded, plain
from stanchion.tools.egress.hosts import endpoint_of, host_of, is_local_name, origin_of
from stanchion.tools.egress.rules import Private, private_of, refusal, refused

NOBODY = Private()
V4 = st.integers(0, 2**32 - 1).map(IPv4Address)
DENIED_V4 = V4.filter(lambda address: classify(address) is not AddressClass.PUBLIC)


@given(st.one_of(V4, st.integers(0, 2**128 - 1).map(IPv6Address)))
def test_what_python_says_is_not_global_is_never_public(address: IPv4Address | IPv6Address) -> None:
    if not plain(address).is_global:
        assert classify(address) is not AddressClass.PUBLIC


@given(
    st.sampled_from(
        [
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ]
    ),
    st.integers(0, 2**32 - 1),
)
def test_nothing_of_a_special_block_is_public(block: str, bits: int) -> None:
    from ipaddress import IPv4Network

    network = IPv4Network(block)
    address = network[bits % network.num_addresses]
    assert classify(address) is not AddressClass.PUBLIC
    assert refusal("a.example", address, NOBODY) is not None


def carriers(address: IPv4Address) -> list[IPv6Address]:
    """Every IPv6 address that carries this IPv4 one."""
    text, value = str(address), int(address)
    hexa = f"{value:08x}"
    high, low = hexa[:4], hexa[4:]
    inverted = f"{~value & 0xFFFFFFFF:08x}"
    return [
        IPv6Address(one)
        for one in (
            f"::ffff:{text}",
            f"::ffff:0:{text}",
            f"64:ff9b::{text}",
            f"2002:{high}:{low}::1",
            f"2001:0:808:808:0:0:{inverted[:4]}:{inverted[4:]}",
            f"2001:0:{high}:{low}::",
            f"2606:4700::5efe:{high}:{low}",
            f"2606:4700:0:0:200:5efe:{high}:{low}",
        )
    ]


@given(DENIED_V4)
def test_what_carries_a_denied_address_is_denied_and_stays_so_where_only_the_carrier_is_listed(v4: IPv4Address) -> None:
    for carrier in carriers(v4):
        assert refusal("a.example", carrier, NOBODY) is not None, carrier
        if plain(carrier) == carrier:
            assert v4 in embedded(carrier)
            listed = Private(networks=frozenset({*private_of([str(carrier)]).networks}))
            if classify(carrier) is AddressClass.ISATAP or classify(v4) is not AddressClass.PUBLIC:
                assert refusal("a.example", carrier, listed) is not None, carrier


@given(V4.filter(lambda address: classify(address) is AddressClass.PUBLIC))
def test_what_carries_a_public_address_is_reached_where_it_is_listed(v4: IPv4Address) -> None:
    assert refusal("a.example", IPv6Address(f"::ffff:{v4}"), NOBODY) is None
    nat64 = IPv6Address(f"64:ff9b::{v4}")
    assert refusal("a.example", nat64, NOBODY) is AddressClass.NAT64
    assert refusal("a.example", nat64, private_of(["64:ff9b::/96"])) is None


@pytest.mark.parametrize("bits", [48, 56, 64, 96])
def test_a_local_nat64_prefix_is_looked_into_at_each_place(bits: int) -> None:
    # RFC 6052 §2.2: the address goes around the octet of bits 64 to 71.
    value, v4 = int(IPv6Address("64:ff9b:1::")), int(IPv4Address("169.254.169.254"))
    if bits == 96:
        value |= v4
    else:
        before = 64 - bits
        left = v4 >> (32 - before) if before else 0
        value |= left << 64 | (v4 & (1 << 32 - before) - 1) << (56 - (32 - before))
    listed = private_of(["64:ff9b:1::/48"])
    assert IPv4Address("169.254.169.254") in embedded(IPv6Address(value))
    assert refusal("a.example", IPv6Address(value), listed) is AddressClass.METADATA
    # Leading to private addresses is what the prefix is for (RFC 8215).
    assert refusal("a.example", IPv6Address("64:ff9b:1::10.0.0.1"), listed) is None


def test_one_bad_address_among_good_ones_refuses_all() -> None:
    good = [ip_address("93.184.216.34"), ip_address("2606:4700::1111")]
    assert refused("a.example", good, NOBODY) is None
    for bad in ("127.0.0.1", "fd00::1", "169.254.169.254"):
        for place in range(3):
            mixed = [*good[:place], ip_address(bad), *good[place:]]
            assert refused("a.example", mixed, NOBODY) is classify(ip_address(bad))


def test_a_list_approves_what_it_says_and_no_more() -> None:
    private = private_of(["10.1.0.0/16", "127.0.0.1", "ERP.internal.", "fd12::/32", "[::1]"])
    for approved in ("10.1.2.3", "127.0.0.1", "fd12::9", "::1", "::ffff:10.1.2.3"):
        assert refusal("x.example", ip_address(approved), private) is None, approved
    for denied in ("10.2.0.1", "127.0.0.2", "fd13::1", "192.168.0.1", "2002:a01:203::"):
        assert refusal("x.example", ip_address(denied), private) is not None, denied
    for approved in ("192.168.0.1", "127.9.9.9", "fe80::1", "2002:a01:203::"):
        assert refusal("erp.internal", ip_address(approved), private) is None, approved
    for never in ("169.254.169.254", "0.0.0.0", "224.0.0.1", "255.255.255.255", "fd00:ec2::254", "2002:a9fe:a9fe::"):
        assert refusal("erp.internal", ip_address(never), private) is not None, never


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("0.0.0.0/0", "public"),
        ("::/0", "public"),
        ("8.8.8.8", "public"),
        ("2000::/3", "public"),
        ("127.0.0.0/7", "bits behind"),
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("169.254.169.254", "never"),
        ("fd00:ec2::254", "never"),
        ("::ffff:169.254.169.254", "never"),
        ("168.63.129.16/32", "never"),
        ("224.0.0.0/4", "never"),
        ("0.0.0.0", "never"),
        ("10.0.0.0/33", "no network"),
        ("a/b", "no network"),
        ("127.1", "odd spelling of 127.0.0.1"),
        ("fe80::1%eth0", "zone"),
        ("http://a", "no network"),
        ("a:1", "no IPv6"),
        ("*.internal", "no host name"),
        ("", "empty"),
    ],
)
def test_an_entry_that_lists_too_much_or_nothing_is_refused(entry: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("*", r"\*")):
        private_of([entry])


def test_blocks() -> None:
    from ipaddress import ip_network

    assert block_of(ip_network("10.0.0.0/8")) is AddressClass.PRIVATE
    assert block_of(ip_network("10.0.0.0/7")) is None
    assert block_of(ip_network("2002:a00::/24")) is AddressClass.SIX_TO_FOUR
    assert block_of(ip_network("2600::/16")) is None


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Registry.Example", "registry.example"),
        ("registry.example.", "registry.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("a_b.internal", "a_b.internal"),
        ("db", "db"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("[2606:4700:0:0::1111]", "2606:4700::1111"),
        ("2606:4700::1111", "2606:4700::1111"),
        ("[::FFFF:7f00:1]", "127.0.0.1"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("0x7f.example", "0x7f.example"),
    ],
)
def test_a_harmless_spelling_is_normalised(text: str, host: str) -> None:
    assert host_of(text) == host
    assert host_of(host) == host


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0x7f.1", "odd spelling of 127.0.0.1"),
        ("2852039166", "odd spelling of 169.254.169.254"),
        ("0251.0376.0251.0376", "odd spelling of 169.254.169.254"),
        ("08.1", "no IPv4"),
        ("bücher.example", "write xn--bcher-kva.example"),
        ("１２７.0.0.1", "ASCII$"),
        ("fe80::1%lo", "zone"),
        ("a" * 64 + ".example", "labels"),
        (".".join(["a" * 60] * 5), "longer than 253"),
    ],
)
def test_what_is_refused_says_what_was_meant(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        host_of(text)


@given(st.text(alphabet="0123456789abcdefxX.", min_size=1, max_size=24))
def test_no_spelling_that_the_c_library_takes_for_an_address_is_taken_for_a_name(text: str) -> None:
    try:
        meant = socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        return
    try:
        assert host_of(text) == meant
    except ValueError:
        return


@given(st.text(max_size=40))
def test_hosts_are_stable_and_never_break(text: str) -> None:
    try:
        host = host_of(text)
    except ValueError:
        return
    assert host_of(host) == host
    assert host.isascii()
    assert host == host.lower()


def test_origins() -> None:
    assert origin_of("HTTPS://Registry.Example/Api?x=http://y@z")[1] == endpoint_of("registry.example", 443)
    assert origin_of("http://[::1]:8080")[1] == endpoint_of("[::1]:8080", 1)
    assert origin_of("http://a.example:080/")[1].port == 80
    assert str(endpoint_of("::1", 7)) == "[::1]:7"
    assert str(endpoint_of("a:9", 7)) == "a:9"
    with pytest.raises(ValueError, match="host:port"):
        endpoint_of("a:b:c", 1)


def test_names_of_this_machine() -> None:
    assert all(is_local_name(name) for name in ("localhost", "a.localhost", "localhost.localdomain", "ip6-loopback"))
    assert not any(is_local_name(name) for name in ("localhost.example", "mylocalhost", "a.example"))


def test_a_zone_is_no_part_of_an_address() -> None:
    assert address_of("fe80::1%eth0") is None
    assert address_of("x") is None
