"""The scheduler's duty: rollouts go on by themselves, stop without measurements, and come back on a proven regression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from uuid import UUID

from stanchion.artifacts import KindSpec
from stanchion.base import Conflict, Problem
from stanchion.context import Ctx, Env, system_actor
from stanchion.releases.rollouts import service, store
from stanchion.releases.rollouts.returning import rollback
from stanchion.releases.rollouts.states import OPEN, Judgement, NoGuards, Rollout, State, Target, Verdicts

_BATCH: Final = 200
_REASON_MAX: Final = 2000
# What a rollout cannot get past by itself: a person has to look.
_STOPS: Final = frozenset(
    ("rollout.incompatible", "release.gated", "release.revoked", "release.drained", "release.retired")
)
_NO_GUARDS: Final = NoGuards()


async def watch(env: Env, kinds: Mapping[str, KindSpec], verdicts: Verdicts = _NO_GUARDS) -> int:
    """Ask the guards of every open rollout of the environment and do what they say; return how many changed.

    FAIL rolls back at any time, also one that is PAUSED: its candidate is still out. When the hold of a step is over, no guards and PASS go on, MISSING pauses, and
    INCONCLUSIVE waits. What cannot go on because it would not fit any more is paused, with the reason. A rollout that
    somebody else changed meanwhile is left to its next turn.
    """
    changed = 0
    past: UUID | None = None
    while True:
        async with env.db.engine_tx() as tx:
            found = await store.watched(tx, env.environment.name, past=past, limit=_BATCH)
        for one in found:
            ctx = Ctx(env=env, actor=system_actor("scheduler", one.tenant))
            try:
                changed += await _watch_one(ctx, one.id, kinds, verdicts)
            except Problem as problem:  # of this rollout, and no reason to leave the others
                env.telemetry.emit("duty.failed", 1.0, duty="rollouts.watch", error=f"{one.id}: {problem}")
        if len(found) < _BATCH:
            return changed
        past = found[-1].id


async def _watch_one(ctx: Ctx, rollout_id: UUID, kinds: Mapping[str, KindSpec], verdicts: Verdicts) -> bool:
    rollout = await service.show_rollout(ctx, rollout_id)
    if rollout.state not in OPEN:
        return False
    judged = await verdicts.judge(ctx, rollout)
    if rollout.state is State.PAUSED and judged.verdict != "fail":
        return False
    try:
        return await _obey(ctx, rollout, kinds, judged)
    except Conflict as conflict:
        # What is only missing something, such as an approval, waits where it is.
        waits = conflict.code == "release.gated" and conflict.fields.get("verdict") == "INCONCLUSIVE"
        if waits or conflict.code in ("rollout.moved", "release.moved", "rollout.ended"):
            return False
        if conflict.code not in _STOPS:
            raise
        if rollout.state is State.PAUSED:  # as it was left when this was found; a person chooses what goes with it
            return False
        return await _stop(ctx, rollout, str(conflict)[:_REASON_MAX], judged)


async def _obey(ctx: Ctx, rollout: Rollout, kinds: Mapping[str, KindSpec], judged: Judgement) -> bool:
    if judged.verdict == "fail":
        return await _take_back(ctx, rollout, kinds, judged)
    if rollout.due_at is None or rollout.due_at > ctx.now or judged.verdict == "inconclusive":
        return False
    if judged.verdict == "missing":
        return await _stop(ctx, rollout, f"Its measurements are missing: {judged.why}", judged)
    reason, said = "The hold of the step is over.", _Said(judged)
    await service.advance(ctx, rollout.id, kinds=kinds, reason=reason, rev=rollout.rev, verdicts=said)
    return True


async def _take_back(ctx: Ctx, rollout: Rollout, kinds: Mapping[str, KindSpec], judged: Judgement) -> bool:
    first = rollout.members[0]
    await rollback(
        ctx,
        Target(kind=first.kind, name=first.name),
        kinds=kinds,
        reason=f"Its guards say FAIL: {judged.why}",
        leaving=first.candidate_version,
        evidence=judged.evidence,
    )
    return True


async def _stop(ctx: Ctx, rollout: Rollout, reason: str, judged: Judgement) -> bool:
    await service.pause(ctx, rollout.id, reason=reason, rev=rollout.rev, evidence=judged.evidence)
    return True


class _Said:
    """What was judged a moment ago, for the verb that asks again."""

    def __init__(self, judged: Judgement) -> None:
        self._judged = judged

    async def judge(self, ctx: Ctx, rollout: Rollout) -> Judgement:
        """The judgement."""
        del ctx, rollout
        return self._judged
