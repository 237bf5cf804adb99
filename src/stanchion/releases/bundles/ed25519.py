"""Ed25519 (RFC 8032, §5.1) on Python's integers: a bundle is signed once per export and verified once per import.

Verification is the strict one: `S` below the group's order, both points in their one canonical encoding, no point of
small order as a key (with such a key one signature fits many messages), and the equation without the cofactor.

Signing does the same sequence of point operations for every secret (a ladder of 255 steps). Python's integers still take
a time that depends a little on their values, so this is for signing on a person's request, not for an oracle that
strangers may ask millions of times. About 4 ms per operation (measured).
"""

from __future__ import annotations

import hashlib
from typing import Final

KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64

# RFC 8032 §5.1: the field, the curve's constant, the order of the base point, and what halves a root's ambiguity.
_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_L: Final = 2**252 + 27742317777372353535851937790883648493
_ROOT: Final = pow(2, (_P - 1) // 4, _P)

# Extended coordinates (X, Y, Z, T) with x = X/Z, y = Y/Z, xy = T/Z.
_Point = tuple[int, int, int, int]
_NEUTRAL: Final[_Point] = (0, 1, 1, 0)


def _add(a: _Point, b: _Point) -> _Point:
    """The complete addition of Hisil, Wong, Carter and Dawson (2008), §3.1, for a = -1; it doubles as well."""
    ax, ay, az, at = a
    bx, by, bz, bt = b
    left = (ay - ax) * (by - bx) % _P
    right = (ay + ax) * (by + bx) % _P
    cross = 2 * at * bt * _D % _P
    scale = 2 * az * bz % _P
    e, f, g, h = right - left, scale - cross, scale + cross, right + left
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(scalar: int, point: _Point) -> _Point:
    """`scalar` (below 2^255) times `point`, with the same steps for every scalar."""
    pair = (_NEUTRAL, point)
    for bit in range(254, -1, -1):
        one = scalar >> bit & 1
        total = _add(pair[0], pair[1])
        double = _add(pair[one], pair[one])
        pair = (total, double) if one else (double, total)
    return pair[0]


def _same(a: _Point, b: _Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % _P == 0 and (a[1] * b[2] - b[1] * a[2]) % _P == 0


def _x_of(y: int, odd: int) -> int | None:
    """The x of a point from its y and the lowest bit of x (§5.1.3), None if there is no such point."""
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and odd):
        return None
    return x if x & 1 == odd else _P - x


def _decoded(data: bytes) -> _Point | None:
    number = int.from_bytes(data, "little")
    y, odd = number & (1 << 255) - 1, number >> 255
    if y >= _P:
        return None
    x = _x_of(y, odd)
    return None if x is None else (x, y, 1, x * y % _P)


def _encoded(point: _Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(KEY_BYTES, "little")


_BASE_Y: Final = 4 * pow(5, -1, _P) % _P
_BASE_X: Final = _x_of(_BASE_Y, 0) or 0
_BASE: Final[_Point] = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)


def _hashed(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def _expanded(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    return scalar, digest[32:]


def public_of(seed: bytes) -> bytes:
    """The 32 bytes of the public key that belongs to a secret key of 32 bytes (§5.1.5)."""
    return _encoded(_times(_expanded(seed)[0], _BASE))


def sign(seed: bytes, message: bytes) -> bytes:
    """The 64 bytes of the signature of `message` (§5.1.6). The same key and message give the same signature."""
    scalar, prefix = _expanded(seed)
    public = _encoded(_times(scalar, _BASE))
    nonce = _hashed(prefix, message) % _L
    point = _encoded(_times(nonce, _BASE))
    return point + ((nonce + _hashed(point, public, message) * scalar) % _L).to_bytes(32, "little")


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is the one of `message` under the key `public` (§5.1.7). Never raises."""
    if len(signature) != SIGNATURE_BYTES or not is_key(public):
        return False
    key, point = _decoded(public), _decoded(signature[:32])
    number = int.from_bytes(signature[32:], "little")
    if key is None or point is None or number >= _L:
        return False
    challenge = _hashed(signature[:32], public, message) % _L
    return _same(_times(number, _BASE), _add(point, _times(challenge, key)))


def is_key(public: bytes) -> bool:
    """Whether these bytes are a point in its canonical encoding that is not of small order."""
    point = _decoded(public) if len(public) == KEY_BYTES else None
    return point is not None and not _same(_times(8, point), _NEUTRAL)
