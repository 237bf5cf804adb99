"""All SQL over `flag_revisions`, and what is live of flags for lists and pages."""

from __future__ import annotations

from stanchion.controls import Revision, TenantRevision
from stanchion.db import Tx, many, maybe
from stanchion.releases.flags.types import FlagRow


async def revision(tx: Tx, environment: str) -> Revision:
    """What changes whenever a flag of any tenant does."""
    found = await maybe(
        tx,
        Revision,
        "select count(*) as tenants, coalesce(sum(rev), 0)::bigint as total from flag_revisions where environment = %s",
        (environment,),
    )
    return found or Revision(tenants=0, total=0)


async def revisions(tx: Tx, environment: str) -> list[TenantRevision]:
    """The number of each tenant that ever had a flag here."""
    return await many(
        tx, TenantRevision, "select tenant, rev from flag_revisions where environment = %s", (environment,)
    )


async def rows(
    tx: Tx, tenant: str, environment: str, *, name: str | None = None, after: str | None = None, limit: int = 1
) -> list[FlagRow]:
    """What is live of flags, by name, past `after`; or of one name."""
    return await many(
        tx,
        FlagRow,
        "select l.name, l.version, l.digest, a.body, a.source, a.source_path, l.released_at, l.released_by,"
        " m.candidate_version as candidate, m.rollout_id as rollout from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " left join rollout_members m on m.tenant = l.tenant and m.environment = l.environment and m.kind = l.kind"
        " and m.name = l.name and m.ended_at is null"
        " where l.tenant = %(tenant)s and l.environment = %(environment)s and l.kind = 'flag'"
        " and (%(name)s::text is null or l.name = %(name)s) and (%(after)s::text is null or l.name > %(after)s)"
        " order by l.name limit %(limit)s",
        {"tenant": tenant, "environment": environment, "name": name, "after": after, "limit": limit},
    )
