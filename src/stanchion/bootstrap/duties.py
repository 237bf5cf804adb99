"""What the scheduler does: the periodic verbs of every domain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stanchion import approvals, tools
from stanchion.base.settings import Settings
from stanchion.bootstrap.parts import build_parts
from stanchion.context import Env
from stanchion.queue import Notifier
from stanchion.releases import draining, guarding, rollouts
from stanchion.releases.gates import measure as measure_reviews
from stanchion.runs import killing, revoking, sweeping
from stanchion.secrets import keeping
from stanchion.tools import triggers


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """A periodic verb of the scheduler: run every `every_s` seconds, by one process of the deployment."""

    name: str
    every_s: float
    run: Callable[[Env], Awaitable[object]]


def build_duties(env: Env, settings: Settings) -> Sequence[Duty]:
    """What the scheduler does, and how often. Each is idempotent: a repetition changes nothing."""
    hook = approvals.PendingApprovals(env)
    notifier = Notifier(env, role="engine")
    gauges = sweeping.Gauges()
    kinds = build_parts(env, settings).kinds
    guards = guarding.Guards()

    async def watch_rollouts(env: Env) -> None:
        try:
            await guarding.collect(env)
        finally:  # what is known already is judged, and rollouts without guards go on
            await rollouts.watch(env, kinds, guards)

    async def sweep(env: Env) -> None:
        for queue in await sweeping.sweep(env, hook):
            notifier.ready(queue)

    async def wake_lifted(env: Env) -> None:
        for queue in await killing.wake_lifted(env):
            notifier.ready(queue)

    async def wake_reinstated(env: Env) -> None:
        for queue in await revoking.wake_reinstated(env):
            notifier.ready(queue)

    return (
        Duty(name="runs.sweep", every_s=1.0, run=sweep),
        Duty(name="kills.wake", every_s=1.0, run=wake_lifted),
        Duty(name="revocations.wake", every_s=1.0, run=wake_reinstated),
        Duty(name="drains.watch", every_s=1.0, run=draining.watch),
        Duty(name="approvals.expire", every_s=1.0, run=approvals.expire_due),
        Duty(name="rollouts.watch", every_s=1.0, run=watch_rollouts),
        Duty(name="runs.gauges", every_s=5.0, run=gauges.measure),
        Duty(name="approvals.gauges", every_s=5.0, run=approvals.measure),
        Duty(name="effects.left", every_s=60.0, run=tools.settle_left),
        Duty(name="effects.gauges", every_s=5.0, run=tools.EffectGauges().measure),
        Duty(name="reviews.gauges", every_s=5.0, run=measure_reviews),
        Duty(name="triggers.prune", every_s=600.0, run=triggers.prune),
        Duty(name="secrets.end", every_s=60.0, run=keeping.end_due),
        Duty(name="runs.expire_keys", every_s=60.0, run=sweeping.expire_keys),
    )
