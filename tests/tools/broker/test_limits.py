"""Limits over several processes: tokens and places are shared, waited for in turn, and given back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from stanchion.base import LimitExceeded
from stanchion.context import Env
from stanchion.tools.broker import limit_rules, store
from stanchion.tools.broker.limits import ConnectorLimits
from stanchion.tools.connectors import connector_of
from stanchion.tools.types import Connector
from tests.tools.broker.held import BODY


@pytest.fixture
async def tenant(cluster, database_urls, env) -> str:
    superuser = cluster.superuser(database_urls)
    async with await psycopg.AsyncConnection.connect(superuser, autocommit=True) as tx:
        await tx.execute("insert into tenants (name, display_name) values ('acme', 'Acme') on conflict do nothing")
        await tx.execute("delete from connector_limits")
        await tx.execute("delete from connector_places")
    return "acme"


def connector(**limits: Any) -> Connector:
    return connector_of({**BODY, "limits": limits}, "sha256:x")


async def held_places(env: Env, tenant: str) -> int:
    async with env.db.engine_tx() as tx:
        return await store.places_of_others(tx, tenant, "casebook", env.ids.new())


async def test_without_limits_nothing_is_asked(env: Env, tenant: str) -> None:
    async with ConnectorLimits(env).admitted(tenant, connector_of(BODY, "x"), timeout_s=0.0):
        pass
    async with env.db.engine_tx() as tx:
        cursor = await tx.execute("select count(*) from connector_limits")
        assert await cursor.fetchone() == (0,)


async def test_processes_share_one_bucket_and_most_calls_cost_no_statement(env: Env, tenant: str, monkeypatch) -> None:
    one, two = ConnectorLimits(env), ConnectorLimits(env)
    limited = connector(calls_per_s=0.1, burst=100)
    taken, statements = 0, 0
    real = store.lock_bucket

    async def counted(*args: Any, **named: Any) -> Any:
        nonlocal statements
        statements += 1
        return await real(*args, **named)

    monkeypatch.setattr(store, "lock_bucket", counted)
    monkeypatch.setattr(limit_rules, "CHUNK_S", 1000.0)
    for limits in (one, two) * 50:
        async with limits.admitted(tenant, limited, timeout_s=1.0):
            taken += 1
    assert taken == 100
    assert statements == 4
    with pytest.raises(LimitExceeded):
        async with one.admitted(tenant, limited, timeout_s=1.0):
            pass


async def test_a_call_waits_its_turn_for_a_token_that_comes_in_time(env: Env, tenant: str) -> None:
    limits, limited = ConnectorLimits(env), connector(calls_per_s=50, burst=1)
    began: list[int] = []

    async def one(n: int) -> None:
        async with limits.admitted(tenant, limited, timeout_s=10.0):
            began.append(n)

    await asyncio.gather(*(one(n) for n in range(8)))
    assert began == list(range(8))


async def test_a_queue_that_is_too_long_refuses_at_once(env: Env, tenant: str) -> None:
    limits, limited = ConnectorLimits(env), connector(calls_per_s=1, burst=1)
    async with limits.admitted(tenant, limited, timeout_s=10.0):
        pass
    waiting = [asyncio.create_task(_enter(limits, tenant, limited)) for _ in range(6)]
    await asyncio.sleep(0)
    with pytest.raises(LimitExceeded) as caught:
        await _enter(limits, tenant, limited)
    assert float(str(caught.value.fields["retry_after_s"])) >= 5
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def _enter(limits: ConnectorLimits, tenant: str, limited: Connector) -> None:
    async with limits.admitted(tenant, limited, timeout_s=10.0):
        pass


async def test_places_are_shared_by_processes_and_come_back(env: Env, tenant: str) -> None:
    one, two = ConnectorLimits(env), ConnectorLimits(env)
    limited = connector(concurrent=3)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(one.admitted(tenant, limited, timeout_s=1.0))
        await stack.enter_async_context(one.admitted(tenant, limited, timeout_s=1.0))
        await stack.enter_async_context(two.admitted(tenant, limited, timeout_s=1.0))
        for limits in (one, two):
            with pytest.raises(LimitExceeded) as caught:
                async with limits.admitted(tenant, limited, timeout_s=0.1):
                    pass
            assert caught.value.code == "connector.rate_limited"
            assert "3 calls at the same time" in caught.value.message
        assert await held_places(env, tenant) == 3
    # Nobody uses them; who is asked to tend gives back what it does not need, and `close` gives back everything.
    await one.close()
    assert await held_places(env, tenant) == 1
    async with two.admitted(tenant, limited, timeout_s=1.0), two.admitted(tenant, limited, timeout_s=1.0):
        await two.tend()
        assert await held_places(env, tenant) == 2
    await two.close()
    assert await held_places(env, tenant) == 0


async def test_a_place_that_becomes_free_here_is_taken_at_once(env: Env, tenant: str) -> None:
    limits, limited = ConnectorLimits(env), connector(concurrent=1)
    order: list[str] = []
    inside, leave = asyncio.Event(), asyncio.Event()

    async def first() -> None:
        async with limits.admitted(tenant, limited, timeout_s=5.0):
            inside.set()
            await leave.wait()
        order.append("first")

    async def second() -> None:
        await inside.wait()
        async with limits.admitted(tenant, limited, timeout_s=5.0):
            order.append("second")

    tasks = asyncio.gather(first(), second())
    await inside.wait()
    leave.set()
    await tasks
    assert order == ["first", "second"]


async def test_places_of_a_process_that_died_come_back_by_themselves(env: Env, tenant: str) -> None:
    dead, limited = ConnectorLimits(env), connector(concurrent=1)
    admitted = dead.admitted(tenant, limited, timeout_s=1.0)
    await admitted.__aenter__()
    async with env.db.engine_tx() as tx:
        await tx.execute("update connector_places set expires_at = clock_timestamp() - interval '1 second'")
    async with ConnectorLimits(env).admitted(tenant, limited, timeout_s=1.0):
        pass
    await admitted.__aexit__(None, None, None)


async def test_places_are_renewed_while_calls_of_the_connector_wait_their_turn(env: Env, tenant: str) -> None:
    """Who waits for a token holds the turn for seconds; the places of calls that run must not run out meanwhile."""
    limits = ConnectorLimits(env)
    async with limits.admitted(tenant, connector(concurrent=4), timeout_s=5.0):
        (account,) = limits._accounts.values()
        account.places_until = env.clock.monotonic() + 1.0
        async with account.turn:
            await asyncio.wait_for(limits.tend(), 60)
        assert account.places_until - env.clock.monotonic() > limit_rules.PLACES_LEASE_S / 2
        async with account.turn:
            await asyncio.wait_for(limits.close(), 60)
        assert await held_places(env, tenant) == account.places == 1  # a call in flight keeps its own
