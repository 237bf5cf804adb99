"""Hearing wake-ups on a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from stanchion.context import Env
from stanchion.db import Tx
from stanchion.queue import store


class Listener:
    """One dedicated connection that hears channels. LISTEN needs a direct connection, not a transaction pooler."""

    def __init__(self, connection: Tx) -> None:
        self.connection = connection

    @classmethod
    async def open(cls, env: Env, role: str, channels: Sequence[str]) -> Listener:
        """Connect as `role` and hear `channels`. Raises psycopg.OperationalError if the database is away."""
        connection = await env.db.dedicated(role)
        try:
            for channel in channels:
                await store.listen(connection, channel)
        except BaseException:
            await connection.close()
            raise
        return cls(connection)

    async def messages(self, timeout_s: float | None = None) -> AsyncIterator[tuple[str, str]]:
        """(channel, payload) as they come, until `timeout_s` has passed or, with an error, the connection is lost."""
        async for notify in self.connection.notifies(timeout=timeout_s):
            yield notify.channel, notify.payload

    async def close(self) -> None:
        """Close the connection; a session lock on it is freed."""
        await self.connection.close()
