"""All SQL over `release_evidence`, `prepared_releases` and `broken_glass`, and what gates read beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from stanchion.base import Json, dumps
from stanchion.db import Tx, execute, many, maybe, scalar
from stanchion.releases.gates.types import BrokenGlass, EvidenceRecord, Holder, Key, Prepared

_EVIDENCE: LiteralString = (
    "select e.tenant, e.id, e.environment, e.gate, e.subject, e.members, e.verdict, e.why, e.details, e.details_digest, e.by,"
    " e.by_kind, e.made_at, e.expires_at, e.withdrawn_by, e.withdrawn_at, e.withdraw_reason from release_evidence e "
)
_PREPARED: LiteralString = (
    "select tenant, id, environment, subject, members, author, reason, created_at, moved_by, moved_at"
    " from prepared_releases "
)
_BROKEN: LiteralString = (
    "select tenant, id, environment, move, subject, members, rollout_id, policy_digest, findings, reason, by, at,"
    " review_due_at, review, reviewed_by, reviewed_at, review_reason from broken_glass "
)


async def insert_evidence(tx: Tx, record: EvidenceRecord, key: str) -> bool:
    """Insert what was said, with its members; False if the very same stands there already."""
    made = await execute(
        tx,
        "insert into release_evidence (tenant, id, environment, gate, subject, members, verdict, why, details, details_digest,"
        " by, by_kind, made_at, expires_at, key) values (%(tenant)s, %(id)s, %(environment)s, %(gate)s, %(subject)s,"
        " %(members)s, %(verdict)s, %(why)s, %(details)s, %(details_digest)s, %(by)s, %(by_kind)s, %(made_at)s,"
        " %(expires_at)s, %(key)s) on conflict (tenant, key) where withdrawn_at is null do nothing",
        {
            "tenant": record.tenant,
            "id": record.id,
            "environment": record.environment,
            "gate": record.gate,
            "subject": record.subject,
            "members": Jsonb([asdict(member) for member in record.members]),
            "verdict": record.verdict.value,
            "why": record.why,
            "details": Jsonb(dict(record.details)),
            "details_digest": record.details_digest,
            "by": record.by,
            "by_kind": record.by_kind,
            "made_at": record.made_at,
            "expires_at": record.expires_at,
            "key": key,
        },
    )
    if not made:
        return False
    await execute(
        tx,
        "insert into release_evidence_members (tenant, evidence_id, kind, name, digest)"
        " select %s, %s, m.kind, m.name, m.digest from jsonb_to_recordset(%s) as m (kind text, name text, digest text)",
        (record.tenant, record.id, Jsonb([asdict(member) for member in record.members])),
    )
    return True


async def evidence_with_key(tx: Tx, tenant: str, key: str) -> EvidenceRecord | None:
    """What was said in exactly these words and is not withdrawn."""
    return await maybe(
        tx, EvidenceRecord, _EVIDENCE + "where e.tenant = %s and e.key = %s and e.withdrawn_at is null", (tenant, key)
    )


async def evidence(tx: Tx, tenant: str, evidence_id: UUID) -> EvidenceRecord | None:
    """One record; it is locked until the transaction ends."""
    return await maybe(
        tx, EvidenceRecord, _EVIDENCE + "where e.tenant = %s and e.id = %s for update of e", (tenant, evidence_id)
    )


async def withdraw(tx: Tx, tenant: str, evidence_id: UUID, *, by: str, at: datetime, reason: str) -> None:
    """Write that it does not count any more."""
    await execute(
        tx,
        "update release_evidence set withdrawn_by = %s, withdrawn_at = %s, withdraw_reason = %s"
        " where tenant = %s and id = %s and withdrawn_at is null",
        (by, at, reason, tenant, evidence_id),
    )


async def evidence_of_set(tx: Tx, tenant: str, gate: str, subject: str, *, limit: int) -> list[EvidenceRecord]:
    """The newest `limit` records of a gate about exactly this set that are not withdrawn, oldest first. What was said anew
    does not count towards `limit`: nobody pushes out what another said by saying much."""
    return await many(
        tx,
        EvidenceRecord,
        "select * from ("  # noqa: S608 - literals only
        + _EVIDENCE
        + "where e.tenant = %s and e.gate = %s and e.subject = %s and e.withdrawn_at is null order by e.made_at desc, e.id desc limit %s) f"
        " order by made_at, id",
        (tenant, gate, subject, limit),
    )


async def evidence_of_members(
    tx: Tx, tenant: str, gate: str, members: Iterable[tuple[str, str, str]], *, limit: int
) -> list[EvidenceRecord]:
    """The newest `limit` records of a gate that name one of these (kind, name, digest), oldest first."""
    rows = [{"kind": kind, "name": name, "digest": digest} for kind, name, digest in members]
    return await many(
        tx,
        EvidenceRecord,
        "select * from ("  # noqa: S608 - literals only
        + _EVIDENCE
        + "where e.tenant = %(tenant)s and e.gate = %(gate)s and e.id in (select m.evidence_id from release_evidence_members m"
        " join jsonb_to_recordset(%(members)s) as w (kind text, name text, digest text) on m.kind = w.kind"
        " and m.name = w.name and m.digest = w.digest where m.tenant = %(tenant)s)"
        " order by e.made_at desc, e.id desc limit %(limit)s) f order by made_at, id",
        {"tenant": tenant, "gate": gate, "members": Jsonb(rows), "limit": limit},
    )


async def list_evidence(
    tx: Tx, tenant: str, *, kind: str | None, name: str | None, digest: str | None, gate: str | None,
    before: UUID | None, limit: int,
) -> list[EvidenceRecord]:  # fmt: skip
    """Records that match every filter given, newest first, older than `before`."""
    return await many(
        tx,
        EvidenceRecord,
        _EVIDENCE + "where e.tenant = %(tenant)s and (%(gate)s::text is null or e.gate = %(gate)s)"  # noqa: S608 - literals only
        " and (%(kind)s::text is null or exists (select 1 from release_evidence_members m where m.tenant = e.tenant"
        " and m.evidence_id = e.id and m.kind = %(kind)s and (%(name)s::text is null or m.name = %(name)s)"
        " and (%(digest)s::text is null or m.digest = %(digest)s)))"
        " and (%(before)s::uuid is null or e.id < %(before)s) order by e.id desc limit %(limit)s",
        {
            "tenant": tenant, "kind": kind, "name": name, "digest": digest, "gate": gate, "before": before, "limit": limit,
        },
    )  # fmt: skip


async def insert_prepared(tx: Tx, prepared: Prepared) -> bool:
    """Insert a set that waits; False if exactly this set waits already."""
    return bool(
        await execute(
            tx,
            "insert into prepared_releases (tenant, id, environment, subject, members, author, reason, created_at)"
            " values (%s, %s, %s, %s, %s, %s, %s, %s)"
            " on conflict (tenant, environment, subject) where moved_at is null do nothing",
            (
                prepared.tenant,
                prepared.id,
                prepared.environment,
                prepared.subject,
                Jsonb([asdict(member) for member in prepared.members]),
                prepared.author,
                prepared.reason,
                prepared.created_at,
            ),
        )
    )


async def waiting(tx: Tx, tenant: str, environment: str, subject: str) -> Prepared | None:
    """The prepared set with this digest that has not moved yet."""
    return await maybe(
        tx,
        Prepared,
        _PREPARED + "where tenant = %s and environment = %s and subject = %s and moved_at is null",
        (tenant, environment, subject),
    )


async def prepared(tx: Tx, tenant: str, environment: str, prepared_id: UUID) -> Prepared | None:
    """One prepared set."""
    return await maybe(
        tx,
        Prepared,
        _PREPARED + "where tenant = %s and environment = %s and id = %s",
        (tenant, environment, prepared_id),
    )


async def list_prepared(
    tx: Tx, tenant: str, environment: str, *, moved: bool, before: UUID | None, limit: int
) -> list[Prepared]:
    """Prepared sets that wait, with `moved` also those that moved, newest first."""
    return await many(
        tx,
        Prepared,
        _PREPARED + "where tenant = %(tenant)s and environment = %(environment)s and (%(moved)s or moved_at is null)"
        " and (%(before)s::uuid is null or id < %(before)s) order by id desc limit %(limit)s",
        {"tenant": tenant, "environment": environment, "moved": moved, "before": before, "limit": limit},
    )


async def mark_moved(tx: Tx, tenant: str, environment: str, subject: str, *, by: str, at: datetime) -> None:
    """Write that exactly this set has moved."""
    await execute(
        tx,
        "update prepared_releases set moved_by = %s, moved_at = %s"
        " where tenant = %s and environment = %s and subject = %s and moved_at is null",
        (by, at, tenant, environment, subject),
    )


async def insert_broken(tx: Tx, broken: BrokenGlass) -> None:
    """Insert a move that is made against its gates."""
    await execute(
        tx,
        "insert into broken_glass (tenant, id, environment, move, subject, members, rollout_id, policy_digest, findings,"
        " reason, by, at, review_due_at) values (%(tenant)s, %(id)s, %(environment)s, %(move)s, %(subject)s, %(members)s,"
        " %(rollout_id)s, %(policy_digest)s, %(findings)s, %(reason)s, %(by)s, %(at)s, %(review_due_at)s)",
        {
            "tenant": broken.tenant,
            "id": broken.id,
            "environment": broken.environment,
            "move": broken.move,
            "subject": broken.subject,
            "members": Jsonb([asdict(member) for member in broken.members]),
            "rollout_id": broken.rollout_id,
            "policy_digest": broken.policy_digest,
            "findings": Jsonb(broken.findings),
            "reason": broken.reason,
            "by": broken.by,
            "at": broken.at,
            "review_due_at": broken.review_due_at,
        },
    )


async def broken(tx: Tx, tenant: str, environment: str, broken_id: UUID) -> BrokenGlass | None:
    """One of them; it is locked until the transaction ends."""
    return await maybe(
        tx,
        BrokenGlass,
        _BROKEN + "where tenant = %s and environment = %s and id = %s for update",
        (tenant, environment, broken_id),
    )


async def review(tx: Tx, reviewed: BrokenGlass) -> None:
    """Write its review."""
    await execute(
        tx,
        "update broken_glass set review = %s, reviewed_by = %s, reviewed_at = %s, review_reason = %s"
        " where tenant = %s and id = %s and review is null",
        (
            reviewed.review,
            reviewed.reviewed_by,
            reviewed.reviewed_at,
            reviewed.review_reason,
            reviewed.tenant,
            reviewed.id,
        ),
    )


async def list_broken(
    tx: Tx, tenant: str, environment: str, *, reviewed: bool, rollout_id: UUID | None, before: UUID | None, limit: int
) -> list[BrokenGlass]:
    """Moves against the gates that are not reviewed, with `reviewed` all of them, newest first."""
    return await many(
        tx,
        BrokenGlass,
        _BROKEN + "where tenant = %(tenant)s and environment = %(environment)s and (%(reviewed)s or review is null)"
        " and (%(rollout_id)s::uuid is null or rollout_id = %(rollout_id)s)"
        " and (%(before)s::uuid is null or id < %(before)s) order by id desc limit %(limit)s",
        {
            "tenant": tenant, "environment": environment, "reviewed": reviewed, "rollout_id": rollout_id, "before": before,
            "limit": limit,
        },
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """How many moves against the gates wait for a review, and how many have waited too long."""

    waiting: int
    overdue: int


async def open_reviews(tx: Tx, environment: str, now: datetime) -> Open:
    """Over all tenants of the environment: for the scheduler, as role engine."""
    found = await maybe(
        tx,
        Open,
        "select count(*)::int as waiting, (count(*) filter (where review_due_at <= %s))::int as overdue from broken_glass"
        " where environment = %s and review is null",
        (now, environment),
    )
    return found or Open(waiting=0, overdue=0)


async def holders(tx: Tx, tenant: str, names: Iterable[str]) -> dict[str, Holder]:
    """The principals of these names, as they are now."""
    rows = await many(
        tx,
        Holder,
        "select id, name, kind, roles, disabled_at from principals where tenant = %s and name = any(%s)",
        (tenant, sorted(set(names))),
    )
    return {row.name: row for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a published version says of itself, beside its content. `written_by`: its authors where it was imported from."""

    kind: str
    name: str
    version: int
    author: str
    owner: str
    changelog: str
    labels: dict[str, str]
    risk: str
    written_by: list[str] = field(default_factory=list[str])


async def said_of(tx: Tx, tenant: str, versions: Iterable[tuple[str, str, int]]) -> dict[tuple[str, str, int], Said]:
    """Author, owner, changelog, labels and risk of these versions, those that there are."""
    wanted = [{"kind": kind, "name": name, "version": version} for kind, name, version in versions]
    rows = await many(
        tx,
        Said,
        "select a.kind, a.name, a.version, a.author, a.owner, a.changelog, a.labels, a.risk,"
        " array(select distinct i.author from imported_artifacts i where i.tenant = a.tenant and i.kind = a.kind"
        " and i.name = a.name and i.version = a.version order by 1) as written_by from artifacts a"
        " join jsonb_to_recordset(%s) as w (kind text, name text, version int)"
        " on a.kind = w.kind and a.name = w.name and a.version = w.version where a.tenant = %s",
        (Jsonb(wanted), tenant),
    )
    return {(row.kind, row.name, row.version): row for row in rows}


async def taken_back_at(
    tx: Tx, tenant: str, environment: str, versions: Sequence[tuple[str, str, int]]
) -> datetime | None:
    """When one of these versions last ceased to be what runs get: another became live in its place, or its rollout was
    taken back."""
    wanted = [{"kind": kind, "name": name, "version": version} for kind, name, version in versions]
    return await scalar(
        tx,
        "select max(h.at) from jsonb_to_recordset(%s) as w (kind text, name text, version int) join release_history h"
        " on h.tenant = %s and h.environment = %s and h.kind = w.kind and h.name = w.name and"
        " ((h.event like 'release.%%' and h.version_before = w.version and h.version <> w.version)"
        " or (h.event = 'rollout.rolled_back' and h.version = w.version))",
        (Jsonb(wanted), tenant, environment),
    )


async def no_way_back(tx: Tx, tenant: str, environment: str, key: Key, version: int) -> str | None:
    """Why going back to a version asks the gates: it was never live here, or it was taken back since it last came to be by
    an apply or a promotion, by a rollback or by an apply of an older one. None if it is a way back."""
    return await scalar(
        tx,
        "with h as (select no, event, version, version_before from release_history where tenant = %(tenant)s"
        " and environment = %(environment)s and kind = %(kind)s and name = %(name)s and event like 'release.%%'"
        " and (version = %(version)s or version_before = %(version)s)) select case"
        " when not exists (select 1 from h) then 'was never live here'"
        " when exists (select 1 from h where version_before = %(version)s and version <> %(version)s and"
        " (event = 'release.rolled_back' or event = 'release.applied' and version < version_before) and no > coalesce("
        " (select max(no) from h where version = %(version)s and event in ('release.applied', 'release.promoted')), 0))"
        " then 'was taken back here' end",
        {"tenant": tenant, "environment": environment, "kind": key[0], "name": key[1], "version": version},
    )


async def is_retired(tx: Tx, tenant: str, key: Key, version: int) -> bool:
    """Whether a version is offered no more."""
    return bool(
        await scalar(
            tx,
            "select exists (select 1 from retired_artifacts where tenant = %s and kind = %s and name = %s and version = %s)",
            (tenant, *key, version),
        )
    )


async def explain(tx: Tx, ruling: Mapping[str, Json] | None) -> None:
    """What the gates said of the pointers that this transaction moves from here on: read by the trigger that notes them."""
    text = "" if ruling is None else dumps({"gates": dict(ruling)}).decode()
    await execute(tx, "select set_config('stanchion.release_evidence', %s, true)", (text,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A published version by its number and digest."""

    kind: str
    name: str
    version: int
    digest: str


async def version_with(tx: Tx, tenant: str, key: Key, digest: str) -> Version | None:
    """The version of a name that has this content."""
    return await maybe(
        tx,
        Version,
        "select kind, name, version, digest from artifacts where tenant = %s and kind = %s and name = %s and digest = %s",
        (tenant, *key, digest),
    )


async def versions(tx: Tx, tenant: str, wanted: Iterable[tuple[str, str, int]]) -> list[Version]:
    """Those of these (kind, name, version) that are published."""
    rows = [{"kind": kind, "name": name, "version": version} for kind, name, version in wanted]
    return await many(
        tx,
        Version,
        "select a.kind, a.name, a.version, a.digest from artifacts a"
        " join jsonb_to_recordset(%s) as w (kind text, name text, version int)"
        " on a.kind = w.kind and a.name = w.name and a.version = w.version where a.tenant = %s order by 1, 2",
        (Jsonb(rows), tenant),
    )


async def rollout_members(tx: Tx, tenant: str, environment: str, rollout_id: UUID) -> list[Version]:
    """The candidates of a rollout."""
    return await many(
        tx,
        Version,
        "select kind, name, candidate_version as version, candidate_digest as digest from rollout_members"
        " where tenant = %s and environment = %s and rollout_id = %s order by 1, 2",
        (tenant, environment, rollout_id),
    )
