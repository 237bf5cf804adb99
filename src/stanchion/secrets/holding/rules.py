"""Pure decisions of resolving: who may have a secret, and that there is none."""

from __future__ import annotations

from collections.abc import Collection

from stanchion.base import Denied, NotFound
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
