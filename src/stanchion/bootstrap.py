"""The one place that chooses implementations: settings → Env, verbs, kinds, resolver, routers, duties."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from fastapi import APIRouter

from stanchion import approvals, artifacts, audit, identity, releases, runs, tools
from stanchion.artifacts import KindSpec
from stanchion.base import Json, Problem, SystemClock, SystemIds
from stanchion.base.kept import held_by_broker
from stanchion.base.settings import Settings
from stanchion.blueprints import LOGIC_GATE, TRANSFORM, BlueprintKind, ConfigKind, VerbSpec
from stanchion.context import Ctx, Env, Environment, system_actor
from stanchion.controls import keeping as kept_fresh
from stanchion.controls import kills
from stanchion.controls.kills import NO_KILLS, Killable, Kills
from stanchion.controls.withdrawals import NO_WITHDRAWALS, Withdrawals
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import Authenticator, CedarAuthorizer, Pepper, bootstrap_admin, create_key
from stanchion.queue import Notifier
from stanchion.releases import bundles, configs, draining, flags, guarding, policies, rollouts
from stanchion.releases import revoking as releases_revoking
from stanchion.releases.gates import GATES
from stanchion.releases.gates import measure as measure_reviews
from stanchion.releases.gates.routes import build_router as build_gates_router
from stanchion.runs import killing, revoking, sweeping
from stanchion.secrets import SecretHolder, forwarding, keeping
from stanchion.secrets.holding import holding
from stanchion.telemetry import Telemetry
from stanchion.tools import catalogue, triggers
from stanchion.tools.broker.asking import Asks, Persons
from stanchion.tools.broker.client import BrokerClient
from stanchion.tools.broker.remote import RemoteAdapters
from stanchion.tools.broker.scrubbing import Scrubbers
from stanchion.tools.broker.server import AnswerAsk, CallService
from stanchion.tools.broker.service import Broker, Judges, tended
from stanchion.tools.broker.using import ToolsNow

HOME_TENANT = "default"
FIRST_ADMIN = "admin"


def build_env(settings: Settings, urls: DatabaseUrls, *, process: str) -> Env:
    """What a process of this name has. The pools are not open yet: `async with env.db`."""
    clock = SystemClock()
    database = Database(
        urls,
        app_max=settings.database.app_connections_max,
        engine_max=settings.database.engine_connections_max,
        acquire_timeout_s=settings.database.acquire_timeout_s,
        lifetime_s=settings.database.connection_lifetime_s,
    )
    return Env(
        db=database,
        clock=clock,
        ids=SystemIds(clock),
        rng=random.Random(int.from_bytes(SystemIds(clock).secret(16))),  # noqa: S311 - jitter, never a secret
        telemetry=Telemetry(process=process, sample=settings.telemetry.sample),
        authorizer=CedarAuthorizer(home_tenant=HOME_TENANT),
        environment=Environment(name=settings.environment.name, production=settings.production),
    )


@asynccontextmanager
async def opened(env: Env) -> AsyncGenerator[Env]:
    """The Env with its pools open for the block, and its spans flushed after it."""
    async with env.db:
        try:
            yield env
        finally:
            env.telemetry.provider.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAdmin:
    """How to get in on this machine: the admin's API key, and the path of a link that signs a browser in once."""

    key: str
    sign_in_path: str | None
    created: bool


async def first_admin(settings: Settings, urls: DatabaseUrls, *, known_key: str | None) -> FirstAdmin:
    """Make the first tenant and admin where there is none, and a one-time sign-in link.

    Args:
        settings: of this deployment.
        urls: of its database.
        known_key: the key kept on this machine; kept if it is still valid, else the admin gets another one.
    """
    async with opened(build_env(settings, urls, process="bootstrap")) as env:
        pepper = Pepper.from_file(settings.pepper_file, env.ids)
        made = await bootstrap_admin(env, pepper, tenant=HOME_TENANT, admin=FIRST_ADMIN)
        path = f"/sign-in?token={made.sign_in.token}" if made.sign_in else None
        if made.key is not None:
            return FirstAdmin(key=made.key.text, sign_in_path=path, created=True)
        if known_key is not None and await _is_valid(env, pepper, known_key):
            return FirstAdmin(key=known_key, sign_in_path=path, created=False)
        ctx = Ctx(env=env, actor=system_actor("bootstrap", HOME_TENANT))
        key = await create_key(ctx, pepper, principal=FIRST_ADMIN, label="command line of this machine")
        return FirstAdmin(key=key.text, sign_in_path=path, created=False)


async def _is_valid(env: Env, pepper: Pepper, key: str) -> bool:
    try:
        await Authenticator(env, pepper).by_key(key)
    except Problem:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What processes build their own things from: which verbs, kinds and adapters there are, and who resolves pins."""

    adapters: tools.Adapters
    verbs: Mapping[str, VerbSpec]
    kinds: Mapping[str, KindSpec]
    resolver: releases.Resolver


def build_parts(env: Env, settings: Settings, *, own: bool = True, pages: tools.Pages | None = None) -> Parts:
    """The verbs, artifact kinds and adapters of this deployment. `own`: also the adapters that a team brings, whose code is
    loaded only where adapters run or documents are checked. `pages`: what seals pages, where adapters run."""
    network = tools.Network(proxy=settings.tools.proxy, ca_file=settings.tools.ca_file)
    sandbox = tools.Sandbox(
        unboxed=settings.broker.unboxed_commands,
        networked=settings.broker.networked_commands,
        keep=held_by_broker(settings),
        needed=(settings.connectors_root,),
    )
    brought = tools.find_own_adapters() if own else tools.NO_OWN_ADAPTERS
    adapters = tools.Adapters(
        settings.connectors_root, env.clock, network, sandbox, brought, pages=pages, home=HOME_TENANT
    )
    specs: tuple[VerbSpec, ...] = (TRANSFORM, LOGIC_GATE, approvals.GovernVerb(), *tools.VERBS)
    verbs = {spec.verb: spec for spec in specs}
    kinds: tuple[KindSpec, ...] = (
        BlueprintKind(verbs),
        tools.ConnectorKind(adapters),
        approvals.PolicyKind(others=[GATES.policy_type(), policies.AuthorizationType()]),
        ConfigKind(),
        flags.FlagKind(),
        catalogue.ToolKind(verbs),
        triggers.TriggerKind(),
    )
    resolver = releases.Resolver(env, lambda body, lookup: catalogue.program_of(body, verbs, lookup))
    return Parts(adapters=adapters, verbs=verbs, kinds={kind.kind: kind for kind in kinds}, resolver=resolver)


@asynccontextmanager
async def built_worker(
    env: Env,
    settings: Settings,
    *,
    name: str,
    spawn: runs.SpawnProbation | None,
    probation_of: UUID | None,
    switches: Kills = NO_KILLS,
    withdrawn: Withdrawals = NO_WITHDRAWALS,
    broker: BrokerClient | None = None,
) -> AsyncGenerator[runs.Worker]:
    """A worker with the handlers of every verb; what it holds open is closed after the block.

    It calls through `broker`; without one, in this process and without the broker's checks: for tests.
    """
    parts = build_parts(env, settings, own=broker is None)
    adapters = parts.adapters if broker is None else RemoteAdapters(tools.NamedAdapters(parts.adapters), broker)
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
                parts.resolver,
                queues=settings.worker.queues,
                capacity=settings.worker.capacity,
                specs=parts.verbs.values(),
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


@asynccontextmanager
async def built_broker(
    env: Env,
    settings: Settings,
    environment: Mapping[str, str],
    *,
    switches: Kills,
    withdrawn: Withdrawals,
    scrubbers: Scrubbers | None = None,
) -> AsyncGenerator[tuple[CallService, AnswerAsk]]:
    """What performs calls, and what answers about secrets; both hold what they hold until the block ends.

    `environment`: the variables in which secrets are. `scrubbers`: by which the process's log loses credentials.
    """
    async with (
        holding(env, settings, environment) as held,
        policies.kept(env, role="engine", withdrawn=withdrawn) as live_policies,
        catalogue.kept(env, role="engine") as states,
    ):
        parts = build_parts(env, settings, pages=tools.Pages(partial(held.derived, tools.PAGE_PURPOSE)))
        principals = identity.PrincipalsNow(env, role="engine")
        judges = Judges(
            policy=identity.CedarCalls(live_policies),
            principals=principals,
            persons=Persons(env, principals),
            approvals=approvals.ApprovalCheck(),
            tools=ToolsNow(env, states),
            programs=parts.resolver,
            kills=switches,
            withdrawn=withdrawn,
            secrets=held.secrets,
            tokens=held.tokens,
        )
        try:
            async with tended(Broker(env, parts.adapters, judges, scrubbers)) as broker:
                answer = partial(_answer, held.holder, triggers.Verifier(env, held.secrets))
                yield broker, Asks(env, judges.persons, answer)
        finally:
            await held.tokens.close()  # first: an exchange under way needs the adapters' connections
            await parts.adapters.close()


async def _answer(
    holder: SecretHolder, verifier: triggers.Verifier, operation: str, said: Mapping[str, Json]
) -> Mapping[str, Json]:
    if operation == triggers.VERIFY:
        return await verifier.answer(operation, said)
    return await forwarding.answer(holder, operation, said)


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
        Duty(name="effects.gauges", every_s=5.0, run=tools.EffectGauges().measure),
        Duty(name="reviews.gauges", every_s=5.0, run=measure_reviews),
        Duty(name="triggers.prune", every_s=600.0, run=triggers.prune),
        Duty(name="secrets.end", every_s=60.0, run=keeping.end_due),
        Duty(name="runs.expire_keys", every_s=60.0, run=sweeping.expire_keys),
    )


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
    """The routes of every domain; what they hold open is closed after the block. `broker`: as for `built_worker`."""
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
    repinning = releases_revoking.Means(
        kinds=parts.kinds, resolver=parts.resolver, verbs=parts.verbs, notifier=notifier, hook=hook
    )
    try:
        yield (
            runs.build_router(watcher, starter, notifier, hook),
            approvals.build_router(),
            releases.build_router(parts.kinds),
            rollouts.build_router(parts.kinds, guarding.Guards()),
            releases_revoking.build_router(repinning),
            draining.build_router(),
            guarding.build_router(),
            build_gates_router(parts.kinds),
            bundles.build_router(parts.kinds, lambda: bundles.SigningKey.from_file(settings.signing_key_file, env.ids)),
            flags.build_router(parts.kinds, served),
            configs.build_router(parts.kinds, parts.resolver),
            flags.build_ofrep_router(served),
            artifacts.build_router(),
            tools.build_router(adapters, switches),
            catalogue.build_router(calling),
            triggers.build_router(env, _delivering(env, parts, starter, broker)),
            kills.build_router(killable_kinds()),
            keeping.build_router(partial(_holder, broker), tools.LiveReferences()),
            audit.build_router(),
            identity.build_router(authenticator, public_url=settings.web.public_url or ""),
        )
    finally:
        await watcher.close()
        await notifier.flush()
        await adapters.close()
