"""All SQL over `tool_states`, `tool_approvals` and `tool_trials`, and what the tool gate reads of versions and of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe
from stanchion.tools.catalogue.types import ToldApproval, ToolState, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version of a tool, and whether it is the live one here."""

    name: str
    version: int
    digest: str
    body: dict[str, Json]
    author: str
    live: bool
    retired_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveRow:
    """The live version of something that a tool refers to."""

    kind: str
    name: str
    version: int
    digest: str
    body: dict[str, Json]
    refs: list[list[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectRow:
    """An effect of a run of a trial, with whether the audit log has its attempt and its end."""

    id: UUID
    state: str
    key: str
    simulated: bool
    attempted: bool
    completed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run of a trial: whether it was a dry run, whether it is pinned to the content asked about, and whether the audit log
    has its start and its end."""

    status: str
    dry_run: bool
    pinned: bool
    started: bool
    ended: bool


async def versions(
    tx: Tx, tenant: str, environment: str, *, name: str | None, after: str | None, live_only: bool, limit: int
) -> list[VersionRow]:
    """Versions of tools: every one of `name`, newest first, or with `live_only` the live ones by name, past `after`."""
    return await many(
        tx,
        VersionRow,
        "select a.name, a.version, a.digest, a.body, a.author, l.version is not null as live, t.retired_at from artifacts a"
        " left join releases l on l.tenant = a.tenant and l.environment = %(environment)s and l.kind = a.kind"
        " and l.name = a.name and l.version = a.version"
        " left join retired_artifacts t on t.tenant = a.tenant and t.kind = a.kind and t.name = a.name"
        " and t.version = a.version"
        " where a.tenant = %(tenant)s and a.kind = 'tool' and (%(name)s::text is null or a.name = %(name)s)"
        " and (%(after)s::text is null or a.name > %(after)s) and (not %(live_only)s or l.version is not null)"
        " order by a.name, a.version desc limit %(limit)s",
        {
            "tenant": tenant,
            "environment": environment,
            "name": name,
            "after": after,
            "live_only": live_only,
            "limit": limit,
        },
    )


async def version(tx: Tx, tenant: str, environment: str, name: str, number: int | None) -> VersionRow | None:
    """One version of a tool; the live one if none is said."""
    return await maybe(
        tx,
        VersionRow,
        "select a.name, a.version, a.digest, a.body, a.author, l.version is not null as live, t.retired_at from artifacts a"
        " left join releases l on l.tenant = a.tenant and l.environment = %(environment)s and l.kind = a.kind"
        " and l.name = a.name and l.version = a.version"
        " left join retired_artifacts t on t.tenant = a.tenant and t.kind = a.kind and t.name = a.name"
        " and t.version = a.version"
        " where a.tenant = %(tenant)s and a.kind = 'tool' and a.name = %(name)s"
        " and a.version = coalesce(%(version)s::int, l.version)",
        {"tenant": tenant, "environment": environment, "name": name, "version": number},
    )


async def live(tx: Tx, tenant: str, environment: str, wanted: Sequence[tuple[str, str]]) -> list[LiveRow]:
    """The live versions of these (kind, name)."""
    return await many(
        tx,
        LiveRow,
        "select l.kind, l.name, l.version, l.digest, a.body, a.refs from releases l"
        " join artifacts a on a.tenant = l.tenant and a.kind = l.kind and a.name = l.name and a.version = l.version"
        " join unnest(%(kinds)s::text[], %(names)s::text[]) as w (kind, name) on w.kind = l.kind and w.name = l.name"
        " where l.tenant = %(tenant)s and l.environment = %(environment)s",
        {
            "tenant": tenant,
            "environment": environment,
            "kinds": [kind for kind, _ in wanted],
            "names": [name for _, name in wanted],
        },
    )


async def states(tx: Tx, tenant: str, environment: str) -> list[ToolState]:
    """The state of every version that has one."""
    return await many(
        tx,
        ToolState,
        "select name, version, digest, connector_digest, enabled, reason, by, at, evidence from tool_states"
        " where tenant = %s and environment = %s",
        (tenant, environment),
    )


async def hold(tx: Tx, tenant: str, environment: str, name: str) -> None:
    """Hold the states of a tool here until the transaction ends: who changes one sees what the one before left."""
    await execute(
        tx,
        "select pg_advisory_xact_lock(hashtextextended('stanchion.tool/' || %s || '/' || %s || '/' || %s, 0))",
        (tenant, environment, name),
    )


async def states_of(tx: Tx, tenant: str, environment: str, wanted: Sequence[tuple[str, int]]) -> list[ToolState]:
    """The last word on each of these (name, version) that has one."""
    return await many(
        tx,
        ToolState,
        "select s.name, s.version, s.digest, s.connector_digest, s.enabled, s.reason, s.by, s.at, s.evidence"
        " from tool_states s join unnest(%(names)s::text[], %(versions)s::int[]) as w (name, version)"
        " on w.name = s.name and w.version = s.version"
        " where s.tenant = %(tenant)s and s.environment = %(environment)s",
        {
            "tenant": tenant,
            "environment": environment,
            "names": [name for name, _ in wanted],
            "versions": [number for _, number in wanted],
        },
    )


async def set_state(tx: Tx, tenant: str, environment: str, new: ToolState) -> None:
    """Write the last word on a version."""
    await execute(
        tx,
        "insert into tool_states (tenant, environment, name, version, digest, connector_digest, enabled, reason, by, at,"
        " evidence) values (%(tenant)s, %(environment)s, %(name)s, %(version)s, %(digest)s, %(connector_digest)s,"
        " %(enabled)s, %(reason)s, %(by)s, %(at)s, %(evidence)s)"
        " on conflict (tenant, environment, name, version) do update set digest = excluded.digest,"
        " connector_digest = excluded.connector_digest, enabled = excluded.enabled, reason = excluded.reason,"
        " by = excluded.by, at = excluded.at, evidence = excluded.evidence",
        {
            "tenant": tenant,
            "environment": environment,
            "name": new.name,
            "version": new.version,
            "digest": new.digest,
            "connector_digest": new.connector_digest,
            "enabled": new.enabled,
            "reason": new.reason,
            "by": new.by,
            "at": new.at,
            "evidence": Jsonb(new.evidence),
        },
    )


async def approvals(tx: Tx, tenant: str, name: str, told: str) -> list[ToldApproval]:
    """Who approved exactly this, in the order of their approvals."""
    return await many(
        tx,
        ToldApproval,
        "select name, told, by, reason, at from tool_approvals where tenant = %s and name = %s and told = %s order by at, by",
        (tenant, name, told),
    )


async def approve(tx: Tx, tenant: str, new: ToldApproval) -> bool:
    """Insert an approval; whether it is new."""
    return bool(
        await execute(
            tx,
            "insert into tool_approvals (tenant, name, told, by, reason, at) values (%s, %s, %s, %s, %s, %s)"
            " on conflict (tenant, name, told, by) do nothing",
            (tenant, new.name, new.told, new.by, new.reason, new.at),
        )
    )


async def add_trial(tx: Tx, tenant: str, environment: str, new: Trial) -> None:
    """Insert what was tried."""
    await execute(
        tx,
        "insert into tool_trials (tenant, id, environment, name, version, digest, connector_digest, point, run_id, detail, by,"
        " at) values (%(tenant)s, %(id)s, %(environment)s, %(name)s, %(version)s, %(digest)s, %(connector_digest)s, %(point)s,"
        " %(run_id)s, %(detail)s, %(by)s, %(at)s)",
        {
            "tenant": tenant,
            "id": new.id,
            "environment": environment,
            "name": new.name,
            "version": new.version,
            "digest": new.digest,
            "connector_digest": new.connector_digest,
            "point": new.point,
            "run_id": new.run_id,
            "detail": new.detail,
            "by": new.by,
            "at": new.at,
        },
    )


async def trials(tx: Tx, tenant: str, environment: str, name: str, digest: str, *, limit: int) -> list[Trial]:
    """What was tried of this content, newest first, of each point at most `limit`."""
    return await many(
        tx,
        Trial,
        "select t.* from unnest(array['dry_run', 'idempotency', 'disable_path']) as p (point) cross join lateral ("
        " select id, name, version, digest, connector_digest, point, run_id, detail, by, at from tool_trials"
        " where tenant = %(tenant)s and environment = %(environment)s and name = %(name)s and digest = %(digest)s"
        " and point = p.point order by id desc limit %(limit)s) t order by t.id desc",
        {"tenant": tenant, "environment": environment, "name": name, "digest": digest, "limit": limit},
    )


async def run_of(tx: Tx, tenant: str, run_id: UUID, digest: str) -> RunRow | None:
    """The run of a trial, and whether it is pinned to this content."""
    return await maybe(
        tx,
        RunRow,
        "select r.status, coalesce(r.input -> 'dry_run' = 'true'::jsonb, false) as dry_run,"
        " exists (select 1 from pin_sets s cross join lateral jsonb_array_elements(s.pins) p where s.tenant = r.tenant"
        " and s.digest = r.pins and p ->> 'kind' = 'tool' and p ->> 'digest' = %(digest)s) as pinned,"
        " exists (select 1 from audit_records a where a.tenant = r.tenant and a.run_id = r.id"
        " and a.event_type = 'run.started') as started, exists (select 1 from audit_records a where a.tenant = r.tenant"
        " and a.run_id = r.id and a.event_type = 'run.ended') as ended"
        " from runs r where r.tenant = %(tenant)s and r.id = %(id)s",
        {"tenant": tenant, "id": run_id, "digest": digest},
    )


async def effects_of(tx: Tx, tenant: str, run_id: UUID) -> list[EffectRow]:
    """The effects of a run, as the ledger has them, with their records."""
    return await many(
        tx,
        EffectRow,
        "select e.id, e.state, e.key, coalesce((e.receipt ->> 'simulated')::boolean, false) as simulated,"
        " exists (select 1 from audit_records a where a.tenant = e.tenant and a.run_id = e.run_id"
        " and a.event_type = 'effect.attempted' and a.target_id = e.id::text) as attempted,"
        " exists (select 1 from audit_records a where a.tenant = e.tenant and a.run_id = e.run_id"
        " and a.event_type = 'effect.completed' and a.target_id = e.id::text) as completed"
        " from effects e where e.tenant = %s and e.run_id = %s order by e.id limit 10",
        (tenant, run_id),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """Which version a digest is."""

    name: str
    version: int
    digest: str


async def numbered(tx: Tx, tenant: str) -> list[Numbered]:
    """Every version of every tool, without its content."""
    return await many(
        tx, Numbered, "select name, version, digest from artifacts where tenant = %s and kind = 'tool'", (tenant,)
    )
