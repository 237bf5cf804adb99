"""What is kept of secrets, and the verbs over it: in any process, because none of this has a value or a key.

A new value arrives sealed and goes on to the `SecretHolder`, which gives back a ciphertext; what is stored is that, for which
environment the secret is issued (I10), and to which connectors it is granted.
"""

from stanchion.secrets.keeping.rules import GRACE_S_DEFAULT, GRACE_S_MAX
from stanchion.secrets.keeping.service import (
    check_secrets,
    end_due,
    grant_secret,
    list_secrets,
    rekey,
    remove_secret,
    rotate_secret,
    sealing_key,
    set_secret,
    ungrant_secret,
)
from stanchion.secrets.keeping.types import Checked, Kept, Reference, References, Sealed

__all__ = [
    "GRACE_S_DEFAULT",
    "GRACE_S_MAX",
    "Checked",
    "Kept",
    "Reference",
    "References",
    "Sealed",
    "check_secrets",
    "end_due",
    "grant_secret",
    "list_secrets",
    "rekey",
    "remove_secret",
    "rotate_secret",
    "sealing_key",
    "set_secret",
    "ungrant_secret",
]
