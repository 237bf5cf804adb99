"""All SQL over `repins`, and what revocation reads of artifacts, pin sets and steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.releases.revoking.types import Named, Repin
from stanchion.releases.types import Live


async def by_digest(tx: Tx, tenant: str, said: str, limit: int) -> list[Named]:
    """The versions whose digest begins so, the one that is exactly so first."""
    return await many(
        tx,
        Named,
        "select kind, name, version, digest from artifacts where tenant = %(tenant)s and starts_with(digest, %(said)s)"
        " order by digest <> %(said)s, kind, name, version limit %(limit)s",
        {"tenant": tenant, "said": said, "limit": limit},
    )


async def members(tx: Tx, tenant: str, pins: str) -> list[Live]:
    """The versions of a stored pin set with their content, in its order: the Blueprint first."""
    return await many(
        tx,
        Live,
        "select a.kind, a.name, a.version, a.digest, a.body, a.refs, a.source, a.source_path from pin_sets s"
        " cross join lateral jsonb_array_elements(s.pins) with ordinality as p (pin, no)"
        " join artifacts a on a.tenant = s.tenant and a.kind = p.pin ->> 'kind' and a.name = p.pin ->> 'name'"
        " and a.version = (p.pin ->> 'version')::int where s.tenant = %s and s.digest = %s order by p.no",
        (tenant, pins),
    )


async def decided(tx: Tx, tenant: str, run_ids: Sequence[UUID], paths: Sequence[str]) -> str | None:
    """One of these steps that has succeeded in one of these runs; None if none has."""
    return await scalar(
        tx,
        "select path from step_runs where tenant = %s and run_id = any(%s) and path = any(%s) and status = 'SUCCEEDED'"
        " order by path limit 1",
        (tenant, list(run_ids), list(paths)),
    )


async def unsettled(tx: Tx, tenant: str, run_ids: Sequence[UUID], connector: str) -> str | None:
    """One step of these runs whose write through the connector may or may not have happened; None if there is none."""
    return await scalar(
        tx,
        "select path from effects where tenant = %s and run_id = any(%s) and connector = %s"
        " and state in ('INTENT', 'UNKNOWN') order by path limit 1",
        (tenant, list(run_ids), connector),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Input:
    input: Json


async def input_of(tx: Tx, tenant: str, run_id: UUID) -> Json:
    """A run's input."""
    found = await maybe(tx, _Input, "select input from runs where tenant = %s and id = %s", (tenant, run_id))
    return None if found is None else found.input


async def insert_repin(tx: Tx, tenant: str, made: Repin) -> None:
    """Note what a run was given."""
    await execute(
        tx,
        "insert into repins (tenant, id, run_id, withdrawal_id, kind, name, version_before, version, digest_before, digest,"
        " pins_before, pins, reason, by, at) values (%(tenant)s, %(id)s, %(run_id)s, %(withdrawal_id)s, %(kind)s, %(name)s,"
        " %(version_before)s, %(version)s, %(digest_before)s, %(digest)s, %(pins_before)s, %(pins)s, %(reason)s, %(by)s,"
        " %(at)s)",
        {
            "tenant": tenant,
            "id": made.id,
            "run_id": made.run_id,
            "withdrawal_id": made.withdrawal_id,
            "kind": made.kind,
            "name": made.name,
            "version_before": made.version_before,
            "version": made.version,
            "digest_before": made.digest_before,
            "digest": made.digest,
            "pins_before": made.pins_before,
            "pins": made.pins,
            "reason": made.reason,
            "by": made.by,
            "at": made.at,
        },
    )


async def repins_of(tx: Tx, tenant: str, run_id: UUID, limit: int) -> list[Repin]:
    """What a run was given in place of revoked versions, the oldest first."""
    return await many(
        tx,
        Repin,
        "select id, run_id, withdrawal_id, kind, name, version_before, version, digest_before, digest, pins_before, pins,"
        " reason, by, at from repins where tenant = %s and run_id = %s order by id limit %s",
        (tenant, run_id, limit),
    )
