"""Sealing: a new value is encrypted for the broker where it is typed, so that neither the network, nor the web process, nor
its logs ever have it in plain text (adr/0020).

X25519 with a key of one use, HKDF-SHA256 over both public keys, AES-256-GCM bound to tenant and path. The same idea as
HPKE's base mode (RFC 9180), from three primitives that a reader can follow on a page.
"""

from stanchion.secrets.sealing.box import KEY_BYTES, fingerprint, opened, public_key, sealed, sealing_key_of
from stanchion.secrets.sealing.fields import FIELDS_MAX, TOTAL_BYTES_MAX, VALUE_BYTES_MAX, check_fields

__all__ = [
    "FIELDS_MAX",
    "KEY_BYTES",
    "TOTAL_BYTES_MAX",
    "VALUE_BYTES_MAX",
    "check_fields",
    "fingerprint",
    "opened",
    "public_key",
    "sealed",
    "sealing_key_of",
]
