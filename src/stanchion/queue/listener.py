"""Hearing wake-ups on a connection of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import psycopg

from stanchion.base import Problem
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


async def hear(
    env: Env,
    role: str,
    channels: Sequence[str],
    heard: Callable[[str], None],
    *,
    retry_s: float,
    stands: Callable[[bool], None] | None = None,
) -> None:
    """Call `heard` with each payload until cancelled; a lost connection is made anew after `retry_s` seconds.

    What was told meanwhile is not heard: whoever uses this also looks by itself now and then. An outage is reported once.
    `stands` is told when everything that is said from then on will be heard, and when that ends.
    """
    standing = stands or _nobody
    failing = False
    while True:
        try:
            listener = await Listener.open(env, role, channels)
            failing = False
            standing(True)
            try:
                async for _, payload in listener.messages():
                    heard(payload)
            finally:
                standing(False)
                await listener.close()
        except (psycopg.Error, Problem, OSError) as error:
            if not failing:
                env.telemetry.emit("duty.failed", duty=f"hearing {', '.join(channels)}", error=repr(error))
            failing = True
        await env.clock.sleep(retry_s)


def _nobody(standing: bool) -> None:
    del standing
