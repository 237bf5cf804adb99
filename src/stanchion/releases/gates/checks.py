"""The gates that there are now. Each fills `types.Evidence`; one that comes later stands beside them in `bootstrap`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from stanchion.artifacts import Document
from stanchion.base import Denied, Json
from stanchion.context import Actor, Ctx
from stanchion.db import Tx
from stanchion.releases.gates import rules, store
from stanchion.releases.gates.types import Asked, Evidence, EvidenceRecord, Finding, Holder, Moving, Verdict
from stanchion.releases.types import Live

# How much of what was said about a set is read: far more than people say.
_RECORDS_MAX: Final = 1000
_ROLES: Final[Json] = {
    "type": "array",
    "minItems": 1,
    "maxItems": 20,
    "uniqueItems": True,
    "items": {"type": "string", "minLength": 1, "maxLength": 127},
}
_AGE: Final[Json] = {"type": "string", "x-duration": True}


def actor_of(tenant: str, holder: Holder) -> Actor:
    """A principal as it would act now, without a credential of its own."""
    return Actor(
        tenant=tenant,
        principal=holder.name,
        principal_id=str(holder.id),
        kind=holder.kind,
        roles=frozenset(holder.roles) - {"system"},
        credential="none",
    )


def permitted(ctx: Ctx, holders: Iterable[Holder], action: str) -> dict[str, bool]:
    """By name whether each of these may do something now."""
    return {holder.name: _may(ctx, holder, action) for holder in holders}


def _may(ctx: Ctx, holder: Holder, action: str) -> bool:
    if holder.disabled_at is not None:
        return False
    try:
        ctx.env.authorizer.check(actor_of(ctx.tenant, holder), action, {})
    except Denied:
        return False
    return True


async def _people(
    tx: Tx, ctx: Ctx, records: Sequence[EvidenceRecord], action: str
) -> tuple[dict[str, Holder], dict[str, bool]]:
    holders = await store.holders(tx, ctx.tenant, (record.by for record in records))
    return holders, permitted(ctx, holders.values(), action)


class ApprovalGate:
    """Other people than the authors approve of exactly this set."""

    gate = "approval"
    required: tuple[str, ...] = ()
    properties: Mapping[str, Json] = {
        "count": {"type": "integer", "minimum": 1, "maximum": 20, "description": "how many people"},
        "roles": _ROLES,
        "max_age": _AGE,
    }

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """PASS with enough approvals that count now; FAIL while somebody's rejection does."""
        given = await store.evidence_of_set(tx, ctx.tenant, self.gate, asked.subject, limit=_RECORDS_MAX)
        holders, may = await _people(tx, ctx, given, "releases.approve")
        versions = [(m.kind, m.name, m.version) for m in asked.members]
        taken_back = await store.taken_back_at(tx, ctx.tenant, asked.environment, versions) if given else None
        return rules.judge_approvals(
            asked, about, need, given, holders=holders, may=may, taken_back_at=taken_back, now=ctx.now
        )


class EvalGate:
    """An eval of a suite passed for each version."""

    gate = "eval"
    required: tuple[str, ...] = ("suite",)
    properties: Mapping[str, Json] = {
        "suite": {"type": "string", "minLength": 1, "maxLength": 127, "description": "the suite's name"},
        "suite_digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$", "description": "exactly these cases"},
        "cases_min": {"type": "integer", "minimum": 1, "maximum": 1_000_000_000},
        "passed_percent_min": {"type": "integer", "minimum": 0, "maximum": 100},
        "by": _ROLES,
        "max_age": _AGE,
    }

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """What the newest eval that counts says, of each version; INCONCLUSIVE without one."""
        named = ((m.kind, m.name, m.digest) for m in about)
        given = await store.evidence_of_members(tx, ctx.tenant, self.gate, named, limit=_RECORDS_MAX)
        holders, may = await _people(tx, ctx, given, "releases.report")
        return rules.judge_eval(asked, about, need, given, holders=holders, may=may, now=ctx.now)


class RequiredFields:
    """Each version says what it has to say of itself."""

    gate = "required_fields"
    required: tuple[str, ...] = ()
    properties: Mapping[str, Json] = {
        "fields": {
            "type": "array",
            "minItems": 1,
            "maxItems": 4,
            "uniqueItems": True,
            "items": {"type": "string", "enum": ["owner", "changelog", "description", "risk"]},
        },
        "labels": _ROLES,
    }

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """FAIL if a version has not all of them."""
        del tx, ctx, asked
        return rules.judge_fields(about, need)


class SchemaGate:
    """Each version, read anew by what is installed now and beside what runs would get it with, has no errors."""

    gate = "schema"
    required: tuple[str, ...] = ()
    properties: Mapping[str, Json] = {}

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """FAIL with the first error."""
        del tx, ctx, need
        after = {**asked.live, **{m.key: m.row for m in asked.members}}
        for member in about:
            if wrong := _error(asked, member.row, after):
                return Finding(
                    gate=self.gate,
                    verdict=Verdict.FAIL,
                    why=f"{member.called} has an error: {wrong}",
                    way_out="Correct it and publish it again.",
                )
        return Finding(gate=self.gate, verdict=Verdict.PASS, why="Each fits its schema and what it refers to.")


class AuthorizationGate:
    """Whoever wrote each version is still somebody who may publish."""

    gate = "authorization"
    required: tuple[str, ...] = ()
    properties: Mapping[str, Json] = {}

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """FAIL for a version whose author is disabled, gone, or without the permission."""
        del asked, need
        holders = await store.holders(tx, ctx.tenant, (m.author for m in about))
        may = permitted(ctx, holders.values(), "artifacts.publish")
        wrong = [m for m in about if not may.get(m.author, False)]
        if not wrong:
            return Finding(gate=self.gate, verdict=Verdict.PASS, why="Each author may publish.")
        first = wrong[0]
        return Finding(
            gate=self.gate,
            verdict=Verdict.FAIL,
            why=f"{first.author}, who wrote {first.called}, may not publish (any more).",
            way_out="Somebody who may publishes what they answer for, as a version of their own.",
        )


class RollbackGate:
    """There is a way back: the version that a rollback goes to is there, and it is known what would go with it."""

    gate = "rollback"
    required: tuple[str, ...] = ()
    properties: Mapping[str, Json] = {}

    async def judge(self, tx: Tx, ctx: Ctx, asked: Asked, about: Sequence[Moving], need: Mapping[str, Json]) -> Finding:
        """FAIL if the version to return to is retired. Says what would have to go back together."""
        del need
        said: list[str] = []
        after = {**asked.live, **{m.key: m.row for m in asked.members}}
        for member in about:
            if member.returns_to is None:
                said.append(f"{member.called} is the first: there is nothing to return to")
                continue
            if await store.is_retired(tx, ctx.tenant, member.key, member.returns_to):
                return Finding(
                    gate=self.gate,
                    verdict=Verdict.FAIL,
                    why=f"{member.kind} {member.name} would return to version {member.returns_to}, which is retired.",
                    way_out="Publish its content again, which takes it back.",
                )
            back = {**after, member.key: asked.live[member.key]}
            wrong = next((text for row in _around(member, back) if (text := _error(asked, row, back))), "")
            alone = f"only together with what moves with it ({wrong})" if wrong else "alone"
            said.append(f"{member.called} returns to version {member.returns_to}, {alone}")
        return Finding(gate=self.gate, verdict=Verdict.PASS, why=f"{'; '.join(said)}.")


def _around(member: Moving, rows: Mapping[tuple[str, str], Live]) -> list[Live]:
    """A member as it would be, and what refers to it."""
    named = [row for row in rows.values() if any((ref[0], ref[1]) == member.key for ref in row.refs)]
    return [rows[member.key], *named]


def _error(asked: Asked, row: Live, beside: Mapping[tuple[str, str], Live]) -> str:
    """The first error of a version read beside others; empty if it has none."""
    kind = asked.kinds.get(row.kind)
    if kind is None:
        return f"kind {row.kind} is not installed here"

    def lookup(of: str, name: str) -> Mapping[str, Json] | None:
        found = beside.get((of, name))
        return None if found is None else found.body

    issues = kind.parse(Document(path=row.source_path, source=row.source), lookup).issues
    return next((f"{issue.message} {issue.hint}".strip() for issue in issues if issue.severity == "error"), "")


STANDARD: Final[tuple[Evidence, ...]] = (
    ApprovalGate(), EvalGate(), SchemaGate(), AuthorizationGate(), RequiredFields(), RollbackGate(),
)  # fmt: skip
