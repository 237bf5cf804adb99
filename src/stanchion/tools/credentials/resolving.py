"""From the references of a connector to the values of one call."""

from __future__ import annotations

from collections.abc import Mapping

from stanchion.base import Json
from stanchion.secrets import Secret, SecretRef, Secrets, TokenKeeping, references_in
from stanchion.tools.credentials.types import Credentials, KeptGrants
from stanchion.tools.types import Connector


def references(settings: Mapping[str, Json]) -> Mapping[str, str]:
    """Every reference in a connector's settings: JSON pointer -> reference, `/auth/bearer/token`."""
    return dict(references_in(settings))


async def resolve(
    connector: Connector, secrets: Secrets, *, tenant: str, environment: str, tokens: TokenKeeping | None = None
) -> Credentials:
    """The credentials of one call, each reference resolved for this tenant, environment and connector. `tokens` keeps what
    servers exchange.

    Raises Invalid `secret.bad_reference`, and what `Secrets.resolve` raises: a secret that is not there, not issued to the
    environment, not granted to the connector.
    """
    values: dict[str, Secret] = {}
    for site, text in references(connector.settings).items():
        reference = SecretRef.parse(text, place=f"{connector.name}, {site}")
        values[site] = await secrets.resolve(tenant, reference, environment=environment, connector=connector.name)
    kept = None if tokens is None else KeptGrants(tenant=tenant, keeping=tokens)
    return Credentials(values, kept=kept)
