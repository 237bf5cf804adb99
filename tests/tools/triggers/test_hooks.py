"""Signed webhooks over real PostgreSQL and the broker's socket: what is believed, and what of it becomes a run."""

from __future__ import annotations

import pytest

from tests.tools.triggers.support import Shop, order, secret, shop_on


@pytest.fixture
async def shop(fresh_database_urls, tmp_path):
    async with shop_on(fresh_database_urls, tmp_path) as shop:
        yield shop


async def test_a_signed_message_starts_one_run_however_often_it_comes(shop: Shop) -> None:
    first = await shop.hook()
    assert first.status_code == 202, first.text
    assert first.json()["started"] is True
    assert first.headers["location"] == f"/api/runs/{first.json()['run_id']}"
    again = await shop.hook()
    assert (again.status_code, again.json()) == (202, first.json())
    other = await shop.hook(message_id="msg_2")
    assert other.json()["run_id"] != first.json()["run_id"]
    assert await shop.runs() == [
        ("default", "check-order", {"order": "A-17", "rush": False}, "trigger:order-placed"),
    ] * 2
    assert await shop.outcomes() == ["started", "repeated", "started"]
    records = await shop.rows("select actor, run_id::text from audit_records where event_type = 'trigger.delivered' order by id")
    assert records == [("trigger:order-placed", one.json()["run_id"]) for one in (first, other)]


async def test_what_the_filter_leaves_out_is_taken_and_starts_nothing(shop: Shop) -> None:
    answer = await shop.hook({"type": "order.paid", "data": {"id": "A-17"}})
    assert answer.status_code == 202
    assert answer.json() == {
        "started": False, "run_id": None, "reason": "`when` is false: event.type == 'order.placed'",
    }  # fmt: skip
    assert await shop.runs() == []
    assert await shop.outcomes() == ["filtered"]


async def test_forged_expired_truncated_and_misdirected_messages_all_get_the_one_answer(shop: Shop) -> None:
    body = order()
    good = shop.signed(body)
    await shop.keep("hooks/other", secret(9), "trigger:order-placed")
    refused = {
        "no signature": await shop.hook(body=body, headers={}),
        "forged": await shop.hook(key=secret(2)),
        "expired": await shop.hook(age_s=301),
        "from the future": await shop.hook(age_s=-301),
        "truncated": await shop.hook(body=body[:-1], headers=good),
        "another id": await shop.hook(body=body, headers={**good, "webhook-id": "msg_9"}),
        "another time": await shop.hook(body=body, headers={**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}),
        "unknown trigger": await shop.hook(name="no-such"),
        "no name at all": await shop.hook(name="%20-%2e"),
        "another tenant": await shop.hook(tenant="beta"),
        "no tenant": await shop.hook(tenant="nobody"),
        "events alone": await shop.hook(name="order-told"),
    }  # fmt: skip

    def told(answer):
        said = answer.json()
        del said["request_id"]
        dropped = {"x-request-id", "traceparent"}
        return answer.status_code, said, {k: v for k, v in answer.headers.items() if k not in dropped}

    answers = {name: told(answer) for name, answer in refused.items()}
    assert {answer[0] for answer in answers.values()} == {401}
    assert all(answer == answers["forged"] for answer in answers.values()), answers
    assert answers["forged"][1]["code"] == "hook.refused"
    assert await shop.runs() == []
    assert await shop.outcomes() == []
