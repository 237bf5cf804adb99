"""SQL of connectors: which are live in an environment. They are published and released like any artifact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stanchion.base import Json
from stanchion.db import Tx, many, maybe


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveConnector:
    """A connector's live version: the released artifact."""

    name: str
    version: int
    digest: str
    body: Mapping[str, Json]
    source: str
    author: str
    released_at: datetime
    released_by: str


async def live(tx: Tx, tenant: str, environment: str, *, after: str | None, limit: int) -> list[LiveConnector]:
    """Live connectors by name, those after `after`."""
    return await many(
        tx,
        LiveConnector,
        "select r.name, r.version, r.digest, a.body, a.source, a.author, r.released_at, r.released_by from releases r"
        " join artifacts a on a.tenant = r.tenant and a.kind = r.kind and a.name = r.name and a.version = r.version"
        " where r.tenant = %(tenant)s and r.environment = %(environment)s and r.kind = 'connector'"
        " and (%(after)s::text is null or r.name > %(after)s) order by r.name limit %(limit)s",
        {"tenant": tenant, "environment": environment, "after": after, "limit": limit},
    )


async def live_one(tx: Tx, tenant: str, environment: str, name: str) -> LiveConnector | None:
    """The live version of one connector, or None."""
    return await maybe(
        tx,
        LiveConnector,
        "select r.name, r.version, r.digest, a.body, a.source, a.author, r.released_at, r.released_by from releases r"
        " join artifacts a on a.tenant = r.tenant and a.kind = r.kind and a.name = r.name and a.version = r.version"
        " where r.tenant = %(tenant)s and r.environment = %(environment)s and r.kind = 'connector' and r.name = %(name)s",
        {"tenant": tenant, "environment": environment, "name": name},
    )
