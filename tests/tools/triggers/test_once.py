"""One run per message: in any order, at once, through two processes, broken off at any place; through a rotation."""

from __future__ import annotations

import asyncio
import random

import pytest

from stanchion.runs import Starter
from stanchion.tools.triggers import prune, service
from tests.tools.triggers.support import Shop, order, secret, shop_on


@pytest.fixture
async def shop(fresh_database_urls, tmp_path):
    async with shop_on(fresh_database_urls, tmp_path) as shop:
        yield shop


class Broken(BaseException):
    """The process ended here."""


async def test_duplicates_in_any_interleaving_give_one_run(shop: Shop, monkeypatch) -> None:
    """Property: however often each of some messages is sent, in whatever order, at once or not, through whichever of two
    web processes, and whatever part of the deliveries ends between the start and its note: there is one run for each
    message, and whoever gets an answer gets that run."""
    note = service._note
    dice = random.Random(20261122)
    broken = 0

    async def breaks(ctx, trigger, source, outcome, **more):
        nonlocal broken
        if dice.random() < share:
            broken += 1
            raise Broken
        await note(ctx, trigger, source, outcome, **more)

    async def send(number: str) -> tuple[str, str | None]:
        try:
            answer = await shop.hook(
                body=order(number), message_id=number, age_s=dice.randint(0, 60), client=dice.choice(shop.clients)
            )
        except Broken:
            return number, None
        assert answer.status_code == 202, answer.text
        return number, answer.json()["run_id"]

    monkeypatch.setattr(service, "_note", breaks)
    expected: dict[str, str] = {}
    for example in range(15):
        share = dice.choice([0.0, 0.3, 0.9])
        numbers = [f"{example}-{n}" for n in range(dice.randint(1, 4))]
        sent = [number for number in numbers for _ in range(dice.randint(1, 6))]
        dice.shuffle(sent)
        while sent:
            batch = [sent.pop() for _ in range(min(len(sent), dice.randint(1, 8)))]
            for number, run_id in await asyncio.gather(*map(send, batch)):
                if run_id is not None:
                    assert expected.setdefault(number, run_id) == run_id, (example, number)
        runs = await shop.rows("select input ->> 'order', count(*), min(id::text) from runs group by 1")
        assert {number for number, _, _ in runs} >= set(numbers)
        assert {count for _, count, _ in runs} == {1}, (example, runs)
        assert expected.items() <= {number: run_id for number, _, run_id in runs}.items()
    assert broken > 20, "nothing was broken off: this shows less than it says"


async def test_the_same_dedupe_value_with_another_payload_is_the_same_message(shop: Shop) -> None:
    first = await shop.hook(body=order("A"))
    await shop.rows("delete from trigger_deliveries returning id")  # as if that process had ended before its note
    again = await shop.hook(body=order("B"))
    assert (again.status_code, again.json()) == (202, first.json())
    assert len(await shop.runs()) == 1
    assert await shop.outcomes() == ["repeated"]


async def test_a_day_later_a_duplicate_is_known_though_the_idempotency_key_is_forgotten(shop: Shop) -> None:
    first = await shop.hook()
    await shop.rows("delete from idempotency_keys returning key")
    assert (await shop.hook()).json() == first.json()
    assert len(await shop.runs()) == 1


@pytest.mark.parametrize("place", ["before the claim", "before the start", "after the start", "after the note"])
async def test_a_process_that_ended_anywhere_and_a_sender_who_waits_more_than_a_day(
    shop: Shop, monkeypatch, place
) -> None:
    """The idempotency key is forgotten by then: the claim knows the run, or that there is none."""

    async def ends(*_, **__):
        raise Broken

    async def started_and_ends(*args, **more):
        await start(*args, **more)
        raise Broken

    async def noted_and_ends(*args, **more):
        await note(*args, **more)
        raise Broken

    start, note = Starter.start, service._note
    planted = {
        "before the claim": (service.store, "claim", ends),
        "before the start": (Starter, "start", ends),
        "after the start": (Starter, "start", started_and_ends),
        "after the note": (service, "_note", noted_and_ends),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*planted[place])
        with pytest.raises(Broken):
            await shop.hook()
    runs = await shop.rows("select id::text from runs")
    assert len(runs) == int(place.startswith("after"))
    await shop.rows("delete from idempotency_keys returning key")
    assert await prune(shop.env) == 0
    answers = [await shop.hook() for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    found = [(answer.json()["run_id"],) for answer in answers]
    there = await shop.rows("select id::text from runs")
    assert there == found[:1] == found[1:]
    assert there == (runs or there), "the run that was there is another's now"
    started = 0 if place == "after the start" else 1
    assert (await shop.outcomes()).count("started") == started


async def test_claims_are_forgotten_with_the_deliveries(shop: Shop, monkeypatch) -> None:
    for number in range(5):
        await shop.hook(message_id=f"m{number}")
    monkeypatch.setattr(service, "KEPT_MAX", 3)
    assert await service.prune(shop.env) == 2
    assert await shop.rows("select count(*) from trigger_claims") == [(3,)]
    monkeypatch.setattr(service, "KEPT_DAYS", 0)
    await service.prune(shop.env)
    assert await shop.rows("select count(*) from trigger_claims") == [(0,)]


async def test_a_rotation_under_load_refuses_nobody_who_signs_with_either(shop: Shop) -> None:
    async def stream(key: str, name: str, until: asyncio.Event) -> int:
        sent = 0
        while not until.is_set() or sent < 10:
            answer = await shop.hook(message_id=f"{name}-{sent}", key=key)
            assert answer.status_code == 202, (name, sent, answer.text)
            sent += 1
        return sent

    done = asyncio.Event()
    old = asyncio.create_task(stream(secret(1), "old", done))
    await shop.hook(message_id="before")
    await shop.rotate("hooks/shop", secret(2))
    shop.clock.ahead_s += 3  # longer than the broker keeps what it read
    new = asyncio.create_task(stream(secret(2), "new", done))
    for number in range(5):
        assert (await shop.hook(message_id=f"third-{number}")).status_code == 202
    done.set()
    assert await old >= 10
    assert await new >= 10
    assert await shop.refusals() == {}
    shop.clock.ahead_s += 8 * 86_400  # the grace is over
    await shop.look()
    assert (await shop.hook(message_id="late", key=secret(1))).status_code == 401
    assert (await shop.hook(message_id="late", key=secret(2))).status_code == 202
