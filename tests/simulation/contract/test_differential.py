"""The model against PostgreSQL, call by call and table by table."""

from __future__ import annotations

import inspect
import sys

import pytest

from tests.simulation.contract.differential import Sequence
from tests.simulation.contract.sides import Model, Real
from tests.simulation.store.registry import CALLS, MODELS

SEQUENCES = 300

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.timeout(300)
async def test_same_answers_and_same_rows(real: Real, model: Model) -> None:
    before = dict(CALLS)
    waits = 0
    for seed in range(SEQUENCES):
        sequence = Sequence(seed, real, model)
        await sequence.play()
        waits += sequence.waits
    uncalled = sorted(".".join(key) for key in MODELS if CALLS[key] == before[key])
    assert not uncalled, "these statements were never called"
    assert waits >= SEQUENCES / 4, "hardly any call met another's lock"


async def test_every_statement_of_these_stores_is_modelled() -> None:
    missing = [
        f"{module}.{name}"
        for module in sorted({module for module, _ in MODELS})
        for name, function in inspect.getmembers(sys.modules[module], inspect.iscoroutinefunction)
        if function.__module__ == module and (module, name) not in MODELS
    ]
    assert missing == []
