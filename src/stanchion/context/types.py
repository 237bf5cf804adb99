"""The types every verb knows."""

from __future__ import annotations

import random
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Literal, Protocol

from stanchion.base import Clock, Ids
from stanchion.db import Database, Tx
from stanchion.telemetry import Telemetry

SystemActor = Literal["engine", "scheduler", "bootstrap"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The one environment this deployment is (I10)."""

    name: str
    production: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who acts, for which tenant.

    Attributes:
        tenant: the tenant's name; every query carries it (I13).
        principal: the principal's name within the tenant, or `system:engine` and the like.
        principal_id: its id as text; empty for system actors.
        kind: `user`, `service`, `schedule` or `system`.
        roles: role names, each compiled to Cedar.
        scopes: actions the credential is limited to; empty means all that the roles allow.
        credential: `api_key:<id>`, `session:<id>` or `system`.
    """

    tenant: str
    principal: str
    principal_id: str
    kind: Literal["user", "service", "schedule", "system"]
    roles: frozenset[str]
    scopes: frozenset[str] = frozenset()
    credential: str


@lru_cache(maxsize=1024)
def system_actor(who: SystemActor, tenant: str) -> Actor:
    """The actor of Stanchion's own duties. Its permissions are those of the role `system`, in Cedar like any other."""
    return Actor(
        tenant=tenant,
        principal=f"system:{who}",
        principal_id="",
        kind="system",
        roles=frozenset({"system"}),
        credential="system",
    )


class Authorizer(Protocol):
    """One function in front of the policy engine (Cedar, in `identity`)."""

    def check(self, actor: Actor, action: str, resource: Mapping[str, object]) -> None:
        """Return if permitted. Raises Denied `auth.denied` naming principal, action, resource and the way out."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Env:
    """What a process has, built once. Time, ids and randomness come only from here."""

    db: Database
    clock: Clock
    ids: Ids
    rng: random.Random
    telemetry: Telemetry
    authorizer: Authorizer
    environment: Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Ctx:
    """One call: the first argument of every verb."""

    env: Env
    actor: Actor
    request_id: str = ""
    traceparent: str | None = None
    facts: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def tenant(self) -> str:
        """The tenant whose data this call may touch."""
        return self.actor.tenant

    @property
    def now(self) -> datetime:
        """The current time, timezone-aware, in UTC."""
        return self.env.clock.now()

    def require(self, action: str, **resource: object) -> None:
        """Return if the actor may do `action` (such as `runs.start`) to `resource`. Raises Denied otherwise (I11)."""
        self.env.authorizer.check(self.actor, action, resource)

    def tx(self) -> AbstractAsyncContextManager[Tx]:
        """A transaction walled to this call's tenant; commits at the end of the block, rolls back on an exception."""
        return self.env.db.tenant_tx(self.actor.tenant)
