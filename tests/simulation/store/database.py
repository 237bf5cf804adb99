"""stanchion.db.Database over the simulated server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Self

from stanchion.db import Database, DatabaseUrls
from tests.simulation.store.link import Link
from tests.simulation.store.server import SimServer


class SimDatabase(Database):
    """The pools of one simulated process: same interface, limits and errors as stanchion.db.Database.

    A subclass only so that Env takes it; nothing of the real one is used.
    """

    def __init__(
        self, server: SimServer, link: Link, *, app_max: int = 10, engine_max: int = 6, acquire_timeout_s: float = 5.0
    ) -> None:
        self.urls = DatabaseUrls(app="sim://app", engine="sim://engine")
        raise NotImplementedError

    async def open(self) -> None:
        """Nothing to do: connections are made when asked for."""

    async def close(self) -> None:
        """Close the pooled connections."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @asynccontextmanager
    async def connection(self, role: str) -> AsyncGenerator[Any]:
        """A pooled connection in autocommit mode. Raises Unavailable as the real one does."""
        raise NotImplementedError
        yield

    @asynccontextmanager
    async def tenant_tx(self, tenant: str) -> AsyncGenerator[Any]:
        """A transaction as role `app`, walled to `tenant`."""
        raise NotImplementedError
        yield

    @asynccontextmanager
    async def engine_tx(self) -> AsyncGenerator[Any]:
        """A transaction as role `engine`."""
        raise NotImplementedError
        yield

    async def dedicated(self, role: str) -> Any:
        """A connection of its own outside the pool."""
        raise NotImplementedError

    def kill(self) -> None:
        """The process died: every session of it ends at once on the server's side."""
        raise NotImplementedError
