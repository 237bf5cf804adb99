"""The verb of guarding: tell what was measured of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from stanchion import audit
from stanchion.base import Conflict, Invalid, NotFound
from stanchion.context import Ctx
from stanchion.releases.guarding import rules, store
from stanchion.releases.guarding.types import Measurement
from stanchion.releases.watching import MEASURED, Guard, Kind, parse_guards

_METRIC: Final = re.compile(r"[a-z][a-z0-9_.-]{0,62}")
_TAKES: Final = {
    Kind.RATE: "0 or 1",
    Kind.SCORE: "a number from 0 to 1",
    Kind.EXCEEDANCE: "a number from 0",
}


async def report(ctx: Ctx, run_id: UUID, metric: str, value: float) -> Measurement:
    """Keep what was measured of a run: a cost, a score, an answer to a question. It counts once, for each open rollout
    with a guard on this metric that dealt the run.

    Args:
        ctx: who says so; action `runs.measure`.
        run_id: of a whole run; it need not have ended.
        metric: 1 to 63 small letters, digits, `_`, `.` and `-`, a letter first; none that the runtime measures itself.
        value: a finite number from 0; what a guard on it takes.

    Returns:
        The value, also if it was reported before: telling the same twice is telling it once.

    Raises:
        Denied; NotFound `run.unknown`; Invalid `measurement.bad_metric`, `measurement.bad_value`;
        Conflict `measurement.reported` if another value was reported before.
    """
    ctx.require("runs.measure", run_id=str(run_id), metric=metric)
    _check(metric, value)
    async with ctx.tx() as tx:
        if not await store.run_exists(tx, ctx.tenant, run_id):
            raise NotFound("run.unknown", f"There is no run {run_id}.", hint="`stanchion run list` shows your runs.")
        dealing = await store.dealing(tx, ctx.tenant, run_id)
        for one in dealing:
            _check_fits(one, metric, value)
        kept = await store.insert_measurement(tx, ctx.tenant, run_id, metric, value, ctx.actor.principal)
        if kept.value != value:
            raise Conflict(
                "measurement.reported",
                f"{kept.reported_by} reported {metric} {kept.value:g} of run {run_id} before, at"
                f" {kept.reported_at:%Y-%m-%d %H:%M:%S} UTC, and it may have counted already.",
                hint="Report the other value under a metric of its own.",
                value=kept.value,
                reported_by=kept.reported_by,
            )
        watching = [one for one in dealing if any(guard.metric == metric for guard in _guards(one))]
        if kept.is_new:
            for one in watching:
                await store.insert_for_rollout(
                    tx, ctx.tenant, one.rollout_id, run_id=run_id, metric=metric, arm=one.arm, value=value, at=kept.reported_at
                )  # fmt: skip
            await audit.record(
                tx, ctx, "run.measured", target=("run", run_id), run_id=run_id, after=repr(value), extra={"metric": metric}
            )  # fmt: skip
    return Measurement(
        run_id=run_id,
        metric=metric,
        value=value,
        reported_by=kept.reported_by,
        reported_at=kept.reported_at,
        rollouts=len(watching),
    )


def _guards(one: store.Dealt) -> Sequence[Guard]:
    return parse_guards(one.guards).guards


def _check(metric: str, value: float) -> None:
    if not _METRIC.fullmatch(metric):
        raise Invalid(
            "measurement.bad_metric",
            "This is no name of a metric.",
            hint="Begin with a small letter and use small letters, digits, `_`, `.` and `-`; at most 63.",
        )
    if metric in MEASURED:
        raise Invalid(
            "measurement.bad_metric",
            f"{metric} is measured by the runtime itself, of every run.",
            hint=f"Report under another name; these are taken: {', '.join(MEASURED)}.",
        )
    if not (math.isfinite(value) and value >= 0):
        raise Invalid("measurement.bad_value", f"{value} is no finite number from 0.", hint="Report 0 or more.")


def _check_fits(one: store.Dealt, metric: str, value: float) -> None:
    for guard in _guards(one):
        if guard.metric == metric and not rules.fits(guard, value):
            raise Invalid(
                "measurement.bad_value",
                f"{value:g} is not what guard {guard.name} of rollout {one.rollout_id} takes: its metric is a {guard.kind}.",
                hint=f"Report {_TAKES[guard.kind]}.",
                rollout_id=str(one.rollout_id),
            )
