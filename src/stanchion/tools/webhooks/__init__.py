"""Standard Webhooks signatures (standardwebhooks.com, specification 1.0.0), made and checked. Pure: no I/O, time is passed in.

A message is signed over `id.timestamp.body` with HMAC-SHA256. Its three headers are `webhook-id` (the same for every attempt
of one message), `webhook-timestamp` (of the attempt, seconds since 1970) and `webhook-signature` (one `v1,…` per secret
that is in force, with spaces between). Adapter `webhook` sends them; a trigger verifies them.
"""

from stanchion.tools.webhooks.rules import (
    ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    TOLERANCE_S,
    BadWebhook,
    Verified,
    secret_bytes,
    sign,
    verify,
)
from stanchion.tools.webhooks.window import ReplayWindow

__all__ = [
    "ID_HEADER",
    "SIGNATURE_HEADER",
    "TIMESTAMP_HEADER",
    "TOLERANCE_S",
    "BadWebhook",
    "ReplayWindow",
    "Verified",
    "secret_bytes",
    "sign",
    "verify",
]
