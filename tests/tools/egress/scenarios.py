"""Calls through the guard that an attacker would like to see succeed; the tests and the mutants look at where they went."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from stanchion.base import SystemClock
from stanchion.tools.adapter import AdapterProblem, Target
from stanchion.tools.adapters.http import HttpAdapter
from stanchion.tools.connectors import resource_of
from stanchion.tools.credentials import Credentials
from stanchion.tools.egress import EgressProblem, Network
from stanchion.tools.types import Connector
from tests.tools.egress.support import EVIL, GOOD, PUBLIC, Names, Reached, Wire, connector, redirect


async def fetched(
    found: Connector, names: Names, timeout_s: float = 5.0, credentials: Credentials | None = None, **network: Any
) -> int:
    """How many records a fetch of the connector gives."""
    adapter = HttpAdapter(SystemClock(), Network(resolve=names.resolve, **network))
    resource, operation = resource_of(found, "cases", "fetch")
    target = Target(
        connector=found, resource=resource, operation=operation, timeout_s=timeout_s, credentials=credentials
    )
    try:
        return len((await adapter.fetch(target, {}, 10, None)).records)
    finally:
        await adapter.close()


async def refused(awaitable: Any) -> EgressProblem:
    with pytest.raises(EgressProblem) as caught:
        await awaitable
    problem = caught.value
    assert (problem.retryable, problem.sent) == (False, False)
    return problem


async def rebinding(good: Reached, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name that is public when it is checked and this machine a moment later; where the connections went."""
    wire = Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    names = Names(rebind_example=[[PUBLIC], [EVIL]])
    with contextlib.suppress(AdapterProblem):
        await fetched(connector(f"http://rebind.example:{good.port}"), names)
    return wire.addresses


async def second_address(good: Reached, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A name with a public address at which nobody answers, and one of this machine."""
    wire = Wire(monkeypatch, **{PUBLIC: None})
    names = Names(two_example=[[PUBLIC, EVIL]])
    with contextlib.suppress(AdapterProblem):
        await fetched(connector(f"http://two.example:{good.port}"), names)
    return wire.addresses


async def redirected(good: Reached, location: str, monkeypatch: pytest.MonkeyPatch) -> EgressProblem | None:
    Wire(monkeypatch, **{PUBLIC: (GOOD, good.port)})
    good.answers = [redirect(location)]
    names = Names(public_example=[[PUBLIC]], evil_example=[[EVIL]], other_example=[[PUBLIC]])
    found = connector("http://public.example/api", hosts=["evil.example:80", f"{EVIL}:{good.port}"])
    try:
        await fetched(found, names)
    except EgressProblem as problem:
        return problem
    except AdapterProblem:
        return None
    return None
