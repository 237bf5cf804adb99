"""What those who are known may do: events with a key, lists, samples; and what is forgotten."""

from __future__ import annotations

import pytest

from stanchion.identity import PrincipalsNow, trigger_actor
from stanchion.tools import LiveReferences, triggers
from stanchion.tools.triggers import service
from tests.support.web import client
from tests.tools.triggers.support import Shop, order, shop_on


@pytest.fixture
async def shop(fresh_database_urls, tmp_path):
    async with shop_on(fresh_database_urls, tmp_path) as shop:
        yield shop


async def test_an_event_with_a_key_starts_a_run_of_the_trigger(shop: Shop) -> None:
    async with client(shop.app, await shop.stage.key("service", name="shop-bot")) as bot:
        told = [await bot.post("/api/triggers/order-told/events", json={"event": {"id": "A"}}) for _ in range(2)]
        unlike = await bot.post("/api/triggers/order-placed/events", json={"event": {"id": "A"}})
        unknown = await bot.post("/api/triggers/no-such/events", json={"event": {}})
        empty = await bot.post("/api/triggers/order-told/events", json={"event": {"id": ""}})
    assert [one.status_code for one in told] == [202, 202]
    assert told[0].json() == told[1].json()
    assert (unlike.status_code, unlike.json()["code"]) == (409, "trigger.wants_signature")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "trigger.unknown")
    assert (empty.status_code, empty.json()["code"]) == (422, "trigger.bad_dedupe")
    assert await shop.runs() == [("default", "check-order", {"order": "A", "rush": False}, "trigger:order-told")]
    assert await shop.outcomes("order-told") == ["started", "repeated", "failed"]
    by = await shop.rows(
        "select p.name from audit_records a join principals p on p.id::text = a.actor"
        " where a.event_type = 'trigger.delivered'"
    )
    assert by == [("shop-bot",)]


async def test_who_may_what(shop: Shop) -> None:
    viewer = await shop.stage.key("viewer")
    nobody = await shop.stage.key(name="nobody")
    async with client(shop.app, viewer) as some, client(shop.app, nobody) as none:
        for path in ("/api/triggers", "/api/triggers/order-placed", "/api/triggers/order-placed/deliveries"):
            assert (await some.get(path)).status_code == 200
            assert (await none.get(path)).status_code == 403
            assert (await shop.client.get(path)).status_code == 401
        assert (await some.post("/api/triggers/order-told/events", json={"event": {"id": "A"}})).status_code == 403
        assert (await none.post("/api/triggers/order-placed/test", json={"event": {}})).status_code == 403
    assert await shop.runs() == []


async def test_a_trigger_decides_nothing_and_is_nobody_that_could_be_made(shop: Shop) -> None:
    actor = trigger_actor("default", "order-placed")
    for action in ("approvals.decide", "releases.approve", "artifacts.publish", "secrets.read", "kills.set"):
        assert not shop.env.authorizer.permits(actor, action), action
    assert shop.env.authorizer.permits(actor, "runs.start")
    made = await shop.admin.post("/api/principals", json={"name": actor.principal, "kind": "user", "roles": []})
    assert made.status_code == 422


async def test_lists(shop: Shop) -> None:
    listed = (await shop.admin.get("/api/triggers", params={"limit": 1})).json()
    assert [one["name"] for one in listed["items"]] == ["order-placed"]
    rest = (await shop.admin.get("/api/triggers", params={"after": listed["next"]})).json()
    assert [one["name"] for one in rest["items"]] == ["order-told"]
    shown = (await shop.admin.get("/api/triggers/order-placed")).json()
    assert shown["url"] == "/api/hooks/default/order-placed"
    assert shown["secret"] == "secret://local/hooks/shop"
    assert shown["dedupe"] == "${headers.webhook_id}"
    for number in range(3):
        await shop.hook(message_id=f"m{number}")
    await shop.hook(message_id="m0")
    page = (await shop.admin.get("/api/triggers/order-placed/deliveries", params={"limit": 2})).json()
    assert [one["outcome"] for one in page["items"]] == ["repeated", "started"]
    more = await shop.admin.get(
        "/api/triggers/order-placed/deliveries", params={"after": page["next"], "outcome": "started"}
    )
    assert len(more.json()["items"]) == 2
    bad = await shop.admin.get("/api/triggers/order-placed/deliveries", params={"after": "eA"})
    assert (bad.status_code, bad.json()["code"]) == (400, "page.bad_cursor")


async def test_a_sample_is_judged_and_starts_nothing(shop: Shop) -> None:
    async def tried(event, **more):
        answer = await shop.admin.post("/api/triggers/order-placed/test", json={"event": event, **more})
        return answer.status_code, answer.json()

    sample = {"type": "order.placed", "data": {"id": "A"}}
    assert await tried(sample, headers={"Webhook-Id": "m1"}) == (
        200, {"starts": True, "reason": "", "input": {"order": "A", "rush": False}, "dedupe": "m1"},
    )  # fmt: skip
    assert (await tried({**sample, "type": "x"}))[1]["starts"] is False
    status, said = await tried({"type": "order.placed"})
    assert (status, said["code"]) == (422, "trigger.bad_event")
    assert await shop.runs() == []
    assert await shop.outcomes() == []


async def test_the_log_is_bounded(shop: Shop, monkeypatch) -> None:
    for number in range(6):
        await shop.hook(message_id=f"m{number}")
    monkeypatch.setattr(service, "KEPT_MAX", 4)
    assert await triggers.prune(shop.env) == 2
    assert len(await shop.outcomes()) == 4
    assert await triggers.prune(shop.env) == 0
    monkeypatch.setattr(service, "KEPT_DAYS", 0)
    assert await triggers.prune(shop.env) == 4


async def test_what_a_live_trigger_refers_to_is_not_removed_and_is_checked(shop: Shop) -> None:
    async with shop.ctx.tx() as tx:
        found = await LiveReferences().live(tx, "default", "local")
    assert [(one.connector, one.place, one.text) for one in found] == [
        ("trigger:order-placed", "/source/webhook/secret", "secret://local/hooks/shop")
    ]
    assert (await shop.hook(body=order())).status_code == 202


async def test_its_runs_call_connectors_with_the_rights_of_a_service(shop: Shop) -> None:
    actor = await PrincipalsNow(shop.env, role="engine").actor("default", "trigger:order-placed")
    assert (actor.principal, actor.kind, actor.roles) == ("trigger:order-placed", "service", frozenset({"service"}))
    assert actor == trigger_actor("default", "order-placed")
