"""The section `egress` of a connector's document, and what of its addresses is refused at publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

from stanchion.base import Json
from stanchion.blueprints import ConfigIssue, Schema
from stanchion.tools.egress.addresses import NEVER, AddressClass, IPAddress, address_of, classify
from stanchion.tools.egress.hosts import endpoint_of, host_of, is_local_name, origin_of
from stanchion.tools.egress.policy import MAX_BYTES_MAX
from stanchion.tools.egress.rules import Private, private_of, refusal

_HOST: Json = {"type": "string", "minLength": 1, "maxLength": 260}
EGRESS_SCHEMA: Final[Schema] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "hosts": {"type": "array", "maxItems": 50, "items": _HOST},
        "private": {"type": "array", "maxItems": 50, "items": _HOST},
        "proxy": {"type": "string", "pattern": "^https?://", "maxLength": 1000},
        "ca_file": {"type": "string", "minLength": 1, "maxLength": 500},
        "max_bytes": {"type": "integer", "minimum": 1024, "maximum": MAX_BYTES_MAX},
    },
}
# Where documents name a host by URL.
_URLS: Final = ("/base_url", "/url", "/store/endpoint", "/auth/oauth2/token_url", "/egress/proxy")


def check_egress(body: Mapping[str, Json]) -> Iterator[ConfigIssue]:
    """Complaints about the section, and about every host of the document that is private by its spelling and not listed.
    What is there fits the schema; anything may be missing."""
    section = cast("Mapping[str, Json]", body.get("egress") or {})
    hosts, private = (cast("list[Json]", section.get(name) or []) for name in ("hosts", "private"))
    yield from _wrong("hosts", hosts, lambda text: endpoint_of(text, 443))
    yield from _wrong("private", private, lambda text: private_of([text]))
    listed = _listed(private)
    for pointer, host in _hosts(body, hosts):
        if host is not None:
            yield from _check_host(pointer, host, listed, bool(private))
    for pointer in _URLS[1:]:  # `base_url` is its adapter's to check
        if isinstance(text := _at(body, pointer), str):
            yield from _check_url(pointer, text)


def _wrong(name: str, entries: list[Json], read: Callable[[str], object]) -> Iterator[ConfigIssue]:
    for number, entry in enumerate(entries):
        try:
            read(str(entry))
        except ValueError as error:
            yield ConfigIssue(
                pointer=f"/egress/{name}/{number}", code="connector.bad_egress", message=f"{entry!r} {error}."
            )


def _listed(entries: list[Json]) -> Private:
    right: list[str] = []
    for entry in entries:
        try:
            private_of([str(entry)])
        except ValueError:
            continue
        right.append(str(entry))
    return private_of(right)


def _hosts(body: Mapping[str, Json], hosts: list[Json]) -> Iterator[tuple[str, str | None]]:
    """Every host of the document with its place; None where it is no host, which is said elsewhere."""
    for pointer in _URLS:
        if isinstance(text := _at(body, pointer), str):
            yield pointer, _or_none(lambda text=text: origin_of(text)[1].host)
    if isinstance(text := body.get("host"), str):
        yield "/host", _or_none(lambda text=text: host_of(text))
    for number, entry in enumerate(hosts):
        yield f"/egress/hosts/{number}", _or_none(lambda entry=entry: endpoint_of(str(entry), 443).host)


def _or_none(read: Callable[[], str]) -> str | None:
    try:
        return read()
    except ValueError:
        return None


def _check_url(pointer: str, text: str) -> Iterator[ConfigIssue]:
    try:
        origin_of(text)
    except ValueError as error:
        yield ConfigIssue(pointer=pointer, code="connector.bad_egress", message=f"The URL {error}.")


def _check_host(pointer: str, host: str, private: Private, has_list: bool) -> Iterator[ConfigIssue]:
    found = _denied(host, private)
    if found is None:
        return
    if found in NEVER:
        yield ConfigIssue(
            pointer=pointer,
            code="connector.private_host",
            message=f"{host!r} is of the class {found}, which no connector reaches.",
        )
        return
    hint = f"Add {host} to `egress.private`." if has_list else f"Add the line: egress: {{private: [{quoted(host)}]}}"
    yield ConfigIssue(
        pointer=pointer,
        code="connector.private_host",
        message=f"{host!r} is of the class {found}, which a connector reaches only if it lists it.",
        hint=hint,
    )


def _denied(host: str, private: Private) -> AddressClass | None:
    address: IPAddress | None = address_of(host)
    if address is not None:
        denied = refusal(host, address, private)
        return denied if denied is None or classify(address) not in NEVER else classify(address)
    return AddressClass.LOOPBACK if is_local_name(host) and host not in private.hosts else None


def quoted(host: str) -> str:
    """The host as YAML reads it as a text."""
    return f'"{host}"' if ":" in host else host


def _at(body: Mapping[str, Json], pointer: str) -> Json:
    value: Json = dict(body)
    for name in pointer.split("/")[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value
