"""The SQL of wake-ups."""

from __future__ import annotations

from collections.abc import Sequence

from stanchion.db import Tx, execute


async def notify(tx: Tx, messages: Sequence[tuple[str, str]]) -> None:
    """Send (channel, payload) pairs; on an autocommit connection they leave at once."""
    await execute(
        tx,
        "select pg_notify(channel, payload) from unnest(%s::text[], %s::text[]) as m (channel, payload)",
        ([channel for channel, _ in messages], [payload for _, payload in messages]),
    )


async def listen(connection: Tx, channel: str) -> None:
    """Hear `channel` on this connection."""
    if channel == "stanchion_ready":
        await execute(connection, "listen stanchion_ready")
    elif channel == "stanchion_runs":
        await execute(connection, "listen stanchion_runs")
    else:
        await execute(connection, "listen stanchion_cancel")
