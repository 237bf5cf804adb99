"""All SQL over `rollouts`, `rollout_members` and `release_history`, and what a resolution reads of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.base import Json
from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.releases.rollouts.states import Change, Key, Member, Rollout, State, Step, Strategy
from stanchion.releases.types import Live, Release

# A rollout with its members, as one row.
_ROLLOUT: LiteralString = (
    "select r.tenant, r.id, r.environment, r.strategy, r.state, r.unit, r.salt, r.rings, r.steps, r.step, r.rev, r.due_at,"
    " r.author, r.reason, r.created_at, r.changed_by, r.changed_at, r.ended_at, r.guards,"
    " (select jsonb_agg(jsonb_build_object('kind', m.kind, 'name', m.name, 'stable_version', m.stable_version,"
    " 'stable_digest', m.stable_digest, 'candidate_version', m.candidate_version, 'candidate_digest', m.candidate_digest)"
    " order by m.kind, m.name) from rollout_members m where m.tenant = r.tenant and m.rollout_id = r.id) as members"
    " from rollouts r "
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A rollout as the database gives it."""

    tenant: str
    id: UUID
    environment: str
    strategy: str
    state: str
    unit: str
    salt: str
    rings: dict[str, list[str]]
    steps: list[dict[str, Any]]
    step: int
    rev: int
    due_at: datetime | None
    author: str
    reason: str
    created_at: datetime
    changed_by: str
    changed_at: datetime
    ended_at: datetime | None
    guards: dict[str, Json] | None
    members: list[dict[str, Any]]


def _rollout(row: _Row) -> Rollout:
    return Rollout(
        tenant=row.tenant,
        id=row.id,
        environment=row.environment,
        strategy=Strategy(row.strategy),
        state=State(row.state),
        unit=row.unit,
        salt=row.salt,
        rings={name: tuple(units) for name, units in row.rings.items()},
        steps=tuple(Step(share=step["share"], rings=tuple(step["rings"]), hold_s=step["hold_s"]) for step in row.steps),
        step=row.step,
        rev=row.rev,
        due_at=row.due_at,
        members=tuple(Member(**member) for member in row.members),
        author=row.author,
        reason=row.reason,
        created_at=row.created_at,
        changed_by=row.changed_by,
        changed_at=row.changed_at,
        ended_at=row.ended_at,
        guards=row.guards,
    )


async def insert(tx: Tx, rollout: Rollout) -> None:
    """Insert a rollout with its members, and what is watched of it."""
    await execute(
        tx,
        "insert into rollouts (tenant, id, environment, strategy, state, unit, salt, rings, steps, step, rev, due_at,"
        " author, reason, created_at, changed_by, changed_at, ended_at, guards) values (%(tenant)s, %(id)s, %(environment)s,"
        " %(strategy)s, %(state)s, %(unit)s, %(salt)s, %(rings)s, %(steps)s, %(step)s, %(rev)s, %(due_at)s, %(author)s,"
        " %(reason)s, %(created_at)s, %(changed_by)s, %(changed_at)s, %(ended_at)s, %(guards)s)",
        {
            "tenant": rollout.tenant,
            "id": rollout.id,
            "environment": rollout.environment,
            "strategy": rollout.strategy.value,
            "state": rollout.state.value,
            "unit": rollout.unit,
            "salt": rollout.salt,
            "rings": Jsonb({name: list(units) for name, units in rollout.rings.items()}),
            "steps": Jsonb([{**asdict(step), "rings": list(step.rings)} for step in rollout.steps]),
            "step": rollout.step,
            "rev": rollout.rev,
            "due_at": rollout.due_at,
            "author": rollout.author,
            "reason": rollout.reason,
            "created_at": rollout.created_at,
            "changed_by": rollout.changed_by,
            "changed_at": rollout.changed_at,
            "ended_at": rollout.ended_at,
            "guards": None if rollout.guards is None else Jsonb(rollout.guards),
        },
    )
    if rollout.guards is not None:
        await execute(
            tx,
            "insert into rollout_watches (tenant, rollout_id, environment) values (%s, %s, %s)",
            (rollout.tenant, rollout.id, rollout.environment),
        )
    await execute(
        tx,
        "insert into rollout_members (tenant, rollout_id, environment, kind, name, stable_version, stable_digest,"
        " candidate_version, candidate_digest) select %s, %s, %s, m.kind, m.name, m.stable_version, m.stable_digest,"
        " m.candidate_version, m.candidate_digest from jsonb_to_recordset(%s) as m (kind text, name text,"
        " stable_version int, stable_digest text, candidate_version int, candidate_digest text)",
        (rollout.tenant, rollout.id, rollout.environment, Jsonb([asdict(member) for member in rollout.members])),
    )


async def save(tx: Tx, rollout: Rollout) -> None:
    """Write what changes of a rollout: state, step, times and who."""
    await execute(
        tx,
        "update rollouts set state = %(state)s, step = %(step)s, rev = %(rev)s, due_at = %(due_at)s,"
        " changed_by = %(changed_by)s, changed_at = %(changed_at)s, ended_at = %(ended_at)s"
        " where tenant = %(tenant)s and id = %(id)s",
        {
            "tenant": rollout.tenant,
            "id": rollout.id,
            "state": rollout.state.value,
            "step": rollout.step,
            "rev": rollout.rev,
            "due_at": rollout.due_at,
            "changed_by": rollout.changed_by,
            "changed_at": rollout.changed_at,
            "ended_at": rollout.ended_at,
        },
    )
    if rollout.ended_at is not None:
        await execute(
            tx,
            "update rollout_members set ended_at = %s where tenant = %s and rollout_id = %s and ended_at is null",
            (rollout.ended_at, rollout.tenant, rollout.id),
        )


async def get(tx: Tx, tenant: str, environment: str, rollout_id: UUID) -> Rollout | None:
    """One rollout of this environment."""
    row = await maybe(
        tx,
        _Row,
        _ROLLOUT + "where r.tenant = %s and r.environment = %s and r.id = %s",
        (tenant, environment, rollout_id),
    )
    return None if row is None else _rollout(row)


async def open_rollouts(tx: Tx, tenant: str, environment: str) -> list[Rollout]:
    """Every open rollout of the environment, oldest first."""
    rows = await many(
        tx,
        _Row,
        _ROLLOUT + "where r.tenant = %s and r.environment = %s and r.ended_at is null order by r.id",
        (tenant, environment),
    )
    return [_rollout(row) for row in rows]


async def listed(
    tx: Tx, tenant: str, environment: str, *, state: str | None, kind: str | None, name: str | None,
    before: UUID | None, limit: int,
) -> list[Rollout]:  # fmt: skip
    """Rollouts, newest first, that match every filter given, older than `before`."""
    rows = await many(
        tx,
        _Row,
        _ROLLOUT + "where r.tenant = %(tenant)s and r.environment = %(environment)s"  # noqa: S608 - literals only
        " and (%(state)s::text is null or r.state = %(state)s or (%(state)s = 'open' and r.ended_at is null))"
        " and (%(kind)s::text is null or exists (select 1 from rollout_members m where m.tenant = r.tenant"
        " and m.rollout_id = r.id and m.kind = %(kind)s and (%(name)s::text is null or m.name = %(name)s)))"
        " and (%(before)s::uuid is null or r.id < %(before)s) order by r.id desc limit %(limit)s",
        {
            "tenant": tenant,
            "environment": environment,
            "state": state,
            "kind": kind,
            "name": name,
            "before": before,
            "limit": limit,
        },
    )
    return [_rollout(row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A rollout that may change by itself, as the scheduler looks for them."""

    tenant: str
    id: UUID


async def watched(tx: Tx, environment: str, *, past: UUID | None, limit: int) -> list[Watched]:
    """Rollouts of all tenants in the environment that may go on or come back, by id past `past`: those that are ACTIVE,
    and PAUSED ones with guards, whose candidate is still out. For the scheduler, as role engine."""
    return await many(
        tx,
        Watched,
        "select tenant, id from rollouts where environment = %(environment)s and ended_at is null"
        " and (state = 'ACTIVE' or guards is not null)"
        " and (%(past)s::uuid is null or id > %(past)s) order by id limit %(limit)s",
        {"environment": environment, "past": past, "limit": limit},
    )


async def explain_moves(tx: Tx, event: str, rollout_id: UUID | None, reason: str) -> None:
    """What the pointers that this transaction moves from here on are moved for: read by the trigger that notes them."""
    await execute(
        tx,
        "select set_config('stanchion.release_event', %s, true), set_config('stanchion.release_rollout', %s, true),"
        " set_config('stanchion.release_reason', %s, true)",
        (event, "" if rollout_id is None else str(rollout_id), reason),
    )


async def note(
    tx: Tx, rollout: Rollout, event: str, *, before: Json, after: Json, evidence: Mapping[str, Json], reason: str
) -> None:
    """A row of the history for each artifact that the rollout moves."""
    await execute(
        tx,
        "insert into release_history (tenant, environment, kind, name, event, version_before, version, rollout_id, before,"
        " after, evidence, reason, by, at) select m.tenant, m.environment, m.kind, m.name, %(event)s, m.stable_version,"
        " m.candidate_version, m.rollout_id, %(before)s, %(after)s, %(evidence)s, %(reason)s, %(by)s, %(at)s"
        " from rollout_members m where m.tenant = %(tenant)s and m.rollout_id = %(id)s order by m.kind, m.name",
        {
            "tenant": rollout.tenant,
            "id": rollout.id,
            "event": event,
            "before": None if before is None else Jsonb(before),
            "after": Jsonb(after),
            "evidence": Jsonb(dict(evidence)) if evidence else None,
            "reason": reason,
            "by": rollout.changed_by,
            "at": rollout.changed_at,
        },
    )


async def history(
    tx: Tx, tenant: str, environment: str, kind: str, name: str, *, before: int | None, limit: int
) -> list[Change]:
    """What happened to a name, newest first, before entry `before`."""
    return await many(
        tx,
        Change,
        "select no, kind, name, event, version_before, version, rollout_id, before, after, evidence, reason, by, at"
        " from release_history where tenant = %(tenant)s and environment = %(environment)s and kind = %(kind)s"
        " and name = %(name)s and (%(before)s::bigint is null or no < %(before)s) order by no desc limit %(limit)s",
        {
            "tenant": tenant, "environment": environment, "kind": kind, "name": name, "before": before, "limit": limit,
        },
    )  # fmt: skip


async def version_before(tx: Tx, tenant: str, environment: str, key: Key, version: int) -> int | None:
    """What was live before `version` last came to be, by other means than a rollback; None if nothing was."""
    return await scalar(
        tx,
        "select version_before from release_history where tenant = %s and environment = %s and kind = %s and name = %s"
        " and version = %s and event in ('release.applied', 'release.promoted') order by no desc limit 1",
        (tenant, environment, *key, version),
    )


async def version_of(tx: Tx, tenant: str, kind: str, name: str, version: int) -> Live | None:
    """One published version with its content, live or not."""
    return await maybe(
        tx,
        Live,
        "select kind, name, version, digest, body, refs, source, source_path from artifacts"
        " where tenant = %s and kind = %s and name = %s and version = %s",
        (tenant, kind, name, version),
    )


async def candidates(tx: Tx, tenant: str, rollout_ids: Iterable[UUID]) -> list[Live]:
    """The candidates of these rollouts with their content."""
    return await many(
        tx,
        Live,
        "select a.kind, a.name, a.version, a.digest, a.body, a.refs, a.source, a.source_path from rollout_members m"
        " join artifacts a on a.tenant = m.tenant and a.kind = m.kind and a.name = m.name"
        " and a.version = m.candidate_version where m.tenant = %s and m.rollout_id = any(%s)",
        (tenant, list(rollout_ids)),
    )


async def latest_versions(tx: Tx, tenant: str, keys: Sequence[Key], most: int) -> list[Live]:
    """The latest `most` versions of each of these names that may be given to new runs, with their content."""
    return await many(
        tx,
        Live,
        "select a.kind, a.name, a.version, a.digest, a.body, a.refs, a.source, a.source_path"
        " from jsonb_to_recordset(%(keys)s) as k (kind text, name text) cross join lateral (select * from artifacts a"
        " where a.tenant = %(tenant)s and a.kind = k.kind and a.name = k.name"
        " and not exists (select from withdrawals w where w.tenant = a.tenant and w.digest = a.digest"
        " and w.lifted_at is null) and not exists (select from retired_artifacts t where t.tenant = a.tenant"
        " and t.kind = a.kind and t.name = a.name and t.version = a.version) order by a.version desc limit %(most)s) a"
        " order by a.kind, a.name, a.version desc",
        {"tenant": tenant, "keys": Jsonb([{"kind": kind, "name": name} for kind, name in keys]), "most": most},
    )


async def release(tx: Tx, tenant: str, environment: str, key: Key) -> Release | None:
    """What is live of one name."""
    return await maybe(
        tx,
        Release,
        "select environment, kind, name, version, digest, released_at, released_by from releases"
        " where tenant = %s and environment = %s and kind = %s and name = %s",
        (tenant, environment, *key),
    )


async def revision(tx: Tx, tenant: str, environment: str) -> str:
    """A text that differs whenever what runs get differs: the pointers' count and 64-bit hash, the open rollouts' revs."""
    return await scalar(
        tx,
        "select (select count(*) || ':' || coalesce(hashtextextended(string_agg(kind || '/' || name || '@' || version, ','"
        " order by kind, name), 0), 0) from releases where tenant = %(tenant)s and environment = %(environment)s)"
        " || '/' || (select count(*) || ':' || coalesce(hashtextextended(string_agg(id || '@' || rev, ',' order by id), 0), 0)"
        " from rollouts where tenant = %(tenant)s and environment = %(environment)s and ended_at is null)",
        {"tenant": tenant, "environment": environment},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offered:
    kind: str
    name: str
    version: int
    digest: str
    body: dict[str, Json]
    refs: list[list[str]]
    source: str
    source_path: str
    live: bool
    rollouts: list[dict[str, Any]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a Blueprint's runs could get, as of one moment: every version reachable under any assignment, which of them
    are live, and the open rollouts that decide between them."""

    live: tuple[Live, ...]
    candidates: tuple[Live, ...]
    rollouts: tuple[Rollout, ...]


async def offer(tx: Tx, tenant: str, environment: str, blueprint: str) -> Offer:
    """What runs of a Blueprint could get: one statement, so that pointers and rollouts are of one moment.

    What is referred to and not live is absent; its referrer is there to name it.
    """
    rows = await many(
        tx,
        _Offered,
        "with recursive opened as ("  # noqa: S608 - literals only
        + _ROLLOUT
        + "where r.tenant = %(tenant)s and r.environment = %(environment)s"
        " and r.ended_at is null), offered (kind, name, version, live) as ("
        " select kind, name, version, true from releases where tenant = %(tenant)s and environment = %(environment)s"
        " union all select kind, name, candidate_version, false from rollout_members where tenant = %(tenant)s"
        " and environment = %(environment)s and ended_at is null), reached (kind, name) as ("
        " select 'blueprint', %(blueprint)s::text union select ref ->> 0, ref ->> 1 from reached r"
        " join offered o on o.kind = r.kind and o.name = r.name join artifacts a on a.tenant = %(tenant)s"
        " and a.kind = o.kind and a.name = o.name and a.version = o.version"
        " cross join lateral jsonb_array_elements(a.refs) as ref)"
        " select o.kind, o.name, o.version, a.digest, a.body, a.refs, a.source, a.source_path, o.live,"
        " case when o.live and o.kind = 'blueprint' and o.name = %(blueprint)s then"
        " (select jsonb_agg(to_jsonb(opened) order by opened.id) from opened) end as rollouts"
        " from reached r join offered o on o.kind = r.kind and o.name = r.name join artifacts a on a.tenant = %(tenant)s"
        " and a.kind = o.kind and a.name = o.name and a.version = o.version",
        {"tenant": tenant, "environment": environment, "blueprint": blueprint},
    )
    return _offer_of(rows)


async def offer_of_kind(tx: Tx, tenant: str, environment: str, kind: str) -> Offer:
    """Every live version of a kind, the candidates beside them and their rollouts: one statement, of one moment."""
    rows = await many(
        tx,
        _Offered,
        "with opened as ("  # noqa: S608 - literals only
        + _ROLLOUT
        + "where r.tenant = %(tenant)s and r.environment = %(environment)s"
        " and r.ended_at is null), offered (kind, name, version, rollout) as ("
        " select kind, name, version, null::uuid from releases where tenant = %(tenant)s and environment = %(environment)s"
        " and kind = %(kind)s union all select kind, name, candidate_version, rollout_id from rollout_members"
        " where tenant = %(tenant)s and environment = %(environment)s and kind = %(kind)s and ended_at is null)"
        " select o.kind, o.name, o.version, a.digest, a.body, a.refs, a.source, a.source_path, o.rollout is null as live,"
        " (select jsonb_agg(to_jsonb(opened)) from opened where opened.id = o.rollout) as rollouts from offered o"
        " join artifacts a on a.tenant = %(tenant)s and a.kind = o.kind and a.name = o.name and a.version = o.version",
        {"tenant": tenant, "environment": environment, "kind": kind},
    )
    return _offer_of(rows)


def _offer_of(rows: Sequence[_Offered]) -> Offer:
    rollouts = {row["id"]: row for offered in rows for row in offered.rollouts or ()}
    return Offer(
        live=tuple(_live(row) for row in rows if row.live),
        candidates=tuple(_live(row) for row in rows if not row.live),
        rollouts=tuple(_rollout_of(row) for row in rollouts.values()),
    )


def _live(row: _Offered) -> Live:
    return Live(
        kind=row.kind,
        name=row.name,
        version=row.version,
        digest=row.digest,
        body=row.body,
        refs=row.refs,
        source=row.source,
        source_path=row.source_path,
    )


_TIMES = ("due_at", "created_at", "changed_at", "ended_at")


def _rollout_of(found: dict[str, Any]) -> Rollout:
    """A rollout from its row as JSON."""
    times = {name: datetime.fromisoformat(found[name]) if found[name] else None for name in _TIMES}
    made: dict[str, Any] = {**found, **times, "id": UUID(found["id"])}
    return _rollout(_Row(**made))
