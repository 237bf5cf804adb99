"""Which secrets the live connectors and triggers refer to: fills `secrets.keeping.References`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stanchion.db import Tx
from stanchion.secrets import references_in
from stanchion.secrets.keeping import Reference
from stanchion.tools import store, triggers

_PAGE: Final = 100


class LiveReferences:
    """Reads the documents of the live connectors and triggers, and every text in them that is meant to be a reference."""

    async def live(self, tx: Tx, tenant: str, environment: str) -> Sequence[Reference]:
        """All of them, by connector and place; then those of triggers, each as `trigger:NAME`."""
        found: list[Reference] = []
        after: str | None = None
        while True:
            rows = await store.live(tx, tenant, environment, after=after, limit=_PAGE)
            for row in rows:
                places = sorted(references_in(row.body))
                found.extend(Reference(connector=row.name, place=place, text=text) for place, text in places)
            if len(rows) < _PAGE:
                break
            after = rows[-1].name
        for who, place, text in await triggers.secret_references(tx, tenant, environment):
            found.append(Reference(connector=who, place=place, text=text))
        return found
