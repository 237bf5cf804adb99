"""An attempt of an effect is performed once by all brokers together, and ends as what the first one was begun as; a token is of
no use but on the connection that it was made for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from stanchion.base import Denied, Problem
from stanchion.context import Env, Environment
from stanchion.tools.adapter import AdapterProblem
from stanchion.tools.broker.types import Peer
from stanchion.tools.types import Envelope
from tests.tools.broker.held import PEER, Held


@pytest.fixture
async def held(env: Env, cluster, database_urls) -> Held:
    found = Held(env, cluster.superuser(database_urls))
    await found.begin()
    return found


async def refused(held: Held, code: str, op: str = "push", **other: Any) -> Problem:
    before = list(held.adapter.asked)
    with pytest.raises(Problem) as caught:
        await held.perform(op, **other)
    assert caught.value.code == code
    assert held.adapter.asked == before
    return caught.value


async def written(held: Held) -> list[Any]:
    """What brokers wrote down of the run's effect."""
    return await held.sql(
        "select b.attempt, b.epoch, b.simulated from broker_effects b join effects e on e.id = b.effect_id"
        " where e.run_id = %s",
        held.run_id,
    )


def elsewhere(held: Held, name: str = "sandbox") -> Env:
    return replace(held.env, environment=Environment(name=name, production=False))


async def test_a_broker_that_was_started_again_does_not_perform_an_attempt_again(held: Held) -> None:
    call = held.call()
    await held.broker.perform(call, PEER)
    with pytest.raises(AdapterProblem) as caught:
        await held.another().perform(call, PEER)
    assert (caught.value.code, caught.value.sent) == ("broker.repeated", True)
    await held.next_attempt()
    await held.another().perform(held.call(), PEER)
    assert [op for op, _ in held.adapter.asked] == ["push", "push"]


async def test_of_many_brokers_that_get_one_attempt_at_once_one_performs_it(held: Held) -> None:
    brokers = [held.another() for _ in range(5)]
    ends = await asyncio.gather(
        *(broker.perform(held.call(), PEER) for broker in brokers for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(end, Envelope) for end in ends) == 1
    assert {end.code for end in ends if isinstance(end, AdapterProblem)} == {"broker.repeated"}
    assert [op for op, _ in held.adapter.asked] == ["push"]


async def test_an_earlier_attempt_is_not_performed_after_a_later_one(held: Held) -> None:
    await held.next_attempt()
    await held.perform()
    await held.sql("update effects set attempts = attempts - 1 where run_id = %s", held.run_id)
    held.broker = held.another()
    await refused(held, "broker.repeated")


async def test_what_the_ledger_does_not_have_uses_no_attempt_up(held: Held) -> None:
    for other in ({"key": "eff_other"}, {"arguments": {"record": {"case_id": "C2", "outcome": "close"}}}):
        await refused(held, "broker.other_effect" if "key" in other else "broker.other_arguments", **other)
    assert await written(held) == []
    await held.perform()
    assert await written(held) == [(1, 1, False)]


async def test_a_probe_is_no_attempt_and_may_be_repeated(held: Held) -> None:
    assert await held.perform("probe") == {"applied": True}
    assert await held.perform("probe") == {"applied": True}
    assert await written(held) == []


@pytest.mark.parametrize("op", ["push", "fetch", "lookup"])
async def test_a_token_is_of_no_use_on_another_connection_or_to_another_broker(held: Held, op: str) -> None:
    """The key is made for each connection by the broker that takes it: one that was started again has another."""
    token = held.call(op)
    for broker in (held.broker, held.another()):
        again = Peer(how="unix", name="0", session_key=held.env.ids.secret(32))
        with pytest.raises(Denied) as caught:
            await broker.perform(token, again)
        assert caught.value.code == "broker.bad_token"
    assert held.adapter.asked == []


# --- real and simulated


async def test_what_was_attempted_for_real_is_not_simulated_after_the_environment_changed(held: Held) -> None:
    async def lost(_target: Any) -> Envelope:
        raise AdapterProblem("adapter.unreachable", "The answer was lost.", sent=True)

    held.adapter.answer = lost
    with pytest.raises(AdapterProblem):
        await held.perform()
    held.adapter.answer = None
    await held.next_attempt()
    held.broker = held.another(elsewhere(held))
    problem = await refused(held, "effect.was_real")
    assert "effect resolve" in problem.hint
    assert not getattr(problem, "sent", False)
    # What may be done is to ask the target, which the second lock lets only where the secret is issued.
    with pytest.raises(Denied) as caught:
        await held.perform("probe")
    assert caught.value.code == "secret.wrong_environment"
    held.secrets.issued_to = "sandbox"
    assert await held.perform("probe") == {"applied": True}


async def test_what_was_begun_simulated_is_not_performed_after_the_environment_changed(held: Held) -> None:
    held.broker = held.another(elsewhere(held))
    envelope = await held.perform()
    assert envelope.metadata["simulated"] is True
    await held.next_attempt()
    held.broker = held.another()
    await refused(held, "effect.was_simulated")
    await refused(held, "effect.was_simulated", "probe")
    held.broker = held.another(elsewhere(held))
    await held.next_attempt()
    assert (await held.perform()).metadata["simulated"] is True
    assert held.adapter.asked == []
