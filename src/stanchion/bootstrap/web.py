"""What the web process serves: the routes of every domain, over its verbs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from fastapi import APIRouter

from stanchion import approvals, identity, runs, tools
from stanchion.approvals import routes as approvals_routes
from stanchion.artifacts import routes as artifacts_routes
from stanchion.audit import routes as audit_routes
from stanchion.base.settings import Settings
from stanchion.bootstrap.parts import Parts, build_parts
from stanchion.context import Ctx, Env
from stanchion.controls.kills import NO_KILLS, Killable, Kills
from stanchion.controls.kills import routes as kills_routes
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.http.telling import telling
from stanchion.identity import Authenticator
from stanchion.identity import routes as identity_routes
from stanchion.queue import Notifier
from stanchion.releases import bundles, flags, guarding, policies, revoking
from stanchion.releases import routes as releases_routes
from stanchion.releases.bundles import routes as bundles_routes
from stanchion.releases.configs import routes as configs_routes
from stanchion.releases.draining import routes as draining_routes
from stanchion.releases.flags import routes as flags_routes
from stanchion.releases.flags.ofrep import build_ofrep_router
from stanchion.releases.gates import routes as gates_routes
from stanchion.releases.guarding import routes as guarding_routes
from stanchion.releases.revoking import routes as revoking_routes
from stanchion.releases.rollouts import routes as rollouts_routes
from stanchion.runs import killing
from stanchion.runs import routes as runs_routes
from stanchion.secrets import SecretHolder, forwarding
from stanchion.secrets.keeping import routes as secrets_routes
from stanchion.tools import catalogue, triggers
from stanchion.tools import routes as tools_routes
from stanchion.tools.broker.client import BrokerClient
from stanchion.tools.broker.remote import RemoteAdapters
from stanchion.tools.catalogue import routes as catalogue_routes
from stanchion.tools.triggers import routes as triggers_routes


def killable_kinds() -> Killable:
    """What can be killed in this deployment, by kind. A kind that comes later registers here, and asks at its point of use."""
    kinds = (*map(killing.PinnedKind, ("blueprint", "connector", "flag", "tool", "trigger")), killing.TenantKind())
    return {kind.kind: kind for kind in kinds}


def _delivering(env: Env, parts: Parts, starter: runs.Starter, broker: BrokerClient | None) -> triggers.Means:
    """What messages of triggers go through."""
    verify = triggers.AWAY if broker is None else triggers.RemoteVerify(broker.ask)
    return triggers.means_of(env, starter=starter, resolver=parts.resolver, kills=starter.kills, verify=verify)


def _holder(broker: BrokerClient | None, ctx: Ctx) -> SecretHolder:
    """The broker, asked on behalf of whoever is signed in: it looks itself whether they may."""
    if broker is None:
        return forwarding.AWAY
    who = {"tenant": ctx.tenant, "principal": ctx.actor.principal}
    return forwarding.RemoteHolder(partial(broker.ask, **who))


def _release_routers(
    parts: Parts, repinning: revoking.Means, signing_key: Callable[[], bundles.SigningKey]
) -> Sequence[APIRouter]:
    # Who has released something and then starts a run gets what was released.
    releasing = telling(parts.resolver.look_again)
    return (
        releases_routes.build_router(parts.kinds, releasing),
        rollouts_routes.build_router(parts.kinds, guarding.Guards(), releasing),
        revoking_routes.build_router(repinning, releasing),
        draining_routes.build_router(),
        guarding_routes.build_router(),
        gates_routes.build_router(parts.kinds),
        bundles_routes.build_router(parts.kinds, signing_key, releasing),
    )


@asynccontextmanager
async def built_routers(
    env: Env,
    settings: Settings,
    authenticator: Authenticator,
    switches: Kills = NO_KILLS,
    live_flags: flags.Snapshot | None = None,
    withdrawn: Withdrawals = NO_WITHDRAWALS,
    broker: BrokerClient | None = None,
    live_policies: policies.Snapshot | None = None,
    tool_states: catalogue.States | None = None,
) -> AsyncGenerator[Sequence[APIRouter]]:
    """The routes of every domain; what they hold open is closed after the block. No `broker`: unchecked calls, for tests."""
    parts = build_parts(env, settings)
    adapters = parts.adapters if broker is None else RemoteAdapters(parts.adapters, broker)
    notifier = Notifier(env, role="app")
    starter = runs.Starter(env, parts.resolver, notifier, switches, withdrawn)
    served = live_flags or flags.Snapshot(env)  # without one that is kept, flags are unread and say so
    watcher = runs.Watcher(env)
    hook = approvals.PendingApprovals(env)
    tool_pins = catalogue.ToolResolver(parts.resolver, parts.verbs)
    calling = catalogue.Means(
        starter=runs.Starter(env, tool_pins, notifier, switches, withdrawn),
        watcher=watcher,
        states=tool_states or catalogue.States(env, role="app"),  # unread, like flags
        kills=switches,
        withdrawn=withdrawn,
        calls=identity.CedarCalls(live_policies or policies.Snapshot(env, withdrawn=withdrawn)),
        verbs=parts.verbs,
    )
    repinning = revoking.Means(
        kinds=parts.kinds, resolver=parts.resolver, verbs=parts.verbs, notifier=notifier, hook=hook
    )
    signing_key = partial(bundles.SigningKey.from_file, settings.signing_key_file, env.ids)
    try:
        yield (
            runs_routes.build_router(watcher, starter, notifier, hook),
            approvals_routes.build_router(),
            *_release_routers(parts, repinning, signing_key),
            flags_routes.build_router(parts.kinds, served),
            configs_routes.build_router(parts.kinds, parts.resolver),
            build_ofrep_router(served),
            artifacts_routes.build_router(),
            tools_routes.build_router(adapters, switches),
            catalogue_routes.build_router(calling),
            triggers_routes.build_router(env, _delivering(env, parts, starter, broker)),
            kills_routes.build_router(killable_kinds()),
            secrets_routes.build_router(partial(_holder, broker), tools.LiveReferences()),
            audit_routes.build_router(),
            identity_routes.build_router(authenticator, public_url=settings.web.public_url or ""),
        )
    finally:
        await watcher.close()
        await notifier.flush()
        await adapters.close()
