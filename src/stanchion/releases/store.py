"""All SQL over `releases`, `pin_sets` and `pin_members`, and the reads that join them with artifacts and runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from stanchion.artifacts import LiveIn, Referrer
from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalars
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


async def live_names(tx: Tx, tenant: str, environment: str, kind: str, *, limit: int) -> list[str]:
    """Names of a kind that are live, the first `limit` of them."""
    return await scalars(
        tx,
        "select name from releases where tenant = %s and environment = %s and kind = %s order by name limit %s",
        (tenant, environment, kind, limit),
    )


async def live_in(tx: Tx, tenant: str, kind: str, name: str, version: int | None) -> list[LiveIn]:
    """Where an artifact (or one version of it) is live, or on its way there or back in an open rollout."""
    return await many(
        tx,
        LiveIn,
        "select environment, version, 'live' as standing from releases"
        " where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s"
        " and (%(version)s::int is null or version = %(version)s)"
        " union select environment, candidate_version, 'candidate' from rollout_members"
        " where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s and ended_at is null"
        " and (%(version)s::int is null or candidate_version = %(version)s)"
        " union select environment, stable_version, 'stable' from rollout_members"
        " where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s and ended_at is null"
        " and (%(version)s::int is null or stable_version = %(version)s) order by 1, 2, 3",
        {"tenant": tenant, "kind": kind, "name": name, "version": version},
    )


async def referrers(tx: Tx, tenant: str, kind: str, name: str, *, limit: int) -> list[Referrer]:
    """Live versions that refer to an artifact. Read are the versions that are live, and no others."""
    return await many(
        tx,
        Referrer,
        "select l.environment, l.kind, l.name, l.version, l.digest from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " where l.tenant = %(tenant)s and a.refs @> jsonb_build_array(jsonb_build_array(%(kind)s::text, %(name)s::text))"
        " order by l.environment, l.kind, l.name limit %(limit)s",
        {"tenant": tenant, "kind": kind, "name": name, "limit": limit},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedRuns:
    """Runs in one status that are pinned to an artifact."""

    status: str
    count: int


async def pinned_runs(
    tx: Tx, tenant: str, kind: str, name: str, version: int | None, *, sets_max: int, runs_max: int
) -> list[PinnedRuns]:
    """Top-level runs by status whose pin set has the artifact: of the newest `sets_max` sets the newest `runs_max` runs
    each, and not more than `runs_max` in all. Index `pin_members_pkey`, then `runs_by_pins`: nothing else is read."""
    return await many(
        tx,
        PinnedRuns,
        "with sets as (select pins from pin_members where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s"
        " and (%(version)s::int is null or version = %(version)s) order by created_at desc, pins limit %(sets)s),"
        " found as (select r.status from sets cross join lateral (select status from runs"
        " where tenant = %(tenant)s and pins = sets.pins and parent_id is null order by id desc limit %(runs)s) r"
        " limit %(runs)s) select status, count(*)::int as count from found group by status order by status",
        {"tenant": tenant, "kind": kind, "name": name, "version": version, "sets": sets_max, "runs": runs_max},
    )


async def newest_pinned(
    tx: Tx, tenant: str, kind: str, name: str, version: int | None, *, sets_max: int, limit: int
) -> list[UUID]:
    """Ids of the newest top-level runs whose pin set has the artifact, newest first."""
    return await scalars(
        tx,
        "with sets as (select pins from pin_members where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s"
        " and (%(version)s::int is null or version = %(version)s) order by created_at desc, pins limit %(sets)s)"
        " select r.id from sets cross join lateral (select id from runs"
        " where tenant = %(tenant)s and pins = sets.pins and parent_id is null order by id desc limit %(limit)s) r"
        " order by r.id desc limit %(limit)s",
        {"tenant": tenant, "kind": kind, "name": name, "version": version, "sets": sets_max, "limit": limit},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """That a version is retired."""

    kind: str
    name: str
    version: int
    retired_by: str
    retired_at: datetime
    reason: str


async def retired_among(tx: Tx, tenant: str, versions: Sequence[tuple[str, str, int]]) -> list[Retired]:
    """Those of these versions that are retired."""
    return await many(
        tx,
        Retired,
        "select r.kind, r.name, r.version, r.retired_by, r.retired_at, r.reason from retired_artifacts r"
        " join unnest(%(kinds)s::text[], %(names)s::text[], %(versions)s::int[]) as w (kind, name, version)"
        " on w.kind = r.kind and w.name = r.name and w.version = r.version where r.tenant = %(tenant)s",
        {
            "tenant": tenant,
            "kinds": [kind for kind, _, _ in versions],
            "names": [name for _, name, _ in versions],
            "versions": [version for _, _, version in versions],
        },
    )
