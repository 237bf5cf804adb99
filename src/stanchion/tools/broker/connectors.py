"""Connectors as the broker has them: read by digest from the database, never taken from a caller."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from stanchion.base import Denied, Internal, digest
from stanchion.context import Env
from stanchion.tools.broker import store
from stanchion.tools.connectors import connector_of
from stanchion.tools.types import Connector

# Immutable, some kilobytes each.
_KEPT_MAX: Final = 1024


class PublishedConnectors:
    """The connectors of all tenants, by digest, from memory once they were read."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._known: OrderedDict[tuple[str, str], Connector] = OrderedDict()

    async def load(self, tenant: str, name: str, content: str) -> Connector:
        """The tenant's connector of that digest.

        Raises Denied `broker.unknown_connector` if the tenant published no such version under that name; Internal
        `broker.corrupt_connector` if what is stored is not what its digest says.
        """
        found = self._known.get((tenant, content))
        if found is None:
            found = await self._read(tenant, content)
        if found is None or found.name != name:
            raise Denied(
                "broker.unknown_connector",
                f"The tenant published no version {content[:19]} of a connector {name!r}; nothing was sent.",
                hint="A run calls the versions that it is pinned to. Was the database restored without it?",
            )
        self._known.move_to_end((tenant, content))
        return found

    async def _read(self, tenant: str, content: str) -> Connector | None:
        async with self._env.db.engine_tx() as tx:
            row = await store.connector(tx, tenant, content)
        if row is None:
            return None
        if digest(row.body) != content:
            raise Internal(
                "broker.corrupt_connector",
                f"The stored document of the connector {row.name!r} does not have its digest {content[:19]}.",
                hint="It was changed behind Stanchion's back; restore it or publish a new version. Nothing was sent.",
            )
        connector = self._known[tenant, content] = connector_of(row.body, content)
        while len(self._known) > _KEPT_MAX:
            self._known.popitem(last=False)
        return connector
