"""What a worker is made of: the handlers of every verb. Its calls go through the broker, so it has no adapter of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import UUID

from stanchion import approvals, runs, tools
from stanchion.base.settings import Settings
from stanchion.bootstrap.resolving import build_resolver, build_verbs
from stanchion.context import Env
from stanchion.controls import keeping as kept_fresh
from stanchion.controls.kills import NO_KILLS, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.tools import catalogue
from stanchion.tools.broker.client import BrokerClient
from stanchion.tools.broker.remote import RemoteAdapters


def calls_by(broker: BrokerClient) -> tools.AdapterRegistry:
    """Adapters of every name, each calling through `broker`, which says whether there is one."""
    return RemoteAdapters(tools.NamedAdapters(), broker)


@asynccontextmanager
async def built_worker(
    env: Env,
    settings: Settings,
    *,
    name: str,
    spawn: runs.SpawnProbation | None,
    probation_of: UUID | None,
    adapters: tools.AdapterRegistry,
    switches: Kills = NO_KILLS,
    withdrawn: Withdrawals = NO_WITHDRAWALS,
) -> AsyncGenerator[runs.Worker]:
    """A worker with the handlers of every verb; what it holds open is closed after the block.

    It calls through `adapters`: by the broker (`calls_by`), or in tests by themselves and without the broker's checks.
    """
    verbs = build_verbs()
    states = catalogue.States(env, role="engine")
    guard = catalogue.Guard(states, switches)
    effects = tools.EffectPort(env, approvals.ApprovalCheck(), switches, withdrawn)
    handlers: tuple[runs.StepHandler, ...] = (
        runs.TransformHandler(),
        approvals.GovernHandler(),
        tools.FetchHandler(adapters, switches, guard),
        tools.LookupHandler(adapters, switches, guard),
        tools.PushHandler(adapters, effects, switches, guard),
        tools.ExecuteHandler(adapters, effects, switches, guard),
    )
    try:
        async with kept_fresh(states):
            yield runs.Worker(
                env,
                {handler.verb: handler for handler in handlers},
                build_resolver(env, verbs),
                queues=settings.worker.queues,
                capacity=settings.worker.capacity,
                specs=verbs.values(),
                name=name,
                hook=approvals.PendingApprovals(env),
                spawn_probation=spawn,
                probation_of=probation_of,
                kills=switches,
                withdrawals=withdrawn,
            )
    finally:
        await effects.flush()
        await adapters.close()
