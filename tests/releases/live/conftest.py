"""One deployment of real processes for the tests that need one."""

from __future__ import annotations

import pytest

from tests.support.deployment import deployed


@pytest.fixture(scope="package")
def deployment(cluster, tmp_path_factory):
    with deployed(cluster, tmp_path_factory.mktemp("live")) as made:
        yield made
