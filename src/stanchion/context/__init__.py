"""Env, Actor, Ctx: what every verb receives first.

`Env` is built once per process by `bootstrap`. `Ctx` is one call: who acts, for which tenant, under which trace.
"""

from stanchion.context.types import Actor, Authorizer, Ctx, Env, Environment, SystemActor, system_actor

__all__ = ["Actor", "Authorizer", "Ctx", "Env", "Environment", "SystemActor", "system_actor"]
