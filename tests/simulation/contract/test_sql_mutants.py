"""The contract sees the SQL drift: each planted change of a statement's text makes the two sides differ."""

from __future__ import annotations

import pytest

from tests.simulation.contract.arranged import Arranged
from tests.simulation.contract.differential import Difference, Sequence
from tests.simulation.contract.mutants import MUTANTS, SqlMutant
from tests.simulation.contract.sides import Model, Real

# Sequences within which the random calls must meet a difference.
SEQUENCES = 60

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
async def test_is_seen(real: Real, model: Model, mutant: SqlMutant) -> None:
    mutant.altered = 0
    with mutant.planted():
        seen = await _seen(real, model, mutant)
    assert mutant.altered, "no statement has this text any more: bring the mutant up to date"
    assert seen, f"neither a scenario nor {SEQUENCES} sequences saw it"


async def _seen(real: Real, model: Model, mutant: SqlMutant) -> bool:
    if mutant.seen_by is not None:
        await real.wipe()
        try:
            await mutant.seen_by(Arranged(real))
        except Exception:
            return True
        return False
    for seed in range(SEQUENCES):
        try:
            await Sequence(seed, real, model).play()
        except Difference:
            return True
    return False
