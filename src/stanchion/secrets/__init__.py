"""Secrets: references to values, and the values where only their holder has them (I9).

A document says `secret://provider/path#field@version`. Inside the broker process, `Secrets` turns that into a `Secret`, for
the one environment that the secret is issued to (I10) and for the connectors it is granted to. Everybody else has references:
`sealing` encrypts a new value for the broker before it leaves the terminal, `keeping` has the verbs over what is stored,
`holding` is what the broker process has of it, `providers` are the places values come from.

    current → previous → ended
"""

from stanchion.secrets.files import SECRET_BYTES_MAX, read_private
from stanchion.secrets.references import (
    DEFAULT_FIELD,
    PROVIDERS,
    SCHEME,
    SecretRef,
    bad_path,
    is_reference,
    references_in,
)
from stanchion.secrets.types import (
    Encrypted,
    EncryptRequest,
    Exchange,
    Finding,
    Granted,
    Rekeyed,
    SealingKey,
    Secret,
    SecretHolder,
    Secrets,
    TokenKeeping,
    VersionState,
    Wanted,
)

__all__ = [
    "DEFAULT_FIELD",
    "PROVIDERS",
    "SCHEME",
    "SECRET_BYTES_MAX",
    "EncryptRequest",
    "Encrypted",
    "Exchange",
    "Finding",
    "Granted",
    "Rekeyed",
    "SealingKey",
    "Secret",
    "SecretHolder",
    "SecretRef",
    "Secrets",
    "TokenKeeping",
    "VersionState",
    "Wanted",
    "bad_path",
    "is_reference",
    "read_private",
    "references_in",
]
