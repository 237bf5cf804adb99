"""Verbs of gates: prepare a set, say something about it, take that back, review a move that was made without.

Approvals and withdrawals are written behind the lock of the tenant's releases: a move that is being judged and what it is
judged by go one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Denied, Invalid, Json, NotFound, digest, present
from stanchion.base.paging import PageParams, Slice, id_after, slice_of
from stanchion.context import Ctx, Env
from stanchion.db import Tx
from stanchion.releases import store as releases_store
from stanchion.releases.gates import rules, store
from stanchion.releases.gates.types import (
    APPROVAL_TTL,
    EVAL_TTL,
    EVIDENCE_TTL_MAX,
    MEMBERS_MAX,
    BrokenGlass,
    EvalReport,
    EvidenceRecord,
    Prepared,
    Review,
    Subject,
    Verdict,
)

_SUPERSEDED: Final = "Said anew by the same person."


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """The set that is meant: a prepared release or an open rollout by its id, or versions by name and number."""

    id: UUID | None = None
    versions: tuple[tuple[str, str, int], ...] = ()


async def members_of(tx: Tx, ctx: Ctx, which: Which) -> tuple[store.Version, ...]:
    """The versions of a set. Raises NotFound `release.unknown_set`, `artifact.unknown`; Invalid `release.empty_set`."""
    if which.id is not None:
        found = await store.prepared(tx, ctx.tenant, ctx.env.environment.name, which.id)
        if found is not None:
            return tuple(
                store.Version(kind=m.kind, name=m.name, version=m.version, digest=m.digest) for m in found.members
            )
        rows = await store.rollout_members(tx, ctx.tenant, ctx.env.environment.name, which.id)
        if not rows:
            raise NotFound(
                "release.unknown_set",
                f"There is no prepared release and no rollout {which.id} in this environment.",
                hint="`stanchion release list --waiting` shows what is prepared.",
            )
        return tuple(rows)
    if not 1 <= len(which.versions) <= MEMBERS_MAX or len({v[:2] for v in which.versions}) < len(which.versions):
        raise Invalid("release.empty_set", "No set is named.", hint="Name 1 to 500 versions, each artifact once.")
    known = await store.versions(tx, ctx.tenant, which.versions)
    missing = sorted(set(which.versions) - {(row.kind, row.name, row.version) for row in known})
    if missing:
        kind, name, version = missing[0]
        raise NotFound(
            "artifact.unknown",
            f"There is no {kind} {name} version {version}.",
            hint=f"`stanchion artifact history {kind}/{name}` lists its versions.",
        )
    return tuple(known)


async def approve(
    ctx: Ctx, which: Which, *, verdict: Verdict = Verdict.PASS, reason: str, subject: str | None = None
) -> EvidenceRecord:
    """Say yes or no to exactly this set of digests. What the same person said of it before counts no more.

    Args:
        ctx: who; a person with `releases.approve` who wrote none of these versions.
        which: the set.
        verdict: PASS approves, FAIL rejects.
        reason: why; kept.
        subject: the digest of the set as the caller saw it; another one is refused.

    Raises:
        Denied, `release.own_approval`, `release.not_a_person`; Conflict `release.other_set`; NotFound, Invalid as
        `members_of`; Invalid `release.no_reason`, `release.bad_verdict`.
    """
    ctx.require("releases.approve", environment=ctx.env.environment.name)
    why = rules.check_reason(reason)
    if verdict is Verdict.INCONCLUSIVE:
        raise Invalid("release.bad_verdict", "A person approves or rejects.", hint="Say PASS or FAIL.")
    if ctx.actor.kind != "user":
        raise Denied(
            "release.not_a_person",
            f"{ctx.actor.principal} is no person, and only people approve a release.",
            hint="A program reports an eval: POST /api/release-gates/evals.",
        )
    async with ctx.tx() as tx:
        await releases_store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
        members = await members_of(tx, ctx, which)
        record = _record(ctx, "approval", members, verdict, why, {}, APPROVAL_TTL)
        if subject is not None and subject != record.subject:
            raise Conflict(
                "release.other_set",
                f"The set is {record.subject} by now, and not {subject}. Nothing was approved.",
                hint="Look at it again and decide again.",
                subject=record.subject,
            )
        await _refuse_own(tx, ctx, members)
        key = digest({"gate": "approval", "subject": record.subject, "by": record.by})
        before = await store.evidence_with_key(tx, ctx.tenant, key)
        if before is not None:
            await _withdrawn(tx, ctx, before, _SUPERSEDED)
        await store.insert_evidence(tx, record, key)
        await _given(tx, ctx, record)
    return record


async def _refuse_own(tx: Tx, ctx: Ctx, members: Sequence[store.Version]) -> None:
    said = await store.said_of(tx, ctx.tenant, [(m.kind, m.name, m.version) for m in members])
    own = [row for row in said.values() if ctx.actor.principal in (row.author, *row.written_by)]
    if own:
        raise Denied(
            "release.own_approval",
            f"{ctx.actor.principal} wrote {own[0].kind}/{own[0].name}@{own[0].version}; somebody else decides about it.",
            hint="Ask somebody who wrote none of these versions.",
        )


async def report_eval(
    ctx: Ctx,
    members: Sequence[tuple[str, str, str | int]],
    report: EvalReport,
    *,
    report_id: str,
    verdict: Verdict,
    why: str,
    expires_at: datetime | None = None,
) -> EvidenceRecord:
    """Say what an eval of exactly these digests measured. The same report sent twice is one.

    Args:
        ctx: a service with `releases.report`.
        members: (kind, name, digest or version) of each version that was evaluated together; all are published.
        report: suite, counts, thresholds.
        report_id: the reporter's own id of this eval.
        verdict: what the reporter makes of it.
        why: one sentence.
        expires_at: until when it counts; 30 days by default, at most 366.

    Raises:
        Denied, `release.not_a_service`; Invalid `evidence.bad_eval`, `evidence.bad_expiry`, `release.empty_set`; NotFound
        `artifact.unknown`; Conflict `evidence.other_content` if another report was sent under this id.
    """
    ctx.require("releases.report", environment=ctx.env.environment.name)
    rules.check_report(report, verdict)
    said = why.strip()
    if not said:
        raise Invalid("evidence.bad_eval", "`why` says nothing.", hint="Say in a sentence what was measured.")
    if ctx.actor.kind != "service":
        raise Denied(
            "release.not_a_service",
            f"{ctx.actor.principal} is no service; what a person measured by hand is an approval.",
            hint="Report with the key of a service principal: stanchion auth principal create NAME --kind service.",
        )
    details = _details(report, report_id)
    async with ctx.tx() as tx:
        versions = [await _exact(tx, ctx, *member) for member in members]
        if not 1 <= len(versions) <= MEMBERS_MAX or len({(v.kind, v.name) for v in versions}) < len(versions):
            raise Invalid(
                "release.empty_set",
                f"{len(versions)} versions are named, or an artifact twice.",
                hint=f"Name 1 to {MEMBERS_MAX} versions, each artifact once.",
            )
        record = _record(ctx, "eval", versions, verdict, said, details, EVAL_TTL, expires_at)
        key = digest({"gate": "eval", "by": record.by, "report": report_id})
        if not await store.insert_evidence(tx, record, key):
            return _same(record, present(await store.evidence_with_key(tx, ctx.tenant, key), "what conflicts is there"))
        await _given(tx, ctx, record)
    return record


def _details(report: EvalReport, report_id: str) -> dict[str, Json]:
    return {
        "report_id": report_id,
        "suite": report.suite,
        "suite_digest": report.suite_digest,
        "cases": report.cases,
        "passed": report.passed,
        "failed": report.failed,
        "errored": report.errored,
        "thresholds": dict(report.thresholds),
        "drop_percent": report.drop_percent,
        "link": report.link,
    }


def _same(sent: EvidenceRecord, there: EvidenceRecord) -> EvidenceRecord:
    said = (sent.subject, sent.verdict, sent.why, sent.details_digest)
    if said != (there.subject, there.verdict, there.why, there.details_digest):
        raise Conflict(
            "evidence.other_content",
            f"Report {there.details.get('report_id')} said something else when it was sent first.",
            hint="Give another report an id of its own.",
            evidence_id=str(there.id),
        )
    return there


async def _exact(tx: Tx, ctx: Ctx, kind: str, name: str, content: str | int) -> store.Version:
    if isinstance(content, int):
        found = next(iter(await store.versions(tx, ctx.tenant, [(kind, name, content)])), None)
    else:
        found = await store.version_with(tx, ctx.tenant, (kind, name), content)
    if found is None:
        raise NotFound(
            "artifact.unknown",
            f"There is no {kind} {name} with {'version' if isinstance(content, int) else 'digest'} {content}.",
            hint="Evaluate what is published: `stanchion release prepare -f …` publishes without making it live.",
        )
    return found


def _record(
    ctx: Ctx, gate: str, members: Sequence[store.Version], verdict: Verdict, why: str, details: Mapping[str, Json],
    ttl: timedelta, expires_at: datetime | None = None,
) -> EvidenceRecord:  # fmt: skip
    subjects = tuple(Subject(kind=m.kind, name=m.name, digest=m.digest) for m in members)
    if expires_at is not None and (expires_at.tzinfo is None or not ctx.now < expires_at <= ctx.now + EVIDENCE_TTL_MAX):
        raise Invalid(
            "evidence.bad_expiry",
            "`expires_at` must be a time with zone, in the future, at most 366 days from now.",
            hint="Leave it out for 30 days.",
        )
    environment = ctx.env.environment.name
    return EvidenceRecord(
        tenant=ctx.tenant,
        id=ctx.env.ids.new(),
        environment=environment,
        gate=gate,
        subject=rules.subject_of(environment, subjects),
        members=subjects,
        verdict=verdict,
        why=why,
        details=details,
        details_digest=digest(dict(details)),
        by=ctx.actor.principal,
        by_kind=ctx.actor.kind,
        made_at=ctx.now,
        expires_at=expires_at or ctx.now + ttl,
    )


async def _given(tx: Tx, ctx: Ctx, record: EvidenceRecord) -> None:
    await audit.record(
        tx,
        ctx,
        "evidence.given",
        target=("evidence", record.id),
        after={"subject": record.subject, "verdict": record.verdict.value, "details": record.details_digest},
        reason=record.why,
        extra={
            "gate": record.gate,
            "verdict": record.verdict.value,
            "subject": record.subject,
            "details": record.details_digest,
            "expires_at": record.expires_at.isoformat(),
            "members": [{"kind": m.kind, "name": m.name, "digest": m.digest} for m in record.members],
        },
    )


async def withdraw(ctx: Ctx, evidence_id: UUID, *, reason: str) -> EvidenceRecord:
    """Take back what one said oneself: it counts no more from here on.

    Raises NotFound `evidence.unknown`; Denied `evidence.not_yours`; Conflict `evidence.withdrawn`; Invalid `release.no_reason`.
    """
    why = rules.check_reason(reason)
    async with ctx.tx() as tx:
        await releases_store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
        record = await store.evidence(tx, ctx.tenant, evidence_id)
        if record is None:
            raise NotFound(
                "evidence.unknown",
                f"There is no evidence {evidence_id}.",
                hint="See `stanchion release evidence list`.",
            )
        ctx.require("releases.report" if record.gate == "eval" else "releases.approve", id=str(evidence_id))
        if record.by != ctx.actor.principal:
            raise Denied(
                "evidence.not_yours",
                f"{record.by} said it, and takes it back.",
                hint=f"Ask {record.by}; or say the opposite: stanchion release reject.",
            )
        if record.withdrawn_at is not None:
            raise Conflict(
                "evidence.withdrawn",
                f"It was withdrawn at {record.withdrawn_at:%Y-%m-%d %H:%M:%S} UTC by {record.withdrawn_by}.",
            )
        return await _withdrawn(tx, ctx, record, why)


async def _withdrawn(tx: Tx, ctx: Ctx, record: EvidenceRecord, why: str) -> EvidenceRecord:
    after = replace(record, withdrawn_by=ctx.actor.principal, withdrawn_at=ctx.now, withdraw_reason=why)
    await store.withdraw(tx, ctx.tenant, record.id, by=ctx.actor.principal, at=ctx.now, reason=why)
    await audit.record(
        tx,
        ctx,
        "evidence.withdrawn",
        target=("evidence", record.id),
        before={"subject": record.subject, "verdict": record.verdict.value},
        after={"subject": record.subject, "verdict": record.verdict.value, "withdrawn": True},
        reason=why,
        extra={"gate": record.gate, "subject": record.subject},
    )
    return after


async def list_evidence(
    ctx: Ctx,
    page: PageParams,
    *,
    kind: str | None = None,
    name: str | None = None,
    content: str | None = None,
    gate: str | None = None,
) -> Slice[EvidenceRecord]:
    """What was said, newest first, about an artifact or one version of it, also what counts no more."""
    ctx.require("releases.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await store.list_evidence(
            tx, ctx.tenant, kind=kind, name=name, digest=content, gate=gate, before=before, limit=page.limit + 1
        )
    return slice_of(found, page.limit, lambda row: (str(row.id),))


async def list_prepared(ctx: Ctx, page: PageParams, *, moved: bool = False) -> Slice[Prepared]:
    """Sets that wait, newest first; with `moved` also those that do not wait any more."""
    ctx.require("releases.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await store.list_prepared(
            tx, ctx.tenant, ctx.env.environment.name, moved=moved, before=before, limit=page.limit + 1
        )
    return slice_of(found, page.limit, lambda row: (str(row.id),))


async def list_broken_glass(
    ctx: Ctx, page: PageParams, *, reviewed: bool = False, rollout_id: UUID | None = None
) -> Slice[BrokenGlass]:
    """Moves against the gates that nobody has reviewed, newest first; with `reviewed` all of them."""
    ctx.require("releases.read")
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await store.list_broken(
            tx, ctx.tenant, ctx.env.environment.name, reviewed=reviewed, rollout_id=rollout_id, before=before,
            limit=page.limit + 1,
        )  # fmt: skip
    return slice_of(found, page.limit, lambda row: (str(row.id),))


async def review(ctx: Ctx, broken_id: UUID, *, finding: Review, reason: str) -> BrokenGlass:
    """Say afterwards whether a move against the gates was right. Neither who made it nor who wrote what moved does.

    Raises Denied, `release.own_review`; NotFound `broken_glass.unknown`; Conflict `broken_glass.reviewed`; Invalid
    `release.no_reason`.
    """
    ctx.require("releases.review", environment=ctx.env.environment.name)
    why = rules.check_reason(reason)
    async with ctx.tx() as tx:
        before = await store.broken(tx, ctx.tenant, ctx.env.environment.name, broken_id)
        if before is None:
            raise NotFound(
                "broken_glass.unknown",
                f"There is no move {broken_id} against the gates in this environment.",
                hint="`stanchion release list --unreviewed` shows them.",
            )
        if before.review is not None:
            raise Conflict(
                "broken_glass.reviewed",
                f"{before.reviewed_by} found it {before.review.value} at {before.reviewed_at:%Y-%m-%d %H:%M:%S} UTC.",
            )
        said = await store.said_of(tx, ctx.tenant, [(m.kind, m.name, m.version) for m in before.members])
        if ctx.actor.kind != "user" or ctx.actor.principal in {
            before.by,
            *(name for row in said.values() for name in (row.author, *row.written_by)),
        }:
            raise Denied(
                "release.own_review",
                f"{ctx.actor.principal} made this move, wrote what moved, or is no person; somebody else reviews it.",
                hint="Ask another person with releases.review.",
            )
        after = replace(
            before, review=finding, reviewed_by=ctx.actor.principal, reviewed_at=ctx.now, review_reason=why
        )  # fmt: skip
        await store.review(tx, after)
        await audit.record(
            tx,
            ctx,
            "release.reviewed",
            target=("broken_glass", broken_id),
            before={"review": None},
            after={"review": finding.value},
            reason=why,
            extra={"review": finding.value, "subject": after.subject, "overdue": ctx.now > after.review_due_at},
        )
    return after


async def measure(env: Env) -> None:
    """Count the moves against the gates that wait for a review: the scheduler's duty."""
    async with env.db.engine_tx() as tx:
        found = await store.open_reviews(tx, env.environment.name, env.clock.now())
    env.telemetry.emit("reviews.waiting", found.waiting)
    env.telemetry.emit("reviews.overdue", found.overdue)
