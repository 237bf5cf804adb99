"""Making and checking signatures; see the package. Rules and forms: Standard Webhooks 1.0.0, "Signature scheme"."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
# How far the sender's clock, or the way, may be off, in seconds, in both directions: what the reference libraries use.
TOLERANCE_S: Final = 300
_PREFIX: Final = "whsec_"
# The specification's bounds of a secret, before base64.
_SECRET_BYTES: Final = (24, 64)
_ID: Final = re.compile(r"[!-~]{1,256}")
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")
# A sender has few secrets in force at once; more signatures would only be work for whoever verifies.
_SIGNATURES_MAX: Final = 16


class BadWebhook(Exception):  # noqa: N818 - becomes a Problem where a request is known
    """A message that is not to be believed. `reason`: `missing_header`, `bad_header`, `too_old`, `too_new` or
    `no_match`. The text quotes neither body nor signature."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """A message whose signature holds. `id`: the sender's name of it, the same when it is sent again; `sent_at_s`: when
    this attempt was signed; `secret`: the place in the list of the secret that it was signed with, from 0."""

    id: str
    sent_at_s: int
    secret: int


def secret_bytes(text: str) -> bytes:
    """The key of `whsec_…`: base64 behind the prefix, 24 to 64 bytes. Raises ValueError, without the secret."""
    if not text.startswith(_PREFIX):
        raise ValueError("does not begin with whsec_")
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64 behind whsec_") from None
    least, most = _SECRET_BYTES
    if not least <= len(key) <= most:
        raise ValueError(f"has {len(key)} bytes; {least} to {most} are secure and allowed")
    return key


def sign(secrets: Sequence[str], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a message. Several secrets give several signatures: while one is rotated, whoever knows
    either can verify.

    Raises ValueError for a secret that is none, no secret at all, or an id that no header can carry.
    """
    if not secrets:
        raise ValueError("has no secret to sign with")
    # The signed text has points between its parts, so an id with one could be read as another id and time.
    if not _ID.fullmatch(message_id) or "." in message_id:
        raise ValueError("has an id that is not 1 to 256 printable characters without a point")
    signatures = [_signature(secret_bytes(secret), message_id, timestamp_s, body) for secret in secrets]
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp_s),
        SIGNATURE_HEADER: " ".join(f"v1,{signature}" for signature in signatures),
    }


def _signature(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp_s}.".encode() + body
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now_s: float, tolerance_s: float = TOLERANCE_S
) -> Verified:
    """The message that these headers and this body are, if one of `secrets` signed it.

    Args:
        secrets: `whsec_…`, those in force; every one is tried, in constant time.
        headers: of the request; names in any case. A header that came twice must not be in it joined.
        body: exactly the bytes received.
        now_s: seconds since 1970.
        tolerance_s: how old, and how far in the future, the timestamp may be.

    Raises BadWebhook; ValueError for a secret that is none.
    """
    found = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER) if not found.get(name)]
    if missing:
        raise BadWebhook("missing_header", f"The header {missing[0]} is missing.")
    message_id, stamp = found[ID_HEADER], found[TIMESTAMP_HEADER].strip()
    if not _ID.fullmatch(message_id) or "." in message_id:
        raise BadWebhook("bad_header", f"The header {ID_HEADER} is no id of a message.")
    if not _TIMESTAMP.fullmatch(stamp):
        raise BadWebhook("bad_header", f"The header {TIMESTAMP_HEADER} is no number of seconds.")
    sent_at_s = int(stamp)
    # The signature first: whoever cannot sign learns nothing of our clock.
    place = _matching(secrets, found[SIGNATURE_HEADER], message_id, sent_at_s, body)
    if now_s - sent_at_s > tolerance_s:
        raise BadWebhook("too_old", f"The message is older than {tolerance_s:g} s.")
    if sent_at_s - now_s > tolerance_s:
        raise BadWebhook("too_new", f"The message is dated more than {tolerance_s:g} s ahead.")
    return Verified(id=message_id, sent_at_s=sent_at_s, secret=place)


def _matching(secrets: Sequence[str], header: str, message_id: str, sent_at_s: int, body: bytes) -> int:
    """The place of the secret that made one of the signatures. Looks at every pair, whatever it finds."""
    said = header.split()
    if len(said) > _SIGNATURES_MAX:
        raise BadWebhook("bad_header", f"The header {SIGNATURE_HEADER} has more than {_SIGNATURES_MAX} signatures.")
    # Other versions (v1a is asymmetric) stand beside ours in a header and are passed over.
    given = [signature.encode() for version, _, signature in (part.partition(",") for part in said) if version == "v1"]
    place = -1
    for number, secret in enumerate(secrets):
        wanted = _signature(secret_bytes(secret), message_id, sent_at_s, body).encode()
        for signature in given:
            if hmac.compare_digest(wanted, signature) and place < 0:
                place = number
    if place < 0:
        raise BadWebhook("no_match", "No signature of the message was made with a secret that is known here.")
    return place
