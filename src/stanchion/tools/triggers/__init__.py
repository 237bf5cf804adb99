"""Triggers: a signed webhook, or an event with an API key, starts a run of a Blueprint, once.

    message → believed (signature, or permission) → filter → mapping → run

The document says which Blueprint, what the payload looks like, which messages count, how they become its input, and by what
duplicates are known. The signature is verified by the broker, which alone has the secret. The run's principal is the trigger,
`trigger:NAME`, with the rights of a service; whoever sent the message gets no others.
"""

from stanchion.tools.triggers.kind import TriggerKind
from stanchion.tools.triggers.service import (
    Means,
    fire,
    list_deliveries,
    list_triggers,
    means_of,
    prune,
    receive,
    secret_references,
)
from stanchion.tools.triggers.types import Delivery, Message, Receipt, Trigger, Verdict
from stanchion.tools.triggers.verifying import AWAY, VERIFY, RemoteVerify, Verifier, Verify, grantee_of

__all__ = [
    "AWAY",
    "VERIFY",
    "Delivery",
    "Means",
    "Message",
    "Receipt",
    "RemoteVerify",
    "Trigger",
    "TriggerKind",
    "Verdict",
    "Verifier",
    "Verify",
    "fire",
    "grantee_of",
    "list_deliveries",
    "list_triggers",
    "means_of",
    "prune",
    "receive",
    "secret_references",
]
