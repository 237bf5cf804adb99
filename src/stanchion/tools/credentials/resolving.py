"""From the references of a connector to the values of one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from stanchion.base import Json
from stanchion.tools.credentials.types import Credentials, Secret
from stanchion.tools.types import Connector

# How a reference begins; what follows is `stanchion.secrets`' to read.
SCHEME = "secret://"


class SecretSource(Protocol):
    """What resolves a reference: `stanchion.secrets`, in the process that holds the keys."""

    async def resolve(self, tenant: str, ref: str, *, environment: str, connector: str) -> Secret:
        """The value that `ref` names, if it was issued to this environment and granted to this connector."""
        ...


def references(settings: Mapping[str, Json]) -> Mapping[str, str]:
    """Every reference in a connector's settings: JSON pointer -> reference, `/auth/bearer/token`."""
    return dict(_found("", dict(settings)))


def _found(pointer: str, value: Json) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if value.startswith(SCHEME):
            yield pointer, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _found(f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}", item)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _found(f"{pointer}/{number}", item)


async def resolve(connector: Connector, secrets: SecretSource, *, tenant: str, environment: str) -> Credentials:
    """The credentials of one call, each reference resolved for this tenant, environment and connector.

    Raises what `secrets` raises: a reference that is not there, not issued to the environment, not granted.
    """
    values: dict[str, Secret] = {}
    for site, reference in references(connector.settings).items():
        values[site] = await secrets.resolve(tenant, reference, environment=environment, connector=connector.name)
    return Credentials(values)
