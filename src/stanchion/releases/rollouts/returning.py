"""The verb that takes back: an open rollout's candidates, or a finished release to the version before it (I14)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from stanchion.artifacts import KindSpec
from stanchion.base import Conflict, Invalid, Json, NotFound
from stanchion.context import Ctx
from stanchion.db import Tx
from stanchion.releases import store as releases_store
from stanchion.releases.gates import GATES, Gates, Ruling, refuse_forward
from stanchion.releases.rollouts import rules, service, store
from stanchion.releases.rollouts.fitting import Ground, Situation, ground, refuse_misfits
from stanchion.releases.rollouts.states import Key, RolledBack, Rollout, Target
from stanchion.releases.types import Live

_EMPTY: Final[Mapping[str, Json]] = {}


async def rollback(
    ctx: Ctx,
    target: Target,
    *,
    kinds: Mapping[str, KindSpec],
    reason: str,
    also: Sequence[Target] = (),
    leaving: int | None = None,
    evidence: Mapping[str, Json] = _EMPTY,
    gates: Gates = GATES,
) -> RolledBack:
    """Take an artifact back, alone, in one action; effective for new runs within a second on every process.

    An open rollout of it ends, with everything that it moves; everybody gets the stable versions again. Without one, the
    version before the live one becomes live (the one before that, if this one is a rollback's own), or `target.version`.
    No gate stops a way back; a version that was never live here, or was taken back, is none, nor is one of the gate policy.

    Args:
        ctx: who takes it back; needs `releases.rollback`.
        target: the artifact; a version only where no rollout is open.
        kinds: how each kind is read.
        reason: why; kept.
        also: what goes back with it, in the same way and transaction.
        leaving: the version that the caller wants to leave: the candidate, or the live version. If it is not there any
            more, somebody else was first and the verb is refused; None means the one that is there when it is called.
        evidence: what proves that it has to go back; kept.
        gates: which gates there are, for what is no way back.

    Raises:
        Denied; NotFound `release.unknown`, `artifact.unknown`; Conflict `release.moved` (naming who was first),
        `release.no_previous`, `rollout.open`, `rollout.incompatible` with the nearest set,
        `release.gated`; Invalid `rollout.nothing`.
    """
    environment = ctx.env.environment.name
    ctx.require("releases.rollback", kind=target.kind, name=target.name, environment=environment)
    if leaving is None:
        live, opened = await service.show_release(ctx, target.kind, target.name)
        leaving = left(live.version, opened, target.key)
    async with ctx.tx() as tx:
        await releases_store.lock_tenant(tx, ctx.tenant, environment)
        at = await ground(tx, ctx)
        await _refuse_moved(tx, ctx, at, target, leaving)
        steps = [await _step(tx, ctx, at, one) for one in _each_once([target, *also])]
        ended = {step.rollout.id: step.rollout for step in steps if step.rollout is not None}
        moves = {(step.to.kind, step.to.name): step.to for step in steps if step.rollout is None}
        about = frozenset(moves) | {m.key for rollout in ended.values() for m in rollout.members}
        others = [at.group(rollout) for rollout in at.rollouts if rollout.id not in ended]
        then = Situation(base={**at.live, **moves}, groups=others, about=about)
        await refuse_misfits(tx, ctx, kinds, at, then, what="Going back", asked=[step.to for step in steps])
        ruling = await refuse_forward(tx, ctx, moves, live=at.live, kinds=kinds, gates=gates)
        rollouts = [await service.take_back(tx, ctx, rollout, reason, evidence) for rollout in ended.values()]
        await _move(tx, ctx, at, moves, reason, ruling)
    ctx.env.telemetry.emit("rollout.changed", 1, "rolled_back")
    return RolledBack(
        rollouts=tuple(rollouts),
        moved=(
            *((m.kind, m.name, m.candidate_version, m.stable_version) for r in rollouts for m in r.members),
            *((key[0], key[1], at.live[key].version, row.version) for key, row in moves.items()),
        ),
    )


async def _move(tx: Tx, ctx: Ctx, at: Ground, moves: Mapping[Key, Live], reason: str, ruling: Ruling | None) -> None:
    event = "release.rolled_back"
    await store.explain_moves(tx, event, None, reason)
    for key, row in moves.items():
        before = (at.live[key].version, at.live[key].digest)
        await service.move(tx, ctx, event, key, before, (row.version, row.digest), reason, None, ruling)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One artifact that goes back: to which version, and by the end of which open rollout, if it has one."""

    to: Live
    rollout: Rollout | None


def left(live: int, opened: Rollout | None, key: Key) -> int:
    """The version that a rollback leaves: an open rollout's candidate, else the live one."""
    if opened is None:
        return live
    return next(m.candidate_version for m in opened.members if m.key == key)


def _each_once(targets: Sequence[Target]) -> Sequence[Target]:
    keys = [target.key for target in targets]
    if len(set(keys)) < len(keys):
        raise Invalid("rollout.nothing", "An artifact is named twice.", hint="Name each once.")
    return targets


async def _refuse_moved(tx: Tx, ctx: Ctx, at: Ground, target: Target, leaving: int) -> None:
    live = at.live.get(target.key)
    if live is None:
        raise service.unknown_release(target.kind, target.name)
    if left(live.version, at.opened(target.key), target.key) == leaving:
        return
    environment = ctx.env.environment.name
    latest = await store.history(tx, ctx.tenant, environment, target.kind, target.name, before=None, limit=1)
    who = f"{latest[0].by} was first ({latest[0].event}, {latest[0].at:%Y-%m-%d %H:%M:%S} UTC): " if latest else ""
    raise Conflict(
        "release.moved",
        f"{who}{target.kind} {target.name} {leaving} is not what runs get any more; version {live.version} is live.",
        hint=f"Look at it (`stanchion release show {target.kind}/{target.name}`) and decide again.",
        version=live.version,
        changed_by=latest[0].by if latest else "",
    )


async def _step(tx: Tx, ctx: Ctx, at: Ground, target: Target) -> _Step:
    live = at.live.get(target.key)
    if live is None:
        raise service.unknown_release(target.kind, target.name)
    opened = at.opened(target.key)
    if opened is not None:
        if target.version not in (None, live.version):
            raise Conflict(
                "rollout.open",
                f"{target.kind} {target.name} has a rollout under way, which goes back to version {live.version}:"
                f" {rules.told(opened)}.",
                hint="Roll it back without a version first.",
                rollout_id=str(opened.id),
                author=opened.author,
            )
        return _Step(to=live, rollout=opened)
    version = target.version
    if version is None:
        version = await store.version_before(tx, ctx.tenant, ctx.env.environment.name, target.key, live.version)
    if version is None or version == live.version:
        raise Conflict(
            "release.no_previous",
            f"Nothing was live of {target.kind} {target.name} before version {live.version}."
            if version is None
            else f"{target.kind} {target.name} {version} is live already.",
            hint="Name the version to go to: --to N.",
        )
    found = await store.version_of(tx, ctx.tenant, target.kind, target.name, version)
    if found is None:
        raise NotFound(
            "artifact.unknown",
            f"There is no {target.kind} {target.name} version {version}.",
            hint=f"`stanchion artifact history {target.kind}/{target.name}` lists its versions.",
        )
    return _Step(to=found, rollout=None)
