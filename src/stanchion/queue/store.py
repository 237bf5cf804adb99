"""The SQL of wake-ups."""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.db import Tx, direct, execute


async def notify(tx: Tx, messages: Sequence[tuple[str, str]]) -> None:
    """Send (channel, payload) pairs; on an autocommit connection they leave at once.

    A wake-up need not survive a crash, so its commit does not wait for the disk.
    """
    await direct(
        tx,
        _told,
        """
        with quick as materialized (select set_config('synchronous_commit', 'off', true))
        select count(pg_notify(channel, payload)) as told
        from quick, unnest(%(channels)s::text[], %(payloads)s::text[]) as m (channel, payload)
        """,
        {"channels": [channel for channel, _ in messages], "payloads": [payload for _, payload in messages]},
    )


def _told(told: int) -> None:
    """A row of no interest: nothing is to be learned from having told."""


async def listen(connection: Tx, channel: str) -> None:
    """Hear `channel` on this connection."""
    if channel == "stanchion_ready":
        await execute(connection, "listen stanchion_ready")
    elif channel == "stanchion_runs":
        await execute(connection, "listen stanchion_runs")
    elif channel == "stanchion_kills":
        await execute(connection, "listen stanchion_kills")
    elif channel == "stanchion_flags":
        await execute(connection, "listen stanchion_flags")
    elif channel == "stanchion_calls":
        await execute(connection, "listen stanchion_calls")
    elif channel == "stanchion_withdrawals":
        await execute(connection, "listen stanchion_withdrawals")
    else:
        await execute(connection, "listen stanchion_cancel")
