"""Pure decisions of resolving: who may have a secret, and what a problem of it says."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches

from stanchion.base import Denied, NotFound, Unavailable
from stanchion.secrets.references import SecretRef


def permit(ref: SecretRef, *, issued_to: str, granted: Collection[str], environment: str, connector: str) -> None:
    """Return if a secret that is issued to the environment `issued_to`, and granted to the connectors `granted`, may be had
    by `connector` in `environment`. Raises Denied `secret.wrong_environment`, `secret.not_granted`.
    """
    if issued_to != environment:
        raise Denied(
            "secret.wrong_environment",
            f"The secret {ref.name} is issued to {issued_to}; connector {connector} asks in {environment}.",
            hint=f"Keep another one for {environment}: a credential serves one environment.",
            secret=ref.name,
            issued_to=issued_to,
            environment=environment,
        )
    if connector not in granted:
        raise Denied(
            "secret.not_granted",
            f"The secret {ref.name} is not granted to connector {connector}.",
            hint=f"stanchion secret grant {ref.name} --connector {connector}",
            secret=ref.name,
            connector=connector,
        )


def unknown(ref: SecretRef) -> NotFound:
    """The problem of a secret that the tenant does not have."""
    way = f"stanchion secret set {ref.path}" if ref.provider == "local" else f"stanchion secret grant {ref.name}"
    return NotFound(
        "secret.unknown",
        f"There is no secret {ref.name}.",
        hint=f"{way} --connector NAME makes it known; `stanchion secret list` shows what there is.",
        secret=ref.name,
    )


def unknown_field(ref: SecretRef, there: Iterable[str]) -> NotFound:
    """The problem of a field that a secret does not have. Names of fields are no secrets."""
    names = sorted(there)
    near = get_close_matches(ref.field, names, n=1)
    return NotFound(
        "secret.unknown_field",
        f"The secret {ref.name} has no field {ref.field!r}.",
        hint=f"Did you mean #{near[0]}?" if near else f"It has: {', '.join(names[:20]) or 'none'}.",
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
