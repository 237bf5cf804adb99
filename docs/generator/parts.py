"""The parts of a deployment that the reference asks: settings with their defaults, an Env without a database."""

from __future__ import annotations

from functools import cache

from stanchion.base.settings import Settings
from stanchion.bootstrap.env import build_env
from stanchion.bootstrap.parts import Parts, build_parts
from stanchion.context import Env
from stanchion.db import DatabaseUrls

_NOWHERE = "postgresql://nobody@localhost/none"


@cache
def env() -> Env:
    """An Env that is never opened."""
    urls = DatabaseUrls(app=_NOWHERE, engine=_NOWHERE, owner=_NOWHERE)
    return build_env(Settings(), urls, process="docs")


@cache
def deployment() -> Parts:
    """The verbs, artifact kinds and adapters as every process builds them."""
    return build_parts(env(), Settings())
