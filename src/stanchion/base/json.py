"""The one JSON codec: storage bytes, canonical bytes (RFC 8785 by construction) and digests."""

from __future__ import annotations

import hashlib
from typing import cast

import orjson

from stanchion.base.errors import Invalid

# What a JSON document is in Python. `object` where it goes in, this alias where it comes out.
Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None


def dumps(value: object) -> bytes:
    """Encode `value` as compact UTF-8 JSON. Raises Invalid `json.unencodable`, naming the reason."""
    try:
        return orjson.dumps(value, option=orjson.OPT_UTC_Z)
    except TypeError as error:
        raise Invalid("json.unencodable", f"The value cannot be written as JSON: {error}.") from error


def loads(data: bytes | str | bytearray | memoryview) -> Json:
    """Decode JSON. Raises Invalid `json.malformed` with the position."""
    try:
        return cast("Json", orjson.loads(data))
    except orjson.JSONDecodeError as error:
        raise Invalid("json.malformed", f"This is not JSON: {error}.") from error


def canonical(value: object) -> bytes:
    """Encode with sorted keys. Equal to RFC 8785 for ASCII keys and no floats (held by a property test)."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z)
    except TypeError as error:
        raise Invalid("json.unencodable", f"The value cannot be written as JSON: {error}.") from error


def digest(value: object) -> str:
    """The content address of a JSON value: `sha256:` and 64 hex digits over its canonical bytes."""
    return digest_bytes(canonical(value))


def digest_bytes(data: bytes) -> str:
    """The content address of bytes: `sha256:` and 64 hex digits."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def raw(data: bytes) -> object:
    """Bytes that are JSON already, to be embedded by `dumps` as they are (no second encoding)."""
    return orjson.Fragment(data)
