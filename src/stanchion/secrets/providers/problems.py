"""What is said of a reference that a provider cannot serve."""

from __future__ import annotations

from collections.abc import Iterable

from stanchion.base import NotFound, Unavailable, nearest
from stanchion.secrets.references import SecretRef


def unknown_field(ref: SecretRef, there: Iterable[str]) -> NotFound:
    """The problem of a field that a secret does not have. Names of fields are no secrets."""
    names = sorted(there)
    near = nearest(ref.field, names)
    return NotFound(
        "secret.unknown_field",
        f"The secret {ref.name} has no field {ref.field!r}.",
        hint=f"Did you mean #{near}?" if near else f"It has: {', '.join(names[:20]) or 'none'}.",
        secret=ref.name,
        field=ref.field,
    )


def provider_off(ref: SecretRef) -> Unavailable:
    """The problem of a provider that this deployment does not have."""
    setting = {"env": "secrets.env_prefix", "file": "secrets.files", "vault": "secrets.vault_url"}.get(ref.provider, "")
    return Unavailable(
        "secret.provider_off",
        f"The secret {ref.name} cannot be read: this deployment has no provider {ref.provider}.",
        hint=f"Set {setting} where the broker is started.",
        retryable=False,
        secret=ref.name,
    )
