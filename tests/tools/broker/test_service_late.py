"""What happens between the broker's checks and the call, and after the answer; and calls that are sent twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from stanchion.base import Denied, Problem
from stanchion.controls.kills import Blocked
from stanchion.runs import Pin, Pinned, PinSet
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker import service, store
from stanchion.tools.broker.scrubbing import Scrubber
from stanchion.tools.types import Envelope
from tests.tools.broker.held import PEER, Held


@pytest.fixture
async def held(env, cluster, database_urls) -> Held:
    found = Held(env, cluster.superuser(database_urls))
    await found.begin()
    return found


class Switch:
    """Kill switches, one of which comes while a secret is read."""

    any = True

    def __init__(self) -> None:
        self.on = False

    def blocked(self, tenant, kind, name, digest, *, strict=False):
        return Blocked(ref="kill-1", text="killed") if self.on and kind == "connector" else None

    def admit(self, tenant, kind, name, digest):
        return None


@pytest.mark.parametrize("op", ["push", "probe", "fetch"])
async def test_a_kill_that_comes_while_a_call_waits_stops_it(held: Held, op: str) -> None:
    switch = Switch()

    class Slow:
        async def resolve(self, *said: Any, **more: Any) -> Any:
            switch.on = True
            return await held.secrets.resolve(*said, **more)

        previous = held.secrets.previous

    broker = held.another(kills=switch, secrets=Slow())
    with pytest.raises(Denied) as caught:
        await broker.perform(held.call(op), PEER)
    assert caught.value.code == "kill.held_back"
    assert held.adapter.asked == []


async def test_a_call_that_is_sent_twice_is_performed_once(held: Held) -> None:
    """A token is good for a minute on its connection, and the intent stands until the outcome is recorded."""
    call = held.call()
    await held.broker.perform(call, PEER)
    with pytest.raises(AdapterProblem) as caught:
        await held.broker.perform(call, PEER)
    assert (caught.value.code, caught.value.sent) == ("broker.repeated", True)
    assert [op for op, _ in held.adapter.asked] == ["push"]
    await held.sql("update effects set attempts = attempts + 1 where run_id = %s", held.run_id)
    await held.broker.perform(call, PEER)
    assert [op for op, _ in held.adapter.asked] == ["push", "push"]


async def test_a_step_that_only_simulates_performs_nothing(held: Held) -> None:
    op = held.programs.op
    assert op.step is not None
    held.programs.op = replace(op, step=replace(op.step, raw={**op.step.raw, "simulate": True}))
    with pytest.raises(Denied) as caught:
        await held.perform()
    assert caught.value.code == "broker.other_step"
    assert held.adapter.asked == []


async def test_the_version_of_a_tool_is_the_pinned_one(held: Held) -> None:
    """Who says another one evades its revocation, and is judged by policy as another tool."""
    op = held.programs.op
    assert op.step is not None
    held.programs.op = replace(op, step=replace(op.step, raw={**op.step.raw, "tool": "post"}))
    load = held.programs.load

    async def with_tool(tenant: str, pins: str) -> Pinned:
        found = await load(tenant, pins)
        tool = Pin(kind="tool", name="post", version=1, digest="sha256:tool")
        return replace(found, pins=PinSet(digest=pins, pins=(*found.pins.pins, tool)))

    held.programs.load = with_tool
    for digest in ("", "sha256:other"):
        with pytest.raises(Denied) as caught:
            await held.perform(asker={"tool": "post", "tool_digest": digest})
        assert caught.value.code == "broker.other_step"
        await held.next_attempt()
    assert held.adapter.asked == []
    await held.perform(asker={"tool": "post", "tool_digest": "sha256:tool"})


async def test_an_answer_to_a_write_that_cannot_be_shown_may_have_been_applied(held: Held) -> None:
    async def strange(target: Any) -> Envelope:
        return Envelope(records=[{"x": object()}], metrics={}, trace={}, narrative="", metadata={})  # type: ignore[dict-item]

    held.adapter.answer = strange
    with pytest.raises(AdapterProblem) as caught:
        await held.perform()
    assert caught.value.sent
    with pytest.raises(Problem) as read:
        await held.perform("fetch")
    assert not isinstance(read.value, AdapterProblem)


def test_scrubbing_keeps_whether_something_was_sent() -> None:
    problem = AdapterProblem("adapter.status", "said sent.", sent=True, status=500)
    scrubbed = Scrubber(["sent", "adapter", "status"]).problem(problem)
    assert isinstance(scrubbed, AdapterProblem)
    assert scrubbed.sent
    assert (scrubbed.code, scrubbed.fields["status"]) == ("adapter.status", 500)
    assert "sent" not in scrubbed.message


@pytest.mark.parametrize(
    ("asker", "code"),
    [
        ({"principal": "system:bootstrap"}, "broker.no_such_run"),
        ({"run_id": UUID(int=7), "root_id": UUID(int=7)}, "broker.no_such_run"),
        ({"epoch": 2}, "broker.stale_claim"),
    ],
)
async def test_a_read_is_for_a_run_that_stands_as_the_call_says(held: Held, asker: dict[str, Any], code: str) -> None:
    """Whoever can reach the socket may say anything: as whom, of which tenant, by which version."""
    for op in ("fetch", "lookup"):
        with pytest.raises(Denied) as caught:
            await held.perform(op, asker=asker)
        assert caught.value.code == code
    assert held.adapter.asked == []
    assert held.policy.asked == []


async def test_a_read_is_by_the_pinned_version(held: Held) -> None:
    older = Held(held.env, held.superuser, timeout="6s")
    await older.publish()
    with pytest.raises(Denied) as caught:
        await held.perform("fetch", digest=older.digest)
    assert caught.value.code == "broker.not_pinned"
    assert held.adapter.asked == []


async def test_the_run_of_many_reads_is_looked_at_once_in_a_while(held: Held, monkeypatch) -> None:
    asked: list[Any] = []
    standing = store.standing

    async def counted(*said: Any) -> Any:
        asked.append(said)
        return await standing(*said)

    monkeypatch.setattr(store, "standing", counted)
    for _ in range(3):
        await held.perform("fetch")
    assert len(asked) == 1


async def test_a_write_that_waited_is_held_to_the_ledger_once_more(held: Held, monkeypatch) -> None:
    """Meanwhile another worker took the run, asked the target, and found nothing there."""
    monkeypatch.setattr(service, "_WAITED_S", -1.0)

    class Slow:
        async def resolve(self, *said: Any, **more: Any) -> Any:
            await held.sql("update runs set epoch = epoch + 1 where id = %s", held.run_id)
            return await held.secrets.resolve(*said, **more)

        previous = held.secrets.previous

    with pytest.raises(Denied) as caught:
        await held.another(secrets=Slow()).perform(held.call(), PEER)
    assert caught.value.code == "broker.stale_claim"
    assert held.adapter.asked == []
    await held.sql("update runs set epoch = 1 where id = %s", held.run_id)
    await held.next_attempt()
    await held.perform()
