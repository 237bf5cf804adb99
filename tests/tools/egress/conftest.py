"""Two servers at two addresses of this machine and one port: one that is approved where a test says so, one never."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.tools.egress.support import EVIL, GOOD, Reached, server


@pytest.fixture
async def good() -> AsyncIterator[Reached]:
    async with server(GOOD) as reached:
        yield reached


@pytest.fixture
async def evil(good: Reached) -> AsyncIterator[Reached]:
    """At another address of this machine and the same port: who connects to the wrong address comes here."""
    async with server(EVIL, good.port) as reached:
        yield reached
