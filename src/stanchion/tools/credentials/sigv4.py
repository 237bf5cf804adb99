"""AWS Signature Version 4: the Authorization header of a request. Pure.

Written from Amazon's description of the signing process ("Create a signed AWS API request", IAM user guide) and held to
the signatures of its published test suite.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote

from yarl import URL

_ALGORITHM = "AWS4-HMAC-SHA256"
# What the process leaves unencoded, in paths also the slash.
_UNRESERVED = "-_.~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """Who signs, and for which service in which region."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    region: str
    service: str

    def __repr__(self) -> str:
        return f"Key({self.region}, {self.service})"


def signed(key: Key, method: str, url: URL, headers: Mapping[str, str], body: bytes, at: datetime) -> Mapping[str, str]:
    """The headers to add to the request: date, token, digest of the body where the service wants it, Authorization.

    Args:
        key: who signs.
        method: in capitals.
        url: as it goes out, already encoded.
        headers: those that are signed beside `host`; each must go out exactly so.
        body: its bytes, empty for none.
        at: now, in UTC.
    """
    stamp = at.strftime("%Y%m%dT%H%M%SZ")
    added = {"X-Amz-Date": stamp}
    if key.session_token is not None:
        added["X-Amz-Security-Token"] = key.session_token
    payload = hashlib.sha256(body).hexdigest()
    if key.service == "s3":
        added["X-Amz-Content-Sha256"] = payload
    named = {name.lower(): _trimmed(value) for name, value in {**headers, **added}.items()}
    named["host"] = host_of(url)
    names = ";".join(sorted(named))
    canonical = "\n".join(
        [
            method,
            _path(url.raw_path, key.service),
            _query(url.raw_query_string),
            *(f"{name}:{named[name]}" for name in sorted(named)),
            "",
            names,
            payload,
        ]
    )
    scope = f"{stamp[:8]}/{key.region}/{key.service}/aws4_request"
    to_sign = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(_signing_key(key, stamp[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
    added["Authorization"] = (
        f"{_ALGORITHM} Credential={key.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return added


def signature_of(headers: Mapping[str, str]) -> str:
    """The signature in the headers that `signed` gave."""
    return headers["Authorization"].rpartition("Signature=")[2]


def host_of(url: URL) -> str:
    """The Host header as the client sends it: the port only where it is not the scheme's own."""
    host = url.host_subcomponent or ""
    return host if url.is_default_port() or url.port is None else f"{host}:{url.port}"


def _path(path: str, service: str) -> str:
    """S3 names objects by their exact path; every other service has it encoded once more, without dot segments."""
    path = path or "/"
    if service == "s3":
        return path
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in {"", "."}:
            kept.append(part)
    end = "/" if kept and path.endswith("/") else ""
    return quote("/" + "/".join(kept) + end, safe="/" + _UNRESERVED)


def _query(text: str) -> str:
    pairs: list[tuple[str, str]] = []
    for part in text.split("&") if text else []:
        name, _, value = part.partition("=")
        pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    return quote(unquote(text.replace("+", " ")), safe=_UNRESERVED)


def _trimmed(value: str) -> str:
    return re.sub(r" +", " ", value.strip())


def _signing_key(key: Key, day: str) -> bytes:
    made = f"AWS4{key.secret_access_key}".encode()
    for part in (day, key.region, key.service, "aws4_request"):
        made = hmac.new(made, part.encode(), hashlib.sha256).digest()
    return made
