"""A tenant with its first admin, and time that tests own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from stanchion.db import Database
from stanchion.identity import CedarAuthorizer
from tests.conftest import make_env
from tests.support.web import set_stage


class HandClock:
    """Moves only when told."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 18, 9, 0, tzinfo=UTC)
        self.ticks = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.ticks

    async def sleep(self, seconds: float) -> None:
        self.move(seconds)

    def move(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.ticks += seconds


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
async def stage(fresh_database_urls, clock):
    async with Database(fresh_database_urls) as database:
        yield await set_stage(make_env(database, clock=clock, authorizer=CedarAuthorizer()))
