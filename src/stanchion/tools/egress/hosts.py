r"""How a host may be spelt: one way. Every other spelling is normalised if that is harmless, or refused. Pure.

`2130706433`, `0x7f.1` and `127.1` are 127.0.0.1 to a C library and a name to others; `１２７.０.０.１` becomes it under
Unicode normalisation; `a@b`, `a\@b`, `a%40b` are read differently by different parsers. What two readers might take
differently is refused, so that what was checked is what is called.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from yarl import URL

from stanchion.tools.egress.addresses import address_of, plain

PORTS: Final = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(\[[^\[\]@]*\]|[^:\[\]@]*)(?::([0-9]{1,5}))?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_HOST_MAX = 253
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A host, in its one spelling, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def host_of(text: str) -> str:
    """The host in its one spelling: lower case without a final dot, or an address in canonical form without brackets.

    Raises ValueError with what is wrong, to follow "the host …".
    """
    if not text.isascii():
        raise ValueError(f"is not written in ASCII{_idna_hint(text)}")
    bracketed = text.startswith("[") and text.endswith("]")
    inner = text[1:-1] if bracketed else text
    if bracketed or ":" in inner:
        return _ipv6(inner)
    name = inner.lower().removesuffix(".")
    if any(ord(character) <= 0x20 or character in "\x7f%@\\/?#[]" for character in name):
        raise ValueError("holds a character that no host has")
    if not name or len(name) > _HOST_MAX:
        raise ValueError(f"is empty or longer than {_HOST_MAX} characters")
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return _ipv4(name)
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("is no host name: labels of letters, digits and dashes, with single dots between them")
    return name


def _ipv6(inner: str) -> str:
    if "%" in inner:
        raise ValueError("has a zone, which names an interface of this machine")
    found = address_of(inner)
    if not isinstance(found, IPv6Address):
        raise ValueError("is no IPv6 address")  # noqa: TRY004 - the text is of no other type
    return str(plain(found))


def _ipv4(name: str) -> str:
    found = address_of(name)
    if isinstance(found, IPv4Address):
        return str(found)
    meant = _odd_ipv4(name)
    raise ValueError(f"is an odd spelling of {meant}" if meant else "ends in a number and is no IPv4 address")


def _odd_ipv4(name: str) -> IPv4Address | None:
    """What a C library reads: one to four parts, decimal, octal or hexadecimal, the last filling the rest."""
    parts: list[int] = []
    for part in name.split("."):
        base = 16 if part.startswith("0x") else 8 if len(part) > 1 and part.startswith("0") else 10
        try:
            parts.append(int(part.removeprefix("0x") or "0", base) if _NUMBER.fullmatch(part) else -1)
        except ValueError:
            return None
    if not 1 <= len(parts) <= 4 or any(part < 0 for part in parts) or any(part > 255 for part in parts[:-1]):
        return None
    *first, last = parts
    value = sum(part << 8 * (3 - n) for n, part in enumerate(first)) + last
    return IPv4Address(value) if last < 256 ** (4 - len(first)) else None


def _idna_hint(text: str) -> str:
    """The ASCII form to write instead, where there is one that is a name."""
    try:
        found = host_of(URL.build(scheme="https", host=text).raw_host or "")
    except (ValueError, UnicodeError):
        return ""
    return "" if address_of(found) else f"; write {found}"


def endpoint_of(text: str, port: int) -> Endpoint:
    """An endpoint from `host`, `host:port`, an address, or `[address]:port`. Raises ValueError."""
    if address_of(text) is not None:
        return Endpoint(host_of(text), port)
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise ValueError("is neither host nor host:port")
    return Endpoint(host_of(match[1]), _port(match[2], port))


def origin_of(url: str) -> tuple[str, Endpoint]:
    """Scheme and endpoint of an absolute http(s) URL. Raises ValueError, with what is wrong to follow "the URL …".

    The URL is read here and by the client's parser; where they differ it is refused.
    """
    if "\\" in url or any(ord(character) <= 0x20 or ord(character) == 0x7F for character in url):
        raise ValueError("holds a space, a control character or a backslash")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("is not an absolute http or https URL")
    scheme, authority = match[1].lower(), match[2]
    if "@" in authority:
        raise ValueError("holds a user or password, or an @ before its path")
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        raise ValueError("has a host that is no host or a port that is no port")
    endpoint = Endpoint(host_of(parts[1]), _port(parts[2], PORTS[scheme]))
    try:
        read = URL(url)
        same = (read.scheme, read.port, read.user, host_of(read.raw_host or "")) == (
            scheme,
            endpoint.port,
            None,
            endpoint.host,
        )
    except ValueError:
        same = False
    if not same:
        raise ValueError("is read differently by different parsers")
    return scheme, endpoint


def _port(text: str | None, default: int) -> int:
    port = default if text is None else int(text)
    if not 0 < port <= _PORT_MAX:
        raise ValueError("has a port that is not from 1 to 65535")
    return port


def is_local_name(host: str) -> bool:
    """Whether the name means this machine wherever it is asked (RFC 6761 §6.3, and what Linux hosts files say)."""
    labels = host.split(".")
    return labels[-1] in {"localhost", "localdomain"} or host in {"ip6-localhost", "ip6-loopback"}
