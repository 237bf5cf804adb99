"""Envelope encryption: a tenant's secrets under its data key, data keys under the key-encryption key (AES-256-GCM).

Every text is bound to what it belongs to (the additional authenticated data): a ciphertext that is moved to another tenant,
path, version or environment does not open. The nonce, 96 random bits, stands before the ciphertext; at 2³² texts under one
key the chance of a repeated one is 2⁻³³ (NIST SP 800-38D, §8.3).
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stanchion.base import Ids, Unavailable, canonical

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16


def secret_context(tenant: str, path: str, version: int, environment: str) -> bytes:
    """What a version of a secret is bound to."""
    return canonical(["stanchion secret v1", tenant, path, version, environment])


def data_key_context(tenant: str, key_id: UUID, kek_id: str) -> bytes:
    """What a data key is bound to."""
    return canonical(["stanchion data key v1", tenant, str(key_id), kek_id])


def encrypted(key: bytes, text: bytes, context: bytes, ids: Ids) -> bytes:
    """Nonce, ciphertext and tag of `text`."""
    nonce = ids.secret(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, text, context)


def decrypted(key: bytes, data: bytes, context: bytes, *, what: str) -> bytes:
    """The text. `what` names it in the problem. Raises Unavailable `secret.damaged`, not retryable."""
    if len(data) >= _NONCE_BYTES + _TAG_BYTES:
        try:
            return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], context)
        except InvalidTag:
            pass
    raise Unavailable(
        "secret.damaged",
        f"What is stored of {what} does not open: it was changed, moved, or encrypted under another key.",
        hint="Set it again, or restore the database and the key file from the same time.",
        retryable=False,
    )
