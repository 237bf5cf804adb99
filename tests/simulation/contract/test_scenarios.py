"""One suite, two stores: what the engine relies on, on PostgreSQL and on the model."""

from __future__ import annotations

import pytest

from tests.simulation.contract import scenarios_claims, scenarios_fanout, scenarios_sessions
from tests.simulation.contract.arranged import Arranged
from tests.simulation.contract.sides import Side

SCENARIOS = [*scenarios_claims.SCENARIOS, *scenarios_sessions.SCENARIOS, *scenarios_fanout.SCENARIOS]

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_scenario(side: Side, scenario) -> None:
    await side.wipe()
    await scenario(Arranged(side))
