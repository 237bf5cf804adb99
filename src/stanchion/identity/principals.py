"""Who somebody is now, by name: for what is done on behalf of who started a run, with a memory of at most a second."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from stanchion.base import Denied, NotFound
from stanchion.context import Actor, Env, system_actor
from stanchion.identity import store
from stanchion.identity.authenticate import TTL_S
from stanchion.identity.rules import actor_of
from stanchion.identity.types import Principal

_ENTRIES_MAX: Final = 10_000
_SYSTEM: Final = "system:"
_TRIGGER: Final = "trigger:"


def trigger_actor(tenant: str, name: str) -> Actor:
    """The actor that a trigger's runs have: a service of its own name, which no principal can have. It decides nothing."""
    return Actor(
        tenant=tenant,
        principal=f"{_TRIGGER}{name}",
        principal_id="",
        kind="service",
        roles=frozenset({"service"}),
        credential="trigger",
    )


class PrincipalsNow:
    """Fills `Principals`. One per process: what a role grant or a disabling changes counts within a second."""

    def __init__(self, env: Env, *, role: str = "app", ttl_s: float = TTL_S) -> None:
        """`role`: the database role whose pool it reads with, `app` or `engine`."""
        self._env = env
        self._role = role
        self._ttl_s = ttl_s
        self._known: OrderedDict[tuple[str, str], tuple[float, Principal | None]] = OrderedDict()

    async def actor(self, tenant: str, principal: str) -> Actor:
        """The Actor of that name. Raises Denied `auth.denied`."""
        if principal in ("system:engine", "system:scheduler", "system:bootstrap"):
            who = principal.removeprefix(_SYSTEM)
            return system_actor(
                "engine" if who == "engine" else "scheduler" if who == "scheduler" else "bootstrap", tenant
            )
        if principal.startswith(_TRIGGER):
            return trigger_actor(tenant, principal.removeprefix(_TRIGGER))
        found = await self._row(tenant, principal)
        if found is None or found.disabled_at is not None:
            why = "is disabled" if found is not None else "does not exist in this tenant"
            raise Denied(
                "auth.denied",
                f"The principal {principal} {why}: nothing is called on its behalf.",
                hint="Let somebody else start the run anew; a run acts with the rights that its starter has now.",
                principal=principal,
            )
        return actor_of(found, "system")

    async def _row(self, tenant: str, name: str) -> Principal | None:
        now = self._env.clock.monotonic()
        known = self._known.get((tenant, name))
        if known is not None and now - known[0] < self._ttl_s:
            return known[1]
        transaction = self._env.db.tenant_tx(tenant) if self._role == "app" else self._env.db.engine_tx()
        async with transaction as tx:
            try:
                found: Principal | None = await store.principal_named(tx, tenant, name)
            except NotFound:
                found = None
        self._known[tenant, name] = (now, found)
        self._known.move_to_end((tenant, name))
        while len(self._known) > _ENTRIES_MAX:
            self._known.popitem(last=False)
        return found
