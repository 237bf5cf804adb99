"""What a rollout's guards say: fills `rollouts.Verdicts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from stanchion.base import Json
from stanchion.context import Ctx
from stanchion.releases.guarding import store
from stanchion.releases.guarding.collecting import Moment
from stanchion.releases.rollouts import Judgement, Rollout
from stanchion.releases.watching import begin, judge_all, judgement_json, parse_guards, read_comparison


class Guards:
    """Judges by what was collected. `moment` is the database's clock, by which it was."""

    def __init__(self, moment: Moment = store.now) -> None:
        self._moment = moment

    async def judge(self, ctx: Ctx, rollout: Rollout) -> Judgement:
        """What the guards of a rollout say; `none` if it has none. Raises what `watching.judge_all` raises.

        At 100 percent there is no stable arm any more, nor after the end: what was collected before is judged, and its age
        is not asked. So a hold at 100 percent ends by itself if the guards had said PASS, and else waits for a person.
        """
        if rollout.guards is None:
            return Judgement(verdict="none")
        guards = parse_guards(dict(rollout.guards))
        async with ctx.tx() as tx:
            known: Mapping[str, Json] = await store.comparisons(tx, ctx.tenant, rollout.id) or {}
            now = await self._moment(tx)
        comparisons = {
            guard.name: read_comparison(known[guard.name]) if guard.name in known else begin(guard, rollout.created_at)
            for guard in guards.guards
        }
        is_settled = rollout.share == 100 or rollout.ended_at is not None
        found = judge_all(guards, comparisons, None if is_settled else now)
        return Judgement(
            verdict=found.verdict.value,
            why=found.reason,
            evidence=cast("Mapping[str, Json]", judgement_json(found)),
        )
