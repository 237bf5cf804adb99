"""The verbs of this deployment, and who resolves what a run is pinned to."""

from __future__ import annotations

from collections.abc import Mapping

from stanchion import approvals, releases, tools
from stanchion.blueprints import LOGIC_GATE, TRANSFORM, VerbSpec
from stanchion.context import Env
from stanchion.tools import catalogue


def build_verbs() -> Mapping[str, VerbSpec]:
    """Every verb by its name: what its config and output look like, and what it does to the world."""
    specs: tuple[VerbSpec, ...] = (TRANSFORM, LOGIC_GATE, approvals.GovernVerb(), *tools.VERBS)
    return {spec.verb: spec for spec in specs}


def build_resolver(env: Env, verbs: Mapping[str, VerbSpec]) -> releases.Resolver:
    """Who resolves pins, from memory: Blueprints are compiled with these verbs, tools into a Blueprint of one step."""
    return releases.Resolver(env, lambda body, lookup: catalogue.program_of(body, verbs, lookup))
