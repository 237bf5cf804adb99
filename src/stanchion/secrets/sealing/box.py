"""The sealed box: version byte, the sender's public key of one use, ciphertext and tag; base64url without padding.

    shared = X25519(ephemeral secret, recipient public)                                   RFC 7748
    key    = HKDF-SHA256(shared, salt = ephemeral public || recipient public, info)       RFC 5869
    box    = AES-256-GCM(key, nonce = 0, text, aad = [label, tenant, path])               a key seals once, so nonce 0 is fresh

The text is the fields as JSON, filled up with spaces to a multiple of 256 bytes: the length of a password is not seen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from stanchion.base import Ids, Invalid, canonical, dumps, loads
from stanchion.secrets.sealing.fields import check_fields

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_LABEL: Final = "stanchion sealed secret v1"
_NONCE: Final = bytes(12)
_TAG_BYTES: Final = 16
_BLOCK: Final = 256
# 64 KiB of values, of which every byte may need six in JSON, in base64.
_SEALED_CHARS_MAX: Final = 600_000


def fingerprint(public: bytes) -> str:
    """`sha256:` over the 32 bytes: what people compare."""
    return "sha256:" + hashlib.sha256(public).hexdigest()


def public_key(text: str) -> bytes:
    """The 32 bytes that a base64url text stands for. Raises Invalid `secret.bad_sealing_key`."""
    raw = _decoded(text)
    if raw is None or len(raw) != KEY_BYTES:
        raise Invalid("secret.bad_sealing_key", "The server's sealing key is not 32 bytes of X25519 in base64url.")
    return raw


def sealing_key_of(secret: bytes) -> bytes:
    """The public key, 32 bytes, of a secret one."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def sealed(public: bytes, fields: Mapping[str, str], *, tenant: str, path: str, ids: Ids) -> str:
    """`fields` for whoever has the secret key of `public`, and for that tenant's secret `path` alone.

    Raises Invalid `secret.bad_value`, `secret.bad_sealing_key`.
    """
    text = dumps(check_fields(fields))
    text += b" " * (-len(text) % _BLOCK)
    ephemeral = X25519PrivateKey.from_private_bytes(ids.secret(KEY_BYTES))
    sender = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # a point of low order
        raise Invalid("secret.bad_sealing_key", "The server's sealing key is no key of X25519.") from error
    box = AESGCM(_derived(shared, sender, public)).encrypt(_NONCE, text, _context(tenant, path))
    return base64.urlsafe_b64encode(_VERSION + sender + box).rstrip(b"=").decode()


def opened(secret: bytes, text: str, *, tenant: str, path: str) -> dict[str, str]:
    """The fields in a sealed text.

    Raises Invalid `secret.not_opened` (damaged, or sealed to another key, tenant or path: which of them cannot be told),
    `secret.bad_value`.
    """
    raw = _decoded(text) if len(text) <= _SEALED_CHARS_MAX else None
    if raw is None or len(raw) <= 1 + KEY_BYTES + _TAG_BYTES or raw[:1] != _VERSION:
        raise _not_opened()
    sender, box = raw[1 : 1 + KEY_BYTES], raw[1 + KEY_BYTES :]
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(sender))
        plain = AESGCM(_derived(shared, sender, sealing_key_of(secret))).decrypt(_NONCE, box, _context(tenant, path))
    except (InvalidTag, ValueError):
        raise _not_opened() from None
    try:
        return check_fields(loads(plain))
    except Invalid as problem:
        # Whatever the JSON reader says may quote the text.
        raise problem if problem.code == "secret.bad_value" else _not_opened() from None


def _derived(shared: bytes, sender: bytes, recipient: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=sender + recipient, info=_LABEL.encode()).derive(shared)


def _context(tenant: str, path: str) -> bytes:
    return canonical([_LABEL, tenant, path])


def _decoded(text: str) -> bytes | None:
    """Base64url in its one right form: a second spelling of the same bytes is refused."""
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text else None


def _not_opened() -> Invalid:
    return Invalid(
        "secret.not_opened",
        "The sealed text does not open: it is damaged, or was sealed for another key, tenant or path.",
        hint="Seal it again: `stanchion secret set` does so by itself.",
    )
