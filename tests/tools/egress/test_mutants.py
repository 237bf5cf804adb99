"""Mistakes that guards like this one have made, planted: each must be seen, or be stopped by the checks that are left."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from yarl import URL

from stanchion.tools.egress import Egress, policy, sessions
from tests.tools.egress.scenarios import fetched, rebinding, redirected, refused, second_address
from tests.tools.egress.support import EVIL, GOOD, Names, Wire, connector, redirect


def first_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first address of a name is looked at."""
    real = policy.refused
    monkeypatch.setattr(policy, "refused", lambda host, found, private: real(host, list(found)[:1], private))


def resolves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is forgotten, and the connection asks the resolver anew."""
    real = sessions._Guard.resolve

    async def resolve(self: Any, host: str, port: int = 0, family: Any = 0) -> Any:
        checked = await real(self, host, port, family)
        again = await self._egress.network.resolve(host, port)
        return [{**checked[0], "host": text} for text in again]

    monkeypatch.setattr(sessions._Guard, "resolve", resolve)


def any_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets are opened without a last look at where they go."""
    monkeypatch.setattr(sessions._Guard, "_let_through", lambda *_: True)


def follows_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The adapter takes a redirect as it comes."""
    monkeypatch.setattr(Egress, "followed", lambda _, current, reference: current.join(URL(reference)))


def asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The session does not look at its requests."""

    async def request(self: Any, req: Any, handler: Any) -> Any:
        return await handler(req)

    monkeypatch.setattr(sessions._Guard, "request", request)


async def test_a_guard_that_checks_only_the_first_address_is_caught(good, evil, monkeypatch) -> None:
    first_alone(monkeypatch)
    assert EVIL in await second_address(good, monkeypatch)
    assert len(evil.requests) == 1


async def test_a_guard_that_resolves_again_is_caught(good, evil, monkeypatch) -> None:
    resolves_again(monkeypatch)
    any_socket(monkeypatch)
    assert EVIL in await rebinding(good, monkeypatch)
    assert len(evil.requests) == 1


async def test_the_socket_alone_stops_a_guard_that_resolves_again(good, evil, monkeypatch) -> None:
    resolves_again(monkeypatch)
    assert await rebinding(good, monkeypatch) == []
    assert evil.requests == []


async def test_a_guard_that_does_not_check_redirects_is_caught(good, evil, monkeypatch) -> None:
    for mutate in (follows_blindly, asks_nothing, any_socket):
        mutate(monkeypatch)
    assert await redirected(good, f"http://{EVIL}:{good.port}/", monkeypatch) is None
    assert len(evil.requests) == 1


@pytest.mark.parametrize("left", [follows_blindly, asks_nothing, any_socket], ids=lambda mutate: mutate.__name__)
async def test_one_check_of_redirects_is_enough(good, evil, monkeypatch, left) -> None:
    """Of the three places at which a hop to an address is looked at, any one alone stops it."""
    for mutate in {follows_blindly, asks_nothing, any_socket} - {left}:
        mutate(monkeypatch)
    await redirected(good, f"http://{EVIL}:{good.port}/", monkeypatch)
    assert evil.requests == []


@pytest.mark.parametrize("kept", list(itertools.product([False, True], repeat=2)))
async def test_a_guard_without_the_list_of_hosts_is_caught(good, evil, monkeypatch, kept) -> None:
    """A redirect to a name that resolves to an approved address, which the connector does not name."""
    if not kept[0]:
        follows_blindly(monkeypatch)
    if not kept[1]:
        monkeypatch.setattr(Egress, "admit", lambda self, host, port: self._endpoint(host, port))
    Wire(monkeypatch)
    names = Names(registry_internal=[[GOOD]], other_internal=[[EVIL]])
    found = connector(f"http://registry.internal:{good.port}", private=["127.0.0.0/8"])
    good.answers = [redirect(f"http://other.internal:{good.port}/")]
    called = fetched(found, names)
    if kept[1]:
        assert (await refused(called)).code == "egress.host_not_allowed"
    else:
        await called
    assert len(evil.requests) == (0 if kept[1] else 1)
