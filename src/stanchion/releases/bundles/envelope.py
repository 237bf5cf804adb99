"""The file of a bundle: a DSSE envelope (secure-systems-lab/dsse, version 1.0) around the payload, in one form.

An envelope signs the payload's bytes, so the signature is checked before anything of the payload is parsed, and nothing
depends on how somebody else would write the same JSON. DSSE leaves the envelope's own spelling open; here it has one:
sorted keys, no white space, one signature, a line feed at the end. So the whole file is held to one regular
expression, no parser meets bytes of a stranger, and there is no byte in it that could be changed unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from stanchion.base import Denied, Invalid, canonical
from stanchion.releases.bundles.keys import PublicKey, SigningKey
from stanchion.releases.bundles.types import FILE_BYTES_MAX

PAYLOAD_TYPE: Final = "application/vnd.stanchion.release-bundle.v1+json"
_FAMILY: Final = "application/vnd.stanchion.release-bundle."
_FORM: Final = re.compile(
    rb'\{"payload":"(?P<payload>[A-Za-z0-9+/]*={0,2})","payloadType":"(?P<type>[a-z0-9./+-]{1,200})",'
    rb'"signatures":\[\{"keyid":"(?P<key>sha256:[0-9a-f]{64})","sig":"(?P<signature>[A-Za-z0-9+/]{86}==)"\}\]\}\n'
)
_HEAD: Final = b'{"payload":"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A file that has the form of a bundle. Nothing is known of it but whose signature it claims."""

    payload: bytes
    fingerprint: str
    signature: bytes


def _authenticated(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of the type and the payload."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload: bytes, key: SigningKey) -> bytes:
    """The file of a payload. The same payload and key give the same bytes. Raises Invalid `bundle.too_large`."""
    signature = base64.b64encode(key.sign(_authenticated(payload))).decode()
    data = canonical(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": key.public.fingerprint, "sig": signature}],
        }
    )
    _check_size(len(data) + 1)
    return data + b"\n"


def open_file(data: bytes) -> Envelope:
    """Take a file apart, without believing any of it.

    Raises Invalid `bundle.too_large`, `bundle.malformed`, `bundle.unknown_format`.
    """
    _check_size(len(data))
    found = _FORM.fullmatch(data)
    if found is None:
        raise _malformed(_why(data))
    kind = found["type"].decode()
    if kind != PAYLOAD_TYPE:
        ours = kind.startswith(_FAMILY)
        raise Invalid(
            "bundle.unknown_format",
            f"The file is of the type {kind}; this Stanchion reads {PAYLOAD_TYPE}.",
            hint="Export it with a version of this format, or upgrade here."
            if ours
            else "It is no bundle of releases.",
            format=kind,
            known=PAYLOAD_TYPE,
        )
    payload, signature = _decoded(found["payload"]), _decoded(found["signature"])
    return Envelope(payload=payload, fingerprint=found["key"].decode(), signature=signature)


def check_signature(envelope: Envelope, key: PublicKey) -> None:
    """Return if the payload is what the holder of `key` signed. Raises Denied `bundle.bad_signature`."""
    if not key.verifies(_authenticated(envelope.payload), envelope.signature):
        raise Denied(
            "bundle.bad_signature",
            f"The signature is not the one of key {envelope.fingerprint} over these bytes: the file was changed.",
            hint="Fetch the file again from where it was exported.",
            fingerprint=envelope.fingerprint,
        )


def _decoded(text: bytes) -> bytes:
    """Base64 in its only form: bits that are not used are zero."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error:
        data = b""
    if base64.b64encode(data) != text:
        raise _malformed("its base64 is damaged")
    return data


def _why(data: bytes) -> str:
    if data.startswith(_HEAD):
        return "it was changed" if data.endswith(b"]}\n") else "it ends too early"
    return "it is something else" if data else "it is empty"


def _malformed(why: str) -> Invalid:
    return Invalid(
        "bundle.malformed",
        f"This is no whole bundle as `stanchion release export` writes it: {why}.",
        hint="Copy the file byte for byte; an editor that adds or removes a line feed makes it another one.",
    )


def _check_size(size: int) -> None:
    if size > FILE_BYTES_MAX:
        raise Invalid(
            "bundle.too_large",
            f"The bundle has {size} bytes; at most {FILE_BYTES_MAX} are read.",
            hint="Export fewer artifacts at a time, what others refer to first.",
            limit_bytes=FILE_BYTES_MAX,
        )
