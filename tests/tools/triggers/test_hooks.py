"""Signed webhooks over real PostgreSQL and the broker's socket: what is believed, and what of it becomes a run."""

from __future__ import annotations

import pytest

from stanchion.tools.triggers import service
from tests.tools.triggers.support import TRIGGER, Shop, document, order, secret, shop_on


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
    assert (
        await shop.runs()
        == [
            ("default", "check-order", {"order": "A-17", "rush": False}, "trigger:order-placed"),
        ]
        * 2
    )
    assert await shop.outcomes() == ["started", "repeated", "started"]
    records = await shop.rows(
        "select actor, run_id::text from audit_records where event_type = 'trigger.delivered' order by id"
    )
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


async def test_the_operator_sees_why_a_webhook_was_refused(shop: Shop) -> None:
    await shop.hook(key=secret(2))
    await shop.hook(age_s=400)
    await shop.hook(name="no-such")
    await shop.hook(headers={}, body=order())
    assert await shop.refusals() == {"no_match": 1.0, "too_old": 1.0, "unknown": 1.0, "missing_header": 1.0}


async def test_a_secret_that_is_not_granted_is_not_used(shop: Shop) -> None:
    await shop.keep("hooks/theirs", secret(3), "order-placed")  # to a connector of that name
    await shop.apply(document(TRIGGER, ("hooks/shop", "hooks/theirs")))
    assert (await shop.hook(key=secret(3))).status_code == 401
    assert await shop.refusals() == {"secret.not_granted": 1.0}


async def test_a_header_that_comes_twice_is_none(shop: Shop) -> None:
    body = order()
    signed = shop.signed(body)
    twice = [*signed.items(), ("webhook-signature", shop.signed(body, key=secret(2))["webhook-signature"])]
    assert (await shop.hook(body=body, headers=twice)).status_code == 401


@pytest.mark.parametrize("name", ["order-placed", "no-such"])
async def test_a_body_that_is_too_large_is_refused_before_anything_is_looked_at(shop: Shop, name) -> None:
    body = order("A", total="1" * 256 * 1024)
    answer = await shop.hook(name=name, body=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "request.too_large")
    assert await shop.refusals() == {}


ODD = [
    b"", b" ", b"null", b"[]", b"1", b'"x"', b"{}", b'{"type": 1}', b"{", b'{"a":NaN}', b'{"a":1e999}', b"\xff\xfe", b"\xef\xbb\xbf{}",
    b'{"type":"order.placed","data":{"id":"\\u0000"}}', b'{"type":"order.placed","data":{"id":"\\ud800"}}',
    b'{"type":"order.placed","data":{"id":99999999999999999999999}}', b'{"type":"order.placed","data":[]}', b'{"a":1}{"a":1}',
    b"[" * 2000, b"[" * 900 + b"]" * 900, b'{"a":' * 900 + b"1" + b"}" * 900, b"a=b&c=d", b'{"type":"order.placed","data":{"id":""}}',
]  # fmt: skip


@pytest.mark.parametrize("permissive", [False, True])
async def test_odd_bodies_are_the_senders_fault(shop: Shop, permissive) -> None:
    """Signed all of them: whatever a known sender sends is answered, as its own fault where it is one."""
    if permissive:
        await shop.apply(
            document("blueprint: any\nowner: a\ninput: {type: object, properties: {all: {}}}\nsteps:\n  - id: a\n    transform: {value: 1}\n"),
            document(
                "trigger: order-placed\nowner: a\nblueprint: any\nsource:\n  webhook: {scheme: standard-webhooks, secret: secret://local/hooks/shop}\n"
                'input: {all: "${event}"}\n'
            ),
        )  # fmt: skip
    accepted = 0
    for number, body in enumerate(ODD):
        for kind in ("application/json", "text/plain"):
            headers = {**shop.signed(body, f"{number}-{kind[:4]}"), "content-type": kind}
            answer = await shop.hook(body=body, headers=headers)
            assert answer.status_code == 202 or 400 <= answer.status_code < 500, (body[:60], answer.text)
            assert answer.status_code != 401, (body[:60], answer.text)
            accepted += answer.status_code == 202
    assert accepted == len(await shop.runs())
    if not permissive:
        assert set(await shop.outcomes()) <= {"failed", "started"}


async def test_what_cannot_be_mapped_says_where_and_starts_nothing(shop: Shop) -> None:
    missing = await shop.hook({"type": "order.placed", "data": {}})
    assert (missing.status_code, missing.json()["code"]) == (422, "trigger.bad_event")
    assert missing.json()["errors"][0]["pointer"] == "/data"
    await shop.apply(document(TRIGGER, ("${event.data.id}", "${event.data.total + 'x'}")))
    failed = await shop.hook()
    assert (failed.status_code, failed.json()["code"]) == (422, "expression.failed")
    assert "trigger order-placed, /input/order" in failed.json()["detail"]
    assert await shop.runs() == []
    assert await shop.outcomes() == ["failed", "failed"]


async def test_kills_of_the_trigger_and_of_its_blueprint(shop: Shop) -> None:
    for kind, name in (("trigger", "order-placed"), ("blueprint", "check-order")):
        made = await shop.admin.post("/api/kills", json={"kind": kind, "name": name, "reason": "It floods us."})
        assert made.status_code == 201, made.text
        await shop.look()
        answer = await shop.hook()
        assert (answer.status_code, answer.json()["code"]) == (503, "hook.paused")
        assert "flood" not in answer.text
        assert answer.headers["retry-after"] == "60"
        lifted = await shop.admin.post(f"/api/kills/{made.json()['id']}/lift", json={"reason": "It stopped."})
        assert lifted.status_code == 200, lifted.text
        await shop.look()
    assert await shop.runs() == []
    reasons = await shop.rows("select reason from trigger_deliveries order by id")
    assert [reason.partition(":")[0] for (reason,) in reasons] == ["kill.active"] * 2
    assert (await shop.hook()).status_code == 202


async def test_what_one_address_and_one_trigger_may_send_is_bounded(shop: Shop) -> None:
    shop.clock.stop()
    answers = [(await shop.hook(name="no-such")).status_code for _ in range(service.PER_ADDRESS.burst + 1)]
    assert set(answers[:-1]) == {401}
    assert answers[-1] == 429
