"""The verbs, artifact kinds and adapters of this deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stanchion import approvals, releases, tools
from stanchion.artifacts import KindSpec
from stanchion.base.kept import held_by_broker
from stanchion.base.settings import Settings
from stanchion.blueprints import BlueprintKind, ConfigKind, VerbSpec
from stanchion.bootstrap.env import HOME_TENANT
from stanchion.bootstrap.resolving import build_resolver, build_verbs
from stanchion.context import Env
from stanchion.releases import flags, policies
from stanchion.releases.gates import GATES
from stanchion.tools import catalogue, triggers
from stanchion.tools.adapters.registry import Adapters
from stanchion.tools.connectors.kind import ConnectorKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the processes that read documents or call by themselves are made of: which verbs, kinds and adapters there are, and who resolves pins."""

    adapters: Adapters
    verbs: Mapping[str, VerbSpec]
    kinds: Mapping[str, KindSpec]
    resolver: releases.Resolver


def build_parts(env: Env, settings: Settings, *, pages: tools.Pages | None = None) -> Parts:
    """The verbs, artifact kinds and adapters of this deployment, those that a team brings among them: their code is loaded
    only where adapters run or documents are checked. `pages`: what seals pages, where adapters run."""
    network = tools.Network(proxy=settings.tools.proxy, ca_file=settings.tools.ca_file)
    sandbox = tools.Sandbox(
        unboxed=settings.broker.unboxed_commands,
        networked=settings.broker.networked_commands,
        keep=held_by_broker(settings),
        needed=(settings.connectors_root,),
    )
    brought = tools.find_own_adapters()
    adapters = Adapters(settings.connectors_root, env.clock, network, sandbox, brought, pages=pages, home=HOME_TENANT)
    verbs = build_verbs()
    kinds: tuple[KindSpec, ...] = (
        BlueprintKind(verbs),
        ConnectorKind(adapters),
        approvals.PolicyKind(others=[GATES.policy_type(), policies.AuthorizationType()]),
        ConfigKind(),
        flags.FlagKind(),
        catalogue.ToolKind(verbs),
        triggers.TriggerKind(),
    )
    return Parts(
        adapters=adapters, verbs=verbs, kinds={kind.kind: kind for kind in kinds}, resolver=build_resolver(env, verbs)
    )
