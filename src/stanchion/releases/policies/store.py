"""All SQL over `call_revisions`, and what is live of authorization policies."""

from __future__ import annotations

from dataclasses import dataclass

from stanchion.base import Json
from stanchion.controls import Revision, TenantRevision
from stanchion.db import Tx, many, maybe


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """A live authorization policy."""

    name: str
    version: int
    digest: str
    body: dict[str, Json]


async def revision(tx: Tx, environment: str) -> Revision:
    """What changes whenever a policy or a tool of any tenant does."""
    found = await maybe(
        tx,
        Revision,
        "select count(*) as tenants, coalesce(sum(rev), 0)::bigint as total from call_revisions where environment = %s",
        (environment,),
    )
    return found or Revision(tenants=0, total=0)


async def revisions(tx: Tx, environment: str) -> list[TenantRevision]:
    """The number of each tenant that ever had a policy or a tool here."""
    return await many(
        tx, TenantRevision, "select tenant, rev from call_revisions where environment = %s", (environment,)
    )


async def live(tx: Tx, tenant: str, environment: str) -> list[PolicyRow]:
    """The live authorization policies, by name."""
    return await many(
        tx,
        PolicyRow,
        "select l.name, l.version, l.digest, a.body from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " where l.tenant = %s and l.environment = %s and l.kind = 'policy' and a.body ->> 'type' = 'authorization'"
        " order by l.name",
        (tenant, environment),
    )
