"""Verbs that need both rollouts and gates: publish a set without moving it, and ask what its gates say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stanchion import audit
from stanchion.artifacts import Document, KindSpec
from stanchion.base import Invalid, NotFound, present
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases import store as releases_store
from stanchion.releases.gates import rules, store
from stanchion.releases.gates.judging import GATES, Gates, asked_of
from stanchion.releases.gates.service import Which, members_of
from stanchion.releases.gates.types import MEMBERS_MAX, Key, Move, Prepared, PreparedMember, Ruling
from stanchion.releases.rollouts import store as rollouts_store
from stanchion.releases.rollouts.candidates import candidate, published
from stanchion.releases.rollouts.states import Rollout, Target
from stanchion.releases.types import Live


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A set, and what its gates say of the move that was asked about. `prepared` if it waits as one."""

    members: tuple[PreparedMember, ...]
    ruling: Ruling
    prepared: Prepared | None = None


async def prepare(
    ctx: Ctx,
    *,
    documents: Sequence[Document] = (),
    targets: Sequence[Target] = (),
    kinds: Mapping[str, KindSpec],
    reason: str,
    strategy: str = "all_at_once",
    gates: Gates = GATES,
) -> Examined:
    """Publish what is new in documents without making it live, so that others can look at the exact digests before they move.

    A set that waits already is not prepared twice.

    Args:
        ctx: who; needs `releases.begin`, and `artifacts.publish` for documents.
        documents: one artifact each; those that are live as they are do not take part.
        targets: published versions that belong to the set; one without a version is the latest.
        kinds: how each kind is read.
        reason: why; kept, and the changelog of new versions.
        strategy: how it is meant to move, for what the gates say.
        gates: which gates there are.

    Raises:
        Denied; Invalid `apply.invalid`, `release.no_reason`, `rollout.nothing`; NotFound `artifact.unknown`.
    """
    ctx.require("releases.begin", environment=ctx.env.environment.name)
    why = rules.check_reason(reason)
    environment = ctx.env.environment.name
    async with ctx.tx() as tx:
        await releases_store.lock_tenant(tx, ctx.tenant, environment)
        live = await _live(tx, ctx)
        rows = await published(tx, ctx, documents, live, kinds, why) if documents else []
        rows += [await candidate(tx, ctx, target) for target in targets]
        rows = [row for row in rows if (now := live.get((row.kind, row.name))) is None or now.digest != row.digest]
        if not 1 <= len(rows) <= MEMBERS_MAX or len({(row.kind, row.name) for row in rows}) < len(rows):
            raise Invalid(
                "rollout.nothing",
                f"{len(rows)} artifacts would change, each named once."
                if rows
                else "Everything named is live as it is.",
                hint=f"Name 1 to {MEMBERS_MAX} versions that are not live, or documents that differ from what is.",
            )
        made = await _prepared(tx, ctx, rows, why)
        ruling = await _ruling(tx, ctx, rows, live, kinds, gates, strategy=strategy, first_share=0, share=100)
    return Examined(members=made.members, ruling=ruling, prepared=made)


async def _prepared(tx: Tx, ctx: Ctx, rows: Sequence[Live], why: str) -> Prepared:
    environment = ctx.env.environment.name
    ordered = sorted(rows, key=lambda row: (row.kind, row.name))
    members = tuple(PreparedMember(kind=r.kind, name=r.name, version=r.version, digest=r.digest) for r in ordered)
    made = Prepared(
        tenant=ctx.tenant,
        id=ctx.env.ids.new(),
        environment=environment,
        subject=rules.subject_of(environment, members),
        members=members,
        author=ctx.actor.principal,
        reason=why,
        created_at=ctx.now,
    )
    if not await store.insert_prepared(tx, made):
        return present(await store.waiting(tx, ctx.tenant, environment, made.subject), "what conflicts waits")
    await audit.record(
        tx,
        ctx,
        "release.prepared",
        target=("prepared_release", made.id),
        after={"subject": made.subject},
        reason=why,
        extra={
            "subject": made.subject,
            "members": [{"kind": m.kind, "name": m.name, "digest": m.digest} for m in members],
        },
    )
    return made


async def examine(
    ctx: Ctx,
    which: Which,
    *,
    kinds: Mapping[str, KindSpec],
    strategy: str = "all_at_once",
    share: int = 100,
    gates: Gates = GATES,
) -> Examined:
    """What the gates say of a set now: of an open rollout's next step, else of a move by `strategy` to `share` percent.

    Raises as `members_of`.
    """
    ctx.require("releases.read", environment=ctx.env.environment.name)
    environment = ctx.env.environment.name
    async with ctx.tx() as tx:
        members = await members_of(tx, ctx, which)
        live = await _live(tx, ctx)
        rows = [await _row(tx, ctx, member) for member in members]
        prepared = opened = None
        if which.id is not None:
            prepared = await store.prepared(tx, ctx.tenant, environment, which.id)
            opened = None if prepared else await rollouts_store.get(tx, ctx.tenant, environment, which.id)
        move: Move = "apply" if strategy == "all_at_once" else "begin"
        first_share = share
        if opened is not None:
            move, strategy, first_share, share = "advance", opened.strategy.value, opened.steps[0].share, _next(opened)
        ruling = await _ruling(
            tx, ctx, rows, live, kinds, gates, move=move, strategy=strategy, first_share=first_share, share=share
        )
    found = tuple(PreparedMember(kind=m.kind, name=m.name, version=m.version, digest=m.digest) for m in members)
    return Examined(members=found, ruling=ruling, prepared=prepared)


def _next(rollout: Rollout) -> int:
    """Percent of the units that get the candidate after the next step."""
    after = rollout.step + 1
    if after >= len(rollout.steps):
        return 100
    return max(step.share for step in rollout.steps[: after + 1])


async def _ruling(
    tx: Tx, ctx: Ctx, rows: Sequence[Live], live: Mapping[Key, Live], kinds: Mapping[str, KindSpec], gates: Gates,
    *, strategy: str, first_share: int, share: int, move: Move = "apply",
) -> Ruling:  # fmt: skip
    asked = await asked_of(
        tx, ctx, move=move, strategy=strategy, first_share=first_share, share=share, rows=rows, live=live, kinds=kinds
    )  # fmt: skip
    return await gates.judge(tx, ctx, asked)


async def _live(tx: Tx, ctx: Ctx) -> dict[Key, Live]:
    rows = await releases_store.live(tx, ctx.tenant, ctx.env.environment.name)
    return {(row.kind, row.name): row for row in rows}


async def _row(tx: Tx, ctx: Ctx, member: store.Version) -> Live:
    found = await rollouts_store.version_of(tx, ctx.tenant, member.kind, member.name, member.version)
    if found is None:
        raise NotFound("artifact.unknown", f"There is no {member.kind} {member.name} version {member.version}.")
    return found
