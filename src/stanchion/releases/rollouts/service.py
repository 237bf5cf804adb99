"""Verbs of rollouts: plan, begin, advance, pause, resume; roll back; list, show, history.

Each writes in one transaction with its audit record, behind the lock of the tenant's releases in the environment, so
that they go one after the other. A verb is decided on what its caller saw: who comes second is told who was first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.artifacts import Document, KindSpec
from stanchion.base import Conflict, Invalid, Json, NotFound
from stanchion.base.paging import PageParams, Slice, bad_cursor, decode_cursor, id_after, slice_of
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases import store as releases_store
from stanchion.releases.gates import GATES, Asked, Gates, Move, Ruling, admit, announce, asked_of, audit_facts, kept
from stanchion.releases.rollouts import rules, store
from stanchion.releases.rollouts.candidates import candidate, members_of, published
from stanchion.releases.rollouts.fitting import Ground, Situation, ground, refuse_misfits
from stanchion.releases.rollouts.states import (
    Change,
    Key,
    NoGuards,
    Plan,
    Rollout,
    State,
    Target,
    Verdicts,
)
from stanchion.releases.types import Live, Release

_EMPTY: Mapping[str, Json] = {}
_NO_GUARDS: Final = NoGuards()
_STATES: Final = frozenset({"open", *(state.value for state in State)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A rollout that began, or would: itself, the live Blueprints whose runs it can reach, and what its gates say."""

    rollout: Rollout
    blueprints: tuple[str, ...]
    ruling: Ruling


@dataclass(frozen=True, slots=True, kw_only=True)
class _GoingOn:
    """What a rollout that goes on is checked with."""

    kinds: Mapping[str, KindSpec]
    gates: Gates
    break_glass: bool


class _Undone(Exception):  # noqa: N818 - control flow: everything was tried, nothing is kept
    def __init__(self, begun: Begun) -> None:
        super().__init__()
        self.begun = begun


async def begin(
    ctx: Ctx,
    plan: Plan,
    *,
    targets: Sequence[Target] = (),
    documents: Sequence[Document] = (),
    kinds: Mapping[str, KindSpec],
    reason: str,
    dry_run: bool = False,
    gates: Gates = GATES,
    break_glass: bool = False,
) -> Begun:
    """Begin a rollout: of published versions, or of documents, whose changed ones are published for it. All move together.

    Args:
        ctx: who begins it; needs `releases.begin`, and `artifacts.publish` for documents.
        plan: strategy, steps, unit.
        targets: the candidates; one without a version is the latest.
        documents: one artifact each; those that are live as they are do not take part.
        kinds: how each kind is read.
        reason: why; kept.
        dry_run: do everything, keep nothing; the gates refuse nothing then.
        gates: which gates there are.
        break_glass: begin it although they say no; needs `releases.break_glass`.

    Raises:
        Denied; Invalid `rollout.bad_plan`, `rollout.nothing`, `apply.invalid`; NotFound `artifact.unknown`;
        Conflict `rollout.open` (naming who began the other), `rollout.not_live`, `rollout.incompatible`, `release.gated`.
    """
    environment = ctx.env.environment.name
    ctx.require("releases.begin", environment=environment)
    plan = rules.plan_of(plan)
    try:
        async with ctx.tx() as tx:
            await releases_store.lock_tenant(tx, ctx.tenant, environment)
            at = await ground(tx, ctx)
            wanted = await published(tx, ctx, documents, at.live, kinds, reason) if documents else []
            wanted += [await candidate(tx, ctx, target) for target in targets]
            members = members_of(at, wanted)
            rollout = rules.begun(
                plan, members, tenant=ctx.tenant, environment=environment, rollout_id=ctx.env.ids.new(),
                salt=ctx.env.ids.secret(9).hex(), by=ctx.actor.principal, at=ctx.now, reason=reason,
            )  # fmt: skip
            then = _beginning(at, wanted, at_once=rules.ends_at_once(rollout))
            await refuse_misfits(tx, ctx, kinds, at, then, what="This rollout", asked=wanted)
            await store.insert(tx, rollout)
            asked = await _asked(tx, ctx, "begin", rollout, wanted, at, kinds)
            ruling = await admit(tx, ctx, asked, gates=gates, break_glass=break_glass, reason=reason, dry_run=dry_run)
            await _note(tx, ctx, "rollout.begun", None, rollout, reason, _EMPTY, ruling)
            if rules.ends_at_once(rollout):
                before, rollout = rollout, rules.advanced(rollout, None, by=ctx.actor.principal, at=ctx.now)
                await _write(tx, ctx, before, rollout, "rollout.done", reason, _EMPTY, ruling)
            begun = Begun(rollout=rollout, blueprints=_reached(at, wanted), ruling=ruling)
            if dry_run:
                raise _Undone(begun)  # noqa: TRY301 - what is undone is the transaction of this very function
    except _Undone as undone:
        return undone.begun
    ctx.env.telemetry.emit("rollout.changed", 1, "begun")
    announce(ctx, "begin", begun.ruling)
    return begun


async def _asked(
    tx: Tx, ctx: Ctx, move: Move, rollout: Rollout, rows: Iterable[Live], at: Ground, kinds: Mapping[str, KindSpec]
) -> Asked:
    """What the gates are asked about a rollout that stands as `rollout` after the move."""
    return await asked_of(
        tx,
        ctx,
        move=move,
        strategy=rollout.strategy.value,
        first_share=rollout.steps[0].share,
        share=100 if rollout.state is State.DONE else rollout.share,
        rows=rows,
        live=at.live,
        kinds=kinds,
        rollout_id=rollout.id,
    )


def _beginning(at: Ground, wanted: Sequence[Live], *, at_once: bool) -> Situation:
    mine = {(row.kind, row.name): row for row in wanted}
    others = [at.group(other) for other in at.rollouts]
    if at_once:
        return Situation(base={**at.live, **mine}, groups=others, about=frozenset(mine))
    return Situation(base=at.live, groups=[*others, mine], about=frozenset(mine), together=True)


def _reached(at: Ground, wanted: Iterable[Live]) -> tuple[str, ...]:
    """The live Blueprints whose runs could get one of the candidates."""
    group = {(row.kind, row.name): row for row in wanted}
    found: list[str] = []
    for kind, name in at.live:
        if kind != "blueprint":
            continue
        both = (rules.assemble((kind, name), at.live), rules.assemble((kind, name), {**at.live, **group}))
        if any((row.kind, row.name) in group for rows in both for row in rows):
            found.append(name)
    return tuple(sorted(found))


async def advance(
    ctx: Ctx,
    rollout_id: UUID,
    *,
    kinds: Mapping[str, KindSpec],
    reason: str,
    to: int | None = None,
    rev: int | None = None,
    verdicts: Verdicts = _NO_GUARDS,
    gates: Gates = GATES,
    break_glass: bool = False,
) -> Rollout:
    """Go on to the next step, or to step `to` (from 1; one past the last makes the candidate live). Never backwards.

    `rev` is what the caller saw; if another verb was first, this one is refused and says whose. The gates are asked anew;
    `break_glass` goes on against them.

    Raises NotFound `rollout.unknown`; Conflict `rollout.moved`, `rollout.ended`, `rollout.paused`, `rollout.backwards`,
    `rollout.guarded` (the guards say FAIL or MISSING), `rollout.incompatible`, `release.gated`; Denied.
    """
    ctx.require("releases.promote", environment=ctx.env.environment.name)
    seen = await _get(ctx, rollout_id)
    rules.check_seen(seen, rev)
    judged = await verdicts.judge(ctx, seen) if seen.state is State.ACTIVE else None
    if judged is not None and judged.verdict in ("fail", "missing"):
        raise Conflict(
            "rollout.guarded",
            f"{rules.told(seen)}; its guards say {judged.verdict.upper()}: {judged.why or 'no reason given'}.",
            hint="Roll it back, or find out why its measurements are missing.",
            evidence=dict(judged.evidence),
        )
    index = None if to is None else to - 1

    def decide(before: Rollout, by: str, at: datetime) -> Rollout:
        return rules.advanced(before, index, by=by, at=at)

    return await _change(
        ctx, seen, decide, "rollout.advanced", reason, evidence=judged.evidence if judged else _EMPTY,
        going_on=_GoingOn(kinds=kinds, gates=gates, break_glass=break_glass),
    )  # fmt: skip


async def pause(
    ctx: Ctx, rollout_id: UUID, *, reason: str, rev: int | None = None, evidence: Mapping[str, Json] = _EMPTY
) -> Rollout:
    """Keep a rollout where it is: units keep their versions, nobody goes on. Raises as `advance`."""
    ctx.require("releases.pause", environment=ctx.env.environment.name)
    seen = await _get(ctx, rollout_id)
    rules.check_seen(seen, rev)

    def decide(before: Rollout, by: str, at: datetime) -> Rollout:
        return rules.paused(before, by=by, at=at)

    return await _change(ctx, seen, decide, "rollout.paused", reason, evidence=evidence)


async def resume(ctx: Ctx, rollout_id: UUID, *, reason: str, rev: int | None = None) -> Rollout:
    """Let a paused rollout go on; the hold of its step begins anew. Raises as `advance`."""
    ctx.require("releases.promote", environment=ctx.env.environment.name)
    seen = await _get(ctx, rollout_id)
    rules.check_seen(seen, rev)

    def decide(before: Rollout, by: str, at: datetime) -> Rollout:
        return rules.resumed(before, by=by, at=at)

    return await _change(ctx, seen, decide, "rollout.resumed", reason, evidence=_EMPTY)


async def _change(
    ctx: Ctx,
    seen: Rollout,
    decide: Callable[[Rollout, str, datetime], Rollout],
    event: str,
    reason: str,
    *,
    evidence: Mapping[str, Json],
    going_on: _GoingOn | None = None,
) -> Rollout:
    """Lock, see that nobody was first, decide; where it goes on, ask the gates and check what runs could get; write."""
    ruling: Ruling | None = None
    async with ctx.tx() as tx:
        await releases_store.lock_tenant(tx, ctx.tenant, ctx.env.environment.name)
        before = await _locked(tx, ctx, seen.id)
        rules.check_seen(before, seen.rev)
        after = decide(before, ctx.actor.principal, ctx.now)
        if going_on is not None:
            ruling = await _check_going_on(tx, ctx, going_on, before, after, reason)
        said = "rollout.done" if after.state is State.DONE else event
        await _write(tx, ctx, before, after, said, reason, evidence, ruling)
    ctx.env.telemetry.emit("rollout.changed", 1, event.removeprefix("rollout."))
    announce(ctx, "advance", ruling)
    return after


async def _check_going_on(tx: Tx, ctx: Ctx, going_on: _GoingOn, before: Rollout, after: Rollout, reason: str) -> Ruling:
    at = await ground(tx, ctx)
    mine = at.group(before)
    asked = await _asked(tx, ctx, "advance", after, mine.values(), at, going_on.kinds)
    ruling = await admit(tx, ctx, asked, gates=going_on.gates, break_glass=going_on.break_glass, reason=reason)
    others = [at.group(other) for other in at.rollouts if other.id != before.id]
    about = frozenset(m.key for m in before.members)
    if after.state is State.DONE:
        then = Situation(base={**at.live, **mine}, groups=others, about=about)
    else:
        then = Situation(base=at.live, groups=[*others, mine], about=about, together=True)
    await refuse_misfits(tx, ctx, going_on.kinds, at, then, what="Going on", asked=mine.values())
    return ruling


async def _write(
    tx: Tx, ctx: Ctx, before: Rollout, after: Rollout, event: str, reason: str, evidence: Mapping[str, Json],
    ruling: Ruling | None = None,
) -> None:  # fmt: skip
    """Save a rollout's change with its history and audit record; if it is DONE, its candidates become live."""
    await store.save(tx, after)
    await _note(tx, ctx, event, before, after, reason, evidence, ruling)
    if after.state is State.DONE:
        await store.explain_moves(tx, "release.promoted", after.id, reason)
        for m in after.members:
            await move(tx, ctx, "release.promoted", m.key, (m.stable_version, m.stable_digest),
                       (m.candidate_version, m.candidate_digest), reason, after.id, ruling)  # fmt: skip


async def _note(
    tx: Tx, ctx: Ctx, event: str, before: Rollout | None, after: Rollout, reason: str, evidence: Mapping[str, Json],
    ruling: Ruling | None = None,
) -> None:  # fmt: skip
    if ruling is not None and (said := kept(ruling)) is not None:
        evidence = {**evidence, "gates": said}
    now = rules.state_json(after)
    then = rules.state_json(before) if before else None
    await store.note(tx, after, event, before=then, after=now, evidence=evidence, reason=reason)
    await audit.record(
        tx,
        ctx,
        event,
        target=("rollout", after.id),
        before=then,
        after=now,
        reason=reason,
        extra={
            "strategy": after.strategy.value,
            "unit": after.unit,
            "salt": after.salt,
            "now": now,
            "before": then,
            "evidence": rules.evidence_digest(evidence),
            **audit_facts(ruling),
            "members": [
                {"kind": m.kind, "name": m.name, "stable": m.stable_digest, "candidate": m.candidate_digest}
                for m in after.members
            ],
        },
    )


async def move(
    tx: Tx, ctx: Ctx, event: str, key: Key, before: tuple[int, str], after: tuple[int, str], reason: str,
    rollout_id: UUID | None, ruling: Ruling | None = None,
) -> None:  # fmt: skip
    """Make another version the live one, with its audit record; the history's row comes by itself."""
    await releases_store.point(
        tx, ctx.tenant, ctx.env.environment.name, kind=key[0], name=key[1], version=after[0], digest=after[1],
        by=ctx.actor.principal, at=ctx.now,
    )  # fmt: skip
    await audit.record(
        tx,
        ctx,
        event,
        target=("release", f"{key[0]}/{key[1]}"),
        before=before[1],
        after=after[1],
        reason=reason,
        extra={
            "kind": key[0],
            "name": key[1],
            "version": after[0],
            "version_before": before[0],
            "rollout": None if rollout_id is None else str(rollout_id),
            **audit_facts(ruling),
        },
    )


async def take_back(tx: Tx, ctx: Ctx, before: Rollout, reason: str, evidence: Mapping[str, Json]) -> Rollout:
    """End an open rollout with every unit on its stable versions, in the caller's transaction."""
    after = rules.taken_back(before, by=ctx.actor.principal, at=ctx.now)
    event = "rollout.abandoned" if after.state is State.ABANDONED else "rollout.rolled_back"
    await _write(tx, ctx, before, after, event, reason, evidence)
    return after


async def _get(ctx: Ctx, rollout_id: UUID) -> Rollout:
    async with ctx.tx() as tx:
        return await _locked(tx, ctx, rollout_id)


async def _locked(tx: Tx, ctx: Ctx, rollout_id: UUID) -> Rollout:
    found = await store.get(tx, ctx.tenant, ctx.env.environment.name, rollout_id)
    if found is None:
        raise NotFound(
            "rollout.unknown",
            f"There is no rollout {rollout_id} in this environment.",
            hint="`stanchion release list --rollouts` shows those there are.",
        )
    return found


async def show_rollout(ctx: Ctx, rollout_id: UUID) -> Rollout:
    """One rollout. Raises NotFound `rollout.unknown`."""
    ctx.require("releases.read")
    return await _get(ctx, rollout_id)


async def list_rollouts(
    ctx: Ctx, page: PageParams, *, state: str | None = None, kind: str | None = None, name: str | None = None
) -> Slice[Rollout]:
    """Rollouts of this environment, newest first. `state` is one of theirs, or `open`. Raises Invalid `rollout.bad_state`."""
    ctx.require("releases.read")
    if state is not None and state not in _STATES:
        raise Invalid(
            "rollout.bad_state", f"{state!r} is no state.", hint=f"It is one of {', '.join(sorted(_STATES))}."
        )
    before = id_after(page)
    async with ctx.tx() as tx:
        found = await store.listed(
            tx, ctx.tenant, ctx.env.environment.name, state=state, kind=kind, name=name, before=before, limit=page.limit + 1
        )  # fmt: skip
    return slice_of(found, page.limit, lambda row: (str(row.id),))


async def history(ctx: Ctx, kind: str, name: str, page: PageParams) -> Slice[Change]:
    """What happened to an artifact in this environment, newest first. Raises NotFound `release.unknown`."""
    ctx.require("releases.read", kind=kind, name=name)
    text = decode_cursor(page.after, 1)[0] if page.after else None
    if text is not None and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise bad_cursor()
    environment, before = ctx.env.environment.name, None if text is None else int(text)
    async with ctx.tx() as tx:
        found = await store.history(tx, ctx.tenant, environment, kind, name, before=before, limit=page.limit + 1)
    if not found and before is None:
        raise unknown_release(kind, name)
    return slice_of(found, page.limit, lambda row: (str(row.no),))


async def show_release(ctx: Ctx, kind: str, name: str) -> tuple[Release, Rollout | None]:
    """What is live of an artifact, and its open rollout if it has one. Raises NotFound `release.unknown`."""
    ctx.require("releases.read", kind=kind, name=name)
    environment = ctx.env.environment.name
    async with ctx.tx() as tx:
        live = await store.release(tx, ctx.tenant, environment, (kind, name))
        rollouts = await store.listed(
            tx, ctx.tenant, environment, state="open", kind=kind, name=name, before=None, limit=1
        )
    if live is None:
        raise unknown_release(kind, name)
    return live, rollouts[0] if rollouts else None


def unknown_release(kind: str, name: str) -> NotFound:
    """The problem of an artifact of which nothing is live here."""
    return NotFound(
        "release.unknown",
        f"No version of {kind} {name} is live in this environment.",
        hint="`stanchion release list` shows what is.",
    )
