"""SQL of connectors: which are live in an environment (they are published and released like any artifact), and what became of
writes through them elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx, many, maybe, scalar


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


async def was_real(tx: Tx, tenant: str, run_id: UUID, path: str) -> bool:
    """Whether a broker was asked to perform the step's effect for real, and nobody has recorded that it is done. Role engine."""
    return bool(
        await scalar(
            tx,
            "select exists (select 1 from effects e join broker_effects b on b.tenant = e.tenant and b.effect_id = e.id"
            " where e.tenant = %(tenant)s and e.run_id = %(run_id)s and e.path = %(path)s and e.state <> 'DONE'"
            " and not b.simulated)",
            {"tenant": tenant, "run_id": run_id, "path": path},
        )
    )
