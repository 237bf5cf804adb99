"""Both sides of the contract, once per module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Cluster
from tests.simulation.contract.sides import Model, Real


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(cluster: Cluster) -> AsyncIterator[Real]:
    urls = cluster.clone()
    side = Real(urls, cluster.superuser(urls))
    await side.open()
    yield side
    await side.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncIterator[Model]:
    side = Model()
    await side.open()
    yield side
    await side.close()


@pytest.fixture(params=["real", "model"])
def side(request: pytest.FixtureRequest) -> Real | Model:
    return request.getfixturevalue(request.param)
