"""What the fault matrix shares."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stanchion.db import DatabaseUrls
from tests.conftest import Cluster
from tests.faults.scene import Scene


@pytest.fixture
def scene(cluster: Cluster, fresh_database_urls: DatabaseUrls, tmp_path: Path) -> Scene:
    """A deployment on a database of its own of the session's server."""
    return Scene(
        urls=fresh_database_urls,
        watch_url=cluster.superuser(fresh_database_urls),
        register_url=cluster.guest("register"),
        folder=tmp_path,
    )


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder with a short name, for sockets, that another user may enter."""
    with tempfile.TemporaryDirectory(prefix="fault") as name:
        Path(name).chmod(0o755)
        yield Path(name)
