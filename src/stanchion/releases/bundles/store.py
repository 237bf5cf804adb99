"""All SQL over `trusted_keys`, `imported_bundles` and `imported_artifacts`, and the versions that an export takes along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.artifacts import ArtifactVersion
from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe
from stanchion.releases.bundles.types import ImportRecord, Key, OriginOf, TrustedKey


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pointer:
    kind: str
    name: str
    version: int


async def live_keys(tx: Tx, tenant: str, environment: str) -> list[tuple[Key, int]]:
    """Which version of each artifact is live, by kind and name."""
    rows = await many(
        tx,
        _Pointer,
        "select kind, name, version from releases where tenant = %s and environment = %s order by kind, name",
        (tenant, environment),
    )
    return [((row.kind, row.name), row.version) for row in rows]


async def versions_of(tx: Tx, tenant: str, wanted: Sequence[tuple[Key, int]]) -> list[ArtifactVersion]:
    """These versions with their content, by kind and name; those that there are."""
    return await many(
        tx,
        ArtifactVersion,
        "select a.tenant, a.kind, a.name, a.version, a.digest, a.body, a.refs, a.source, a.source_path, a.owner, a.author,"
        " a.changelog, a.created_at, a.labels, a.risk, r.retired_at"
        " from jsonb_to_recordset(%s) as w (kind text, name text, version int)"
        " join artifacts a on a.tenant = %s and a.kind = w.kind and a.name = w.name and a.version = w.version"
        " left join retired_artifacts r on r.tenant = a.tenant and r.kind = a.kind and r.name = a.name"
        " and r.version = a.version order by a.kind, a.name",
        (Jsonb([{"kind": key[0], "name": key[1], "version": version} for key, version in wanted]), tenant),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRow:
    """What was said of one artifact's exact content, as JSON."""

    kind: str
    name: str
    digest: str
    record: dict[str, Json]


async def evidence_of(tx: Tx, tenant: str, versions: Sequence[ArtifactVersion], *, each_max: int) -> list[EvidenceRow]:
    """Of each version the newest `each_max` records of gates that name it and were not withdrawn, oldest first."""
    wanted = [{"kind": row.kind, "name": row.name, "digest": row.digest} for row in versions]
    return await many(
        tx,
        EvidenceRow,
        "select w.kind, w.name, w.digest, jsonb_build_object('id', f.id, 'environment', f.environment, 'gate', f.gate,"
        " 'subject', f.subject, 'members', f.members, 'verdict', f.verdict, 'why', f.why, 'details', f.details,"
        " 'details_digest', f.details_digest, 'by', f.by, 'by_kind', f.by_kind,"
        " 'made_at', to_char(f.made_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"
        " 'expires_at', to_char(f.expires_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) as record"
        " from jsonb_to_recordset(%(wanted)s) as w (kind text, name text, digest text)"
        " cross join lateral (select e.* from release_evidence_members m join release_evidence e"
        " on e.tenant = m.tenant and e.id = m.evidence_id where m.tenant = %(tenant)s and m.kind = w.kind"
        " and m.name = w.name and m.digest = w.digest and e.withdrawn_at is null"
        " order by e.made_at desc, e.id desc limit %(each)s) f order by w.kind, w.name, f.made_at, f.id",
        {"wanted": Jsonb(wanted), "tenant": tenant, "each": each_max},
    )


async def trusted(tx: Tx, tenant: str, fingerprint: str) -> list[TrustedKey]:
    """The entries in force for a key."""
    return await many(
        tx,
        TrustedKey,
        "select id, name, fingerprint, public_key, origin_tenant, origin_environment, added_by, added_at, reason, removed_by,"
        " removed_at, removal_reason from trusted_keys where tenant = %s and fingerprint = %s and removed_at is null order by id",
        (tenant, fingerprint),
    )


async def trusted_named(tx: Tx, tenant: str, name: str) -> TrustedKey | None:
    """The entry in force with this name, its row held until the transaction ends."""
    return await maybe(
        tx,
        TrustedKey,
        "select id, name, fingerprint, public_key, origin_tenant, origin_environment, added_by, added_at, reason, removed_by,"
        " removed_at, removal_reason from trusted_keys where tenant = %s and name = %s and removed_at is null for update",
        (tenant, name),
    )


async def all_trusted(tx: Tx, tenant: str, *, removed: bool, before: UUID | None, limit: int) -> list[TrustedKey]:
    """Entries in force, and also removed ones if asked for, the newest first."""
    return await many(
        tx,
        TrustedKey,
        "select id, name, fingerprint, public_key, origin_tenant, origin_environment, added_by, added_at, reason, removed_by,"
        " removed_at, removal_reason from trusted_keys where tenant = %(tenant)s"
        " and (%(removed)s or removed_at is null) and (%(before)s::uuid is null or id < %(before)s)"
        " order by id desc limit %(limit)s",
        {"tenant": tenant, "removed": removed, "before": before, "limit": limit},
    )


async def trust(tx: Tx, tenant: str, key: TrustedKey) -> bool:
    """Put an entry in force; whether there was none of the same name or of the same key and origin."""
    return bool(
        await execute(
            tx,
            "insert into trusted_keys (tenant, id, name, fingerprint, public_key, origin_tenant, origin_environment, added_by,"
            " added_at, reason) values (%(tenant)s, %(id)s, %(name)s, %(fingerprint)s, %(public_key)s, %(origin_tenant)s,"
            " %(origin_environment)s, %(added_by)s, %(added_at)s, %(reason)s) on conflict do nothing",
            {
                "tenant": tenant,
                "id": key.id,
                "name": key.name,
                "fingerprint": key.fingerprint,
                "public_key": key.public_key,
                "origin_tenant": key.origin_tenant,
                "origin_environment": key.origin_environment,
                "added_by": key.added_by,
                "added_at": key.added_at,
                "reason": key.reason,
            },
        )
    )


async def distrust(tx: Tx, tenant: str, key_id: UUID, *, by: str, at: datetime, reason: str) -> None:
    """Take an entry out of force; its row stays."""
    await execute(
        tx,
        "update trusted_keys set removed_by = %s, removed_at = %s, removal_reason = %s where tenant = %s and id = %s",
        (by, at, reason, tenant, key_id),
    )


async def add_import(tx: Tx, tenant: str, record: ImportRecord) -> bool:
    """Note a bundle that was taken in; whether it had not been before."""
    return bool(
        await execute(
            tx,
            "insert into imported_bundles (tenant, digest, content, fingerprint, origin, imported_at, imported_by, reason)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s) on conflict do nothing",
            (
                tenant,
                record.digest,
                record.content,
                record.fingerprint,
                Jsonb(record.origin),
                record.imported_at,
                record.imported_by,
                record.reason,
            ),
        )
    )


async def add_artifacts(tx: Tx, tenant: str, bundle: str, rows: Sequence[dict[str, Json]]) -> None:
    """Note what a bundle held: of each {kind, name, version, digest, origin_version, author, evidence}."""
    await execute(
        tx,
        "insert into imported_artifacts (tenant, bundle, kind, name, version, digest, origin_version, author, evidence)"
        " select %s, %s, kind, name, version, digest, origin_version, author, evidence from jsonb_to_recordset(%s) as r"
        " (kind text, name text, version int, digest text, origin_version int, author text, evidence jsonb)",
        (tenant, bundle, Jsonb(rows)),
    )


async def is_known(tx: Tx, tenant: str, digest: str) -> bool:
    """Whether this very bundle was taken in."""
    return await imported(tx, tenant, digest) is not None


async def imported(tx: Tx, tenant: str, digest: str) -> ImportRecord | None:
    """The record of a bundle."""
    return await maybe(
        tx,
        ImportRecord,
        "select digest, content, fingerprint, origin, imported_at, imported_by, reason from imported_bundles"
        " where tenant = %s and digest = %s",
        (tenant, digest),
    )


async def imports(tx: Tx, tenant: str, *, before: tuple[datetime, str] | None, limit: int) -> list[ImportRecord]:
    """Bundles that were taken in, the newest first."""
    return await many(
        tx,
        ImportRecord,
        "select digest, content, fingerprint, origin, imported_at, imported_by, reason from imported_bundles"
        " where tenant = %(tenant)s and (%(at)s::timestamptz is null or (imported_at, digest) < (%(at)s, %(digest)s))"
        " order by imported_at desc, digest desc limit %(limit)s",
        {
            "tenant": tenant,
            "at": before[0] if before else None,
            "digest": before[1] if before else None,
            "limit": limit,
        },
    )


async def origins(tx: Tx, tenant: str, kind: str, name: str, version: int) -> list[OriginOf]:
    """Where a version came from, the newest bundle first; empty for one that was written here."""
    return await many(
        tx,
        OriginOf,
        "select i.bundle, i.author, i.origin_version, b.origin, i.evidence from imported_artifacts i"
        " join imported_bundles b on b.tenant = i.tenant and b.digest = i.bundle"
        " where i.tenant = %s and i.kind = %s and i.name = %s and i.version = %s order by b.imported_at desc limit 100",
        (tenant, kind, name, version),
    )
