"""Models of stanchion.queue.store."""

from __future__ import annotations

from typing import Any

from tests.simulation.store.registry import Rows, models
from tests.simulation.store.transaction import SimTx

_STORE = "stanchion.queue.store"


@models(_STORE, "notify")
def notify(tx: SimTx, params: dict[str, Any]) -> Rows:
    """Tell each channel its payload, at commit."""
    for channel, payload in zip(params["channels"], params["payloads"], strict=True):
        tx.notify(channel, payload)
    return [{"told": len(params["channels"])}]


@models(_STORE, "listen")
def listen(tx: SimTx, params: Any) -> int:
    """LISTEN, from now on: the connections that listen are in autocommit mode."""
    tx.session.channels[tx.text.split()[1]] = None
    return -1
