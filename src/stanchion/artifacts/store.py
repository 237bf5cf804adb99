"""All SQL over `artifacts` and `retired_artifacts`.

Versions are inserted once and never changed: the roles have no UPDATE on the table. That one is retired is a row beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from stanchion.artifacts.types import ArtifactSummary, ArtifactVersion
from stanchion.db import Tx, execute, many, maybe


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    version: int
    digest: str


async def lock_name(tx: Tx, tenant: str, kind: str, name: str) -> None:
    """Hold (tenant, kind, name) until the transaction ends, so that version numbers stay gapless.

    An advisory lock, because the name may have no row yet. Whoever takes several takes them in the order of
    (kind, name), or two transactions wait for each other.
    """
    await execute(
        tx,
        "select pg_advisory_xact_lock(hashtextextended('stanchion.artifact/' || %s || '/' || %s || '/' || %s, 0))",
        (tenant, kind, name),
    )


async def versions(tx: Tx, tenant: str, kind: str, name: str) -> list[tuple[int, str]]:
    """(version, digest) of every version of a name, oldest first."""
    rows = await many(
        tx,
        _Known,
        "select version, digest from artifacts where tenant = %s and kind = %s and name = %s order by version",
        (tenant, kind, name),
    )
    return [(row.version, row.digest) for row in rows]


async def insert(tx: Tx, artifact: ArtifactVersion) -> None:
    """Insert one version."""
    await execute(
        tx,
        "insert into artifacts (tenant, kind, name, version, digest, body, refs, source, source_path, owner, author,"
        " changelog, created_at, labels, risk) values (%(tenant)s, %(kind)s, %(name)s, %(version)s, %(digest)s, %(body)s, %(refs)s,"
        " %(source)s, %(source_path)s, %(owner)s, %(author)s, %(changelog)s, %(created_at)s,"
        " %(labels)s, %(risk)s)",
        {
            "tenant": artifact.tenant,
            "kind": artifact.kind,
            "name": artifact.name,
            "version": artifact.version,
            "digest": artifact.digest,
            "body": Jsonb(artifact.body),
            "refs": Jsonb(artifact.refs),
            "source": artifact.source,
            "source_path": artifact.source_path,
            "owner": artifact.owner,
            "author": artifact.author,
            "changelog": artifact.changelog,
            "created_at": artifact.created_at,
            "labels": Jsonb(artifact.labels),
            "risk": artifact.risk,
        },
    )


async def by_version(tx: Tx, tenant: str, kind: str, name: str, version: int | None) -> ArtifactVersion | None:
    """One version of a name, or its latest for None."""
    return await maybe(
        tx,
        ArtifactVersion,
        "select tenant, kind, name, version, digest, body, refs, source, source_path, owner, author, changelog,"
        " created_at, labels, risk, retired_at from artifacts left join retired_artifacts"
        " using (tenant, kind, name, version) where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s"
        " and (%(version)s::int is null or version = %(version)s) order by version desc limit 1",
        {"tenant": tenant, "kind": kind, "name": name, "version": version},
    )


async def by_digest(tx: Tx, tenant: str, kind: str, digest: str) -> ArtifactVersion | None:
    """A version of any name of `kind` with this content address (two names with equal bodies have equal content)."""
    return await maybe(
        tx,
        ArtifactVersion,
        "select tenant, kind, name, version, digest, body, refs, source, source_path, owner, author, changelog,"
        " created_at, labels, risk, retired_at from artifacts left join retired_artifacts"
        " using (tenant, kind, name, version) where tenant = %s and kind = %s and digest = %s order by name limit 1",
        (tenant, kind, digest),
    )


async def history(
    tx: Tx, tenant: str, kind: str, name: str, *, before: int | None, limit: int
) -> list[ArtifactSummary]:
    """Versions of a name, newest first, below version `before`."""
    return await many(
        tx,
        ArtifactSummary,
        "select kind, name, version, digest, owner, author, changelog, created_at, labels, risk, retired_at"
        " from artifacts left join retired_artifacts using (tenant, kind, name, version)"
        " where tenant = %(tenant)s and kind = %(kind)s and name = %(name)s"
        " and (%(before)s::int is null or version < %(before)s) order by version desc limit %(limit)s",
        {"tenant": tenant, "kind": kind, "name": name, "before": before, "limit": limit},
    )


async def latest(
    tx: Tx, tenant: str, *, kind: str | None, after: tuple[str, str] | None, limit: int
) -> list[ArtifactSummary]:
    """The latest version of each name, in the order of (kind, name), past `after`."""
    return await many(
        tx,
        ArtifactSummary,
        "select distinct on (kind, name) kind, name, version, digest, owner, author, changelog, created_at, labels,"
        " risk, retired_at from artifacts left join retired_artifacts using (tenant, kind, name, version) where tenant = %(tenant)s and (%(kind)s::text is null or kind = %(kind)s)"
        " and (%(after_kind)s::text is null or (kind, name) > (%(after_kind)s, %(after_name)s))"
        " order by kind, name, version desc limit %(limit)s",
        {
            "tenant": tenant,
            "kind": kind,
            "after_kind": after[0] if after else None,
            "after_name": after[1] if after else None,
            "limit": limit,
        },
    )


async def retire(tx: Tx, artifact: ArtifactVersion, *, by: str, at: datetime, reason: str) -> bool:
    """Mark a version as retired; whether it was not before. Its content stays: what ran on it can still be explained."""
    return bool(
        await execute(
            tx,
            "insert into retired_artifacts (tenant, kind, name, version, retired_at, retired_by, reason)"
            " values (%s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
            (artifact.tenant, artifact.kind, artifact.name, artifact.version, at, by, reason),
        )
    )


async def reinstate(tx: Tx, artifact: ArtifactVersion) -> bool:
    """Take the mark of a retired version away; whether it had one."""
    return bool(
        await execute(
            tx,
            "delete from retired_artifacts where tenant = %s and kind = %s and name = %s and version = %s",
            (artifact.tenant, artifact.kind, artifact.name, artifact.version),
        )
    )
