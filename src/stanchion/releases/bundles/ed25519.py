"""Ed25519 (RFC 8032) by `cryptography`, and which keys are taken at all.

Verification is the strict one: `S` below the group's order and the one canonical encoding of `R` are OpenSSL's to see to; a
key must be a point in its canonical encoding and not of small order (with such a key one signature fits many messages).
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

KEY_BYTES: Final = 32

# RFC 8032 §5.1: the field and the curve's constant.
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
# The y of the eight points whose order divides 8: 0 and ±1, and those of order 8 (two, each with both signs of x).
_EIGHTH: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL: Final = frozenset((0, 1, _P - 1, _EIGHTH, _P - _EIGHTH))


def public_of(seed: bytes) -> bytes:
    """The 32 bytes of the public key that belongs to a secret key of 32 bytes (§5.1.5)."""
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64 bytes of the signature of `message` (§5.1.6). The same key and message give the same signature."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one of `message` under the key `public` (§5.1.7). Never raises."""
    if not is_key(public):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


def is_key(public: bytes) -> bool:
    """Whether these bytes are a point in its canonical encoding that is not of small order."""
    if len(public) != KEY_BYTES:
        return False
    y = int.from_bytes(public, "little") & (1 << 255) - 1
    # x² = (y² - 1) / (d·y² + 1) must be a square, by Euler's criterion; it is 0 for y = ±1 alone.
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    return y < _P and y not in _SMALL and pow(square, (_P - 1) // 2, _P) == 1
