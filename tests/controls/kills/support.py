"""A kind that registers itself, principals of two tenants, and a clock to turn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg

from stanchion.base import NotFound
from stanchion.context import Actor, Ctx, Env
from stanchion.controls.kills import InFlight


class Widget:
    """A kind that no code of Stanchion knows: `left` exists with versions 1 and 2."""

    kind = "widget"

    async def digest(self, tx, tenant, name, version):
        if name != "left" or version not in (None, 1, 2):
            raise NotFound("kill.unknown_target", f"There is no widget {name!r}.")
        return None if version is None else f"sha256:widget-{version}"

    async def in_flight(self, tx, tenant, name, digest):
        return InFlight(running=1, waiting=2, queued=3, newest=())


KINDS = {"widget": Widget()}


class Clock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC) + timedelta(seconds=self.passed_s)

    def monotonic(self) -> float:
        return self.passed_s

    async def sleep(self, seconds: float) -> None:
        self.passed_s += seconds


def person(env: Env, name: str = "olga", tenant: str = "acme", *roles: str) -> Ctx:
    actor = Actor(
        tenant=tenant,
        principal=name,
        principal_id=name,
        kind="user",
        roles=frozenset(roles or ("admin",)),
        credential="api_key:test",
    )
    return Ctx(env=env, actor=actor)


def make_tenants(owner_url: str) -> None:
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("alter table tenants no force row level security")
        connection.execute(
            "insert into tenants (name, display_name) values ('acme', 'Acme'), ('beta', 'Beta') on conflict do nothing"
        )
        connection.execute("alter table tenants force row level security")
