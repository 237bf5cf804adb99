"""All SQL over `releases` and `pin_sets`, and the reads that join them with artifacts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.releases.types import BlueprintSummary, Live, Release


async def lock_tenant(tx: Tx, tenant: str, environment: str) -> None:
    """Hold this tenant's releases in this environment until the transaction ends: applies go one after the other."""
    await execute(
        tx,
        "select pg_advisory_xact_lock(hashtextextended('stanchion.release/' || %s || '/' || %s, 0))",
        (tenant, environment),
    )


async def live(tx: Tx, tenant: str, environment: str) -> list[Live]:
    """Everything live in the environment, with its content."""
    return await many(
        tx,
        Live,
        "select l.kind, l.name, l.version, l.digest, a.body, a.refs, a.source, a.source_path from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " where l.tenant = %s and l.environment = %s order by l.kind, l.name",
        (tenant, environment),
    )


async def point(
    tx: Tx, tenant: str, environment: str, *, kind: str, name: str, version: int, digest: str, by: str, at: datetime
) -> None:
    """Make a version the live one."""
    await execute(
        tx,
        "insert into releases (tenant, environment, kind, name, version, digest, released_at, released_by) values"
        " (%(tenant)s, %(environment)s, %(kind)s, %(name)s, %(version)s, %(digest)s, %(at)s, %(by)s)"
        " on conflict (tenant, environment, kind, name) do update set version = excluded.version,"
        " digest = excluded.digest, released_at = excluded.released_at, released_by = excluded.released_by",
        {
            "tenant": tenant,
            "environment": environment,
            "kind": kind,
            "name": name,
            "version": version,
            "digest": digest,
            "at": at,
            "by": by,
        },
    )


async def revision(tx: Tx, tenant: str, environment: str) -> str:
    """A text that differs whenever anything live in the environment differs: count and 64-bit hash of all pointers."""
    return await scalar(
        tx,
        "select count(*) || ':' || coalesce(hashtextextended(string_agg(kind || '/' || name || '@' || version, ','"
        " order by kind, name), 0), 0) from releases where tenant = %s and environment = %s",
        (tenant, environment),
    )


async def closure(tx: Tx, tenant: str, environment: str, blueprint: str) -> list[Live]:
    """A live Blueprint and everything live that it refers to, directly or not, as of one moment: one statement.

    An artifact that is referred to and not live is absent; its referrer is there to name it.
    """
    return await many(
        tx,
        Live,
        "with recursive reached (kind, name) as (select 'blueprint', %(blueprint)s::text"
        " union select ref ->> 0, ref ->> 1 from reached r join releases l on l.tenant = %(tenant)s"
        " and l.environment = %(environment)s and l.kind = r.kind and l.name = r.name"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " cross join lateral jsonb_array_elements(a.refs) as ref)"
        " select l.kind, l.name, l.version, l.digest, a.body, a.refs, a.source, a.source_path from reached r"
        " join releases l on l.tenant = %(tenant)s and l.environment = %(environment)s and l.kind = r.kind"
        " and l.name = r.name"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version",
        {"tenant": tenant, "environment": environment, "blueprint": blueprint},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedRow:
    """One pin of a stored set with its content, `no` its place in the set."""

    no: int
    kind: str
    name: str
    version: int
    digest: str
    body: dict[str, Json]


async def pinned(tx: Tx, tenant: str, digest: str) -> list[PinnedRow]:
    """The members of a stored pin set in their order; empty if there is no such set."""
    return await many(
        tx,
        PinnedRow,
        "select (p.no - 1)::int as no, a.kind, a.name, a.version, a.digest, a.body from pin_sets s"
        " cross join lateral jsonb_array_elements(s.pins) with ordinality as p (pin, no)"
        " join artifacts a on a.tenant = s.tenant and a.kind = p.pin ->> 'kind' and a.name = p.pin ->> 'name'"
        " and a.version = (p.pin ->> 'version')::int and a.digest = p.pin ->> 'digest'"
        " where s.tenant = %s and s.digest = %s order by p.no",
        (tenant, digest),
    )


async def releases(
    tx: Tx, tenant: str, environment: str, *, after: tuple[str, str] | None, limit: int
) -> list[Release]:
    """What is live, by kind and name, past `after`."""
    return await many(
        tx,
        Release,
        "select environment, kind, name, version, digest, released_at, released_by from releases"
        " where tenant = %(tenant)s and environment = %(environment)s"
        " and (%(kind)s::text is null or (kind, name) > (%(kind)s, %(name)s)) order by kind, name limit %(limit)s",
        {
            "tenant": tenant,
            "environment": environment,
            "kind": after[0] if after else None,
            "name": after[1] if after else None,
            "limit": limit,
        },
    )


async def release(tx: Tx, tenant: str, environment: str, kind: str, name: str) -> Release | None:
    """What is live of one name."""
    return await maybe(
        tx,
        Release,
        "select environment, kind, name, version, digest, released_at, released_by from releases"
        " where tenant = %s and environment = %s and kind = %s and name = %s",
        (tenant, environment, kind, name),
    )


async def blueprints(tx: Tx, tenant: str, environment: str, *, after: str | None, limit: int) -> list[BlueprintSummary]:
    """The live Blueprints, by name, past `after`."""
    return await many(
        tx,
        BlueprintSummary,
        "select l.name, l.version, l.digest, coalesce(a.body ->> 'description', '') as description, a.owner,"
        " l.released_at, l.released_by from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " where l.tenant = %(tenant)s and l.environment = %(environment)s and l.kind = 'blueprint'"
        " and (%(after)s::text is null or l.name > %(after)s) order by l.name limit %(limit)s",
        {"tenant": tenant, "environment": environment, "after": after, "limit": limit},
    )
