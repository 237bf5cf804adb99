"""Two tenants with Blueprints, triggers and secrets; the whole web application without a broker's process between: the
signature is verified by what the broker runs, over a real socket of the broker."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from stanchion.artifacts import Document
from stanchion.base import SystemClock, SystemIds
from stanchion.base.settings import Settings
from stanchion.bootstrap.parts import build_parts
from stanchion.bootstrap.web import built_routers
from stanchion.context import Ctx
from stanchion.controls import kills, withdrawals
from stanchion.db import Database, DatabaseUrls
from stanchion.identity import CedarAuthorizer
from stanchion.releases import apply
from stanchion.secrets.holding import holding
from stanchion.secrets.keeping import Sealed, rotate_secret, set_secret
from stanchion.secrets.sealing import public_key, sealed
from stanchion.tools import triggers
from stanchion.tools.webhooks import sign
from tests.artifacts.support import add_tenants
from tests.conftest import make_env
from tests.support.web import client, set_stage
from tests.tools.broker.worlds import Service, client_of, served

TENANT, OTHER = "default", "beta"
BLUEPRINT = """\
blueprint: check-order
owner: sales
input:
  type: object
  required: [order]
  properties: {order: {type: string}, total: {type: string, format: decimal}, rush: {type: boolean, default: false}}
steps:
  - id: seen
    transform: {value: "${input.order}"}
output: ${steps.seen.value}
"""
TRIGGER = """\
trigger: order-placed
owner: sales
description: Orders of the shop.
blueprint: check-order
source:
  webhook: {scheme: standard-webhooks, secret: secret://local/hooks/shop, tolerance: 5m, headers: [x-shop-topic]}
event:
  type: object
  required: [type, data]
  properties:
    type: {type: string}
    data: {type: object, required: [id], properties: {id: {type: string}, total: {type: string}}}
when: event.type == 'order.placed'
input: {order: "${event.data.id}"}
"""
FIRED = """\
trigger: order-told
owner: sales
blueprint: check-order
source: {event: {}}
input: {order: "${event.id}"}
dedupe: "${event.id}"
"""
ALL = (BLUEPRINT, TRIGGER, FIRED)


def document(source: str, *changes: tuple[str, str]) -> Document:
    for old, new in changes:
        assert old in source, old
        source = source.replace(old, new)
    return Document(path=source.partition(":")[0] + ".yaml", source=source)


def secret(number: int) -> str:
    return "whsec_" + base64.b64encode(bytes([number]) * 32).decode()


class ShiftedClock(SystemClock):
    """The machine's clock, and as much later as the test says."""

    ahead_s = 0.0

    def now(self):
        return super().now() + timedelta(seconds=self.ahead_s)

    stopped_at: float | None = None

    def stop(self) -> None:
        """No bucket fills up any more."""
        self.stopped_at = super().monotonic()

    def monotonic(self) -> float:
        return (super().monotonic() if self.stopped_at is None else self.stopped_at) + self.ahead_s


class Shop:
    """What a test has: the API, the sender's side, and the tables."""

    client: httpx.AsyncClient
    admin: httpx.AsyncClient
    clients: list[httpx.AsyncClient]
    stage: Any
    app: Any
    ctx: Ctx
    held: Any
    switches: kills.Snapshot
    withdrawn: withdrawals.Snapshot

    def __init__(self, env, clock: ShiftedClock, kinds) -> None:
        self.env = env
        self.clock = clock
        self.kinds = kinds

    async def apply(self, *documents: Document):
        return await apply(self.ctx, documents, kinds=self.kinds, changelog="why")

    async def look(self) -> None:
        """What every process does within a second."""
        await self.switches.refresh()
        await self.withdrawn.refresh()

    async def sealed(self, path: str, value: str, tenant: str) -> Sealed:
        key = await self.held.holder.sealing_key()
        text = sealed(public_key(key.public), {"value": value}, tenant=tenant, path=path, ids=self.env.ids)
        return Sealed(key_id=key.id, text=text)

    async def keep(self, path: str, value: str, *granted: str, ctx: Ctx | None = None) -> None:
        ctx = ctx or self.ctx
        made = await self.sealed(path, value, ctx.tenant)
        await set_secret(ctx, self.held.holder, path, made, connectors=granted)

    async def rotate(self, path: str, value: str) -> None:
        await rotate_secret(self.ctx, self.held.holder, path, await self.sealed(path, value, TENANT))

    def signed(
        self, body: bytes, message_id: str = "msg_1", *, key: str | None = None, age_s: float = 0
    ) -> dict[str, str]:
        at = int(self.clock.now().timestamp() - age_s)
        return {"content-type": "application/json", **sign([key or secret(1)], message_id, at, body)}

    async def hook(
        self,
        event: Any = None,
        message_id: str = "msg_1",
        *,
        name="order-placed",
        tenant=TENANT,
        headers=None,
        body=None,
        client=None,
        **more,
    ) -> httpx.Response:
        body = order() if event is None and body is None else body if body is not None else json.dumps(event).encode()
        made = self.signed(body, message_id, **more) if headers is None else headers
        return await (client or self.client).post(f"/api/hooks/{tenant}/{name}", content=body, headers=made)

    async def rows(self, query: str, *values: Any) -> list[Any]:
        async with self.env.db.engine_tx() as tx:
            return await (await tx.execute(query, values)).fetchall()

    async def runs(self) -> list[tuple[Any, ...]]:
        return await self.rows("select tenant, blueprint, input, requested_by from runs order by id")

    async def outcomes(self, name: str = "order-placed") -> list[str]:
        found = await self.rows("select outcome from trigger_deliveries where trigger = %s order by id", name)
        return [row[0] for row in found]

    async def refusals(self) -> dict[str, float]:
        """Why webhooks were refused, by reason: what the operator's metric says."""
        metric = next(one for one in self.env.telemetry.registry.collect() if one.name == "stanchion_trigger_refusals")
        return {one.labels["reason"]: one.value for one in metric.samples if one.name.endswith("_total")}


def order(number: str = "A-17", **more: Any) -> bytes:
    return json.dumps({"type": "order.placed", "data": {"id": number, **more}}).encode()


@asynccontextmanager
async def shop_on(urls: DatabaseUrls, folder: Path) -> AsyncIterator[Shop]:
    settings = Settings(data=folder / "data")
    clock = ShiftedClock()
    async with Database(urls) as db, Database(urls) as brokers_db:
        env = dataclasses.replace(make_env(db, clock=clock, authorizer=CedarAuthorizer()), ids=SystemIds(clock))
        broker_env = make_env(brokers_db, clock=clock)
        stage = await set_stage(env, TENANT)
        await add_tenants(env, OTHER)
        shop = Shop(env, clock, build_parts(env, settings).kinds)
        shop.ctx = await stage.admin()
        await shop.apply(*map(document, ALL))
        path = folder / "broker.sock"
        async with (
            holding(broker_env, settings, {}) as shop.held,
            served(path, Service(), answer_ask=partial(answer, triggers.Verifier(broker_env, shop.held.secrets))),
            client_of(path) as broker,
            kills.kept(env, role="app") as shop.switches,
            withdrawals.kept(env, role="app") as shop.withdrawn,
            built_routers(env, settings, stage.authenticator, shop.switches, None, shop.withdrawn, broker) as routers,
            built_routers(env, settings, stage.authenticator, shop.switches, None, shop.withdrawn, broker) as seconds,
        ):
            await shop.keep("hooks/shop", secret(1), "trigger:order-placed")
            # The stage has routes of identity and audit of its own, as the routers do.
            shop.stage, shop.app = stage, stage.app(*wanted(routers))
            async with (
                client(shop.app) as shop.client,
                client(stage.app(*wanted(seconds))) as second,
                client(shop.app, stage.admin_key) as shop.admin,
            ):
                shop.clients = [shop.client, second]
                yield shop


def wanted(routers):
    return [one for one in routers if one.tags == ["triggers"] or one.prefix == "/api/kills"]


async def answer(verifier: triggers.Verifier, ask, peer):
    return await verifier.answer(ask.operation, ask.said)


__all__ = ["ALL", "FIRED", "TRIGGER", "Shop", "document", "order", "secret", "shop_on"]
