"""The simulated PostgreSQL server."""

from __future__ import annotations

import contextvars
import random
from collections.abc import Mapping
from typing import Any

from stanchion.base import Clock


class SimServer:
    """Tables, transactions, locks and sessions of one simulated PostgreSQL.

    Args:
        clock: the server's own clock: `clock_timestamp()` is `clock.now()`, whatever the workers' clocks say.
        rng: decides what real servers leave open (whether a commit that a restart cut short was applied).
        context: the contextvars context in which everything of the server's runs (waits for locks, commits, deliveries).
            Give one whose process variable names no process, so that a pause or crash of a client does not stop the server.
            Default: a copy of the context of this call.
        deadlock_s: seconds a lock is waited for before the waiter looks for a deadlock.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        *,
        context: contextvars.Context | None = None,
        deadlock_s: float = 1.0,
    ) -> None:
        raise NotImplementedError

    def restart(self) -> None:
        """An immediate restart: every session of everybody dies, uncommitted changes are gone, committed ones stay."""
        raise NotImplementedError

    def terminate(self, rng: random.Random) -> bool:
        """End one session, drawn by `rng`, like pg_terminate_backend; False if there is none."""
        raise NotImplementedError

    def rows(self, table: str) -> list[Mapping[str, Any]]:
        """The committed rows of a table, in the order of their insertion, for checkers. Not to be changed."""
        raise NotImplementedError
